"""Samples to batches per partition: pure bookkeeping, time is an argument.

A batch closes when it holds enough readings or is old enough. Order within a partition is
the order of arrival: samples are only ever appended, and a closed batch leaves at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pipeline.core.telemetry import Sample

T = TypeVar("T")


@dataclass(slots=True)
class Held(Generic[T]):
    """A message until it is safe. `parts` counts what it still waits for."""

    message: T
    parts: int = 0
    readings: int = 0


@dataclass(slots=True)
class Batch(Generic[T]):
    """Samples of one partition, with the messages they came from, each once."""

    partition: int
    due_s: float
    samples: list[Sample] = field(default_factory=list)
    origins: list[Held[T]] = field(default_factory=list)
    readings: int = 0


class Batcher(Generic[T]):
    """Open batches, at most one a partition. Seconds are of any clock that never goes back."""

    def __init__(self, *, max_readings: int, linger_s: float) -> None:
        self._max = max_readings
        self._linger_s = linger_s
        self._open: dict[int, Batch[T]] = {}

    def add(
        self, origin: Held[T], samples: Iterable[Sample], partition: int, now_s: float
    ) -> list[Batch[T]]:
        """Append samples of one message; the batches that this closed, in order.

        `origin.parts` grows by one for every batch that takes some of the samples.
        """
        closed: list[Batch[T]] = []
        for sample in samples:
            size = len(sample.readings)
            batch = self._open.get(partition)
            if batch is not None and batch.readings + size > self._max:
                closed.append(self._open.pop(partition))
                batch = None
            if batch is None:
                batch = self._open[partition] = Batch(partition, now_s + self._linger_s)
            if not batch.origins or batch.origins[-1] is not origin:
                batch.origins.append(origin)
                origin.parts += 1
            batch.samples.append(sample)
            batch.readings += size
            if batch.readings >= self._max:
                closed.append(self._open.pop(partition))
        return closed

    def due(self, now_s: float) -> list[Batch[T]]:
        """Take out the batches whose time has come."""
        late = [p for p, batch in self._open.items() if batch.due_s <= now_s]
        return [self._open.pop(p) for p in late]

    def next_due_s(self) -> float | None:
        """When the next batch is due; None where none is open."""
        return min((batch.due_s for batch in self._open.values()), default=None)

    def drain(self) -> list[Batch[T]]:
        """Take out all that is open."""
        batches, self._open = list(self._open.values()), {}
        return batches
