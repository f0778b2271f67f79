"""Snowflake by fakesnow: its connector's interface over DuckDB, reading the lake's real files."""

# ruff: noqa: ANN401 - results are asserted to be what they are

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fakesnow.instance import FakeSnow

from connectors.warehouse.base import Loaded, Retry, Session, WrongError
from connectors.warehouse.config import SnowflakeSettings
from connectors.warehouse.files import LakeFiles
from connectors.warehouse.snowflake import Snowflake, SnowflakeSession
from connectors.warehouse.sql_load import SqlLoad
from pipeline.core.lake_columns import TEXT, Column, Dataset
from pipeline.wire.lake import columns_of
from tests.contract.warehouse_world import FIRST_DATE, NEXT_DATE, Dying, Lake


class World:
    """One Snowflake account beside one lake."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.server = FakeSnow()
        self.dialect = Snowflake(SnowflakeSettings(_env_file=None), lake.config.url)
        self.ask(
            f"CREATE STAGE IF NOT EXISTS FIELDLINE.LAKE.FIELDLINE_LAKE URL = '{lake.config.url}/'"
        )

    def session(self) -> SnowflakeSession:
        return SnowflakeSession(self.server.connect(database="FIELDLINE", schema="LAKE"))

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        session = self.session()
        try:
            return session.run(sql)
        finally:
            session.close()

    def load(
        self,
        dataset: Dataset = Dataset.TELEMETRY,
        connect: Callable[[], Session] | None = None,
        side: LakeFiles | None = None,
        **how: bool,
    ) -> Any:
        side = side or self.lake.side(dataset)
        return self.loader(connect).load(side, side.columns, **how)

    def loader(self, connect: Callable[[], Session] | None = None) -> SqlLoad:
        numbers = count()
        return SqlLoad(
            self.dialect,
            connect or self.session,
            now=lambda: "2026-11-22 01:00:00",
            token=lambda: f"t{next(numbers)}",
        )

    def rows(self) -> Counter[tuple[Any, ...]]:
        return Counter(
            self.ask(
                "SELECT device_id, sequence, value, source_offset FROM FIELDLINE.LAKE.TELEMETRY"
            )
        )

    def wanted(self) -> Counter[tuple[Any, ...]]:
        table = self.lake.table().scan().to_arrow()
        names = ("device_id", "sequence", "value", "source_offset")
        return Counter(zip(*(table.column(name).to_pylist() for name in names), strict=True))


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake that tests only read: two ranges, three dates."""
    lake = Lake(tmp_path_factory.mktemp("lake") / "lake")
    lake.readings(4)
    lake.readings(3)
    lake.events(5)
    return lake


@pytest.fixture
def own(tmp_path: Path) -> Lake:
    """A lake that a test changes."""
    lake = Lake(tmp_path / "lake")
    lake.readings(4)
    lake.readings(3)
    return lake


def test_every_row_is_loaded_once_however_often_it_runs(steady: Lake) -> None:
    world = World(steady)
    first = world.load()
    assert isinstance(first, Loaded), first
    assert (first.files, first.rows, first.checked, first.differences) == (4, 42, 2, ())
    assert world.rows() == world.wanted()
    again = world.load()
    assert (again.files, again.rows, again.noted) == (0, 0, 0)
    assert world.rows() == world.wanted()


def test_files_from_before_there_was_a_table_are_loaded_by_the_names_of_their_columns(
    tmp_path: Path,
) -> None:
    lake = Lake(tmp_path / "lake")
    lake.readings(4, table=False)
    lake.readings(3)
    world = World(lake)
    done = world.load()
    assert isinstance(done, Loaded), done
    assert (done.rows, done.differences) == (42, ())
    assert world.rows() == world.wanted()


def test_nested_columns_and_times_arrive_as_they_are(steady: Lake) -> None:
    world = World(steady)
    done = world.load(Dataset.EVENTS)
    assert isinstance(done, Loaded), done
    assert done.rows == 5
    told = steady.table(Dataset.EVENTS).scan().to_arrow().to_pylist()
    rows = world.ask(
        "SELECT kafka_offset, occurred_at, snapshot[0]:metric::VARCHAR FROM FIELDLINE.LAKE.EVENTS"
    )
    assert sorted((o, at.timestamp(), m) for o, at, m in rows) == sorted(
        (one["kafka_offset"], one["occurred_at"].timestamp(), one["snapshot"][0]["metric"])
        for one in told
    )


def test_files_that_compaction_wrote_again_are_noted_and_not_loaded(own: Lake) -> None:
    world = World(own)
    world.load()
    name = own.compact(FIRST_DATE)
    done = world.load()
    assert (done.rows, done.noted, done.differences) == (0, 2, ()), "one file for each date"
    assert world.rows() == world.wanted()
    ledger = world.loader().ledger(own.side())
    assert isinstance(ledger, tuple)
    assert [e.file for e in ledger if e.date == FIRST_DATE] == [name]


def test_a_file_of_which_some_rows_are_there_has_its_date_loaded_anew(own: Lake) -> None:
    world = World(own)
    world.load()
    own.readings(3)
    own.compact(FIRST_DATE)
    done = world.load()
    assert isinstance(done, Loaded), done
    assert done.anew == (FIRST_DATE, NEXT_DATE)
    assert done.differences == ()
    assert world.rows() == world.wanted()


