"""The lake as SQL: DuckDB over the Parquet files, for analysts and for checking.

`connect` is the one way for programs: a DuckDB connection with the views, as of then. `Lake` is for
those who ask again and again (fieldline lake sql, shell): it looks at the lake anew before each
statement, and can be sealed, so that a statement reads nothing but the lake.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

from connectors.lake import narrow
from connectors.lake.as_of import AsOf, LiveFile, Looker
from connectors.lake.config import LakeConfig
from connectors.lake.readonly import ROOT, SCHEME, LakeFiles
from connectors.lake.views import (
    DATE,
    DOCS,
    HANDY,
    columns_seen,
    comments,
    empty_view,
    files_variable,
    folder_view,
    name,
    old_names,
    table_view,
)
from pipeline.core.lake_columns import Column, Dataset
from pipeline.settings import Settings, SettingsError
from pipeline.wire.lake import columns_of

Connection = Any
"""duckdb.DuckDBPyConnection; DuckDB is imported only when used, workers do not carry it."""

_FREE: Final = ["TimeZone", "default_order", "default_null_order", "disabled_optimizers"]
"""Settings that a sealed connection still lets be changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a query may use; None = DuckDB's own choice (80 % of memory, all cores).

    Beyond `memory_mb` sorts and joins go to a private folder on the disk, which is removed.
    """

    memory_mb: int | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How much one dataset holds."""

    dataset: Dataset
    files: int
    rows: int


def _today() -> date:
    return datetime.now(tz=UTC).date()


class Lake:
    """A DuckDB connection with the lake's views, and the lake as it was last looked at.

    Sealed: statements read no file but the lake's, write none, reach no network and cannot
    undo that. SettingsError, one sentence, where DuckDB is missing or the lake does not answer.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        limits: Limits = Limits(),
        sealed: bool = False,
        today: Callable[[], date] = _today,
    ) -> None:
        self._look = Looker(LakeConfig.from_settings(settings))
        self._today = today
        self._made: dict[str, str] = {}
        self._standing: dict[Dataset, AsOf] = {}
        self.files = LakeFiles(self._look.files, self._look.root)
        self.connection, self._refused = _duckdb(limits, self.files)
        if sealed:
            _seal(self.connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self.connection.close()

    def refresh(self, datasets: Iterable[Dataset] = Dataset) -> None:
        """Look at these datasets anew: statements after this see them as of now."""
        for dataset in datasets:
            standing = self._look.now(dataset)
            self._standing[dataset] = standing
            self.files.known |= {file.path: file.size for file in standing.files}
            self._give(dataset, standing.files)
            days = [day for file in standing.files if (day := _day(file.date)) is not None]
            # A device whose clock is years ahead has files of that day: they are not the newest.
            past = [day for day in days if day <= self._today() + timedelta(days=1)]
            last = max(past or days, default=None)
            self.connection.execute(f"SET VARIABLE {dataset}_last_date = ?::DATE", [last])
            self._view(dataset, standing)
        for handy in HANDY:
            if all(dataset in self._standing for dataset in handy.of):
                self._make(handy.name, handy.query, handy.doc)

    def narrow(self, query: str) -> int:
        """Leave out files that a SELECT cannot need by its conditions on event time.

        For datasets that have a table; until the next `refresh`. How many were left out.
        """
        tables = [d for d, standing in self._standing.items() if standing.shape and standing.files]
        if not tables:
            return 0
        try:
            spans = narrow.needed(self._plan(query))
        except self._refused:
            # Running it will say what is wrong with it.
            return 0
        left_out = 0
        for dataset in tables:
            if dataset in spans:
                files = self._standing[dataset].files
                # A scan must have a file; which one, its conditions make no matter.
                kept = narrow.kept(files, spans[dataset]) or files[:1]
                self._give(dataset, kept)
                left_out += len(files) - len(kept)
        return left_out

    def live(self, dataset: Dataset) -> tuple[LiveFile, ...]:
        """The dataset's files as of the last `refresh`."""
        return self._standing[dataset].files

    def _plan(self, query: str) -> str:
        # Late materialization reads a table twice, the second time without its conditions.
        self.connection.execute("SET disabled_optimizers = 'late_materialization'")
        try:
            rows = self.connection.execute(f"EXPLAIN (FORMAT json) {query}").fetchall()
        finally:
            self.connection.execute("RESET disabled_optimizers")
        return str(rows[0][1])

    def _give(self, dataset: Dataset, files: Collection[LiveFile]) -> None:
        paths = [f"{ROOT}/{file.path}" for file in files]
        self.connection.execute(f"SET VARIABLE {files_variable(dataset)} = ?::VARCHAR[]", [paths])

    def _view(self, dataset: Dataset, standing: AsOf) -> None:
        known = columns_of(dataset)
        seen = columns_seen(standing.shape, known)
        olds = [old for old, _ in old_names(standing.shape, known)]
        if not standing.files:
            query = empty_view((*seen, *olds))
        elif standing.shape is None:
            query = folder_view(dataset, known)
        else:
            query = table_view(dataset, standing.shape, known)
        if self._make(str(dataset), query, DOCS[dataset], (*seen, *olds, DATE)):
            for handy in HANDY:
                if dataset in handy.of:
                    # It remembers the types of the columns it was made over.
                    self._made.pop(handy.name, None)

    def _make(self, view: str, query: str, doc: str, columns: Iterable[Column] = ()) -> bool:
        if self._made.get(view) == query:
            return False
        self.connection.execute(f"CREATE OR REPLACE VIEW {name(view)} AS {query}")
        self.connection.execute(comments(view, doc, columns))
        self._made[view] = query
        return True


