"""The lake as a load sees it: files of one table's snapshot, and what their footers say.

Read through pyiceberg's FileIO, so with the lake's own address and credentials. A file is the
rows of one date (the tables are partitioned by day), and its columns are told by field id: one
that was renamed since has its old name in it. A file from before there was a table has no ids;
its columns are told by the table's name mapping, as Iceberg has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.table import Table

from connectors.lake.catalog import NAMESPACE, TROUBLE, NoSuchTableError, open_catalog
from connectors.lake.config import LakeConfig
from connectors.lake.iceberg_schema import shape_of
from connectors.lake.mapping import RANGE_KEY
from connectors.warehouse.base import (
    FileColumn,
    LakeFile,
    Listed,
    Measure,
    TroubleError,
    WrongError,
)
from connectors.warehouse.ledger import position_column, united
from pipeline.core.lake_columns import Column, Dataset
from pipeline.core.lake_keep import spans_of

AT_ONCE: Final = 8
"""Footers read at the same time."""
_EPOCH: Final = date(1970, 1, 1)
_ID: Final = b"PARQUET:field_id"


class LakeFiles:
    """A base.LakeSide over an Iceberg table; it stays at the snapshot that it was made with."""

    def __init__(
        self,
        config: LakeConfig,
        dataset: Dataset,
        *,
        since: str = "",
        on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> None:
        """`since` is the first date wanted, '' for all; `on_progress` counts footers."""
        self.dataset = dataset
        self._since = since
        self._on_progress = on_progress
        with _trouble():
            try:
                self._table: Table = open_catalog(config).load_table((NAMESPACE, str(dataset)))
            except NoSuchTableError:
                raise WrongError(
                    f"The lake has no table {dataset} yet: start an archive worker with "
                    "LAKE_CATALOG set, or name the datasets to load."
                ) from None
        now = self._table.current_snapshot()
        self.snapshot: int = now.snapshot_id if now is not None else 0
        self._root = config.url.rstrip("/")
        self._listed: tuple[Listed, ...] | None = None
        self._described: dict[str, LakeFile] = {}

    @property
    def columns(self) -> tuple[Column, ...]:
        """The table's columns now."""
        return shape_of(self._table).columns

    @property
    def metadata_key(self) -> str:
        """Name below the root of the table's metadata file: what external engines read."""
        return self._key(self._table.metadata_location)

    def files(self) -> Sequence[Listed]:
        """Files of the snapshot, by date and name."""
        if self._listed is None:
            with _trouble():
                self._listed = tuple(self._list()) if self.snapshot else ()
        return self._listed

    def describe(self, files: Sequence[Listed]) -> Sequence[LakeFile]:
        """The same with their footers read; each is read once."""
        wanted = [file for file in files if file.key not in self._described]
        with _trouble(), ThreadPoolExecutor(AT_ONCE) as threads:
            for done, told in enumerate(threads.map(self._describe, wanted), 1):
                self._described[told.key] = told
                self._on_progress(done, len(wanted))
        return tuple(self._described[file.key] for file in files)

    def measures(self, dates: Sequence[str]) -> Mapping[str, Measure]:
        """Rows and offset sums of these dates, from the files themselves."""
        wanted = set(dates)
        out: dict[str, Measure] = {}
        for file in self.describe([one for one in self.files() if one.date in wanted]):
            before = out.get(file.date, Measure(rows=0, position_sum=0))
            out[file.date] = Measure(
                rows=before.rows + file.rows,
                position_sum=before.position_sum + file.position_sum,
            )
        return out

    def put(self, key: str, data: bytes) -> None:
        """Write a small object; one that is there under that name is left as it is."""
        with _trouble():
            output = self._table.io.new_output(f"{self._root}/{key}")
            if not output.exists():
                with output.create(overwrite=True) as file:
                    file.write(data)

    def _list(self) -> Iterator[Listed]:
        found = []
        for task in self._table.scan(snapshot_id=self.snapshot).plan_files():
            if task.delete_files:
                raise WrongError(
                    f"The table {self.dataset} has delete files, which another program made: have "
                    "it rewrite its files without them first."
                )
            day = task.file.partition[0]
            told = Listed(
                key=self._key(task.file.file_path),
                date=(_EPOCH + timedelta(days=int(day))).isoformat(),
                rows=task.file.record_count,
                size=task.file.file_size_in_bytes,
            )
            if told.date >= self._since:
                found.append(told)
        yield from sorted(found, key=lambda f: (f.date, f.key))

    def _key(self, address: str) -> str:
        if not address.startswith(f"{self._root}/"):
            raise WrongError(
                f"The table {self.dataset} has a file outside of LAKE_URL: set LAKE_URL to the "
                "address that its writer has."
            )
        return address.removeprefix(f"{self._root}/")

    def _describe(self, listed: Listed) -> LakeFile:
        with self._table.io.new_input(f"{self._root}/{listed.key}").open() as opened:
            file = pq.ParquetFile(opened)
            note = (file.metadata.metadata or {}).get(RANGE_KEY, b"").decode(errors="replace")
            spans = spans_of(note)
            if spans is None or file.metadata.num_rows != listed.rows:
                raise WrongError(
                    f"The file {listed.key} does not say which offsets it holds, or holds other "
                    "rows than the table says: run `fieldline lake verify`."
                )
            columns = tuple(self._columns(file.schema_arrow))
            position = position_column(self.dataset)
            own = next((c.name for c in columns if c.home == position), position)
            total = pc.sum(file.read(columns=[own]).column(0).cast(pa.decimal128(38, 0))).as_py()
        return LakeFile(
            key=listed.key,
            date=listed.date,
            rows=listed.rows,
            size=listed.size,
            spans=united(spans),
            columns=columns,
            position_sum=int(total or 0),
        )

    def _columns(self, schema: pa.Schema) -> Iterator[FileColumn]:
        names = {one.field_id: one.name for one in self._table.schema().fields}
        ids = {field.name: int(found) for field in schema if (found := _id_of(field)) is not None}
        mapping = self._table.name_mapping()
        if not ids and mapping is not None:
            ids = {name: one.field_id for one in mapping.root for name in one.names if one.field_id}
        for field in schema:
            yield FileColumn(field.name, field.type, names.get(ids.get(field.name, -1), ""))


def _id_of(field: pa.Field) -> bytes | None:
    return (field.metadata or {}).get(_ID)


@contextmanager
def _trouble() -> Iterator[Any]:
    try:
        yield
    except (*TROUBLE, pa.ArrowException) as error:
        raise TroubleError(
            f"The lake's catalogue or store does not answer ({type(error).__name__}): check "
            "LAKE_CATALOG and LAKE_URL, and try again."
        ) from error
