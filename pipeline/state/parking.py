"""Parked events: what waits long for a sink, in order per device, in a table of its own.

A row is one event: key 'device, NUL, offset' and a ParkedEvent (schemas/avro). Rows of a device
lie side by side in the order of their offsets in the sink's topic, which is the order of the
device; only the first one's `due_ms` counts. Memory holds nothing of a row but that instant of
each device's first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pipeline.state.table import RowTable
from pipeline.wire.avro import Codec

_SCHEMA = "parked_event.v1"
_END = "\x00"
NOT_LOOKING = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """One parked event; fields as in schemas/avro/parked_event."""

    device: str
    offset: int
    payload: bytes
    headers: Mapping[str, bytes]
    due_ms: int
    parked_ms: int
    sent_ms: int
    looks: int
    own: int
    outages: int
    waited_s: float
    code: str

    @property
    def key(self) -> str:
        """Key of its row."""
        return row_key(self.device, self.offset)


def row_key(device: str, offset: int) -> str:
    """Key of a row: offsets of one device sort as numbers."""
    return f"{device}{_END}{offset:019d}"


class Parking:
    """The parked events of one worker's partitions. `table` has the changelog and the copy."""

    def __init__(self, table: RowTable, codec: Codec) -> None:
        self._table = table
        self._codec = codec

    def heads(self, partition: int) -> tuple[dict[str, int], int]:
        """When the first event of each device is due (milliseconds), and how many rows lie here.

        Reads the partition's table from end to end.
        """
        due: dict[str, int] = {}
        count = 0
        for key, row in self._table.rows(partition):
            count += 1
            device = key.partition(_END)[0]
            if device not in due:
                due[device] = self._codec.decode(_SCHEMA, row)["due_ms"]
        return due, count

    def first(self, partition: int, device: str, *, behind: int = -1) -> Parked | None:
        """The first event of a device with an offset above `behind`; None where there is none."""
        start = row_key(device, behind + 1)
        for key, row in self._table.rows_from(partition, start):
            if key.partition(_END)[0] != device:
                return None
            record = self._codec.decode(_SCHEMA, row)
            return Parked(device=device, **record)
        return None

    def has(self, partition: int, device: str, offset: int) -> bool:
        """Whether that very event is parked."""
        found = self.first(partition, device, behind=offset - 1)
        return found is not None and found.offset == offset

    async def write(
        self,
        partition: int,
        *,
        put: Iterable[Parked],
        gone: Iterable[tuple[str, int]],
        ours: Callable[[], bool],
    ) -> None:
        """Store some and delete some (device, offset), durably: see RowTable.write."""
        rows: dict[str, bytes | None] = {row_key(*place): None for place in gone}
        for parked in put:
            record = {name: getattr(parked, name) for name in _FIELDS}
            rows[parked.key] = self._codec.encode(_SCHEMA, record)
        await self._table.write(partition, rows, ours=ours)


_FIELDS = tuple(name for name in Parked.__slots__ if name != "device")
