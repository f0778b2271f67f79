"""Telemetry as columns: what the bridge writes and every later stage reads.

A *sample* is what one device measured at one instant: one sequence number, one or more
*readings* (metric and value). Dedup works on samples, detection on readings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

NO_SEQUENCE = -1
"""`sample_seq` of a device that does not number its samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryBatch:
    """Samples of devices that share one partition.

    `sample_*` arrays have shape (samples,), `reading_*` arrays shape (readings,), in
    sample order: sample i owns the next `sample_readings[i]` readings. Times are
    milliseconds since the Unix epoch, UTC; values are in the metric's own unit.
    """

    devices: tuple[str, ...]
    metrics: tuple[str, ...]
    sample_device: npt.NDArray[np.int32]
    sample_session: npt.NDArray[np.int64]
    sample_seq: npt.NDArray[np.int64]
    sample_time_ms: npt.NDArray[np.int64]
    sample_received_ms: npt.NDArray[np.int64]
    sample_readings: npt.NDArray[np.int32]
    reading_metric: npt.NDArray[np.int32]
    reading_value: npt.NDArray[np.float64]

    @property
    def samples(self) -> int:
        """How many samples."""
        return len(self.sample_device)

    @property
    def readings(self) -> int:
        """How many readings."""
        return len(self.reading_metric)

    def starts(self) -> npt.NDArray[np.int64]:
        """Index of each sample's first reading, shape (samples + 1,); the last is the count."""
        edges = np.zeros(self.samples + 1, dtype=np.int64)
        np.cumsum(self.sample_readings, out=edges[1:])
        return edges


@dataclass(frozen=True, slots=True, kw_only=True)
class DeduplicatedBatch:
    """What is left of one TelemetryBatch message after dedup.

    `late` has shape (samples,): true where the sample came later than the dedup window
    reaches. `duplicates` counts the readings left out.
    """

    source_topic: str
    source_partition: int
    source_offset: int
    batch: TelemetryBatch
    late: npt.NDArray[np.bool_]
    duplicates: int

    @property
    def late_readings(self) -> int:
        """Readings in samples flagged late."""
        return int(self.batch.sample_readings[self.late].sum())

    @property
    def accepted_readings(self) -> int:
        """Readings in samples that were in time."""
        return self.batch.readings - self.late_readings


COLUMNS = (
    "sample_device",
    "sample_session",
    "sample_seq",
    "sample_time_ms",
    "sample_received_ms",
    "sample_readings",
    "reading_metric",
    "reading_value",
)
"""Columns of a TelemetryBatch, in order."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One decoded sample, before batching. Readings are (metric, value) pairs."""

    device_id: str
    session: int
    sequence: int
    time_ms: int
    received_ms: int
    readings: tuple[tuple[str, float], ...]


def pack(samples: Sequence[Sample]) -> TelemetryBatch:
    """Columns of samples, order kept, ids dictionary-encoded in order of first use."""
    devices: dict[str, int] = {}
    metrics: dict[str, int] = {}
    readings = [reading for sample in samples for reading in sample.readings]
    return TelemetryBatch(
        sample_device=np.array(
            [devices.setdefault(s.device_id, len(devices)) for s in samples], dtype=np.int32
        ),
        sample_session=np.array([s.session for s in samples], dtype=np.int64),
        sample_seq=np.array([s.sequence for s in samples], dtype=np.int64),
        sample_time_ms=np.array([s.time_ms for s in samples], dtype=np.int64),
        sample_received_ms=np.array([s.received_ms for s in samples], dtype=np.int64),
        sample_readings=np.array([len(s.readings) for s in samples], dtype=np.int32),
        reading_metric=np.array(
            [metrics.setdefault(m, len(metrics)) for m, _ in readings], dtype=np.int32
        ),
        reading_value=np.array([v for _, v in readings], dtype=np.float64),
        devices=tuple(devices),
        metrics=tuple(metrics),
    )
