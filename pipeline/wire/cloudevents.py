"""CloudEvents 1.0 headers for business events (Kafka protocol binding, binary mode).

Also W3C trace context: an event starts a trace whose id comes from the event's own id, so a
replay continues the same trace.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from pipeline.core.events import BusinessEvent

REPLAY = "fieldline-replay"
"""Header of a message that an operator sent again from a DLQ: the replay's own id."""
EDITED = "fieldline-edited"
"""Header of such a message whose payload the operator changed."""


def trace_parent(event_id: str) -> str:
    """W3C traceparent (version 00, sampled) for an event: ids are taken from its hash."""
    digest = hashlib.sha256(event_id.encode()).hexdigest()
    return f"00-{digest[:32]}-{digest[32:48]}-01"


def instant(time_ms: int) -> str | None:
    """RFC 3339 in UTC, with milliseconds; None where a device's clock is beyond any calendar."""
    try:
        time = datetime.fromtimestamp(time_ms / 1000, tz=UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def headers(event: BusinessEvent) -> dict[str, bytes]:
    """ce_* and traceparent headers of `event`; no ce_time where it is beyond any calendar."""
    texts = {
        "ce_specversion": "1.0",
        "ce_id": event.id,
        "ce_source": f"/fieldline/{event.tenant}",
        "ce_type": event.type,
        "ce_subject": event.device_id,
        "ce_partitionkey": event.device_id,
        "content-type": "application/avro",
        "traceparent": trace_parent(event.id),
    }
    if (occurred := instant(event.occurred_at_ms)) is not None:
        texts["ce_time"] = occurred
    return {name: text.encode() for name, text in texts.items()}
