"""Which files of the lake are live, and what columns they have, as of now: for readers.

Where the lake has a catalogue that is what the table's current snapshot names: ranges appear whole
and a compaction in one step. Without one it is what lies in the folders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pyiceberg.catalog import Catalog
from pyiceberg.conversions import from_bytes
from pyiceberg.table import FileScanTask, Table
from pyiceberg.types import TimestamptzType

from connectors.lake.catalog import NAMESPACE, TROUBLE, NoSuchTableError, open_catalog
from connectors.lake.config import LakeConfig
from connectors.lake.iceberg_schema import shape_of
from connectors.lake.readonly import store_files
from pipeline.core.lake_columns import LAYOUTS, Dataset
from pipeline.core.lake_records import Shape
from pipeline.settings import SettingsError

_DATE: Final = re.compile(r"/date=([^/]+)/")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFile:
    """One Parquet file: `path` below the lake's root, `size` in bytes.

    `rows` and the first and last event time in it (microseconds since the Unix epoch) are None
    where nothing but the file itself tells.
    """

    path: str
    date: str
    size: int
    rows: int | None = None
    first_us: int | None = None
    last_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AsOf:
    """A dataset as of one instant. `shape` is its table's, None where it has no table.

    `version` is equal where a table has not changed; None without a table.
    """

    files: tuple[LiveFile, ...] = ()
    shape: Shape | None = None
    version: str | None = None


class Looker:
    """Asks catalogue or store; keeps what a table has told until the table changes.

    What it raises is one sentence in a SettingsError.
    """

    def __init__(self, config: LakeConfig) -> None:
        self._config = config
        self._catalog: Catalog | None = None
        self._known: dict[Dataset, AsOf] = {}
        self.files, self.root = store_files(config)

    def now(self, dataset: Dataset) -> AsOf:
        """The dataset's live files, in the order of their paths."""
        try:
            if self._config.catalog is None:
                return AsOf(files=self._listed(dataset))
            return self._planned(dataset)
        except TROUBLE as error:
            self._catalog = None
            parts = "LAKE_URL" if self._config.catalog is None else "LAKE_CATALOG and LAKE_URL"
            raise SettingsError(
                f"The lake at {self._config.url} does not answer ({type(error).__name__}): check "
                f"{parts}, and the store's address and keys."
            ) from error

    def _planned(self, dataset: Dataset) -> AsOf:
        if self._catalog is None:
            self._catalog = open_catalog(self._config)
        try:
            table = self._catalog.load_table((NAMESPACE, str(dataset)))
        except NoSuchTableError:
            # No writer has opened it yet: what there is was written before there was a catalogue.
            return AsOf(files=self._listed(dataset))
        known = self._known.get(dataset)
        if known is not None and known.version == table.metadata_location:
            return known
        found = [self._live(dataset, table, task) for task in table.scan().plan_files()]
        self._known[dataset] = AsOf(
            files=tuple(sorted(found, key=lambda file: file.path)),
            shape=shape_of(table),
            version=table.metadata_location,
        )
        return self._known[dataset]

    def _live(self, dataset: Dataset, table: Table, task: FileScanTask) -> LiveFile:
        if task.delete_files:
            raise SettingsError(
                f"Table {dataset} has delete files of another engine, which this reader does not "
                "apply: rewrite its data files with that engine, or query it there."
            )
        file = task.file
        prefix = f"{self._config.url}/"
        if not file.file_path.startswith(prefix):
            raise SettingsError(
                f"Table {dataset} has the file {file.file_path}, which is not below LAKE_URL "
                f"({self._config.url}): set LAKE_URL to where the table's files are."
            )
        path = file.file_path.removeprefix(prefix)
        time = table.schema().find_field(LAYOUTS[dataset].time).field_id
        return LiveFile(
            path=path,
            date=_date(path),
            size=file.file_size_in_bytes,
            rows=file.record_count,
            first_us=_time_us(file.lower_bounds, time),
            last_us=_time_us(file.upper_bounds, time),
        )

    def _listed(self, dataset: Dataset) -> tuple[LiveFile, ...]:
        pattern = f"{self.root}/{dataset}/date=*/*.parquet"
        found: Mapping[str, Any] = self.files.glob(pattern, detail=True)
        start = f"{dataset}/date="
        sizes = {path[path.rindex(start) :]: int(entry["size"]) for path, entry in found.items()}
        return tuple(
            LiveFile(path=path, date=_date(path), size=size) for path, size in sorted(sizes.items())
        )


def _date(path: str) -> str:
    found = _DATE.search(path)
    return found[1] if found else ""


def _time_us(bounds: Mapping[int, bytes] | None, field: int) -> int | None:
    told = (bounds or {}).get(field)
    return None if told is None else int(from_bytes(TimestamptzType(), told))
