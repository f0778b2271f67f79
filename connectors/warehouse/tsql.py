"""Azure Synapse (dedicated SQL pool) and Microsoft Fabric: COPY INTO a staging table, then T-SQL.

Facts from Microsoft's documents ("COPY INTO", "Data types in Fabric Data Warehouse", "Tables in
Synapse: distribution, indexes, temporary tables", "OneLake shortcuts"):

- COPY INTO takes Parquet columns by their order, so the staging table has the files' own columns.
- Synapse has session's own tables (#name) and distribution keys; Fabric distributes by itself.
- Fabric's texts are varchar in UTF-8; Synapse's varchar is not, so there they are nvarchar.
- Synapse takes no INSERT with several VALUES, and no DDL inside a transaction.
- Neither keeps descriptions with columns: they stand in the statement as comments.
- An Iceberg table in Azure storage is seen by Fabric through a OneLake shortcut to its folder.

None of this was run against Azure: the statements are held by golden files.
"""

# ruff: noqa: S608 - names are our own constants or checked settings, texts go through literal()

from __future__ import annotations

import importlib
import json
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import pyarrow as pa

from connectors.warehouse.base import LakeFile, Present, TroubleError, Warehouse, WrongError
from connectors.warehouse.config import AzureSettings
from connectors.warehouse.dialects import (
    Dialect,
    described,
    homes,
    keys_of,
    literal,
    nested,
)
from pipeline.core.lake_columns import LAYOUTS, TIME, Column, Dataset
from pipeline.settings import SettingsError

_TYPES: Final = {
    pa.bool_(): "BIT",
    pa.int32(): "INT",
    pa.int64(): "BIGINT",
    pa.float32(): "REAL",
    pa.float64(): "FLOAT",
    pa.binary(): "VARBINARY(MAX)",
    pa.date32(): "DATE",
    pa.decimal128(38, 0): "DECIMAL(38, 0)",
    TIME: "DATETIME2(6)",
}
_WIDER: Final = {"int": "BIGINT", "real": "FLOAT"}
_LONG: Final = frozenset({"extra", "summary", "message", "detail", "spans"})
"""Texts that may pass 4,000 characters."""


