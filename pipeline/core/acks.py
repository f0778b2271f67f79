"""Which offset may be committed: never past an event still in hand.

Faust's own book-keeping takes a gap of one at the head for none, has no guard before the
first commit, and acknowledges by itself what it skips as stale after a rebalance; each of
these can commit past an event that nobody finished (faust#606). Here only what was handed
to the agent counts, in the order in which it was handed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class AckTracker(Generic[K]):
    """Offsets in hand per topic-partition K. Not thread-safe."""

    def __init__(self) -> None:
        self._handed: dict[K, deque[int]] = {}
        self._done: dict[K, set[int]] = {}
        self._position: dict[K, int] = {}

    def hand(self, partition: K, offset: int) -> None:
        """An event goes to the agent; offsets rise, with gaps where Kafka has them."""
        self._handed.setdefault(partition, deque()).append(offset)

    def finish(self, partition: K, offset: int) -> None:
        """The agent is done with an event, in any order; one that is not in hand is ignored."""
        handed = self._handed.get(partition)
        if not handed:
            return
        done = self._done.setdefault(partition, set())
        done.add(offset)
        while handed and handed[0] in done:
            head = handed.popleft()
            done.remove(head)
            self._position[partition] = head + 1
        if not handed:
            done.clear()

    def finish_below(self, partition: K, offset: int) -> None:
        """The agent is done with every event in hand whose offset is less than `offset`."""
        for handed in tuple(self._handed.get(partition, ())):
            if handed >= offset:
                break
            self.finish(partition, handed)

    def pending(self) -> Iterator[K]:
        """Partitions whose committable offset has moved since it was last taken."""
        return iter(tuple(self._position))

    def take(self, partition: K) -> int | None:
        """The offset to commit (the next one to read), once; None where nothing moved."""
        return self._position.pop(partition, None)

    def in_hand(self, partition: K) -> int:
        """Events handed and not yet part of the committable offset."""
        return len(self._handed.get(partition, ()))

    def reset(self) -> None:
        """Partitions were revoked: what was in hand comes again, to us or to another."""
        self._handed.clear()
        self._done.clear()
        self._position.clear()
