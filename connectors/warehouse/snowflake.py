"""Snowflake: COPY INTO from an external stage, or an Iceberg table over the lake's own files.

Facts from Snowflake's documents ("COPY INTO <table>", "Transactions", "CREATE ICEBERG TABLE",
"Clustering Keys"):

- COPY is part of an explicit transaction; DDL ends one. UPDATE holds its table until the
  transaction's end.
- COPY remembers for 64 days what it loaded, and skips it: FORCE leaves that to our ledger, as a
  date that is loaded anew brings files which it remembers.
- FILES takes 1,000 names. A SELECT from a stage names Parquet columns by $1:name, case told apart.
- Names without quotes are in capitals; a clustering key goes from few values to many.
"""

# ruff: noqa: S608 - names are our own constants or checked settings, texts go through literal()

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import pyarrow as pa

from connectors.warehouse.base import LakeFile, Present, TroubleError, Warehouse, WrongError
from connectors.warehouse.config import SnowflakeSettings
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
    pa.bool_(): "BOOLEAN",
    pa.int32(): "NUMBER(10, 0)",
    pa.int64(): "NUMBER(19, 0)",
    pa.float32(): "FLOAT",
    pa.float64(): "FLOAT",
    pa.string(): "VARCHAR",
    pa.binary(): "BINARY",
    pa.date32(): "DATE",
    pa.decimal128(38, 0): "NUMBER(38, 0)",
    TIME: "TIMESTAMP_TZ(6)",
}
_FILES_MAX: Final = 1000


class Snowflake(Dialect):
    """Its SQL."""

    warehouse: ClassVar = Warehouse.SNOWFLAKE
    tested: ClassVar = "with fakesnow (its connector over DuckDB), not against Snowflake"
    most: ClassVar = _FILES_MAX

    def __init__(self, settings: SnowflakeSettings, lake_url: str) -> None:
        self._settings = settings
        self._lake_url = lake_url

    @property
    def schema(self) -> str:
        """As it is set."""
        return self._settings.schema_name

    def name(self, text: str) -> str:
        """Quoted in capitals: the same as without quotes, and safe."""
        return f'"{text.upper()}"'

    def table(self, name: str) -> str:
        """Database, schema and table."""
        return f"{self._settings.database}.{self._settings.schema_name}.{name.upper()}"

    def type(self, column: Column) -> str:
        """Lists and records are VARIANT."""
        return "VARIANT" if nested(column.type) else _TYPES[column.type]

    def moment(self, text: str) -> str:
        """With its offset, so that no session's time zone matters."""
        return f"CAST({literal(text + ' +0000')} AS TIMESTAMP_TZ(6))"

    def create(self, dataset: Dataset, columns: Sequence[Column]) -> tuple[str, ...]:
        """The stage too, where a storage integration is named."""
        return (*self.create_stage(), *super().create(dataset, columns))

    def create_stage(self) -> tuple[str, ...]:
        """The stage over the lake's root."""
        if not self._settings.integration:
            return ()
        return (
            (
                f"CREATE STAGE IF NOT EXISTS {self._stage} URL = {literal(self._lake_url + '/')} "
                f"STORAGE_INTEGRATION = {self._settings.integration}"
            ),
        )

    def create_table(self, name: str, columns: Sequence[Column], dataset: Dataset | None) -> str:
        """Clustered by date, then by the first of the keys."""
        lines = ",\n  ".join(
            f"{self.name(c.name)} {self.type(c)}{' NOT NULL' if c.required else ''} "
            f"COMMENT {literal(described(c))}"
            for c in columns
        )
        end = ""
        if dataset is not None:
            keys = (
                f"TO_DATE({self.name(LAYOUTS[dataset].time)})",
                *(self.name(key) for key in keys_of(dataset, columns)[:1]),
            )
            end = f"\nCLUSTER BY ({', '.join(keys)})"
        return f"CREATE TABLE IF NOT EXISTS {self.table(name)} (\n  {lines}\n){end}"

    def add(self, table: str, column: Column) -> tuple[str, ...]:
        """With its description in the same statement."""
        (first, *_) = super().add(table, column)
        return (f"{first} COMMENT {literal(described(column))}",)

    def widen(self, table: str, present: Present, column: Column) -> tuple[str, ...]:
        """Precision may rise in place; FLOAT is 64 bits in any case."""
        narrow = column.type == pa.int64() and present.precision == 10  # noqa: PLR2004 - NUMBER(10)
        if not narrow:
            return ()
        return (
            (
                f"ALTER TABLE {self.table(table)} ALTER COLUMN {self.name(column.name)} "
                f"SET DATA TYPE {self.type(column)}"
            ),
        )

    @property
    def _stage(self) -> str:
        return f"{self._settings.database}.{self._settings.schema_name}.{self._settings.stage}"

    def bring(self, dataset: Dataset, number: int, group: Sequence[LakeFile], token: str) -> str:
        """COPY with each column named, so that renamed and widened ones find their place."""
        del number, token
        told = homes(group)
        into = ", ".join(self.name(column.home) for column in told)
        reads = ", ".join(
            f"$1:{_path(column.name)}::{self.type(Column(name='', type=column.type, doc=''))}"
            for column in told
        )
        files = ", ".join(literal(file.key.removeprefix(f"{dataset}/")) for file in group)
        return (
            f"COPY INTO {self.table(str(dataset))} ({into})\n"
            f"FROM (SELECT {reads} FROM @{self._stage}/{dataset}/)\n"
            f"FILES = ({files})\n"
            "FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE BINARY_AS_TEXT = FALSE)\n"
            "FORCE = TRUE ON_ERROR = ABORT_STATEMENT"
        )

    def counted(self, answer: Sequence[Sequence[Any]]) -> int | None:
        """COPY's answer has a row for each file; its fourth column is rows loaded."""
        return sum(int(row[3]) for row in answer)

    def over_the_lake(self, dataset: Dataset, columns: Sequence[Column], metadata: str) -> str:
        """An externally managed Iceberg table, and how it follows."""
        del columns
        table = f"{self.table(str(dataset))}_ICEBERG"
        return (
            f"CREATE ICEBERG TABLE IF NOT EXISTS {table}\n"
            f"  EXTERNAL_VOLUME = '{self._settings.volume}' CATALOG = '{self._settings.catalog}'\n"
            f"  METADATA_FILE_PATH = {literal(metadata)};\n"
            f"ALTER ICEBERG TABLE {table} REFRESH {literal(metadata)}"
        )


