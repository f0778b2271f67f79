"""Redshift: COPY by a manifest into a table of the session's own, then one transaction.

Facts from Amazon's documents ("COPY from columnar data formats", "Using a manifest to specify
data files", "LOCK", "ALTER TABLE", "Data types"):

- COPY of Parquet takes columns by their order, each of the very same type, and as many as the file
  has: so the staging table has the columns of the files, and INSERT … SELECT finds their homes.
- A manifest's entry needs the file's size (`meta.content_length`) for Parquet.
- Nested columns go into SUPER with SERIALIZETOJSON. Parquet's times go into TIMESTAMP: here UTC.
- A text takes 65,535 bytes at most; the statement fails on a longer one.
- LOCK as the transaction's first statement makes others wait, where an UPDATE would fail one.
- A column's type cannot be widened in place: a new one is filled, and takes its name.
"""

# ruff: noqa: S608 - names are our own constants or checked settings, texts go through literal()

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import asyncpg
import pyarrow as pa

from connectors.warehouse.base import LakeFile, Present, TroubleError, Warehouse, WrongError
from connectors.warehouse.config import RedshiftSettings
from connectors.warehouse.dialects import (
    TURNS,
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
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "REAL",
    pa.float64(): "DOUBLE PRECISION",
    pa.string(): "VARCHAR(65535)",
    pa.binary(): "VARBYTE(1024000)",
    pa.date32(): "DATE",
    pa.decimal128(38, 0): "NUMERIC(38, 0)",
    TIME: "TIMESTAMP",
}
_WIDER: Final = {"integer": "BIGINT", "real": "DOUBLE PRECISION"}
_AWAY: Final = ("08", "40", "53", "55", "57", "58")
"""SQLSTATE classes that pass by themselves."""


def manifest(files: Sequence[LakeFile], lake_url: str) -> bytes:
    """The manifest of a COPY: every file must be there."""
    entries = [
        {
            "url": f"{lake_url}/{file.key}",
            "mandatory": True,
            "meta": {"content_length": file.size},
        }
        for file in files
    ]
    return json.dumps({"entries": entries}, indent=1).encode()


def manifest_key(dataset: Dataset, data: bytes) -> str:
    """Its name below the lake's root: the same files have the same."""
    return f"{dataset}/_loads/{hashlib.sha256(data).hexdigest()[:32]}.manifest"


