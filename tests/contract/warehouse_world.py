"""A small lake on the local disk with its Iceberg tables, for loads to read: all parts real."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pyiceberg.table import Table

from connectors.lake import base
from connectors.lake.catalog import NAMESPACE, open_catalog
from connectors.lake.compact import Rules, compact
from connectors.lake.config import LakeConfig
from connectors.lake.iceberg import IcebergTable
from connectors.lake.live import opened
from connectors.lake.local_store import LocalStore
from connectors.lake.writer import LakeWriter
from connectors.warehouse.base import Session, TroubleError
from connectors.warehouse.files import LakeFiles
from pipeline.core.lake_columns import Column, Dataset
from pipeline.core.telemetry import DeduplicatedBatch
from pipeline.wire.avro import Codec
from pipeline.wire.lake import RecordReader, columns_of
from pipeline.wire.records import encode_event
from tests.lake_world import pumps
from tests.unit.examples import event

DAY_MS = 86_400_000
FIRST_DAY = 20_000
FIRST_DATE = "2024-10-04"
NEXT_DATE = "2024-10-05"
TOPIC = "telemetry.deduplicated"


def batch(offset: int, *, day: int = FIRST_DAY, devices: int = 3) -> DeduplicatedBatch:
    """Two readings of each device; every third message has its second one on the next day."""
    return pumps(
        offset,
        devices=devices,
        samples=2,
        day=day,
        over_midnight=offset % 3 == 0,
        partition=0,
        metrics=("temperature",),
        shift=offset,
    )


@dataclass
class Lake:
    """One lake; offsets go on from call to call."""

    root: Path
    next_offset: int = 0
    next_event: int = 0

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.config = LakeConfig(
            url=f"file://{self.root}",
            catalog=SecretStr(f"sqlite:///{self.root}/catalog.db"),
            endpoint=None,
            region="us-east-1",
            access_key=None,
            secret_key=None,
        )

    def readings(self, messages: int, *, day: int = FIRST_DAY, table: bool = True) -> None:
        """One range of so many messages, six readings each; without `table` as plain files."""
        asyncio.run(self._readings(messages, day, table=table))

    async def _readings(self, messages: int, day: int, *, table: bool) -> None:
        writer = LakeWriter(
            LocalStore(self.root),
            dataset=Dataset.TELEMETRY,
            flush_rows=10**6,
            flush_s=1,
            table=IcebergTable(self.config, Dataset.TELEMETRY) if table else None,
        )
        await writer.open(TOPIC, 0)
        for offset in range(self.next_offset, self.next_offset + messages):
            writer.offer(0, offset, batch(offset, day=day))
        self.next_offset += messages
        done = await writer.flush(0)
        assert isinstance(done, base.Flushed), done

    def events(self, count: int) -> None:
        """One range of so many events."""
        asyncio.run(self._events(count))

    async def _events(self, count: int) -> None:
        dataset = Dataset.EVENTS
        table = IcebergTable(self.config, dataset, columns_of(dataset))
        writer = LakeWriter(
            LocalStore(self.root), dataset=dataset, flush_rows=10**6, flush_s=1, table=table
        )
        await writer.open("sink.lake", 0)
        codec = Codec()
        reader = RecordReader(codec, dataset)
        for offset in range(self.next_event, self.next_event + count):
            one = event(id=f"{offset:024d}")
            one = replace(one, source=replace(one.source, offset=offset))
            writer.offer(0, offset, reader.read("sink.lake", 0, offset, encode_event(codec, one)))
        self.next_event += count
        done = await writer.flush(0)
        assert isinstance(done, base.Flushed), done

    def table(self, dataset: Dataset = Dataset.TELEMETRY) -> Table:
        """As pyiceberg has it."""
        return open_catalog(self.config).load_table((NAMESPACE, str(dataset)))

    def side(self, dataset: Dataset = Dataset.TELEMETRY, since: str = "") -> LakeFiles:
        """As a load sees it now."""
        return LakeFiles(self.config, dataset, since=since)

    def rows(self, dataset: Dataset = Dataset.TELEMETRY) -> int:
        """Rows of the table, as pyiceberg reads them."""
        return int(self.table(dataset).scan().to_arrow().num_rows)

    def evolve(self, dataset: Dataset, wanted: Sequence[Column]) -> None:
        """Let the table follow producers of these columns."""
        asyncio.run(IcebergTable(self.config, dataset, wanted).evolve(wanted))

    def compact(self, date: str, dataset: Dataset = Dataset.TELEMETRY) -> str:
        """Put all dates' small files together; the name of the one that holds this date then."""
        asyncio.run(self._compact(dataset))
        [name] = [
            address.removeprefix(f"{self.config.url}/")
            for task in self.table(dataset).scan().plan_files()
            if f"date={date}/" in (address := str(task.file.file_path))
        ]
        return name

    async def _compact(self, dataset: Dataset) -> None:
        async with opened(self.config, dataset) as live:
            done = await compact(
                live,
                Rules(target=10**9, after_days=1),
                clock=lambda: (FIRST_DAY + 30) * DAY_MS,
                token=lambda: uuid.uuid4().hex,
            )
        assert done
        assert not any(one.skipped for one in done)


@dataclass
class Dying:
    """A session that ends before or after its n-th statement, as a process that is killed does."""

    inner: Session
    at: int
    after: bool
    said: list[str] = field(default_factory=list)

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        self.said.append(sql)
        if len(self.said) > self.at:
            raise TroubleError("killed before")
        if len(self.said) == self.at and not self.after:
            self.die()
        told = self.inner.run(sql)
        if len(self.said) == self.at:
            self.die()
        return told

    def die(self) -> None:
        self.inner.close()
        raise TroubleError("killed")

    def close(self) -> None:
        if len(self.said) < self.at:
            self.inner.close()
