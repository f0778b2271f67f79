"""A small lake on the local disk, written by the real writer from real messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from connectors.lake.base import Flushed
from connectors.lake.local_store import LocalStore
from connectors.lake.writer import LakeWriter
from pipeline.core.archive import Resume
from pipeline.core.events import BusinessEvent
from pipeline.core.lake_columns import Dataset
from pipeline.core.telemetry import DeduplicatedBatch, TelemetryBatch
from pipeline.topology import DEDUPLICATED, QUARANTINE, RESULTS
from pipeline.wire.avro import Codec
from pipeline.wire.lake import RecordReader
from pipeline.wire.records import encode_event, encode_quarantined

_TOPICS = {
    Dataset.TELEMETRY: DEDUPLICATED,
    Dataset.EVENTS: "sink.lake",
    Dataset.DELIVERIES: RESULTS,
    Dataset.QUARANTINE: QUARANTINE,
}


@dataclass(kw_only=True)
class Messages:
    """What the topics hold. `results` and `refused` are fields of the Avro records."""

    events: Sequence[BusinessEvent] = ()
    results: Sequence[dict[str, Any]] = ()
    refused: Sequence[dict[str, Any]] = ()
    batches: Sequence[DeduplicatedBatch] = field(default=())


def result(event: BusinessEvent, sink: str, took_ms: int, outcome: str = "delivered") -> Any:  # noqa: ANN401 - a record
    """A DeliveryResult, `took_ms` after the event's arrival."""
    return {
        "event_id": event.id,
        "sink": sink,
        "tenant": event.tenant,
        "device_id": event.device_id,
        "outcome": outcome,
        "action": event.action.value,
        "entity_id": event.entity_id,
        "code": "" if outcome == "delivered" else "refused",
        "message": "",
        "attempts": 1,
        "latency_ms": took_ms,
        "at_ms": event.observed_at_ms + took_ms,
    }


def batch(
    device: str,
    times_ms: Sequence[int],
    values: dict[str, Sequence[float]],
    *,
    offset: int,
    late: Sequence[bool] | None = None,
) -> DeduplicatedBatch:
    """Samples of one device, each with a reading of every metric, arriving 40 ms later."""
    samples, metrics = len(times_ms), len(values)
    times = np.array(times_ms, dtype=np.int64)
    return DeduplicatedBatch(
        source_topic="telemetry.readings",
        source_partition=0,
        source_offset=offset,
        batch=TelemetryBatch(
            devices=(device,),
            metrics=tuple(values),
            sample_device=np.zeros(samples, dtype=np.int32),
            sample_session=np.ones(samples, dtype=np.int64),
            sample_seq=np.arange(samples, dtype=np.int64),
            sample_time_ms=times,
            sample_received_ms=times + 40,
            sample_readings=np.full(samples, metrics, dtype=np.int32),
            reading_metric=np.tile(np.arange(metrics, dtype=np.int32), samples),
            reading_value=np.array(list(values.values()), dtype=np.float64).T.ravel(),
        ),
        late=np.array(late if late is not None else [False] * samples, dtype=np.bool_),
        duplicates=0,
    )


async def write(root: Path, messages: Messages) -> None:
    """Write all messages to the lake at `root`, file:///… as LAKE_URL tells it."""
    codec = Codec()
    encoded = {
        Dataset.EVENTS: [
            encode_event(codec, replace(event, source=replace(event.source, offset=offset)))
            for offset, event in enumerate(messages.events)
        ],
        Dataset.DELIVERIES: [codec.encode("delivery_result.v2", one) for one in messages.results],
        Dataset.QUARANTINE: [encode_quarantined(codec, **one) for one in messages.refused],
    }
    for dataset, values in encoded.items():
        reader = RecordReader(codec, dataset)
        topic = _TOPICS[dataset]
        await _write(root, dataset, [reader.read(topic, 0, n, v) for n, v in enumerate(values)])
    await _write(root, Dataset.TELEMETRY, list(messages.batches))


async def _write(root: Path, dataset: Dataset, messages: Sequence[Any]) -> None:
    if not messages:
        return
    writer = LakeWriter(LocalStore(root), dataset=dataset, flush_rows=10**6, flush_s=1)
    opened = await writer.open(_TOPICS[dataset], 0)
    assert isinstance(opened, Resume), opened
    for offset, message in enumerate(messages):
        writer.offer(0, offset, message)
    flushed = await writer.flush(0)
    assert isinstance(flushed, Flushed), flushed
