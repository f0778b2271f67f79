"""BigQuery's SQL, its tables' resources and its jobs' configurations: pure."""

# ruff: noqa: S608 - names are our own constants or checked settings, texts go through literal()

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import pyarrow as pa

from connectors.warehouse.base import LakeFile, Warehouse, Way
from connectors.warehouse.config import BigQuerySettings
from connectors.warehouse.dialects import (
    LEDGER,
    LEDGER_COLUMNS,
    Dialect,
    described,
    groups,
    homes,
    keys_of,
    literal,
)
from pipeline.core.lake_columns import LAYOUTS, TEXT, TIME, Column, Dataset

_TYPES: Final = {
    pa.bool_(): ("BOOLEAN", "BOOL"),
    pa.int32(): ("INTEGER", "INT64"),
    pa.int64(): ("INTEGER", "INT64"),
    pa.float32(): ("FLOAT", "FLOAT64"),
    pa.float64(): ("FLOAT", "FLOAT64"),
    pa.string(): ("STRING", "STRING"),
    pa.binary(): ("BYTES", "BYTES"),
    pa.date32(): ("DATE", "DATE"),
    pa.decimal128(38, 0): ("NUMERIC", "NUMERIC"),
    TIME: ("TIMESTAMP", "TIMESTAMP"),
}
_PARQUET: Final = {"enableListInference": True, "enumAsString": True}
CHAIN: Final = (
    Column(name="chain", type=TEXT, doc="Creation time of the table, ms."),
    Column(name="turn", type=pa.int64(), doc="Number of the load."),
    Column(name="writer", type=TEXT, doc="Whose files these are."),
    Column(name="way", type=TEXT, doc="append, anew or note."),
    Column(name="state", type=TEXT, doc="asked, loaded or failed."),
)


def field_of(name: str, kind: pa.DataType, description: str = "") -> dict[str, Any]:
    """A column as a table's schema has it. All may be null: so a file's column may be optional."""
    told: dict[str, Any] = {"name": name, "mode": "NULLABLE"}
    if pa.types.is_list(kind):
        told["mode"], kind = "REPEATED", kind.value_type
    if pa.types.is_struct(kind):
        told |= {"type": "RECORD", "fields": [field_of(f.name, f.type) for f in kind]}
    else:
        told["type"] = _TYPES[kind][0]
    return told | ({"description": description} if description else {})


