"""The reconciler's rows on disk: fates, lists, counts and offsets, one atomic write at a time.

RocksDB holds all that grows with the history; memory holds the counts of each line and small
caches. The offsets up to which the topics were read are in the same write as what was made of
them, so a kill at any point loses nothing and counts nothing twice. All of it is made from the
topics: a lost folder costs the time to read them again.

| key | value |
|---|---|
| e stage NUL event | fate |
| o, k, x: stage NUL partition offset event | tenant; open, parked, early: fates.Index |
| p stage NUL partition row | event of a parked row |
| c stage NUL tenant NUL partition | counts of a line |
| t topic NUL partition | next offset to read |
| r sink NUL key | first record seen at the target with that key |
| m name | a note |
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import orjson
import rocksdict

from pipeline.core.fates import NOTHING, End, Fate, Index, Weight

_MIB = 1024 * 1024
_LISTS = {Index.OPEN: b"o", Index.PARKED: b"k", Index.EARLY: b"x"}
_PLACE = struct.Struct(">iq")
_PART = struct.Struct(">i")
_END = b"\x00"
_FIELDS = tuple(field.name for field in fields(Fate))
_values = attrgetter(*_FIELDS)
FORMAT = f"{zlib.crc32(','.join(_FIELDS).encode()):08x}"
"""Part of the folder's name: rows are lists in the order of Fate's fields."""


def options() -> Any:  # noqa: ANN401 - rocksdict has no types
    """RocksDB's settings: 32 MiB of cache and two write buffers of 8 MiB, whatever it holds."""
    made = rocksdict.Options(raw_mode=True)
    made.set_write_buffer_size(8 * _MIB)
    made.set_max_write_buffer_number(2)
    made.set_max_open_files(128)
    made.set_keep_log_file_num(2)
    blocks = rocksdict.BlockBasedOptions()
    blocks.set_block_cache(rocksdict.Cache(32 * _MIB))
    # Else indices and filters of all files lie in memory, beside the cache.
    blocks.set_cache_index_and_filter_blocks(True)
    # Most looks ask for an event that is not there yet.
    blocks.set_bloom_filter(10, False)  # noqa: FBT003 - positional in rocksdict
    made.set_block_based_table_factory(blocks)
    return made