class TSql(Dialect):
    """What both have in common."""

    tested: ClassVar = "not run anywhere: its statements are held by golden files"
    begin: ClassVar = "BEGIN TRANSACTION"
    commit: ClassVar = "COMMIT TRANSACTION"
    rollback: ClassVar = "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION"
    text: ClassVar[str]

    def __init__(self, settings: AzureSettings, lake_url: str) -> None:
        self._settings = settings
        self._lake_url = lake_url

    @property
    def schema(self) -> str:
        """As it is set."""
        return self._settings.schema_name

    def name(self, text: str) -> str:
        """In brackets."""
        return f"[{text}]"

    def table(self, name: str) -> str:
        """Schema and table."""
        return f"[{self._settings.schema_name}].[{name}]"

    def type(self, column: Column) -> str:
        """Lists and records are texts of JSON."""
        if nested(column.type):
            return f"{self.text}(MAX)"
        if column.type == pa.string():
            return f"{self.text}({'MAX' if column.name in _LONG else '4000'})"
        return _TYPES[column.type]

    def moment(self, text: str) -> str:
        """Without a zone: all times are UTC."""
        return f"CAST({literal(text)} AS DATETIME2(6))"

    def create_table(self, name: str, columns: Sequence[Column], dataset: Dataset | None) -> str:
        """Only where it is not there."""
        lines = "\n  ".join(
            f"{self.name(c.name)} {self.type(c)} {'NOT NULL' if c.required else 'NULL'}"
            f"{',' if place < len(columns) else ''} -- {described(c)}"
            for place, c in enumerate(columns, 1)
        )
        return (
            f"IF OBJECT_ID({literal(f'{self._settings.schema_name}.{name}')}) IS NULL\n"
            f"CREATE TABLE {self.table(name)} (\n  {lines}\n){self.placed(dataset, columns)}"
        )

    def placed(self, dataset: Dataset | None, columns: Sequence[Column]) -> str:
        """Distribution and index."""
        del dataset, columns
        return ""

    def rename(self, table: str, old: str, column: Column) -> str:
        """By the procedure."""
        place = literal(f"{self._settings.schema_name}.{table}.{old}")
        return f"EXEC sp_rename {place}, {literal(column.name)}, 'COLUMN'"

    def add(self, table: str, column: Column) -> tuple[str, ...]:
        """T-SQL says ADD alone; a column that is added must take NULL."""
        place = f"ALTER TABLE {self.table(table)} ADD"
        return (f"{place} {self.name(column.name)} {self.type(column)} NULL",)

    def widen(self, table: str, present: Present, column: Column) -> tuple[str, ...]:
        """A new column is filled and takes the name: Fabric changes no type in place."""
        if _WIDER.get(present.type.lower()) != self.type(column):
            return ()
        place, new = self.table(table), Column(name=f"{column.name}_w", type=column.type, doc="")
        return (
            *self.add(table, new),
            f"UPDATE {place} SET {self.name(new.name)} = {self.name(column.name)}",
            f"ALTER TABLE {place} DROP COLUMN {self.name(column.name)}",
            self.rename(table, new.name, column),
        )

    def first_turn(self, dataset: Dataset) -> str:
        """The dataset's row among the turns."""
        return (
            f"IF NOT EXISTS (SELECT 1 FROM {self.table('fieldline_load_turns')} "
            f"WHERE {self.of(dataset)}) "
            f"INSERT INTO {self.table('fieldline_load_turns')} "
            f"SELECT {literal(str(dataset))}, 0"
        )

    @abstractmethod
    def staging(self, number: int, token: str) -> str:
        """Name of a staging table."""

    def stage(
        self, dataset: Dataset, number: int, group: Sequence[LakeFile], token: str
    ) -> tuple[str, ...]:
        """A table with the files' own columns, filled by COPY INTO."""
        del dataset
        columns = [Column(name=c.name, type=c.type, doc="") for c in group[0].columns]
        lines = ", ".join(f"{self.name(c.name)} {self.type(c)}" for c in columns)
        stage = self.staging(number, token)
        files = ",\n  ".join(literal(f"{self._lake_url}/{file.key}") for file in group)
        return (
            f"CREATE TABLE {stage} ({lines}){self.heap}",
            f"COPY INTO {stage} FROM\n  {files}\nWITH (FILE_TYPE = 'PARQUET'{self.credential})",
            f"SELECT COUNT_BIG(*) FROM {stage}",
        )

    heap: ClassVar[str] = ""
    credential: ClassVar[str] = ""

    def unstage(self, number: int, token: str) -> tuple[str, ...]:
        """Dropped."""
        return (f"DROP TABLE {self.staging(number, token)}",)

    def bring(self, dataset: Dataset, number: int, group: Sequence[LakeFile], token: str) -> str:
        """From the staging table."""
        told = homes(group)
        into = ", ".join(self.name(column.home) for column in told)
        reads = ", ".join(self.name(column.name) for column in told)
        return (
            f"INSERT INTO {self.table(str(dataset))} ({into}) "
            f"SELECT {reads} FROM {self.staging(number, token)}"
        )


class Synapse(TSql):
    """A dedicated SQL pool."""

    warehouse: ClassVar = Warehouse.SYNAPSE
    text: ClassVar = "NVARCHAR"
    heap: ClassVar = " WITH (DISTRIBUTION = ROUND_ROBIN, HEAP)"
    credential: ClassVar = ", CREDENTIAL = (IDENTITY = 'Managed Identity')"

    def placed(self, dataset: Dataset | None, columns: Sequence[Column]) -> str:
        """Spread by device, columns in order of time: what a query names is then read alone."""
        if dataset is None:
            return "\nWITH (DISTRIBUTION = ROUND_ROBIN, HEAP)"
        spread = "device_id" if "device_id" in {c.name for c in columns} else ""
        how = f"HASH({self.name(spread)})" if spread else "ROUND_ROBIN"
        order = ", ".join(self.name(n) for n in (LAYOUTS[dataset].time,))
        return f"\nWITH (DISTRIBUTION = {how}, CLUSTERED COLUMNSTORE INDEX ORDER ({order}))"

    def forget_device(self, dataset: Dataset, device: str) -> str:
        """The text as nvarchar: a device's name may hold any letter."""
        table = self.table(str(dataset))
        return f"DELETE FROM {table} WHERE {self.name('device_id')} = N{literal(device)}"

    def staging(self, number: int, token: str) -> str:
        """The session's own."""
        return f"[#fieldline_stage_{token}_{number}]"

    def over_the_lake(self, dataset: Dataset, columns: Sequence[Column], metadata: str) -> str:
        """An external table over the hive folders; it reads Parquet, not Iceberg."""
        del metadata
        lines = ",\n  ".join(f"{self.name(c.name)} {self.type(c)}" for c in columns)
        return (
            f"CREATE EXTERNAL DATA SOURCE fieldline_lake WITH (LOCATION = "
            f"{literal(self._lake_url)});\n"
            "CREATE EXTERNAL FILE FORMAT fieldline_parquet WITH (FORMAT_TYPE = PARQUET);\n"
            f"CREATE EXTERNAL TABLE {self.table(f'{dataset}_lake')} (\n  {lines}\n) WITH (\n"
            f"  LOCATION = '/{dataset}/**', DATA_SOURCE = fieldline_lake, "
            "FILE_FORMAT = fieldline_parquet)"
        )


