"""Events and answers for the webhook tests."""

from __future__ import annotations

import json
from dataclasses import replace

import httpx
from pydantic import SecretStr

from connectors.base import Delivery
from connectors.webhook import WebhookConfig, WebhookConnector
from tests.contract.tryton_examples import event, key

SECRET = "whsec_dGhpcy1pcy1hLXNlY3JldC1vZi10ZXN0cy0hIQ=="
NOW_S = 1_795_257_060.0
CONFIG = WebhookConfig(
    url="https://hooks.example/in/tok-en",
    secret=SecretStr(SECRET),
    look_up_url="https://hooks.example/events?id={key}",
)


def delivery(name: str = "one", *, offset: int = 7) -> Delivery:
    """An event on its way, different for each name."""
    made = event(name)
    return Delivery(event=replace(made, source=replace(made.source, offset=offset)), key=key(name))


def connector(*, batch: int = 1, keyed: bool = True, look_up: bool = True) -> WebhookConnector:
    """A connector whose clock stands at NOW_S."""
    config = replace(
        CONFIG, batch=batch, keyed=keyed, look_up_url=CONFIG.look_up_url if look_up else None
    )
    return WebhookConnector(config, clock=lambda: NOW_S)


def answer(status: int, body: object = None, **headers: str) -> httpx.Response:
    """An answer with JSON."""
    content = b"" if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, content=content, headers=named)