class Store:
    """Fates by (stage, event id), for core.fates.Fold. One process may have it open.

    What is put is seen by later gets at once, and is on disk with the next `commit`; whoever
    goes over many rows has it committed first.
    """

    def __init__(self, folder: Path) -> None:
        self._db = rocksdict.Rdict(str(folder), options())
        self._pending: dict[bytes, bytes | None] = {}
        self._touched: set[tuple[str, str, int]] = set()
        self._lowest: dict[tuple[Index, str, int], int] = {}
        self._beyond: dict[tuple[Index, str, int], int] = {}
        self.lines: dict[tuple[str, str, int], Weight] = {
            _line(key): Weight(*orjson.loads(value)) for key, value in self._from(b"c")
        }
        self.offsets: dict[tuple[str, int], int] = {}
        for key, value in self._from(b"t"):
            topic, _, partition = key[1:].partition(_END)
            self.offsets[topic.decode(), int(partition)] = int(value)

    def close(self) -> None:
        """Let go of the folder; what was not committed is dropped."""
        self._db.close()

    # -- core.fates.Rows

    def fate(self, stage: str, event_id: str) -> Fate | None:
        """The row of an event."""
        row = self._get(_fate_key(stage, event_id))
        return None if row is None else _decode(row)

    def put(self, stage: str, event_id: str, old: Fate | None, new: Fate) -> None:
        """Store the row of an event, with its line's counts and its place in the lists."""
        self._pending[_fate_key(stage, event_id)] = _encode(new)
        self._list(stage, event_id, old, new)
        if old is not None:
            self._count(stage, old, -1)
        self._count(stage, new, 1)

    def parked_event(self, stage: str, partition: int, key: bytes) -> str | None:
        """The event of a parked row."""
        found = self._get(_parked_key(stage, partition, key))
        return None if found is None else found.decode()

    def put_parked(self, stage: str, partition: int, key: bytes, event_id: str | None) -> None:
        """Store, or with None delete, which event a parked row is of."""
        self._pending[_parked_key(stage, partition, key)] = (
            None if event_id is None else event_id.encode()
        )

    def _list(self, stage: str, event_id: str, old: Fate | None, new: Fate) -> None:
        before = None if old is None else old.index
        if before is new.index:
            return
        if before is not None and old is not None:
            self._pending[_list_key(before, stage, old, event_id)] = None
        if new.index is not None:
            self._pending[_list_key(new.index, stage, new, event_id)] = new.tenant.encode()
            place = (new.index, stage, new.partition)
            self._beyond[place] = max(self._beyond.get(place, 0), new.offset + 1)
            if place in self._lowest:
                self._lowest[place] = min(self._lowest[place], new.offset)

    def _count(self, stage: str, fate: Fate, times: int) -> None:
        if fate.weight == NOTHING:
            return
        line = (stage, fate.tenant, fate.partition)
        self.lines[line] = self.lines.get(line, NOTHING).plus(fate.weight, times)
        self._touched.add(line)

    # -- writing

    def commit(self) -> None:
        """Write what was put, and how far the topics were read, at once."""
        for stage, tenant, partition in self._touched:
            key = b"c" + _END.join((stage.encode(), tenant.encode(), b"%d" % partition))
            self._pending[key] = orjson.dumps(tuple(self.lines[stage, tenant, partition]))
        self._touched.clear()
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in self._pending.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        self._db.write(batch)
        self._pending.clear()

    def read_to(self, topic: str, partition: int, offset: int) -> None:
        """Note the next offset to read; on disk with the next `commit`."""
        self.offsets[topic, partition] = offset
        self._pending[b"t" + topic.encode() + _END + b"%d" % partition] = b"%d" % offset

    def forget(self, stage: str, event_id: str, fate: Fate) -> None:
        """Delete a row, and leave the counts as they are."""
        self._pending[_fate_key(stage, event_id)] = None
        if fate.index is not None:
            self._pending[_list_key(fate.index, stage, fate, event_id)] = None

    def note(self, name: str) -> bytes | None:
        """What was noted under a name."""
        return self._get(b"m" + name.encode())

    def put_note(self, name: str, value: bytes) -> None:
        """Note something; on disk with the next `commit`."""
        self._pending[b"m" + name.encode()] = value

    def first_record(self, sink: str, key: str, record: int) -> int:
        """The first record at the target that was seen with that key: this one if it is new."""
        known = self._get(_record_key(sink, key))
        if known is not None:
            return int(known)
        self.put_first_record(sink, key, record)
        return record

    def put_first_record(self, sink: str, key: str, record: int) -> None:
        """Correct the first record with that key."""
        self._pending[_record_key(sink, key)] = b"%d" % record

    # -- looking

    def listed(
        self, index: Index, stage: str, partition: int, below: int
    ) -> Iterator[tuple[str, str]]:
        """(event id, tenant) of a partition's list, offsets rising, those under `below`."""
        place = (index, stage, partition)
        prefix = _LISTS[index] + stage.encode() + _END
        # Where many were deleted RocksDB has to step over each: begin where the first one was.
        start = prefix + _PLACE.pack(partition, max(0, self._lowest.get(place, 0)))
        lowest: int | None = None
        for key, tenant in self._from(start, prefix + _PART.pack(partition)):
            at = len(prefix) + _PLACE.size
            offset = _PLACE.unpack(key[len(prefix) : at])[1]
            if lowest is None:
                self._lowest[place] = lowest = offset
            if offset >= below:
                return
            yield key[at:].decode(), tenant.decode()
        if lowest is None:
            self._lowest[place] = self._beyond.get(place, 0)

    def early(self, stage: str) -> Iterator[tuple[str, Fate]]:
        """Rows with a result whose event was not seen."""
        prefix = _LISTS[Index.EARLY] + stage.encode() + _END
        for key, _ in self._from(prefix):
            event_id = key[len(prefix) + _PLACE.size :].decode()
            fate = self.fate(stage, event_id)
            if fate is not None:
                yield event_id, fate

    def fates(self, stage: str, start: str = "") -> Iterator[tuple[str, Fate]]:
        """Every row of a stage from an event id on, in order of the ids."""
        prefix = b"e" + stage.encode() + _END
        for key, row in self._from(prefix + start.encode(), prefix):
            yield key[len(prefix) :].decode(), _decode(row)

    def _from(self, start: bytes, prefix: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        prefix = start if prefix is None else prefix
        if self._pending:
            self.commit()
        rows: Iterator[tuple[Any, Any]] = self._db.items(from_key=start)
        for key, value in rows:
            if not key.startswith(prefix):
                return
            yield key, value

    def _get(self, key: bytes) -> bytes | None:
        if key in self._pending:
            return self._pending[key]
        value: bytes | None = self._db.get(key)
        return value


def _fate_key(stage: str, event_id: str) -> bytes:
    return b"e" + stage.encode() + _END + event_id.encode()


def _parked_key(stage: str, partition: int, key: bytes) -> bytes:
    return b"p" + stage.encode() + _END + _PART.pack(partition) + key


def _list_key(index: Index, stage: str, fate: Fate, event_id: str) -> bytes:
    place = _PLACE.pack(fate.partition, max(0, fate.offset))
    return _LISTS[index] + stage.encode() + _END + place + event_id.encode()


def _record_key(sink: str, key: str) -> bytes:
    return b"r" + sink.encode() + _END + key.encode()


def _line(key: bytes) -> tuple[str, str, int]:
    stage, tenant, partition = key[1:].split(_END)
    return stage.decode(), tenant.decode(), int(partition)


def _encode(fate: Fate) -> bytes:
    return orjson.dumps(_values(fate))


def _decode(row: bytes) -> Fate:
    values = dict(zip(_FIELDS, orjson.loads(row), strict=True))
    end = values.pop("end")
    return Fate(**values, end=None if end is None else End(end))
