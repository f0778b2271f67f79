"""The lake as SQL: DuckDB over the Parquet on S3, for analysts and for checking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import s3fs

from connectors.lake.config import LakeConfig
from connectors.lake.mapping import Dataset
from pipeline.settings import Settings, SettingsError

Connection = Any
"""duckdb.DuckDBPyConnection; DuckDB is imported only when used, workers do not carry it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How much one dataset holds."""

    dataset: Dataset
    files: int
    rows: int


def connect(settings: Settings) -> Connection:
    """An in-memory DuckDB with the views `telemetry` and `events` over the lake.

    The views have the columns of pipeline.core.lake_rows and `date`, the folder a row is in
    (use it in WHERE: other dates' files are then not read). SettingsError, one sentence,
    where DuckDB is missing. Store trouble shows as OSError, DuckDB's own or s3fs's.
    """
    try:
        import duckdb  # noqa: PLC0415 - in the sandboxes extra, not in a worker's image
    except ImportError as error:
        raise SettingsError(
            "Reading the lake needs DuckDB: install it with pip install 'fieldline[sandboxes]'."
        ) from error
    config = LakeConfig.from_settings(settings)
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    connection.register_filesystem(s3fs.S3FileSystem(**config.s3fs_arguments()))
    connection.execute("SET VARIABLE lake = ?", [f"s3://{config.bucket}"])
    refresh(connection)
    return connection


def refresh(connection: Connection) -> None:
    """Make the views again: a dataset that was empty at `connect` may have files by now.

    New files of a dataset that had some are seen without this.
    """
    for dataset in Dataset:
        if _files(connection, dataset):
            select = (
                f"SELECT * FROM read_parquet({_pattern(dataset)}, hive_partitioning = true, "  # noqa: S608 - constants of our own
                "hive_types = {'date': DATE})"
            )
        else:
            # A glob without files is an error in DuckDB, not an empty table.
            empty = pa.field("date", pa.date32())
            connection.register(f"no_{dataset}", dataset.schema.append(empty).empty_table())
            select = f"SELECT * FROM no_{dataset}"  # noqa: S608 - constants of our own
        connection.execute(f"CREATE OR REPLACE VIEW {dataset} AS {select}")


def summary(connection: Connection) -> tuple[Summary, ...]:
    """Files and rows of each dataset, from the files' footers alone."""
    return tuple(
        Summary(dataset=dataset, files=_files(connection, dataset), rows=_rows(connection, dataset))
        for dataset in Dataset
    )


def _pattern(dataset: Dataset) -> str:
    """SQL for the dataset's files; claims lie elsewhere."""
    return f"getvariable('lake') || '/{dataset}/date=*/*.parquet'"


def _files(connection: Connection, dataset: Dataset) -> int:
    return _number(connection, f"SELECT count(*) FROM glob({_pattern(dataset)})")  # noqa: S608 - constants of our own


def _rows(connection: Connection, dataset: Dataset) -> int:
    if not _files(connection, dataset):
        return 0
    return _number(
        connection,
        f"SELECT sum(num_rows) FROM parquet_file_metadata({_pattern(dataset)})",  # noqa: S608 - constants of our own
    )


def _number(connection: Connection, query: str) -> int:
    # fetchall, for DuckDB 2 refuses further work until every row of a result was fetched.
    [(number,)] = connection.execute(query).fetchall()
    return int(number)