def statements_of_a_load(lake: Lake) -> int:
    world = World(lake)
    said: list[Dying] = []

    def connect() -> Session:
        said.append(Dying(world.session(), at=10**6, after=False))
        return said[-1]

    world.load(connect=connect)
    return len(said[0].said)


def dying(world: World, at: int, after: bool) -> Session:  # noqa: FBT001 - for partial
    return Dying(world.session(), at, after)


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_statement_it_goes_on_and_doubles_nothing(
    steady: Lake, *, after: bool
) -> None:
    wanted = World(steady).wanted()
    every = statements_of_a_load(steady)
    side = steady.side()
    assert every > 12
    for at in range(1, every + 1):
        world = World(steady)
        died = world.load(connect=partial(dying, world, at, after), side=side)
        assert isinstance(died, Retry), (at, died)
        done = world.load(side=side)
        assert isinstance(done, Loaded), (at, done)
        assert done.differences == ()
        assert world.rows() == wanted, at


def test_a_date_that_is_killed_while_it_is_loaded_anew_keeps_its_rows(own: Lake) -> None:
    world = World(own)
    world.load()
    before = world.rows()
    own.readings(3)
    own.compact(FIRST_DATE)
    side, wanted = own.side(), world.wanted()
    seen: list[Dying] = []
    for at in range(6, 40):

        def connect(n: int = at) -> Session:
            seen.append(Dying(world.session(), n, after=False))
            return seen[-1]

        died = world.load(connect=connect, side=side)
        if isinstance(died, Loaded):
            break
        known = world.rows()
        assert not before - known, "every old row is there all the time"
        assert not known - wanted, "and none twice"
    assert any("DELETE FROM FIELDLINE.LAKE.TELEMETRY" in sql for one in seen for sql in one.said)
    assert world.load(side=side).differences == ()
    assert world.rows() == world.wanted()


def test_of_two_at_once_one_loads_and_the_other_does_nothing(steady: Lake) -> None:
    world = World(steady)
    side = steady.side()
    world.loader().check(side)
    other: list[Any] = []

    class Overtaken:
        """Between our look at the ledger and our transaction somebody else loads all."""

        def __init__(self) -> None:
            self.inner = world.session()

        def run(self, sql: str) -> list[tuple[Any, ...]]:
            if sql == "BEGIN" and not other:
                other.append(world.load(side=side))
            return self.inner.run(sql)

        def close(self) -> None:
            self.inner.close()

    ours = world.load(connect=Overtaken, side=side)
    assert isinstance(other[0], Loaded)
    assert isinstance(ours, Retry)
    assert "Somebody else" in ours.reason
    assert world.rows() == world.wanted()


def test_a_row_that_somebody_changed_in_the_warehouse_is_found(steady: Lake) -> None:
    world = World(steady)
    world.load()
    world.ask("DELETE FROM FIELDLINE.LAKE.TELEMETRY WHERE source_offset = 1 AND sequence = 2")
    found = world.loader().check(steady.side())
    assert isinstance(found, Loaded)
    [difference] = found.differences
    assert difference.lake.rows == difference.warehouse.rows + 3
    mended = world.load(anew=True)
    assert isinstance(mended, Loaded), mended
    assert mended.differences == ()
    assert world.rows() == world.wanted()


def test_columns_that_are_added_and_renamed_follow_and_old_files_still_load(own: Lake) -> None:
    own.events(3)
    world = World(own)
    columns = columns_of(Dataset.EVENTS)
    own.evolve(
        Dataset.EVENTS,
        (
            *(
                Column(name="headline", type=TEXT, doc=c.doc, aliases=("summary",))
                if c.name == "summary"
                else c
                for c in columns
            ),
            Column(name="firmware", type=TEXT, doc="Firmware of the device."),
        ),
    )
    done = world.load(Dataset.EVENTS)
    assert isinstance(done, Loaded), done
    assert done.rows == 3
    rows = world.ask("SELECT headline, firmware FROM FIELDLINE.LAKE.EVENTS")
    assert all(headline and firmware is None for headline, firmware in rows)


def test_a_column_that_comes_later_is_added_to_the_table_that_is_there(own: Lake) -> None:
    own.events(3)
    world = World(own)
    world.load(Dataset.EVENTS)
    added = Column(name="firmware", type=TEXT, doc="Firmware of the device.")
    own.evolve(Dataset.EVENTS, (*columns_of(Dataset.EVENTS), added))
    own.events(2)
    done = world.load(Dataset.EVENTS)
    assert isinstance(done, Loaded), done
    assert done.rows == 2
    assert world.ask("SELECT count(*), count(firmware) FROM FIELDLINE.LAKE.EVENTS") == [(5, 0)]


def test_a_forgotten_device_is_gone_and_its_files_do_not_come_again(steady: Lake) -> None:
    world = World(steady)
    world.load()
    assert world.loader().forget(steady.side(), "acme/pump-001") is None
    assert not any(row[0] == "acme/pump-001" for row in world.rows())
    assert world.load().rows == 0
    assert len(world.rows()) == len(world.wanted()) * 2 // 3


def test_what_snowflake_refuses_is_one_sentence(steady: Lake) -> None:
    session = World(steady).session()
    with pytest.raises(WrongError, match="Snowflake refused a statement"):
        session.run("SELECT * FROM FIELDLINE.LAKE.NOWHERE")
    session.close()
