"""Redshift's SQL on a real PostgreSQL, as far as it goes.

Three things are not PostgreSQL's and are told to it in its own words: COPY by a manifest (rows of
the very files that the manifest names, through pyarrow), SUPER (a domain over jsonb), VARBYTE
(over bytea), and how a table is spread and sorted. All else, transactions and locks among it, is
run as Redshift would be told.
"""

# ruff: noqa: ANN401, S608 - results are asserted; schemas are made here

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from connectors.warehouse.base import Loaded, Retry, Session, TroubleError
from connectors.warehouse.config import RedshiftSettings
from connectors.warehouse.files import LakeFiles
from connectors.warehouse.redshift import Redshift, RedshiftSession
from connectors.warehouse.sql_load import SqlLoad
from pipeline.core.lake_columns import Dataset
from tests.contract.warehouse_world import FIRST_DATE, NEXT_DATE, Dying, Lake
from tests.integration.postgres_server import DATABASE, PASSWORD, USER, Postgres

pytestmark = pytest.mark.parts
TOKENS = count()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Postgres]:
    async with Postgres() as one:
        await one.fetch("CREATE DOMAIN super AS jsonb")
        await one.fetch("CREATE DOMAIN varbyte AS bytea")
        yield one


class InPostgres:
    """A Redshift session whose far end is PostgreSQL."""

    def __init__(self, server: Postgres, root: Path) -> None:
        self._root = root

        async def connect() -> Any:
            return await asyncpg.connect(
                host="127.0.0.1",
                port=server.port,
                user=USER,
                password=PASSWORD,
                database=DATABASE,
                ssl=False,
                statement_cache_size=0,
            )

        self.inner = RedshiftSession(connect)

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        copied = re.match(r"COPY (\w+) FROM 's3://lake/([^']+)'.* PARQUET MANIFEST", sql, re.DOTALL)
        if copied:
            return self._copy(copied[1], json.loads((self._root / copied[2]).read_text()))
        sql = re.sub(r"\n(DISTSTYLE.*|COMPOUND SORTKEY.*)$", "", sql)
        return self.inner.run(re.sub(r"VARBYTE\(\d+\)", "VARBYTE", sql))

    def _copy(self, table: str, manifest: Any) -> list[tuple[Any, ...]]:
        for entry in manifest["entries"]:
            path = self._root / entry["url"].removeprefix("s3://lake/")
            assert path.stat().st_size == entry["meta"]["content_length"]
            rows = ", ".join(
                f"({', '.join(_value(one) for one in row.values())})"
                for row in pq.ParquetFile(path).read().to_pylist()
            )
            self.inner.run(f"INSERT INTO {table} VALUES {rows}")
        return []

    def close(self) -> None:
        self.inner.close()


def _value(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, list):
        return "'" + json.dumps(value).replace("'", "''") + "'"
    text = value.strftime("%Y-%m-%d %H:%M:%S.%f") if hasattr(value, "strftime") else str(value)
    return "'" + text.replace("'", "''") + "'"


class World:
    """One schema beside one lake."""

    def __init__(self, server: Postgres, lake: Lake, schema: str) -> None:
        self.server, self.lake, self.schema = server, lake, schema

    def load(
        self,
        dataset: Dataset = Dataset.TELEMETRY,
        wrap: Callable[[Session], Session] = lambda one: one,
        side: LakeFiles | None = None,
        **how: bool,
    ) -> Any:
        side = side or self.lake.side(dataset)
        return self.loader(side, wrap).load(side, side.columns, **how)

    def loader(
        self, side: LakeFiles, wrap: Callable[[Session], Session] = lambda one: one
    ) -> SqlLoad:
        settings = RedshiftSettings(_env_file=None, schema_name=self.schema)
        return SqlLoad(
            Redshift(settings, "s3://lake", side.put),
            lambda: wrap(InPostgres(self.server, self.lake.root)),
            now=lambda: "2026-11-22 01:00:00",
            token=lambda: f"t{next(TOKENS)}",
        )

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in asyncio.run(self.server.fetch(sql))]

    def rows(self) -> Counter[tuple[Any, ...]]:
        return Counter(
            self.ask(
                f"SELECT device_id, sequence, value, source_offset FROM {self.schema}.telemetry"
            )
        )

    def wanted(self) -> Counter[tuple[Any, ...]]:
        table = self.lake.table().scan().to_arrow()
        names = ("device_id", "sequence", "value", "source_offset")
        return Counter(zip(*(table.column(name).to_pylist() for name in names), strict=True))


