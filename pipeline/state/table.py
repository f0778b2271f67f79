"""The device table: Faust's RocksDB store and changelog, written in an order that is safe.

Stock Faust writes the local database first and sends the changelog record some time later,
with nothing that waits for it (faust-rules 7). Here a checkpoint is one awaited call:
changelog records first, then the local rows and the offset they stand for. All use of
Faust's private store interface is in this file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from faust.types import TP

_MIB = 1024 * 1024


class DeviceTable:
    """Rows of bytes by device id, one RocksDB database per partition."""

    def __init__(self, app: Any, name: str) -> None:  # noqa: ANN401 - Faust has no types
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

    def read(self, partition: int, device_id: str) -> bytes | None:
        """The device's row, or None where it has none yet."""
        row: bytes | None = self._database(partition).get(device_id.encode())
        return row

    async def write(self, partition: int, rows: Mapping[str, bytes]) -> None:
        """Store rows durably: when this returns, the changelog in Kafka holds them.

        Raises whatever the producer raises; the caller then must not acknowledge.
        """
        if not rows:
            return
        topic = self._table.changelog_topic
        sent = [
            await topic.send(key=device.encode(), value=row, partition=partition)
            for device, row in rows.items()
        ]
        written = await asyncio.gather(*sent)
        database = self._database(partition)
        for device, row in rows.items():
            database.put(device.encode(), row)
        # Last: a crash before this line reads the same records from the changelog again.
        self._table.data.set_persisted_offset(
            TP(topic.get_topic_name(), partition), max(record.offset for record in written)
        )

    def _database(self, partition: int) -> Any:  # noqa: ANN401 - rocksdict has no types
        return self._table.data._db_for_partition(partition)  # noqa: SLF001 - see module
