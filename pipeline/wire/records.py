"""Between core's types and Avro records: one pair of functions per schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from pipeline.core.events import Action, BusinessEvent, Disposition, Severity, SnapshotEntry, Source
from pipeline.core.telemetry import DeduplicatedBatch, TelemetryBatch
from pipeline.wire.avro import Codec, UnreadableError

_COLUMNS = {
    "sample_device": "<i4",
    "sample_session": "<i8",
    "sample_seq": "<i8",
    "sample_time_ms": "<i8",
    "sample_received_ms": "<i8",
    "sample_readings": "<i4",
    "reading_metric": "<i4",
    "reading_value": "<f8",
}

_EVENT_FIELDS = tuple(
    field.name for field in fields(BusinessEvent) if field.name not in {"source", "snapshot"}
)
_SOURCE_FIELDS = tuple(field.name for field in fields(Source))

QUARANTINE_PAYLOAD_BYTES = 65_536
"""How much of an unreadable payload is kept, bytes."""


def _batch_record(batch: TelemetryBatch) -> dict[str, Any]:
    columns = {
        name: np.ascontiguousarray(getattr(batch, name), dtype=dtype).view(np.uint8).data
        for name, dtype in _COLUMNS.items()
    }
    return {"devices": list(batch.devices), "metrics": list(batch.metrics), **columns}


def _batch(record: dict[str, Any]) -> TelemetryBatch:
    try:
        columns = {n: np.frombuffer(record[n], dtype=d) for n, d in _COLUMNS.items()}
    except ValueError as error:
        msg = f"a column's length is not a whole number of entries: {error}"
        raise UnreadableError(msg) from error
    batch = TelemetryBatch(
        devices=tuple(record["devices"]), metrics=tuple(record["metrics"]), **columns
    )
    _check(batch)
    return batch


def _check(batch: TelemetryBatch) -> None:
    """Columns from other producers are input: refuse what would index out of bounds."""
    samples = batch.samples
    lengths = {len(getattr(batch, name)) for name in _COLUMNS if name.startswith("sample_")}
    if lengths - {samples}:
        msg = "its sample columns differ in length"
        raise UnreadableError(msg)
    if len(batch.reading_metric) != len(batch.reading_value):
        msg = "its reading columns differ in length"
        raise UnreadableError(msg)
    if int(batch.sample_readings.sum()) != batch.readings:
        msg = "its samples do not add up to its readings"
        raise UnreadableError(msg)
    # Seen as unsigned, a negative number is a great one: one look finds both.
    if samples and batch.sample_readings.view(np.uint32).max() > batch.readings:
        msg = "a sample has a negative number of readings"
        raise UnreadableError(msg)
    for column, dictionary, what in (
        (batch.sample_device, batch.devices, "device"),
        (batch.reading_metric, batch.metrics, "metric"),
    ):
        if len(column) and column.view(np.uint32).max() >= len(dictionary):
            msg = f"a {what} index points outside the dictionary"
            raise UnreadableError(msg)


def encode_batch(codec: Codec, batch: TelemetryBatch) -> bytes:
    """TelemetryBatch as bytes."""
    return codec.encode("telemetry_batch.v1", _batch_record(batch))


def decode_batch(codec: Codec, value: bytes | None) -> TelemetryBatch:
    """Bytes as TelemetryBatch; UnreadableError where they are none."""
    return _batch(codec.decode("telemetry_batch.v1", value))


def encode_deduplicated(codec: Codec, result: DeduplicatedBatch) -> bytes:
    """DeduplicatedBatch as bytes."""
    return codec.encode(
        "deduplicated_batch.v1",
        {
            "source_topic": result.source_topic,
            "source_partition": result.source_partition,
            "source_offset": result.source_offset,
            "duplicates": result.duplicates,
            **_batch_record(result.batch),
            "sample_late": result.late.astype(np.uint8).data,
        },
    )


def decode_deduplicated(codec: Codec, value: bytes | None) -> DeduplicatedBatch:
    """Bytes as DeduplicatedBatch; UnreadableError where they are none."""
    record = codec.decode("deduplicated_batch.v1", value)
    batch = _batch(record)
    late = np.frombuffer(record["sample_late"], dtype=np.uint8).astype(np.bool_)
    if len(late) != batch.samples:
        msg = "its sample columns differ in length"
        raise UnreadableError(msg)
    return DeduplicatedBatch(
        source_topic=record["source_topic"],
        source_partition=record["source_partition"],
        source_offset=record["source_offset"],
        batch=batch,
        late=late,
        duplicates=record["duplicates"],
    )


def encode_event(codec: Codec, event: BusinessEvent) -> bytes:
    """BusinessEvent as bytes."""
    source = event.source
    return codec.encode(
        "business_event.v2",
        # By hand: dataclasses.asdict copies every value deeply and costs more than the rest.
        {
            **{name: getattr(event, name) for name in _EVENT_FIELDS},
            "source": {name: getattr(source, name) for name in _SOURCE_FIELDS},
            "snapshot": [
                {"metric": e.metric, "value": e.value, "baseline": e.baseline, "score": e.score}
                for e in event.snapshot
            ],
        },
    )


def decode_event(codec: Codec, value: bytes | None) -> BusinessEvent:
    """Bytes as BusinessEvent; UnreadableError where they are none."""
    return event_of_record(codec.decode("business_event.v2", value))


def event_of_record(record: Mapping[str, Any]) -> BusinessEvent:
    """A record of business_event.v2 as BusinessEvent."""
    return BusinessEvent(
        **{
            **record,
            "severity": Severity(record["severity"]),
            "disposition": Disposition(record["disposition"]),
            "action": Action(record["action"]),
            "source": Source(**record["source"]),
            "snapshot": tuple(SnapshotEntry(**entry) for entry in record["snapshot"]),
        }
    )


def encode_quarantined(
    codec: Codec,
    *,
    reason: str,
    detail: str,
    mqtt_topic: str,
    device_id: str | None,
    payload: bytes,
    readings: int,
    received_ms: int,
) -> bytes:
    """A quarantine record as bytes; the payload is cut at QUARANTINE_PAYLOAD_BYTES."""
    return codec.encode(
        "quarantined.v1",
        {
            "reason": reason,
            "detail": detail,
            "mqtt_topic": mqtt_topic,
            "device_id": device_id,
            "payload": payload[:QUARANTINE_PAYLOAD_BYTES],
            "payload_size": len(payload),
            "readings": readings,
            "received_ms": received_ms,
        },
    )
