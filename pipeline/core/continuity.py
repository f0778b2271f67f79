"""Whether the next message of a partition is the one that must come next.

Faust drops what it has fetched when a rebalance comes in between, and its client's position
has moved on by then; now and then nothing seeks back far enough, and messages that are then
committed past were never seen (found by the crash suite). Elsewhere it seeks back on its own
and hands messages over twice. So the order of offsets is checked where they are handed over.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from enum import Enum
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Arrival(Enum):
    """What to do with a message."""

    TAKE = "take"
    SKIP = "skip"
    """It was handed over before, or comes again in its turn."""
    SEEK = "seek"
    """Messages before it are missing: read again from `next_of`."""


class Continuity(Generic[K]):
    """The offsets due next, by topic-partition K. Not thread-safe."""

    def __init__(self) -> None:
        self._next: dict[K, int | None] = {}
        self._jump: dict[K, int] = {}

    def start(self, positions: Mapping[K, int | None]) -> None:
        """Where partitions begin; None where nothing was committed: any first offset will do.

        A partition that has begun already keeps its place.
        """
        for partition, offset in positions.items():
            self._next.setdefault(partition, offset)

    def arrive(self, partition: K, offset: int) -> Arrival:
        """A message has come. Before `start` it is a left-over of an older assignment."""
        if partition not in self._next:
            return Arrival.SKIP
        due = self._next[partition]
        if due is not None and offset < due:
            return Arrival.SKIP
        if due is not None and offset > due:
            jump = self._jump.get(partition)
            if jump is None or offset < jump:
                self._jump[partition] = offset
                return Arrival.SEEK
            if offset != jump:
                return Arrival.SKIP
            # Read again, and the same offset comes first: the log itself has this gap.
        self._jump.pop(partition, None)
        self._next[partition] = offset + 1
        return Arrival.TAKE

    def next_of(self, partition: K) -> int:
        """The offset due next; 0 where any will do."""
        return self._next.get(partition) or 0

    def reset(self) -> None:
        """Partitions were revoked."""
        self._next.clear()
        self._jump.clear()
