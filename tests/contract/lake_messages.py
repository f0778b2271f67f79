"""Messages for tests of the lake's writer, each with values that no other has."""

from __future__ import annotations

import numpy as np

from pipeline.core.events import BusinessEvent, Severity, Source
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_records import Record
from pipeline.core.telemetry import DeduplicatedBatch, Sample, pack
from pipeline.wire.avro import Codec
from pipeline.wire.lake import RecordReader
from pipeline.wire.records import encode_event

DAY = 86_400_000
_CODEC = Codec()
_READER = RecordReader(_CODEC, Dataset.EVENTS)


def batch(source_offset: int, days: tuple[int, ...] = (20_000,)) -> DeduplicatedBatch:
    """A batch with one reading a day, its value unique in the test."""
    samples = [
        Sample(
            device_id=f"acme/pump-{source_offset % 3}",
            session=1,
            sequence=source_offset * 10 + at,
            time_ms=day * DAY + source_offset,
            received_ms=day * DAY + source_offset + 5,
            readings=(("temperature", float(source_offset * 10 + at)),),
        )
        for at, day in enumerate(days)
    ]
    return DeduplicatedBatch(
        source_topic="telemetry.readings",
        source_partition=3,
        source_offset=source_offset,
        batch=pack(samples),
        late=np.zeros(len(samples), dtype=np.bool_),
        duplicates=0,
    )


def event(source_offset: int, index: int = 0, event_id: str | None = None) -> BusinessEvent:
    return BusinessEvent(
        id=event_id or f"event-{source_offset}-{index}",
        type="fieldline.limit.exceeded",
        tenant="acme",
        device_id="acme/pump-1",
        asset_id=None,
        customer_id="C-1",
        severity=Severity.WARNING,
        confidence=0.9,
        summary="Too hot.",
        detector="limit",
        metric="temperature",
        rule="hot@1",
        correlation_id="c",
        occurred_at_ms=20_000 * DAY + source_offset * DAY // 3,
        observed_at_ms=20_000 * DAY,
        source=Source(
            topic="telemetry.readings",
            partition=3,
            offset=source_offset,
            index=index,
            session=1,
            sequence=source_offset,
        ),
        snapshot=(),
    )


def record(at: int, told: BusinessEvent) -> Record:
    """The event as it is read from offset `at`."""
    return _READER.read("sink.lake", 3, at, encode_event(_CODEC, told))
