"""Our tables: Faust's RocksDB store and changelog, written in an order that is safe.

Stock Faust writes the local database first and sends the changelog record some time later,
with nothing that waits for it (faust-rules 7). Here a checkpoint is one awaited call:
changelog records first, then the local rows and the offset they stand for, in one atomic
write. All use of Faust's private store interface is in this file.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import rocksdict
from faust.stores.rocksdb import Store

_MIB = 1024 * 1024
NOTE = b"\x00partition"
"""Key of the row about the partition: no device id has such a character."""
REBUILT = b"\x00rebuilt"
"""Key of what a rebuild was asked for; local only."""

Rows = Mapping[str, bytes | None]
"""Rows by key; None deletes."""
Append = Callable[[str, int, Rows], Awaitable[int]]
"""Writes rows to a partition of the changelog; the last offset, once all are in Kafka."""


class RowTable:
    """Rows of bytes by key (a device id, or what begins with one), a database per partition."""

    def __init__(self, app: Any, name: str, *, append: Append) -> None:  # noqa: ANN401 - Faust has no types
        self._append = append
        self._table = app.Table(
            name,
            key_type=bytes,
            value_type=bytes,
            # Faust's defaults are 2 GiB of cache and nearly all open files *per partition*.
            options={
                "block_cache_size": 16 * _MIB,
                "write_buffer_size": 8 * _MIB,
                "max_write_buffer_number": 2,
                "max_open_files": 128,
                "driver": "rocksdict",
            },
        )

    @property
    def changelog(self) -> str:
        """The changelog topic's name."""
        name: str = self._table.changelog_topic.get_topic_name()
        return name

    def rows(self, partition: int) -> Iterator[tuple[str, bytes]]:
        """Every row of a partition, in order of the keys."""
        return self.rows_from(partition, "")

    def rows_from(self, partition: int, key: str) -> Iterator[tuple[str, bytes]]:
        """The rows of a partition from that key on."""
        start = key.encode() or None
        for key_, row in self._database(partition).items(from_key=start):
            if key_ not in {Store.offset_key, NOTE, REBUILT}:
                yield key_.decode(), row

    def note(self, partition: int) -> bytes | None:
        """What was stored by `write_note`, or None."""
        row: bytes | None = self._database(partition).get(NOTE)
        return row

    def rebuild(self, partition: int, *, mark: str) -> bool:
        """Have the next start read the partition's whole changelog again.

        False where that was asked for with the same `mark` before: it would change nothing.
        """
        database = self._database(partition)
        if database.get(REBUILT) == mark.encode():
            return False
        batch = rocksdict.WriteBatch(raw_mode=True)
        batch.put(REBUILT, mark.encode())
        batch.put(Store.offset_key, b"-1")
        database.write(batch)
        return True

    async def write_note(self, partition: int, note: bytes, *, ours: Callable[[], bool]) -> None:
        """Store one row about the partition as a whole, as `write` does."""
        await self.write(partition, {NOTE.decode(): note}, ours=ours)

    async def write(self, partition: int, rows: Rows, *, ours: Callable[[], bool]) -> None:
        """Store rows, and delete those that are None, durably: the changelog has them then.

        `ours` says whether the partition still is: where it was taken away meanwhile the local
        copy is left alone, as the next owner's records may lie between, which the offset
        noted there would skip. Raises whatever `append` raises; the caller then must not
        acknowledge.
        """
        if not rows:
            return
        last = await self._append(self.changelog, partition, rows)
        if not ours():
            return
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, row in rows.items():
            if row is None:
                batch.delete(key.encode())
            else:
                batch.put(key.encode(), row)
        # A crash before this write reads the same records from the changelog again.
        batch.put(Store.offset_key, str(last).encode())
        self._database(partition).write(batch)

    def _database(self, partition: int) -> Any:  # noqa: ANN401 - rocksdict has no types
        return self._table.data._db_for_partition(partition)  # noqa: SLF001 - see module
