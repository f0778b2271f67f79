"""Example values that tests share."""

from __future__ import annotations

from dataclasses import replace

from pipeline.core.events import BusinessEvent, Severity, SnapshotEntry, Source

_EVENT = BusinessEvent(
    id="aaaaaaaaaaaaaaaaaaaaaaaa",
    type="fieldline.limit.exceeded",
    tenant="acme",
    device_id="acme/engine-001",
    asset_id="ESN-1",
    customer_id=None,
    severity=Severity.CRITICAL,
    confidence=0.9,
    summary="T50 at or above its limit",
    detector="limit",
    metric="T50",
    rule="default@1",
    correlation_id="aaaaaaaaaaaaaaaaaaaaaaaa",
    occurred_at_ms=1_763_700_000_123,
    observed_at_ms=1_763_700_000_456,
    source=Source(
        topic="telemetry.readings", partition=1, offset=7, index=0, session=3, sequence=42
    ),
    snapshot=(
        SnapshotEntry(metric="T50", value=1426.9, baseline=1400.0, score=8.5),
        SnapshotEntry(metric="P2", value=14.62, baseline=None, score=None),
    ),
)


def event(**changes: object) -> BusinessEvent:
    """A business event with some fields changed."""
    return replace(_EVENT, **changes)  # type: ignore[arg-type]  # any field
