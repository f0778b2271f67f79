"""Batches of telemetry for the time-series tests."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipeline.core.telemetry import DeduplicatedBatch, Sample, pack

START_MS = 1_795_257_000_000


def batch(samples: Iterable[Sample], *, offset: int = 0) -> DeduplicatedBatch:
    """One message with these samples, none of them late."""
    packed = pack(list(samples))
    return DeduplicatedBatch(
        source_topic="telemetry.readings",
        source_partition=0,
        source_offset=offset,
        batch=packed,
        late=np.zeros(packed.samples, dtype=np.bool_),
        duplicates=0,
    )


def sample(
    device: str = "acme/truck-1", at: int = 0, sequence: int = 0, **readings: float
) -> Sample:
    """One sample, `at` milliseconds after START_MS."""
    return Sample(
        device_id=device,
        session=1,
        sequence=sequence,
        time_ms=START_MS + at,
        received_ms=START_MS + at + 40,
        readings=tuple(readings.items()) or (("coolant_c", 80.0 + at),),
    )


def fleet(devices: int = 3, samples: int = 4, *, offset: int = 0) -> DeduplicatedBatch:
    """`devices * samples * 2` readings, each of its own key."""
    return batch(
        (
            sample(
                f"acme/truck-{number}",
                (offset * samples + turn) * 1_000,
                offset * samples + turn,
                coolant_c=80.0 + turn,
                rpm=1_500.0 + number,
            )
            for turn in range(samples)
            for number in range(devices)
        ),
        offset=offset,
    )