class BigQuerySql(Dialect):
    """Its SQL and its resources."""

    warehouse: ClassVar = Warehouse.BIGQUERY
    tested: ClassVar = "over a sandbox of its REST API, written here; not against BigQuery"

    def __init__(self, settings: BigQuerySettings, lake_url: str) -> None:
        self._settings = settings
        self._lake_url = lake_url

    @property
    def schema(self) -> str:
        """The dataset there."""
        return self._settings.dataset

    def name(self, text: str) -> str:
        """In backticks."""
        return f"`{text}`"

    def table(self, name: str) -> str:
        """Project, dataset and table."""
        return f"`{self._settings.project}.{self._settings.dataset}.{name}`"

    def type(self, column: Column) -> str:
        """As in SQL."""
        return _sql_type(column.type)

    def moment(self, text: str) -> str:
        """With its zone."""
        return f"TIMESTAMP {literal(text + '+00')}"

    def create_table(self, name: str, columns: Sequence[Column], dataset: Dataset | None) -> str:
        """The DDL of what `resource` makes: for --print."""
        lines = ",\n  ".join(
            f"{self.name(c.name)} {self.type(c)} OPTIONS (description = {json.dumps(described(c))})"
            for c in columns
        )
        end = ""
        if dataset is not None:
            time = LAYOUTS[dataset].time
            keys = ", ".join(self.name(key) for key in keys_of(dataset, columns)[:4])
            end = f"\nPARTITION BY TIMESTAMP_TRUNC({self.name(time)}, DAY)\nCLUSTER BY {keys}"
        return f"CREATE TABLE IF NOT EXISTS {self.table(name)} (\n  {lines}\n){end}"

    def create(self, dataset: Dataset, columns: Sequence[Column]) -> tuple[str, ...]:
        """The table and the ledger: there are no turns of their own."""
        return (
            self.create_table(str(dataset), columns, dataset),
            self.create_table(LEDGER, (*LEDGER_COLUMNS, *CHAIN), None),
        )

    def resource(
        self, name: str, columns: Sequence[Column], dataset: Dataset | None
    ) -> dict[str, Any]:
        """A table as the API makes it: partitioned by event day, clustered by the keys."""
        told: dict[str, Any] = {
            "tableReference": {
                "projectId": self._settings.project,
                "datasetId": self._settings.dataset,
                "tableId": name,
            },
            "schema": {"fields": [field_of(c.name, c.type, described(c)) for c in columns]},
        }
        if dataset is not None:
            told["timePartitioning"] = {"type": "DAY", "field": LAYOUTS[dataset].time}
            told["clustering"] = {"fields": list(keys_of(dataset, columns)[:4])}
        return told

    def job(self, dataset: Dataset, way: Way, files: Sequence[LakeFile], writer: str) -> Any:  # noqa: ANN401 - JSON
        """Configuration of the job that brings these files: a load, or a query over them."""
        label = {"labels": {"fieldline_writer": writer}}
        if way is Way.NOTE:
            return label | {"query": {"query": "SELECT 1", "useLegacySql": False}}
        day = f"${files[0].date.replace('-', '')}" if way is Way.ANEW else ""
        place = {
            "destinationTable": {
                "projectId": self._settings.project,
                "datasetId": self._settings.dataset,
                "tableId": f"{dataset}{day}",
            },
            "createDisposition": "CREATE_NEVER",
            "writeDisposition": "WRITE_TRUNCATE" if way is Way.ANEW else "WRITE_APPEND",
        }
        sorts = groups(files)
        if all(c.name == c.home for group in sorts for c in group[0].columns):
            return label | {
                "load": place
                | {
                    "sourceUris": self._addresses(files),
                    "sourceFormat": "PARQUET",
                    "parquetOptions": _PARQUET,
                }
            }
        return label | {"query": place | self._read(sorts)}

    def bring(self, dataset: Dataset, number: int, group: Sequence[LakeFile], token: str) -> str:
        """The job as text: for --print."""
        del number
        return json.dumps(self.job(dataset, Way.APPEND, group, token), indent=1)

    def over_the_lake(self, dataset: Dataset, columns: Sequence[Column], metadata: str) -> str:
        """An external table over the Iceberg metadata."""
        del columns
        return (
            f"CREATE OR REPLACE EXTERNAL TABLE {self.table(f'{dataset}_lake')}\n"
            f"OPTIONS (format = 'ICEBERG', uris = ['{self._lake_url}/{metadata}'])"
        )

    def _addresses(self, files: Sequence[LakeFile]) -> list[str]:
        return [f"{self._lake_url}/{file.key}" for file in files]

    def _read(self, sorts: Sequence[Sequence[LakeFile]]) -> dict[str, Any]:
        """A query over files whose columns have other names than the table's."""
        every = tuple(dict.fromkeys(c.home for group in sorts for c in homes(group)))
        types = {c.home: c.type for group in sorts for c in homes(group)}
        selects, tables = [], {}
        for number, group in enumerate(sorts):
            of_home = {c.home: c.name for c in homes(group)}
            reads = ", ".join(
                f"{self.name(of_home[home])} AS {self.name(home)}"
                if home in of_home
                else f"CAST(NULL AS {_sql_type(types[home])}) AS {self.name(home)}"
                for home in every
            )
            selects.append(f"SELECT {reads} FROM lake_{number}")
            tables[f"lake_{number}"] = {
                "sourceFormat": "PARQUET",
                "sourceUris": self._addresses(group),
                "parquetOptions": _PARQUET,
                "autodetect": True,
            }
        return {
            "query": " UNION ALL ".join(selects),
            "useLegacySql": False,
            "tableDefinitions": tables,
        }


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"ARRAY<{_sql_type(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"STRUCT<{', '.join(f'`{f.name}` {_sql_type(f.type)}' for f in kind)}>"
    return str(_TYPES[kind][1])
