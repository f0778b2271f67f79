"""Event → CloudEvents 1.0 JSON or a template's body, or the reason why there is none. Pure.

| attribute | from |
|---|---|
| id | the idempotency key |
| source | '/fieldline/TENANT' |
| type, subject, time | type, device id, when it occurred (left out beyond the calendar) |
| partitionkey, sequence, traceparent | extensions: device id; place among its device's events, as text that sorts; trace context |
| data | what happened, below; a number that is none (NaN, infinite) is null |

What the policy withholds is null, what it masks is stars; names of sources as in `OF_DATA`. The
registry is asked only where the policy allows some regions and not others.

The key stands inside the signed body, where a receiver should take it from: a header can be
changed by whoever replays a request.
"""  # noqa: E501 - a table's row is one line

from __future__ import annotations

from typing import Any

import httpx
import orjson

from connectors.base import Delivery
from connectors.fields import MASK, OPEN, Field, Policy, payload
from connectors.mapped import facts_of
from connectors.webhook.template import Template
from pipeline.core.events import BusinessEvent
from pipeline.core.outcome import Rejected
from pipeline.wire.cloudevents import instant, trace_parent

KEY_MAX = 200
"""Longest key, characters: visible ASCII, for it also travels in headers."""
EVENT_MAX = 262_144
"""Largest event, bytes of JSON. Receivers' limits differ; CloudEvents asks for 64 KiB at least."""


OF_DATA = {
    "asset_id": "asset.id",
    "confidence": "event.confidence",
    "customer_id": "customer.id",
    "detector": "event.detector",
    "metric": "event.metric",
    "rule": "event.rule",
    "severity": "event.severity",
    "snapshot": "event.text",
    "summary": "event.summary",
}
"""Members of `data` that a policy may withhold, and the source that each is."""


def to_request(
    delivery: Delivery, url: httpx.URL, template: Template | None, policy: Policy = OPEN
) -> tuple[httpx.URL | str, bytes] | Rejected:
    """Address and body for an event, or Rejected with a 'mapping.*' code.

    Without a template `url` is the address.
    """
    key = delivery.key
    if not _usable(key):
        return Rejected(
            code="mapping.unusable_id",
            message=f"Idempotency key {key[:KEY_MAX]!r} is unusable: give 1 to {KEY_MAX} "
            "visible ASCII characters without quotes.",
        )
    made: tuple[httpx.URL | str, Any] | Rejected = (
        _told(delivery, url, policy) if template is None else template.fill(delivery, policy)
    )
    if isinstance(made, Rejected):
        return made
    try:
        body = orjson.dumps(made[1])
    except orjson.JSONEncodeError:
        return Rejected(
            code="mapping.unusable_text",
            message="A text or number of the event cannot be written as JSON.",
        )
    if len(body) > EVENT_MAX:
        return Rejected(
            code="mapping.too_large",
            message=f"The event has {len(body):,} bytes as JSON; at most {EVENT_MAX:,} are sent.",
        )
    return made[0], body


def _told(delivery: Delivery, url: httpx.URL, policy: Policy) -> tuple[httpx.URL, Any] | Rejected:
    if policy.regions:
        facts = facts_of(delivery)
        may_leave = facts if isinstance(facts, Rejected) else payload((), facts, policy)
        if isinstance(may_leave, Rejected):
            return may_leave
    made = cloud_event(delivery.event, delivery.key)
    if policy.withheld or policy.masked:
        for name, source in OF_DATA.items():
            of = Field(name, source)
            if policy.hides(policy.withheld, of):
                made["data"][name] = None
            elif policy.hides(policy.masked, of):
                made["data"][name] = MASK
    return url, made


def cloud_event(event: BusinessEvent, key: str) -> dict[str, Any]:
    """The event as CloudEvents' JSON format has it."""
    made = {
        "specversion": "1.0",
        "id": key,
        "source": f"/fieldline/{event.tenant}",
        "type": event.type,
        "subject": event.device_id,
        "datacontenttype": "application/json",
        "partitionkey": event.device_id,
        "sequence": event.version,
        "traceparent": trace_parent(event.id),
        "data": {
            "event_id": event.id,
            "action": event.action.value,
            "entity_id": event.entity,
            "tenant": event.tenant,
            "device_id": event.device_id,
            "asset_id": event.asset_id,
            "customer_id": event.customer_id,
            "severity": event.severity.value,
            "confidence": event.confidence,
            "summary": event.summary,
            "detector": event.detector,
            "metric": event.metric,
            "rule": event.rule,
            "correlation_id": event.correlation_id,
            "occurred_at_ms": event.occurred_at_ms,
            "observed_at_ms": event.observed_at_ms,
            "snapshot": [
                {"metric": e.metric, "value": e.value, "baseline": e.baseline, "score": e.score}
                for e in event.snapshot
            ],
        },
    }
    time = instant(event.occurred_at_ms)
    if time is not None:
        made["time"] = time
    return made


def _usable(key: str) -> bool:
    visible = key.isascii() and key.isprintable() and not set(key) & set(' "\\')
    return 0 < len(key) <= KEY_MAX and visible
