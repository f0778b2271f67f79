"""A lake with real tables in a folder, and three readers who do not know each other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
from pydantic import SecretStr
from pyiceberg.table import Table

from connectors.lake import base
from connectors.lake.catalog import NAMESPACE, open_catalog
from connectors.lake.config import LakeConfig
from connectors.lake.iceberg import IcebergTable
from connectors.lake.iceberg_schema import shape_of
from connectors.lake.local_store import LocalStore
from connectors.lake.writer import LakeWriter
from pipeline.core.archive import Claim, Resume
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_records import Shape
from pipeline.core.telemetry import DeduplicatedBatch, TelemetryBatch
from pipeline.wire.lake import columns_of

TOPIC = "telemetry.deduplicated"
DAY_MS = 86_400_000
FIRST_MS = 20_000 * DAY_MS
READINGS = 12
"""Rows of one `batch`."""

DUCK = {
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.binary(): "BLOB",
    pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
}


def batch(offset: int, *, partition: int = 0, days: Sequence[int] = (0,)) -> DeduplicatedBatch:
    """READINGS rows, whose source offset is `offset`, spread over `days` after the first."""
    times = FIRST_MS + np.resize(np.array(days, np.int64) * DAY_MS, READINGS) + offset * 1000
    return DeduplicatedBatch(
        source_topic="telemetry.readings",
        source_partition=partition,
        source_offset=offset,
        batch=TelemetryBatch(
            devices=(f"acme/pump-{partition}",),
            metrics=("temperature",),
            sample_device=np.zeros(READINGS, np.int32),
            sample_session=np.ones(READINGS, np.int64),
            sample_seq=np.arange(READINGS, dtype=np.int64),
            sample_time_ms=times,
            sample_received_ms=times + 40,
            sample_readings=np.ones(READINGS, np.int32),
            reading_metric=np.zeros(READINGS, np.int32),
            reading_value=np.arange(READINGS, dtype=np.float64) + offset * 100.0,
        ),
        late=np.zeros(READINGS, np.bool_),
        duplicates=0,
    )


@dataclass(frozen=True)
class Lake:
    """A lake below one folder."""

    root: Path

    @property
    def url(self) -> str:
        return f"file://{self.root / 'lake'}"

    @property
    def catalogue(self) -> Path:
        return self.root / "catalogue.db"

    def config(
        self,
        catalogue: str = "",
        *,
        connect_s: float = 2.0,
        read_s: float = 60.0,
        call_s: float = 120.0,
    ) -> LakeConfig:
        """More patient than a worker: a busy machine is no trouble of the catalogue's."""
        return LakeConfig(
            url=self.url,
            catalog=SecretStr(catalogue or f"sqlite:///{self.catalogue}"),
            endpoint=None,
            region="eu-central-1",
            access_key=None,
            secret_key=None,
            connect_s=connect_s,
            read_s=read_s,
            call_s=call_s,
        )

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.root / "lake")

    def table(self, dataset: Dataset = Dataset.TELEMETRY) -> IcebergTable:
        return IcebergTable(self.config(), dataset, columns_of(dataset))

    def writer(
        self,
        dataset: Dataset = Dataset.TELEMETRY,
        *,
        table: base.Table | None = None,
        store: base.ObjectStore | None = None,
    ) -> LakeWriter:
        return LakeWriter(
            store or self.store,
            dataset=dataset,
            flush_rows=1_000_000,
            flush_s=1,
            table=table or self.table(dataset),
        )

    def loaded(self, dataset: Dataset = Dataset.TELEMETRY) -> Table:
        """As any other program would find it."""
        return open_catalog(self.config()).load_table((NAMESPACE, str(dataset)))

    def rows(self, dataset: Dataset = Dataset.TELEMETRY) -> pa.Table:
        """By pyiceberg."""
        return self.loaded(dataset).scan().to_arrow()

    def hive(self, dataset: Dataset = Dataset.TELEMETRY) -> pa.Table:
        """By pyarrow, which knows of no table."""
        # Opened one by one and joined by name: files differ in columns.
        folder = self.root / "lake" / str(dataset)
        files = sorted(folder.glob("date=*/*.parquet"))
        found = [
            pads.dataset(one, partitioning="hive", partition_base_dir=str(folder)) for one in files
        ]
        return pa.concat_tables([one.to_table() for one in found], promote_options="permissive")

    def duck(self, query: str, dataset: Dataset = Dataset.TELEMETRY) -> list[Any]:
        """By DuckDB over the plain files, with columns found by their Iceberg field ids.

        `query` is SQL over `lake`.
        """
        source = (
            f"read_parquet('{self._glob(dataset)}', schema = {field_map(self.loaded(dataset))})"
        )
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"CREATE VIEW lake AS SELECT * FROM {source}")  # noqa: S608 - ours
            return connection.execute(query).fetchall()

    def _glob(self, dataset: Dataset) -> str:
        return f"{self.root}/lake/{dataset}/date=*/*.parquet"


def field_map(table: Table) -> str:
    """DuckDB's `schema` of read_parquet: field id → name, type and default of each column."""
    shape = shape_of(table)
    assert shape.ids is not None
    entries = (
        f"{shape.ids[one.name]}: {{name: '{one.name}', type: '{duck_type(one.type)}', "
        "default_value: NULL}"
        for one in shape.columns
    )
    return f"MAP {{{', '.join(entries)}}}"


def duck_type(kind: pa.DataType) -> str:
    """An Arrow type in DuckDB's words."""
    if pa.types.is_list(kind):
        return f"{duck_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{one.name} {duck_type(one.type)}' for one in kind)})"
    return DUCK[kind]


async def opened(writer: LakeWriter, partition: int = 0, topic: str = TOPIC) -> Resume:
    """Its answer to open, which must be a Resume."""
    answer = await writer.open(topic, partition)
    assert isinstance(answer, Resume), answer
    return answer


async def brought(writer: LakeWriter, offsets: Iterable[int], partition: int = 0) -> base.Flushed:
    """These offsets as one range of an open partition."""
    for offset in offsets:
        writer.offer(partition, offset, batch(offset, partition=partition))
    answer = await writer.flush(partition)
    assert isinstance(answer, base.Flushed), answer
    return answer


class Stuck:
    """A base.Table that stops before it registers, until it is let go."""

    def __init__(self, table: IcebergTable) -> None:
        self._table = table
        self.reached = asyncio.Event()
        self.go = asyncio.Event()

    async def open(self) -> Shape | base.Retry | base.Halt:
        return await self._table.open()

    async def evolve(self, wanted: Any) -> Shape | base.Retry | base.Halt:  # noqa: ANN401 - columns
        return await self._table.evolve(wanted)

    async def standing(
        self, topic: str, partition: int
    ) -> base.Standing | base.Retry | base.Halt | None:
        return await self._table.standing(topic, partition)

    async def register(
        self, claim: Claim, files: Sequence[base.Written]
    ) -> base.Retry | base.Halt | None:
        self.reached.set()
        await self.go.wait()
        return await self._table.register(claim, files)


def write_partitions(root: str, partitions: Sequence[int], ranges: int) -> None:
    """A process of its own: so many ranges of ten messages for each of the partitions."""

    async def run() -> None:
        writer = Lake(Path(root)).writer()
        for partition in partitions:
            await opened(writer, partition)
        for number in range(ranges):
            offsets = range(number * 10, number * 10 + 10)
            await asyncio.gather(*(brought(writer, offsets, one) for one in partitions))

    asyncio.run(run())
