"""What dedup leaves of a batch: its columns copied without the duplicates, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.dedup import DUPLICATE, FRESH, TOO_LATE
from pipeline.core.jit import jit
from pipeline.core.telemetry import COLUMNS, TelemetryBatch

if TYPE_CHECKING:
    import numpy.typing as npt


def without_duplicates(
    batch: TelemetryBatch, verdict: npt.NDArray[np.uint8]
) -> tuple[TelemetryBatch, npt.NDArray[np.bool_], int]:
    """What is left after dedup, which of it is late, and readings of duplicates.

    `verdict`, shape (samples,), is of pipeline.core.dedup: FRESH and TOO_LATE stay.
    """
    samples, readings, duplicates = _left(verdict, batch.sample_readings)
    if samples == batch.samples:
        return batch, verdict == TOO_LATE, duplicates
    out = _room(samples, readings)
    _copy_left(
        verdict,
        batch.sample_device,
        batch.sample_session,
        batch.sample_seq,
        batch.sample_time_ms,
        batch.sample_received_ms,
        batch.sample_readings,
        batch.reading_metric,
        batch.reading_value,
        *out,
    )
    columns = dict(zip(COLUMNS, out, strict=False))
    return (
        TelemetryBatch(devices=batch.devices, metrics=batch.metrics, **columns),
        out[-1],
        duplicates,
    )


def _room(samples: int, readings: int) -> tuple[Any, ...]:
    """Uninitialised columns, then a flag for each sample."""
    return (
        np.empty(samples, dtype=np.int32),
        np.empty(samples, dtype=np.int64),
        np.empty(samples, dtype=np.int64),
        np.empty(samples, dtype=np.int64),
        np.empty(samples, dtype=np.int64),
        np.empty(samples, dtype=np.int32),
        np.empty(readings, dtype=np.int32),
        np.empty(readings, dtype=np.float64),
        np.empty(samples, dtype=np.bool_),
    )


@jit
def _left(verdict: npt.NDArray[np.uint8], readings: npt.NDArray[np.int32]) -> tuple[int, int, int]:
    """Samples and readings that stay, and readings of duplicates."""
    samples = kept = duplicates = 0
    for i in range(len(verdict)):
        if verdict[i] == FRESH or verdict[i] == TOO_LATE:
            samples += 1
            kept += readings[i]
        elif verdict[i] == DUPLICATE:
            duplicates += readings[i]
    return samples, kept, duplicates


@jit
def _copy_left(
    verdict: npt.NDArray[np.uint8],
    device: npt.NDArray[np.int32],
    session: npt.NDArray[np.int64],
    sequence: npt.NDArray[np.int64],
    time_ms: npt.NDArray[np.int64],
    received_ms: npt.NDArray[np.int64],
    readings: npt.NDArray[np.int32],
    metric: npt.NDArray[np.int32],
    value: npt.NDArray[np.float64],
    to_device: npt.NDArray[np.int32],
    to_session: npt.NDArray[np.int64],
    to_sequence: npt.NDArray[np.int64],
    to_time_ms: npt.NDArray[np.int64],
    to_received_ms: npt.NDArray[np.int64],
    to_readings: npt.NDArray[np.int32],
    to_metric: npt.NDArray[np.int32],
    to_value: npt.NDArray[np.float64],
    late: npt.NDArray[np.bool_],
) -> None:
    """Copy the samples that stay, and flag those too late."""
    n = k = first = 0
    for i in range(len(verdict)):
        end = first + readings[i]
        if verdict[i] == FRESH or verdict[i] == TOO_LATE:
            to_device[n] = device[i]
            to_session[n] = session[i]
            to_sequence[n] = sequence[i]
            to_time_ms[n] = time_ms[i]
            to_received_ms[n] = received_ms[i]
            to_readings[n] = readings[i]
            late[n] = verdict[i] == TOO_LATE
            n += 1
            for reading in range(first, end):
                to_metric[k] = metric[reading]
                to_value[k] = value[reading]
                k += 1
        first = end