class Redshift(Dialect):
    """Its SQL."""

    warehouse: ClassVar = Warehouse.REDSHIFT
    tested: ClassVar = "its SQL on PostgreSQL (COPY by a stand-in), not against Redshift"

    def __init__(
        self, settings: RedshiftSettings, lake_url: str, put: Callable[[str, bytes], None]
    ) -> None:
        """`put` writes a manifest below the lake's root."""
        self._settings = settings
        self._lake_url = lake_url
        self._put = put

    @property
    def schema(self) -> str:
        """As it is set."""
        return self._settings.schema_name

    def name(self, text: str) -> str:
        """Quoted, in small letters as Redshift keeps names."""
        return f'"{text.lower()}"'

    def table(self, name: str) -> str:
        """Schema and table."""
        return f"{self._settings.schema_name}.{name}"

    def type(self, column: Column) -> str:
        """Lists and records are SUPER."""
        return "SUPER" if nested(column.type) else _TYPES[column.type]

    def moment(self, text: str) -> str:
        """Without a zone: all times are UTC."""
        return f"CAST({literal(text)} AS TIMESTAMP)"

    def create(self, dataset: Dataset, columns: Sequence[Column]) -> tuple[str, ...]:
        """With the schema."""
        return (
            f"CREATE SCHEMA IF NOT EXISTS {self._settings.schema_name}",
            *super().create(dataset, columns),
        )

    def create_table(self, name: str, columns: Sequence[Column], dataset: Dataset | None) -> str:
        """Spread by device, sorted by time: what is loaded later then lies behind what is there."""
        lines = ",\n  ".join(
            f"{self.name(c.name)} {self.type(c)}{' NOT NULL' if c.required else ''}"
            for c in columns
        )
        end = ""
        if dataset is not None:
            keys = keys_of(dataset, columns)
            spread = "device_id" if "device_id" in {c.name for c in columns} else ""
            style = f"DISTSTYLE KEY DISTKEY ({self.name(spread)})" if spread else "DISTSTYLE EVEN"
            order = ", ".join(self.name(n) for n in (LAYOUTS[dataset].time, *keys[:1]))
            end = f"\n{style} COMPOUND SORTKEY ({order})"
        return f"CREATE TABLE IF NOT EXISTS {self.table(name)} (\n  {lines}\n){end}"

    def comments(self, name: str, columns: Sequence[Column]) -> tuple[str, ...]:
        """A statement each."""
        return tuple(
            f"COMMENT ON COLUMN {self.table(name)}.{self.name(c.name)} IS {literal(described(c))}"
            for c in columns
        )

    def widen(self, table: str, present: Present, column: Column) -> tuple[str, ...]:
        """A new column is filled and takes the old one's name; readers see both or neither."""
        if _WIDER.get(present.type.lower()) != self.type(column):
            return ()
        place, old, new = self.table(table), self.name(column.name), self.name(f"{column.name}_w")
        return (
            self.begin,
            f"ALTER TABLE {place} ADD COLUMN {new} {self.type(column)}",
            f"UPDATE {place} SET {new} = {old}",
            f"ALTER TABLE {place} DROP COLUMN {old}",
            f"ALTER TABLE {place} RENAME COLUMN {new} TO {old}",
            self.commit,
        )

    def turn(self, dataset: Dataset) -> tuple[str, ...]:
        """Behind a lock."""
        return (f"LOCK TABLE {self.table(TURNS)}", *super().turn(dataset))

    def stage(
        self, dataset: Dataset, number: int, group: Sequence[LakeFile], token: str
    ) -> tuple[str, ...]:
        """A temporary table with the files' own columns, filled by COPY."""
        del token
        columns = [Column(name=c.name, type=c.type, doc="") for c in group[0].columns]
        lines = ", ".join(f"{self.name(c.name)} {self.type(c)}" for c in columns)
        data = manifest(group, self._lake_url)
        key = manifest_key(dataset, data)
        self._put(key, data)
        region = f" REGION {literal(self._settings.region)}" if self._settings.region else ""
        role = self._settings.iam_role
        as_json = " SERIALIZETOJSON" if any(nested(c.type) for c in columns) else ""
        return (
            f"DROP TABLE IF EXISTS {_stage(number)}",
            f"CREATE TEMPORARY TABLE {_stage(number)} ({lines})",
            (
                f"COPY {_stage(number)} FROM {literal(f'{self._lake_url}/{key}')}\n"
                f"IAM_ROLE {role if role == 'default' else literal(role)} "
                f"FORMAT AS PARQUET MANIFEST{as_json}{region}"
            ),
            f"SELECT count(*) FROM {_stage(number)}",
        )

    def bring(self, dataset: Dataset, number: int, group: Sequence[LakeFile], token: str) -> str:
        """From the staging table."""
        del token
        told = homes(group)
        into = ", ".join(self.name(column.home) for column in told)
        reads = ", ".join(self.name(column.name) for column in told)
        return (
            f"INSERT INTO {self.table(str(dataset))} ({into}) SELECT {reads} FROM {_stage(number)}"
        )

    def over_the_lake(self, dataset: Dataset, columns: Sequence[Column], metadata: str) -> str:
        """By Spectrum, where the lake's REST catalogue is Glue."""
        del columns, metadata
        role = self._settings.iam_role
        schema = f"{self._settings.schema_name}_lake"
        return (
            f"CREATE EXTERNAL SCHEMA IF NOT EXISTS {schema} FROM DATA CATALOG "
            f"DATABASE 'fieldline' IAM_ROLE {role if role == 'default' else literal(role)};\n"
            f"SELECT count(*) FROM {schema}.{dataset}"
        )


def _stage(number: int) -> str:
    return f"fieldline_stage_{number}"


class RedshiftSession:
    """A connection by PostgreSQL's protocol, for callers without an event loop."""

    def __init__(self, connect_with: Callable[[], Any]) -> None:
        self._runner = asyncio.Runner()
        try:
            self._connection = self._runner.run(connect_with())
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._runner.close()
            raise TroubleError(
                f"Redshift does not let us in ({type(error).__name__}): check REDSHIFT_URL, "
                "REDSHIFT_USER and REDSHIFT_PASSWORD."
            ) from error

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """One statement."""
        try:
            return [tuple(row) for row in self._runner.run(self._connection.fetch(sql))]
        except asyncpg.PostgresError as error:
            kind = TroubleError if str(error.sqlstate).startswith(_AWAY) else WrongError
            line = " ".join(str(error).split())[:300]
            raise kind(f"Redshift refused a statement ({error.sqlstate}): {line}") from error
        except (OSError, TimeoutError, asyncpg.InterfaceError) as error:
            raise TroubleError(
                f"Redshift does not answer ({type(error).__name__}): it is tried again; check "
                "REDSHIFT_URL."
            ) from error

    def close(self) -> None:
        """An open transaction is rolled back."""
        self._connection.terminate()
        self._runner.close()


def connect(settings: RedshiftSettings) -> RedshiftSession:
    """A session; SettingsError where something is missing, TroubleError where it is away."""
    if not (settings.url and settings.user):
        raise SettingsError("Set REDSHIFT_URL and REDSHIFT_USER: who loads, and where.")
    parts = urlsplit(settings.url)

    async def connect_with() -> Any:  # noqa: ANN401 - asyncpg has no types
        return await asyncpg.connect(
            host=parts.hostname,
            port=parts.port or 5439,
            database=parts.path.strip("/"),
            user=settings.user,
            password=settings.password.get_secret_value() if settings.password else None,
            ssl=False if settings.here else ssl.create_default_context(cafile=settings.ca_file),
            timeout=settings.timeout_s,
            # A table that changes between two loads would make kept plans fail.
            statement_cache_size=0,
        )

    return RedshiftSession(connect_with)
