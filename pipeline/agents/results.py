"""The audit record of a delivery's end (schemas/avro/delivery_result)."""

from __future__ import annotations

from typing import Any

from connectors.jobs import Finished
from pipeline.core.events import Action
from pipeline.core.outcome import Delivered


def result_record(sink: str, end: Finished, *, now_ms: int, replay: str | None) -> dict[str, Any]:
    """A delivery_result.v2. Payloads go in as hashes only."""
    event, outcome = end.job.delivery.event, end.outcome
    code, text = ("", "") if isinstance(outcome, Delivered) else (outcome.code, outcome.message)
    return {
        "event_id": event.id,
        "sink": sink,
        "tenant": event.tenant,
        "device_id": event.device_id,
        "outcome": end.final.value,
        "action": event.action.value,
        "entity_id": "" if event.action is Action.RAISE else event.entity,
        "code": code,
        "message": text,
        "target_id": outcome.target_id if isinstance(outcome, Delivered) else None,
        "cause_class": end.cause.value if end.cause is not None else "",
        "attempts": end.attempts,
        "latency_ms": max(0, now_ms - event.observed_at_ms),
        "at_ms": now_ms,
        "payload_hash": end.job.payload_hash,
        "request_hash": end.request_hash,
        "replay": replay,
    }
