"""The webhook as the registry knows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from connectors.base import Connector, Effect
from connectors.system import CallSpec, Policy, System, reads
from connectors.webhook.answers import NAME, ROWS
from connectors.webhook.config import WebhookSettings
from connectors.webhook.protocol import WebhookConnector
from connectors.webhook.template import load

_AGAIN = "sent again at once; with WEBHOOK_KEYED=false it is looked up, or left to a person"


def _make(settings: WebhookSettings, policy: Policy, clock: Callable[[], float]) -> Connector:
    template = load(Path(settings.template), settings.url) if settings.template else None
    return WebhookConnector(settings, policy, clock=clock, template=template)


SYSTEM = System(
    name=NAME,
    title="Webhook",
    settings=WebhookSettings,
    make=_make,
    # Every event is told as it is: what becomes of it is the receiver's own.
    objects={},
    calls=(
        CallSpec(
            step="post",
            request="POST {url}; with a template {method} {url}",
            effect=Effect.KEYED_WRITE,
            key="the event's id: Idempotency-Key (quoted), webhook-id, and `id` in the signed body",
            once="the receiver keeps Idempotency-Key, or the address names the record",
            unknown=_AGAIN,
        ),
        CallSpec(
            step="post_batch",
            request="POST {url}",
            effect=Effect.KEYED_WRITE,
            key="each event's id: `id` in the signed body",
            once="the receiver keeps each `id`",
            unknown=_AGAIN,
        ),
        reads("look_up", "GET {look_up_url}"),
        reads("check", "OPTIONS {url}"),
    ),
    answers=ROWS,
    unsure=("What a receiver does with Idempotency-Key: the draft leaves it to each.",),
)
