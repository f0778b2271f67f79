"""Events, registry rows and Tryton's replies for the Tryton tests."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import Any

import httpx
from pydantic import SecretStr

from connectors.base import Delivery
from connectors.tryton import TrytonConnector, TrytonSettings
from pipeline.core.events import BusinessEvent, Severity, SnapshotEntry, Source
from pipeline.core.registry import DeviceRecord

CONFIG = TrytonSettings(
    url="https://erp.example/erp", user="fieldline", password=SecretStr("open sesame")
)

RECORD = DeviceRecord(
    device_id="acme/truck-1",
    asset_id="TRK_1",
    asset_name="Reefer truck 1",
    customer_id="C-1",
    customer_name="Acme Cold Chain",
    customer_tax_id="BE0403019261",
    active=True,
)


def key(name: str) -> str:
    """A key as event ids are: 24 characters of base32."""
    return base64.b32encode(hashlib.sha256(name.encode()).digest()[:15]).decode().lower()


def event(name: str = "one", *, device_id: str = RECORD.device_id, **changes: Any) -> BusinessEvent:  # noqa: ANN401 - any field
    """An event, different for each name."""
    made = BusinessEvent(
        id=key(name),
        type="fieldline.limit.exceeded",
        tenant="acme",
        device_id=device_id,
        asset_id=None,
        customer_id=None,
        severity=Severity.CRITICAL,
        confidence=0.97,
        summary="Coolant at 112 °C, limit 105 °C",
        detector="limit",
        metric="coolant_c",
        rule="coolant@3",
        correlation_id=key(name),
        occurred_at_ms=1_795_257_000_250,
        observed_at_ms=1_795_257_000_300,
        source=Source(
            topic="telemetry.readings", partition=0, offset=7, index=0, session=1, sequence=42
        ),
        snapshot=(
            SnapshotEntry(metric="coolant_c", value=112.0, baseline=88.25, score=6.5),
            SnapshotEntry(metric="rpm", value=1800.0, baseline=None, score=None),
        ),
    )
    return replace(made, **changes)


def delivery(name: str = "one", *, record: DeviceRecord = RECORD) -> Delivery:
    """That event on its way, under its own id."""
    made = event(name, device_id=record.device_id)
    return Delivery(event=made, key=made.id, record=record)


def connector(config: TrytonSettings = CONFIG) -> TrytonConnector:
    """A connector that has not yet logged in."""
    return TrytonConnector(config)


def ok(result: object) -> httpx.Response:
    """A call that Tryton did."""
    return httpx.Response(200, json={"id": 1, "result": result})


def error(name: str, details: object = None) -> httpx.Response:
    """A call that ended in an exception."""
    return httpx.Response(200, json={"id": 1, "error": [name, details]})


def user_error(message: str = "The code on party must be unique.") -> httpx.Response:
    """A call that a rule of Tryton's refused."""
    return error("UserError", [message, "", None])


RIGHTS = {
    model: {"read": 1, "create": 1, "write": 0, "delete": 0}
    for model in ("project.work", "party.party")
}
PREFERENCES = {"company": 1, "companies": [1], "language": "en"}


NUMBER_TAKEN = "The number on work must be unique."
LOGIN = ["login", "preferences", "rights", "sentence_id", "sentence"]
"""Steps of a login."""


def login() -> list[httpx.Response]:
    """Replies to these steps."""
    sentence = [ok(188), ok([{"id": 188, "text": NUMBER_TAKEN}])]
    return [ok([2, "token", None]), ok(PREFERENCES), ok(RIGHTS), *sentence]


def equipment(identity: int = 10, *, customer: str = "C-1", asset: str = "TRK_1") -> dict[str, Any]:
    """A project as search_read gives it."""
    return {
        "id": identity,
        "type": "project",
        "name": f"{asset} · Reefer truck 1",
        "party.": {"id": 3, "code": customer},
    }


def order(name: str = "one", identity: int = 20) -> dict[str, Any]:
    """A task as search_read gives it."""
    return {
        "id": identity,
        "type": "task",
        "name": f"FL-{key(name)} · critical · Coolant",
        "party.": None,
    }
