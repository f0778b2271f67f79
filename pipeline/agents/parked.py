"""Which devices have parked events, and when each may go on. One worker's partitions."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence

from pipeline.state.parking import Parked, Parking


class ParkedDevices:
    """The index over the parking table, and the only one who writes that.

    A device with a parked event has all its later ones parked too, until the last is done. One
    that is `out` has its first event at the driver.
    """

    def __init__(self, parking: Parking) -> None:
        self._parking = parking
        self._due: dict[str, int] = {}
        self._out: set[str] = set()
        self._heap: list[tuple[int, str]] = []
        self._partition: dict[str, int] = {}
        self.count = 0

    def __contains__(self, device: str) -> bool:
        """Whether the device has a parked event."""
        return device in self._due

    def open(self, partitions: Iterable[int]) -> None:
        """Begin with what the tables of these partitions hold, and nothing else."""
        self.forget()
        for partition in partitions:
            due, count = self._parking.heads(partition)
            self.count += count
            for device, due_ms in due.items():
                self._await(device, partition, due_ms)

    def forget(self) -> None:
        """The partitions may be another's now."""
        self._due.clear()
        self._out.clear()
        self._heap.clear()
        self._partition.clear()
        self.count = 0

    def next_due_ms(self) -> int | None:
        """When the first device may go on; None where none waits for an instant."""
        while self._heap:
            due_ms, device = self._heap[0]
            if device not in self._out and self._due.get(device) == due_ms:
                return due_ms
            heapq.heappop(self._heap)
        return None

    def take(self, now_ms: int, limit: int) -> list[tuple[int, Parked]]:
        """First events of up to `limit` devices that may go on, with their partitions."""
        taken: list[tuple[int, Parked]] = []
        while len(taken) < limit:
            due_ms = self.next_due_ms()
            if due_ms is None or due_ms > now_ms:
                break
            device = heapq.heappop(self._heap)[1]
            partition = self._partition[device]
            parked = self._parking.first(partition, device)
            if parked is None:
                self._gone(device)
                continue
            self._out.add(device)
            taken.append((partition, parked))
        return taken

    async def store(
        self,
        partition: int,
        *,
        put: Sequence[Parked],
        done: Sequence[tuple[str, int]],
        ours: Callable[[], bool],
    ) -> None:
        """Store what is parked now and delete what is done with, durably; then look again.

        `put` of an event that is parked already changes it where its device is out, and is left
        alone where it is a repetition of the message.
        """
        new = [p for p in put if not self._parking.has(partition, p.device, p.offset)]
        again = [p for p in put if p.device in self._out and all(p is not other for other in new)]
        gone = [place for place in done if self._parking.has(partition, *place)]
        await self._parking.write(partition, put=(*new, *again), gone=gone, ours=ours)
        if not ours():
            return
        self.count += len(new) - len(gone)
        for device in {device for device, _ in done} & self._out:
            self._out.discard(device)
            first = self._parking.first(partition, device)
            if first is None:
                self._gone(device)
            else:
                self._await(device, partition, first.due_ms)
        for parked in (*again, *new):
            if parked in again or parked.device not in self._due:
                self._out.discard(parked.device)
                self._await(parked.device, partition, parked.due_ms)

    def _await(self, device: str, partition: int, due_ms: int) -> None:
        self._due[device] = due_ms
        self._partition[device] = partition
        heapq.heappush(self._heap, (due_ms, device))

    def _gone(self, device: str) -> None:
        del self._due[device], self._partition[device]
        self._out.discard(device)
