"""A connector, deliveries and SAP's replies for the SAP tests."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import httpx
import pytest

from connectors.base import Call, Conversation, Delivery, Reply
from connectors.sap.config import SapSettings
from connectors.sap.mapping import reference
from connectors.sap.protocol import SapConnector
from connectors.settings import make
from connectors.system import OPEN
from pipeline.core.events import BusinessEvent
from tests.contract.cases.sap import CASE
from tests.contract.conversation import converse
from tests.contract.world import World, event
from tests.sandboxes.box import boxed
from tests.sandboxes.sap import Sap

NOW_S = 1_795_257_600.0
URL = "https://my.s4hana.example"
PASSWORD = "open-sesame-1234"
TOKEN = "token-of-the-session=="
COOKIES = ("SAP_SESSIONID_S4H_100=abcdefgh12345678; path=/; HttpOnly", "sap-usercontext=x; path=/")

KIND = "MaintenanceNotification"

T = TypeVar("T")


@pytest.fixture
def sandbox() -> Sap:
    """The far end itself, to look into and to change as its people do.

    A module takes it and `world` by assignment: an imported name would be shadowed.
    """
    return Sap()


@pytest.fixture
def world(sandbox: Sap) -> Iterator[World]:
    """The sandbox served."""
    with boxed(sandbox) as far:
        yield World(CASE, far)


def talk(
    conversation: Conversation[Sequence[T]], replies: Iterable[Reply]
) -> tuple[list[T], list[Call]]:
    """A conversation with those replies: what it returns as a list, and its calls."""
    result, calls = converse(conversation, replies)
    return list(result), calls


def connector(**values: Any) -> SapConnector:  # noqa: ANN401 - settings
    """Not logged in, at a clock that stands."""
    basic = {"username": "FIELDLINE", "password": PASSWORD}
    ways = {} if {"client_id", "certificate"} & set(values) else basic
    settings = make(SapSettings, {"url": URL, **ways, **values})
    return SapConnector(settings, OPEN, lambda: NOW_S)


def delivery(told: BusinessEvent | None = None, **ids: str) -> Delivery:
    """That event on its way."""
    made = told or event()
    record = replace(CASE.record, ids=ids or CASE.ids)
    return Delivery(event=made, key=made.id, record=record)


def found(*rows: tuple[str, str]) -> httpx.Response:
    """The answer to a $filter: (key, number) of what is there."""
    shown = [
        {
            "MaintenanceNotification": number,
            "MaintNotifExtReferenceNumber": reference(key),
            "NotifProcessingPhase": "1",
        }
        for key, number in rows
    ]
    return httpx.Response(200, json={"d": {"results": shown}})


def token(*, status: int = 200, text: str = TOKEN) -> httpx.Response:
    """The answer to a fetch of the CSRF token."""
    headers = [("x-csrf-token", text), *(("set-cookie", one) for one in COOKIES)]
    return httpx.Response(status, headers=[pair for pair in headers if pair[1]])


def created(key: str, number: str = "10000001") -> httpx.Response:
    """The answer to a create."""
    shown = {"MaintenanceNotification": number, "MaintNotifExtReferenceNumber": reference(key)}
    return httpx.Response(201, json={"d": shown})


def one(phase: str = "1", *, number: str = "10000001", **shown: Any) -> httpx.Response:  # noqa: ANN401 - JSON
    """The answer to a read of one notification."""
    fields = {
        "__metadata": {"etag": "W/\"'7'\""},
        "MaintenanceNotification": number,
        "NotifProcessingPhase": phase,
        "MaintPriority": "2",
        "MaintNotificationLongText": "",
    }
    return httpx.Response(200, json={"d": fields | shown})


def error(status: int, code: str, text: str = "It is not to be", **headers: str) -> httpx.Response:
    """An answer that is no success, as SAP writes it."""
    details = [{"code": code, "message": text, "severity": "error"}]
    body = {
        "error": {
            "code": code,
            "message": {"lang": "en", "value": text},
            "innererror": {"errordetails": details},
        }
    }
    return httpx.Response(status, json=body, headers=headers)


REQUIRED = httpx.Response(403, headers={"x-csrf-token": "Required"})


def body(call: Call) -> Any:  # noqa: ANN401 - JSON
    """The call's body, parsed."""
    return json.loads(call.request.content)


def basic(call: Call) -> str:
    """User and password of a call."""
    return base64.b64decode(call.request.headers["authorization"].removeprefix("Basic ")).decode()
