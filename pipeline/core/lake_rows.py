"""Rows of the lake: columns of messages as sorted Arrow tables, one per event date.

Telemetry is built with whole columns (numpy), never reading by reading. Every table is a
pure function of its messages, ties included, so that a range written twice is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.archive import Arrival
from pipeline.core.events import BusinessEvent
from pipeline.core.telemetry import DeduplicatedBatch

DAY_MS = 86_400_000
LAST_MS = 253_402_300_799_999
"""Year 9999 ends here: a device clock beyond it, or before 1970, is clamped. Readers
(DuckDB among them) refuse a whole file for one time they cannot represent."""

_KEY_BITS = 63
_DAY_BITS = DAY_MS.bit_length()
_EPOCH = date(1970, 1, 1)

_TIME = pa.timestamp("ms", tz="UTC")
_NAME = pa.dictionary(pa.int32(), pa.string())

TELEMETRY_SCHEMA = pa.schema(
    [
        pa.field("tenant", _NAME, nullable=False),
        pa.field("device_id", _NAME, nullable=False),
        pa.field("metric", _NAME, nullable=False),
        pa.field("time", _TIME, nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("session", pa.int64(), nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("received_at", _TIME, nullable=False),
        pa.field("late", pa.bool_(), nullable=False),
        pa.field("source_partition", pa.int32(), nullable=False),
        pa.field("source_offset", pa.int64(), nullable=False),
    ]
)
"""One row per reading; meanings and units as in schemas/avro/deduplicated_batch."""

_SNAPSHOT = pa.list_(
    pa.struct(
        [
            pa.field("metric", pa.string(), nullable=False),
            pa.field("value", pa.float64(), nullable=False),
            pa.field("baseline", pa.float64()),
            pa.field("score", pa.float64()),
        ]
    )
)

EVENTS_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("type", _NAME, nullable=False),
        pa.field("tenant", _NAME, nullable=False),
        pa.field("device_id", _NAME, nullable=False),
        pa.field("asset_id", _NAME),
        pa.field("customer_id", _NAME),
        pa.field("severity", _NAME, nullable=False),
        pa.field("confidence", pa.float64(), nullable=False),
        pa.field("disposition", _NAME, nullable=False),
        pa.field("summary", pa.string(), nullable=False),
        pa.field("detector", _NAME, nullable=False),
        pa.field("metric", _NAME, nullable=False),
        pa.field("rule", _NAME, nullable=False),
        pa.field("correlation_id", pa.string(), nullable=False),
        pa.field("occurred_at", _TIME, nullable=False),
        pa.field("observed_at", _TIME, nullable=False),
        pa.field("source_topic", _NAME, nullable=False),
        pa.field("source_partition", pa.int32(), nullable=False),
        pa.field("source_offset", pa.int64(), nullable=False),
        pa.field("source_index", pa.int32(), nullable=False),
        pa.field("session", pa.int64(), nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("snapshot", _SNAPSHOT, nullable=False),
    ]
)
"""One row per event; meanings and units as in schemas/avro/business_event."""


def date_text(day: int) -> str:
    """YYYY-MM-DD of `day`, days since the Unix epoch, 1970 to 9999."""
    return (_EPOCH + timedelta(days=day)).isoformat()


def arrival_of(message: DeduplicatedBatch | BusinessEvent, *, replay: bool = False) -> Arrival:
    """What the archive's rules need to know of a message."""
    if isinstance(message, BusinessEvent):
        at = message.source
        return Arrival(
            source=(at.topic, at.partition),
            position=(at.offset, at.index),
            rows=1,
            days=frozenset((min(max(message.occurred_at_ms, 0), LAST_MS) // DAY_MS,)),
            event_id=message.id,
            replay=replay,
        )
    days = np.unique(_clamped(message.batch.sample_time_ms) // DAY_MS)
    return Arrival(
        source=(message.source_topic, message.source_partition),
        position=(message.source_offset, 0),
        rows=message.batch.readings,
        days=frozenset(days.tolist()),
    )


def telemetry_tables(results: Sequence[DeduplicatedBatch]) -> tuple[tuple[str, pa.Table], ...]:
    """(date, table of TELEMETRY_SCHEMA) for every event date in UTC, dates rising.

    Rows are sorted by device, metric, time; rows equal in these keep their order of arrival.
    """
    devices = sorted({name for result in results for name in result.batch.devices})
    metrics = sorted({name for result in results for name in result.batch.metrics})
    if not sum(result.batch.readings for result in results):
        return ()
    device = _coded(results, devices, lambda r: (r.batch.devices, r.batch.sample_device))
    metric = _coded(results, metrics, lambda r: (r.batch.metrics, r.batch.reading_metric))
    time_ms = _clamped(np.concatenate([r.batch.sample_time_ms for r in results]))
    readings = np.concatenate([r.batch.sample_readings for r in results])
    sample = np.repeat(np.arange(len(readings), dtype=np.int32), readings)
    order = _order(
        day=(time_ms // DAY_MS)[sample],
        code=device.astype(np.int64)[sample] * len(metrics) + metric,
        codes=len(devices) * len(metrics),
        within_day=(time_ms % DAY_MS)[sample],
    )
    at = sample[order]
    samples = np.array([r.batch.samples for r in results])

    def of_sample(name: str) -> npt.NDArray[np.int64]:
        column: npt.NDArray[np.int64] = np.concatenate([getattr(r.batch, name) for r in results])
        return column[at]

    def of_message(values: list[int], dtype: type) -> npt.NDArray[np.int64]:
        column: npt.NDArray[np.int64] = np.repeat(np.array(values, dtype=dtype), samples)[at]
        return column

    tenants = sorted({name.partition("/")[0] for name in devices})
    tenant_codes = {name: code for code, name in enumerate(tenants)}
    tenant_of_device = np.array([tenant_codes[d.partition("/")[0]] for d in devices], np.int32)
    device = device[at]
    late = np.concatenate([r.late for r in results])[at]
    value = np.concatenate([r.batch.reading_value for r in results])[order]
    received_ms = _clamped(of_sample("sample_received_ms"))
    table = pa.table(
        [
            _named(tenant_of_device[device], tenants),
            _named(device, devices),
            _named(metric[order], metrics),
            pa.array(time_ms[at], pa.int64()).cast(_TIME),
            pa.array(value, pa.float64()),
            pa.array(of_sample("sample_session"), pa.int64()),
            pa.array(of_sample("sample_seq"), pa.int64()),
            pa.array(received_ms, pa.int64()).cast(_TIME),
            pa.array(late, pa.bool_()),
            pa.array(of_message([r.source_partition for r in results], np.int32), pa.int32()),
            pa.array(of_message([r.source_offset for r in results], np.int64), pa.int64()),
        ],
        schema=TELEMETRY_SCHEMA,
    )
    return _by_day(table, time_ms[at] // DAY_MS)


def event_tables(events: Sequence[BusinessEvent]) -> tuple[tuple[str, pa.Table], ...]:
    """(date, table of EVENTS_SCHEMA) for every event date in UTC, dates rising.

    Rows are sorted by device, metric, time, id.
    """
    if not events:
        return ()
    rows = [(min(max(event.occurred_at_ms, 0), LAST_MS), event) for event in events]
    rows.sort(key=lambda r: (r[0] // DAY_MS, r[1].device_id, r[1].metric, r[0], r[1].id))
    table = pa.Table.from_pylist([_event_row(at, event) for at, event in rows], EVENTS_SCHEMA)
    return _by_day(table, np.array([at // DAY_MS for at, _ in rows], dtype=np.int64))


def _event_row(occurred_ms: int, event: BusinessEvent) -> dict[str, object]:
    source = event.source
    return {
        "id": event.id,
        "type": event.type,
        "tenant": event.tenant,
        "device_id": event.device_id,
        "asset_id": event.asset_id,
        "customer_id": event.customer_id,
        "severity": event.severity.value,
        "confidence": event.confidence,
        "disposition": event.disposition.value,
        "summary": event.summary,
        "detector": event.detector,
        "metric": event.metric,
        "rule": event.rule,
        "correlation_id": event.correlation_id,
        "occurred_at": occurred_ms,
        "observed_at": min(max(event.observed_at_ms, 0), LAST_MS),
        "source_topic": source.topic,
        "source_partition": source.partition,
        "source_offset": source.offset,
        "source_index": source.index,
        "session": source.session,
        "sequence": source.sequence,
        "snapshot": [
            {"metric": e.metric, "value": e.value, "baseline": e.baseline, "score": e.score}
            for e in event.snapshot
        ],
    }


def _clamped(times_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.clip(times_ms, 0, LAST_MS)


def _coded(
    results: Sequence[DeduplicatedBatch],
    names: Sequence[str],
    column: Callable[[DeduplicatedBatch], tuple[tuple[str, ...], npt.NDArray[np.int32]]],
) -> npt.NDArray[np.int32]:
    """One code column over all messages, codes being places in the sorted `names`."""
    codes = {name: code for code, name in enumerate(names)}
    parts = []
    for result in results:
        local, values = column(result)
        parts.append(np.array([codes[name] for name in local], dtype=np.int32)[values])
    return np.concatenate(parts)


def _order(
    *,
    day: npt.NDArray[np.int64],
    code: npt.NDArray[np.int64],
    codes: int,
    within_day: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Stable order by day, code, time; shape (rows,). One packed key sorts far faster."""
    days = int(day.max() - day.min()) + 1
    if (days * codes).bit_length() + _DAY_BITS > _KEY_BITS:
        order: npt.NDArray[np.int64] = np.lexsort((within_day, code, day))
        return order
    key = (((day - day.min()) * codes + code) << _DAY_BITS) | within_day
    return np.argsort(key, kind="stable")


def _named(codes: npt.NDArray[np.int32], names: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(names, pa.string()))


def _by_day(table: pa.Table, days: npt.NDArray[np.int64]) -> tuple[tuple[str, pa.Table], ...]:
    """Slices of a table whose `days`, shape (rows,), rise."""
    edges = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
    return tuple(
        (date_text(int(days[start])), table.slice(start, end - start))
        for start, end in pairwise(edges)
    )