@pytest.fixture
def world(server: Postgres, tmp_path: Path) -> World:
    lake = Lake(tmp_path / "lake")
    lake.readings(4)
    lake.readings(3)
    return World(server, lake, f"lake{next(TOKENS)}")


def test_rows_and_ledger_come_together_and_once(world: World) -> None:
    first = world.load()
    assert isinstance(first, Loaded), first
    assert (first.rows, first.differences) == (42, ())
    assert world.rows() == world.wanted()
    assert world.load().rows == 0
    told = world.ask(f"SELECT sum(row_count) FROM {world.schema}.fieldline_loads")
    assert [int(one[0]) for one in told] == [42]


def test_compaction_is_noted_and_half_loaded_dates_are_loaded_anew(world: World) -> None:
    world.load()
    world.lake.compact(FIRST_DATE)
    assert (world.load().noted, world.rows()) == (2, world.wanted()), "one file for each date"
    world.lake.readings(3)
    world.lake.compact(FIRST_DATE)
    done = world.load()
    assert isinstance(done, Loaded), done
    assert (done.anew, done.differences) == ((FIRST_DATE, NEXT_DATE), ())
    assert world.rows() == world.wanted()


def test_a_dataset_that_was_never_loaded_beside_one_that_was_has_an_empty_ledger(
    world: World,
) -> None:
    world.load()
    world.lake.events(1)
    assert (
        world.loader(world.lake.side(Dataset.EVENTS)).ledger(world.lake.side(Dataset.EVENTS)) == ()
    )


def test_nested_columns_go_into_super(world: World) -> None:
    world.lake.events(3)
    done = world.load(Dataset.EVENTS)
    assert isinstance(done, Loaded), done
    told = world.ask(f"SELECT (snapshot->0->>'metric') FROM {world.schema}.events")
    assert len(told) == 3
    assert all(one[0] for one in told)


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_statement_it_goes_on_and_doubles_nothing(
    world: World, *, after: bool
) -> None:
    side, wanted, every = world.lake.side(), world.wanted(), 0
    while True:
        every += 1
        world.schema = f"lake{next(TOKENS)}"
        died = world.load(side=side, wrap=partial(Dying, at=every, after=after))
        if isinstance(died, Loaded):
            break
        assert isinstance(died, Retry), (every, died)
        done = world.load(side=side)
        assert isinstance(done, Loaded), (every, done)
        assert world.rows() == wanted, every
    assert every > 20


def test_somebody_who_waits_for_the_lock_does_nothing_after_it(world: World) -> None:
    side = world.lake.side()
    other: list[Any] = []

    class Overtaken:
        def __init__(self, inner: Session) -> None:
            self.inner = inner

        def run(self, sql: str) -> list[tuple[Any, ...]]:
            if sql == "BEGIN" and not other:
                other.append(world.load(side=side))
            return self.inner.run(sql)

        def close(self) -> None:
            self.inner.close()

    ours = world.load(side=side, wrap=Overtaken)
    assert isinstance(other[0], Loaded)
    assert isinstance(ours, Retry)
    assert world.rows() == world.wanted()


def test_a_narrow_column_is_widened_with_its_rows(world: World) -> None:
    world.load()
    world.ask(f"ALTER TABLE {world.schema}.telemetry ALTER COLUMN session TYPE integer")
    world.lake.readings(1)
    done = world.load()
    assert isinstance(done, Loaded), done
    [(kind,)] = world.ask(
        "SELECT data_type FROM information_schema.columns WHERE table_name = 'telemetry' "
        f"AND table_schema = '{world.schema}' AND column_name = 'session'"
    )
    assert kind == "bigint"
    assert world.rows() == world.wanted()


def test_a_server_that_is_away_is_one_sentence() -> None:
    async def connect() -> Any:
        return await asyncpg.connect(host="127.0.0.1", port=1, user="x", database="x")

    with pytest.raises(TroubleError, match="Redshift does not let us in"):
        RedshiftSession(connect)