class Fabric(TSql):
    """A warehouse."""

    warehouse: ClassVar = Warehouse.FABRIC
    text: ClassVar = "VARCHAR"

    def type(self, column: Column) -> str:
        """A varchar's length is in bytes there."""
        told = super().type(column)
        return "VARCHAR(8000)" if told == "VARCHAR(4000)" else told

    def placed(self, dataset: Dataset | None, columns: Sequence[Column]) -> str:
        """Clustered by time and the first of the keys."""
        if dataset is None:
            return ""
        names = (LAYOUTS[dataset].time, *keys_of(dataset, columns)[:1])
        return f"\nWITH (CLUSTER BY ({', '.join(self.name(n) for n in names)}))"

    def staging(self, number: int, token: str) -> str:
        """A table like others: its name is told to nobody."""
        return self.table(f"fieldline_stage_{token}_{number}")

    def over_the_lake(self, dataset: Dataset, columns: Sequence[Column], metadata: str) -> str:
        """The body of OneLake's "Create Shortcut" request: the folder that has `metadata`."""
        del columns, metadata
        parts = urlsplit(self._lake_url)
        body = {
            "path": "Tables",
            "name": str(dataset),
            "target": {
                "adlsGen2": {
                    "location": f"https://{parts.netloc}",
                    "subpath": f"{parts.path}/{dataset}",
                    "connectionId": "CONNECTION-ID",
                }
            },
        }
        return json.dumps(body, indent=1)


class OdbcSession:
    """A connection by pyodbc, which is installed beside Microsoft's ODBC driver."""

    def __init__(self, connection: Any, error: type[Exception]) -> None:  # noqa: ANN401 - pyodbc's
        self._connection, self._error = connection, error

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """One statement."""
        try:
            cursor = self._connection.execute(sql)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []
        except self._error as error:
            state = str(error.args[0]) if error.args else ""
            kind = TroubleError if state[:2] in {"08", "40"} or state == "HYT00" else WrongError
            line = " ".join(str(error.args[-1] if error.args else "").split())[:300]
            raise kind(f"The warehouse refused a statement ({state}): {line}") from error

    def close(self) -> None:
        """An open transaction is rolled back."""
        self._connection.close()


def connect(settings: AzureSettings, prefix: str) -> OdbcSession:
    """A session; SettingsError where something is missing, TroubleError where it is away."""
    if not (settings.url and settings.database and settings.user and settings.password):
        raise SettingsError(
            f"Set {prefix}URL, {prefix}DATABASE, {prefix}USER and {prefix}PASSWORD, or take "
            "--print and run the statements yourself."
        )
    try:
        odbc = importlib.import_module("pyodbc")
    except ImportError as error:
        raise SettingsError(
            "Synapse and Fabric need ODBC: install pyodbc and Microsoft's ODBC Driver 18, or take "
            "--print and run the statements yourself."
        ) from error
    word = settings.password.get_secret_value()
    try:
        made = odbc.connect(
            "Driver={ODBC Driver 18 for SQL Server};"
            f"Server=tcp:{settings.url},1433;Database={settings.database};Encrypt=yes;"
            f"Authentication=ActiveDirectoryServicePrincipal;UID={settings.user};PWD={{{word}}}",
            autocommit=True,
            timeout=int(settings.timeout_s),
        )
    except odbc.Error as error:
        raise TroubleError(
            f"The warehouse does not let us in: check {prefix}URL, {prefix}USER and "
            f"{prefix}PASSWORD."
        ) from error
    return OdbcSession(made, odbc.Error)