def _path(name: str) -> str:
    return f'"{name}"'


class SnowflakeSession:
    """A connection of Snowflake's own connector."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - the connector's
        from snowflake.connector.errors import (  # noqa: PLC0415 - an extra, two seconds to import
            Error,
            OperationalError,
        )

        self._error, self._away = Error, OperationalError
        self._connection = connection

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """One statement."""
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql)
                return [tuple(row) for row in cursor.fetchall()]
        except self._away as error:
            raise TroubleError(_told(error)) from error
        except self._error as error:
            raise WrongError(_told(error)) from error

    def close(self) -> None:
        """An open transaction is rolled back."""
        self._connection.close()


def _told(error: Any) -> str:  # noqa: ANN401 - the connector's
    line = " ".join(str(getattr(error, "msg", "") or type(error).__name__).split())
    return f"Snowflake refused a statement ({getattr(error, 'errno', '')}): {line[:300]}"


def connect(settings: SnowflakeSettings) -> SnowflakeSession:
    """A session; SettingsError where something is missing, TroubleError where it is away."""
    try:
        import snowflake.connector as library  # noqa: PLC0415 - an extra, two seconds to import
    except ImportError as error:
        raise SettingsError(
            "Snowflake needs its connector: install it with pip install 'fieldline[warehouse]'."
        ) from error
    if not (settings.account and settings.user):
        raise SettingsError("Set SNOWFLAKE_ACCOUNT and SNOWFLAKE_USER: who loads, and where.")
    given: dict[str, Any] = {
        "account": settings.account,
        "user": settings.user,
        "role": settings.role or None,
        "warehouse": settings.warehouse or None,
        "database": settings.database,
        "schema": settings.schema_name,
        "application": "fieldline",
        "session_parameters": {"TIMEZONE": "UTC"},
        "login_timeout": int(settings.timeout_s),
        "password": settings.password.get_secret_value() if settings.password else None,
    }
    if settings.private_key_file is not None:
        given["private_key_file"] = str(settings.private_key_file)
        word = settings.private_key_password
        given["private_key_file_pwd"] = word.get_secret_value() if word else None
    try:
        return SnowflakeSession(
            library.connect(**{name: value for name, value in given.items() if value is not None})
        )
    except library.errors.Error as error:
        raise TroubleError(
            f"Snowflake does not let us in ({getattr(error, 'errno', '')}): check "
            "SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER and its password or key."
        ) from error
