"""Rows of telemetry: columns of messages as sorted Arrow tables, one per event date.

Built with whole columns, by loops that are compiled (lake_kernel). Every table is a pure
function of its messages, ties included, so that a range written twice is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.archive import Arrival
from pipeline.core.lake_columns import TIME
from pipeline.core.lake_kernel import Rows, Samples, dealt, gathered, localised
from pipeline.core.lake_times import DAY_MS, FLAGS, LAST_MS, by_day, clamped_ms, date_text
from pipeline.core.telemetry import DeduplicatedBatch

DEALT_BUCKETS: Final = 1_048_576
"""So many days x devices x metrics are dealt out whatever the rows; beyond that, four for a row
(more would take more memory than the rows). The rest is sorted."""
_DEALT_EACH: Final = 4


def batch_arrival(message: DeduplicatedBatch) -> Arrival:
    """What the archive's rules need to know of a batch."""
    batch = message.batch
    return Arrival(
        source=(message.source_topic, message.source_partition),
        position=(message.source_offset, 0),
        rows=batch.readings,
        days=_days(batch.sample_time_ms),
    )


def _days(times_ms: npt.NDArray[np.int64]) -> frozenset[int]:
    if not len(times_ms):
        return frozenset()
    first, last = _day(int(times_ms.min())), _day(int(times_ms.max()))
    if first == last:
        return frozenset((first,))
    return frozenset(np.unique(np.clip(times_ms, 0, LAST_MS) // DAY_MS).tolist())


def _day(time_ms: int) -> int:
    return clamped_ms(time_ms) // DAY_MS


def telemetry_tables(
    results: Sequence[DeduplicatedBatch], schema: pa.Schema
) -> tuple[tuple[str, pa.Table], ...]:
    """(date, table) for every event date in UTC, dates rising; `schema` is TELEMETRY's.

    Rows are sorted by device, metric, time; rows equal in these keep their order of arrival.
    """
    if not sum(result.batch.readings for result in results):
        return ()
    devices = sorted({name for result in results for name in result.batch.devices})
    metrics = sorted({name for result in results for name in result.batch.metrics})
    samples = _samples(results, devices, metrics)
    first, last = _day(int(samples.time_ms.min())), _day(int(samples.time_ms.max()))
    days = last - first + 1
    rows = len(samples.metric)
    if days * len(devices) * len(metrics) <= max(DEALT_BUCKETS, _DEALT_EACH * rows):
        place = dealt(samples, first, days, len(metrics), len(devices))
    else:
        place = _sorted(samples)
    columns, flagged = gathered(samples, *place)
    table = _table(results, devices, metrics, columns, schema, flagged=flagged)
    if days == 1:
        return ((date_text(first), table),)
    return by_day(table, columns.time_us // (DAY_MS * 1000))


def _samples(
    results: Sequence[DeduplicatedBatch], devices: Sequence[str], metrics: Sequence[str]
) -> Samples:
    def joined(name: str) -> Any:  # noqa: ANN401 - a column of any type
        return np.concatenate([getattr(result.batch, name) for result in results])

    samples = np.array([result.batch.samples for result in results])
    readings = np.array([result.batch.readings for result in results])
    its_devices = [result.batch.devices for result in results]
    its_metrics = [result.batch.metrics for result in results]
    return Samples(
        device=_coded(its_devices, devices, samples, joined("sample_device")),
        message=np.repeat(np.arange(len(results), dtype=np.int32), samples),
        time_ms=joined("sample_time_ms"),
        received_ms=joined("sample_received_ms"),
        session=joined("sample_session"),
        sequence=joined("sample_seq"),
        late=np.concatenate([result.late for result in results]),
        readings=joined("sample_readings"),
        metric=_coded(its_metrics, metrics, readings, joined("reading_metric")),
        value=joined("reading_value"),
    )


def _coded(
    dictionaries: Sequence[Sequence[str]],
    names: Sequence[str],
    lengths: npt.NDArray[np.int64],
    local: npt.NDArray[np.int32],
) -> npt.NDArray[np.int32]:
    """One code column over all messages, codes being places in the sorted `names`."""
    code_of = {name: code for code, name in enumerate(names)}
    codes = np.array([code_of[name] for name in chain.from_iterable(dictionaries)], dtype=np.int32)
    ends = np.cumsum([len(words) for words in dictionaries])
    bases = np.concatenate([[0], ends[:-1]])
    return localised(codes, lengths, local, bases)


def _sorted(samples: Samples) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """As lake_kernel.dealt: reading and sample of each row."""
    sample = np.repeat(np.arange(len(samples.readings), dtype=np.int32), samples.readings)
    time_ms = np.clip(samples.time_ms, 0, LAST_MS)[sample]
    order = np.lexsort((time_ms, samples.metric, samples.device[sample], time_ms // DAY_MS))
    return order.astype(np.int32), sample[order]


def _table(
    results: Sequence[DeduplicatedBatch],
    devices: Sequence[str],
    metrics: Sequence[str],
    rows: Rows,
    schema: pa.Schema,
    *,
    flagged: bool,
) -> pa.Table:
    tenants = sorted({name.partition("/")[0] for name in devices})
    tenant_codes = {name: code for code, name in enumerate(tenants)}
    tenant_of_device = np.array([tenant_codes[d.partition("/")[0]] for d in devices], np.int32)
    partitions = np.array([r.source_partition for r in results], dtype=np.int32)
    offsets = np.array([r.source_offset for r in results], dtype=np.int64)
    columns = (
        _named(tenant_of_device[rows.device], tenants),
        _named(rows.device, devices),
        _named(rows.metric, metrics),
        pa.array(rows.time_us).view(TIME),
        pa.array(rows.value),
        pa.array(rows.session),
        pa.array(rows.sequence),
        pa.array(rows.received_us).view(TIME),
        pa.array(rows.late),
        _flags(rows.flag, flagged=flagged),
        pa.array(partitions[rows.message]),
        pa.array(offsets[rows.message]),
    )
    # Words stay codes into their dictionary until Parquet has them: that is what it writes.
    fields = [field.with_type(column.type) for field, column in zip(schema, columns, strict=True)]
    return pa.table(list(columns), schema=pa.schema(fields))


def _flags(codes: npt.NDArray[np.int8], *, flagged: bool) -> pa.Array:
    if not flagged:
        return pa.nulls(len(codes), pa.dictionary(pa.int32(), pa.string()))
    known = pa.array(codes.astype(np.int32), pa.int32(), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(known, pa.array([flag.value for flag in FLAGS]))


def _named(codes: npt.NDArray[np.int32], names: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(names, pa.string()))
