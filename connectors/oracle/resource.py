"""Requests to Fusion's REST framework, and its work orders as answers show them. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from connectors.answers import json_of, text_of
from connectors.auth import Tokens
from connectors.base import Call, Conversation, Effect, Reply
from connectors.oracle.answers import NAME
from connectors.oracle.config import OracleSettings
from pipeline.core.outcome import Retryable

ORDERS = "maintenanceWorkOrders"
DOCUMENTS = "documentReference"
ITEM = "application/vnd.oracle.adf.resourceitem+json"
ACTION = "application/vnd.oracle.adf.action+json"
BATCH = "application/vnd.oracle.adf.batch+json"
PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A work order as it stands. `etag` is '' where the answer has no change indicator."""

    id: str
    status: str
    priority: Any
    description: str
    etag: str


class Fusion:
    """One environment. `clock` gives seconds since the Unix epoch."""

    def __init__(self, settings: OracleSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        user = f"{settings.username}:{settings.password.get_secret_value()}".encode()
        self._basic = base64.b64encode(user).decode() if settings.username else ""
        self._tokens = Tokens(NAME, self._ask, clock=clock)
        self._token = ""

    def secrets(self) -> tuple[str, ...]:
        """All that an answer must not be repeated with."""
        return tuple(s for s in (*self._settings.secrets(), self._basic, self._token) if s)

    def send(
        self,
        step: str,
        method: str,
        path: str,
        *,
        effect: Effect,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Conversation[Reply | Retryable]:
        """The answer; Retryable where no token was to be had. A refused token is renewed once."""
        shown = {
            "accept": "application/json",
            "rest-framework-version": self._settings.framework_version,
        } | dict(headers or {})
        content = orjson.dumps(body) if body is not None else None
        if body is not None:
            shown.setdefault("content-type", ITEM)
        url = f"{self._settings.resources}{path}"
        for last in (False, True):
            if self._basic:
                shown["authorization"] = f"Basic {self._basic}"
                request = httpx.Request(method, url, params=params, headers=shown, content=content)
                return (yield Call(step=step, request=request, effect=effect))
            token = yield from self._tokens.get()
            if isinstance(token, Retryable):
                return token
            self._token = token.text
            shown["authorization"] = f"Bearer {token.text}"
            request = httpx.Request(method, url, params=params, headers=shown, content=content)
            reply = yield Call(step=step, request=request, effect=effect)
            refused = isinstance(reply, httpx.Response) and reply.status_code == 401  # noqa: PLR2004
            if not refused or last:
                return reply
            self._tokens.spent(token)
        raise AssertionError  # the loop returns

    def _ask(self, now_s: float) -> httpx.Request:
        del now_s
        settings = self._settings
        client = f"{settings.client_id}:{settings.client_secret.get_secret_value()}".encode()
        form = {"grant_type": "client_credentials"}
        if settings.scope:
            form["scope"] = settings.scope
        basic = f"Basic {base64.b64encode(client).decode()}"
        return httpx.Request(
            "POST", settings.token_url, data=form, headers={"authorization": basic}
        )


def order_of(shown: object) -> Order | None:
    """A work order; None where it is none."""
    if not isinstance(shown, dict):
        return None
    own_id = text_of(shown.get("WorkOrderId"))
    if own_id is None or not own_id.isdigit():
        return None
    return Order(
        id=own_id,
        status=text_of(shown.get("WorkOrderStatusCode")) or "",
        priority=shown.get("WorkOrderPriority"),
        description=text_of(shown.get("WorkOrderDescription"), 4_000) or "",
        etag=_etag(shown.get("links")),
    )


def one_order(reply: Reply) -> Order | None:
    """The order that a good answer shows."""
    if isinstance(reply, httpx.TransportError) or reply.status_code not in {200, 201}:
        return None
    return order_of(json_of(reply))


def page_of(reply: Reply) -> tuple[list[dict[str, Any]], bool] | None:
    """Rows, and whether there are more; None where the answer is no page."""
    if isinstance(reply, httpx.TransportError) or reply.status_code != httpx.codes.OK:
        return None
    body = json_of(reply)
    rows = body.get("items") if isinstance(body, dict) else None
    more = body.get("hasMore") if isinstance(body, dict) else None
    if not isinstance(rows, list) or not isinstance(more, bool):
        return None
    return (rows, more) if all(isinstance(row, dict) for row in rows) else None


def references(row: Mapping[str, Any], field: str) -> list[str]:
    """Our keys that an order holds: in a field of its own, or among its document references.

    Children come as a list, from framework version 3 on as a collection with `items`.
    """
    if field:
        found = text_of(row.get(field))
        return [found] if found else []
    children = row.get(DOCUMENTS)
    children = children.get("items") if isinstance(children, dict) else children
    numbers = [
        text_of(child.get("DocumentNumber"))
        for child in (children if isinstance(children, list) else [])
        if isinstance(child, dict)
    ]
    return [number for number in numbers if number]


def _etag(links: object) -> str:
    """The change indicator of an item's own link (ADF REST: it is the item's ETag)."""
    for link in links if isinstance(links, list) else []:
        properties = link.get("properties") if isinstance(link, dict) else None
        if isinstance(properties, dict) and link.get("rel") == "self":
            return text_of(properties.get("changeIndicator")) or ""
    return ""