def connect(settings: Settings) -> Connection:
    """A DuckDB with a view over each dataset of the lake, and the handy ones (views.HANDY).

    The views have the columns of the tables (pipeline.wire.lake.columns_of at least) and `date`,
    the folder a row is in: use it in WHERE, other dates' files are then not opened. They show
    the lake as of now; connect again to see more. Variable DATASET_files is the list of a
    dataset's files, for read_parquet. SettingsError, one sentence, where DuckDB is missing or
    the lake does not answer.
    """
    lake = Lake(settings)
    lake.refresh()
    return lake.connection


def summary(connection: Connection) -> tuple[Summary, ...]:
    """Files and rows of each dataset, from the files' footers alone."""
    return tuple(_summary(connection, dataset) for dataset in Dataset)


def _summary(connection: Connection, dataset: Dataset) -> Summary:
    variable = f"getvariable('{files_variable(dataset)}')"
    [(files,)] = connection.execute(f"SELECT len({variable})").fetchall()
    rows = 0
    if files:
        told = f"SELECT sum(num_rows) FROM parquet_file_metadata({variable})"  # noqa: S608 - ours
        # fetchall, for DuckDB 2 refuses further work until every row of a result was fetched.
        [(rows,)] = connection.execute(told).fetchall()
    return Summary(dataset=dataset, files=int(files), rows=int(rows))


def _duckdb(limits: Limits, files: LakeFiles) -> tuple[Connection, type[Exception]]:
    """A connection, and what it raises."""
    try:
        import duckdb  # noqa: PLC0415 - in the warehouse extra, not in a worker's image
    except ImportError as error:
        raise SettingsError(
            "Reading the lake needs DuckDB: install it with pip install 'fieldline[warehouse]'."
        ) from error
    # DuckDB makes the folder when it needs it, and removes it when it ends.
    spill = Path(tempfile.gettempdir()) / f"fieldline-lake-{os.getpid()}-{secrets.token_hex(8)}"
    config: dict[str, Any] = {"temp_directory": str(spill)}
    if limits.memory_mb is not None:
        config["memory_limit"] = f"{limits.memory_mb}MB"
    if limits.threads is not None:
        config["threads"] = limits.threads
    connection = duckdb.connect(":memory:", config=config)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET validate_external_file_cache = 'NO_VALIDATION'")
    connection.execute("SET parquet_metadata_cache = true")
    # Progress is told to who asks for it, never printed.
    connection.execute("SET enable_progress_bar = true")
    connection.execute("SET enable_progress_bar_print = false")
    connection.register_filesystem(files)
    connection.execute("SET VARIABLE lake = ?", [ROOT])
    return connection, duckdb.Error


def _seal(connection: Connection) -> None:
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET autoload_known_extensions = false")
    connection.execute("SET allow_persistent_secrets = false")
    connection.execute(f"SET allowed_directories = ['{SCHEME}://']")
    connection.execute("SET enable_external_access = false")
    connection.execute(f"SET allowed_configs = {_FREE}")
    connection.execute("SET lock_configuration = true")


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
