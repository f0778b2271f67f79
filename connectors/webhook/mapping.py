"""Event → CloudEvents 1.0 JSON, or the reason why there can be none. Pure.

| attribute | from |
|---|---|
| id | the idempotency key |
| source | '/fieldline/TENANT' |
| type, subject, time | type, device id, when it occurred (left out beyond the calendar) |
| partitionkey, sequence, traceparent | extensions: device id; place among its device's events, as text that sorts; trace context |
| data | what happened, below; a number that is none (NaN, infinite) is null |

The key stands inside the signed body, where a receiver should take it from: a header can be
changed by whoever replays a request.
"""  # noqa: E501 - a table's row is one line

from __future__ import annotations

from typing import Any

import orjson

from pipeline.core.events import BusinessEvent
from pipeline.core.outcome import Rejected
from pipeline.wire.cloudevents import instant, trace_parent

KEY_MAX = 200
"""Longest key, characters: visible ASCII, for it also travels in headers."""
EVENT_MAX = 262_144
"""Largest event, bytes of JSON. Receivers' limits differ; CloudEvents asks for 64 KiB at least."""


def to_body(event: BusinessEvent, key: str) -> bytes | Rejected:
    """One CloudEvent as JSON, or Rejected with a 'mapping.*' code."""
    if not _usable(key):
        return Rejected(
            code="mapping.unusable_id",
            message=f"Idempotency key {key[:KEY_MAX]!r} is unusable: give 1 to {KEY_MAX} "
            "visible ASCII characters without quotes.",
        )
    try:
        body = orjson.dumps(cloud_event(event, key))
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
    return body


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
