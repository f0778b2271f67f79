"""Events and answers for the webhook tests."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx

from connectors.base import Delivery
from connectors.settings import make
from connectors.webhook import WebhookConnector, WebhookSettings
from tests.contract.tryton_examples import event, key

SECRET = "whsec_dGhpcy1pcy1hLXNlY3JldC1vZi10ZXN0cy0hIQ=="
NOW_S = 1_795_257_060.0
GIVEN = {
    "url": "https://hooks.example/in/tok-en",
    "secret": SECRET,
    "look_up_url": "https://hooks.example/events?id={key}",
}


def settings(**changes: Any) -> WebhookSettings:  # noqa: ANN401 - any field
    """GIVEN with changes."""
    return make(WebhookSettings, GIVEN | changes)


def delivery(name: str = "one", *, offset: int = 7) -> Delivery:
    """An event on its way, different for each name."""
    made = event(name)
    return Delivery(event=replace(made, source=replace(made.source, offset=offset)), key=key(name))


def connector(*, batch: int = 1, keyed: bool = True, look_up: bool = True) -> WebhookConnector:
    """A connector whose clock stands at NOW_S."""
    made = settings(batch=batch, keyed=keyed, **({} if look_up else {"look_up_url": ""}))
    return WebhookConnector(made, clock=lambda: NOW_S)


def answer(status: int, body: object = None, **headers: str) -> httpx.Response:
    """An answer with JSON."""
    content = b"" if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, content=content, headers=named)
