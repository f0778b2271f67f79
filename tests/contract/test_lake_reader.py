"""The lake as SQL, over files and tables that the real writer made."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as trying
from hypothesis import strategies as st

from connectors.lake import reader, views
from connectors.lake.catalog import NAMESPACE, open_catalog
from connectors.lake.config import LakeConfig
from connectors.lake.iceberg import IcebergTable
from connectors.lake.reader import Lake, Limits
from pipeline.core.events import Action
from pipeline.core.lake_columns import Column, Dataset
from pipeline.core.lake_records import Shape
from pipeline.settings import Settings, SettingsError
from pipeline.wire.lake import columns_of
from tests.lake_world import (
    DATES,
    DAY_MS,
    FIRST_DAY,
    PER_DAY,
    settings_of,
    told,
    write_days,
    write_events,
)

SHOWN = "SELECT CAST(date AS VARCHAR), count(*) FROM telemetry GROUP BY 1 ORDER BY 1"


@pytest.fixture(scope="module")
def three_days(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lake with a table: two flushes of the first date, one of each other; four events."""
    settings = settings_of(tmp_path_factory.mktemp("three_days"))
    write_days(settings, [0, 1, 2])
    write_events(
        settings,
        [told(0), told(1), told(2, Action.UPDATE, of=1), told(3, Action.CLEAR, of=0)],
    )
    return settings


@pytest.fixture
def lake(three_days: Settings) -> Iterator[Lake]:
    with Lake(three_days, sealed=True) as one:
        one.refresh()
        yield one


def asked(one: Lake, query: str) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = one.connection.execute(query).fetchall()
    return found


def opened(one: Lake, query: str) -> int:
    """How many files a query opens, by DuckDB's own account."""
    [(_, plan)] = asked(one, f"EXPLAIN ANALYZE {query}")
    lines = [line.strip("│ ") for line in plan.splitlines() if "Total Files Read" in line]
    return sum(int(line.rpartition(" ")[2]) for line in lines)


@pytest.mark.parametrize("table", [True, False])
def test_an_empty_lake_is_empty_views_with_all_their_columns(
    tmp_path: Path, *, table: bool
) -> None:
    with Lake(settings_of(tmp_path, table=table)) as one:
        if table:
            (tmp_path / "lake").mkdir()
        one.refresh()
        for dataset in Dataset:
            answer = one.connection.execute(f"SELECT * FROM {dataset}")  # noqa: S608 - constants of our own
            names = [column[0] for column in answer.description]
            assert names == [*(column.name for column in columns_of(dataset)), "date"]
            assert answer.fetchall() == []
        for handy in views.HANDY:
            assert asked(one, f"SELECT * FROM {handy.name}") == []  # noqa: S608 - constants of our own


@pytest.mark.parametrize("table", [True, False])
def test_what_was_written_is_seen_once_with_its_date(tmp_path: Path, *, table: bool) -> None:
    settings = settings_of(tmp_path, table=table)
    write_days(settings, [0, 1, 0, 2])
    connection = reader.connect(settings)
    assert connection.execute(SHOWN).fetchall() == [
        (DATES[0], 2 * PER_DAY),
        (DATES[1], PER_DAY),
        (DATES[2], PER_DAY),
    ]
    [telemetry, *rest] = reader.summary(connection)
    assert (telemetry.files, telemetry.rows) == (4, 4 * PER_DAY)
    assert {(one.files, one.rows) for one in rest} == {(0, 0)}
    connection.close()


def test_a_file_that_the_table_does_not_name_is_not_seen(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    write_days(settings, [0])
    folder = tmp_path / "lake" / "telemetry" / f"date={DATES[0]}"
    [there] = folder.glob("*.parquet")
    # As between the files and the commit of a flush, or after a compaction.
    (folder / "another.parquet").write_bytes(there.read_bytes())
    with Lake(settings) as one:
        one.refresh()
        assert asked(one, SHOWN) == [(DATES[0], PER_DAY)]
    with Lake(settings_of(tmp_path, table=False)) as plain:
        plain.refresh()
        assert asked(plain, SHOWN) == [(DATES[0], 2 * PER_DAY)]


def test_a_look_shows_one_state_until_the_next_look(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    write_days(settings, [0])
    with Lake(settings) as one:
        one.refresh()
        write_days(settings, [1], start=1)
        assert asked(one, SHOWN) == [(DATES[0], PER_DAY)]
        one.refresh()
        assert asked(one, SHOWN) == [(DATES[0], PER_DAY), (DATES[1], PER_DAY)]


def test_files_older_than_the_table_show_their_columns_under_its_names(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    write_days(settings, [0])
    table = IcebergTable(LakeConfig.from_settings(settings), Dataset.TELEMETRY)
    wanted = [
        Column(name="reading", type=pa.float64(), doc="Renamed.", aliases=("value",)),
        Column(name="source_partition", type=pa.int64(), doc="Wider."),
        Column(name="site", type=pa.string(), doc="New."),
    ]
    shape = asyncio.run(table.evolve(wanted))
    assert isinstance(shape, Shape)
    with Lake(settings) as one:
        one.refresh()
        [row] = asked(one, "SELECT sum(reading), max(source_partition), max(site) FROM telemetry")
        assert row == (sum(range(PER_DAY)), 1, None)
        types = {name: kind for name, kind, *_ in asked(one, "DESCRIBE telemetry")}
        assert (types["source_partition"], types["site"]) == ("BIGINT", "VARCHAR")
        # Who asks for it by the name it had is answered too, and ready questions stay ready.
        assert asked(one, "SELECT count(*) FROM telemetry WHERE value <> reading") == [(0,)]
        assert asked(one, "SELECT max(value) FROM latest_readings") == [(PER_DAY - 1,)]


def test_a_query_on_one_date_opens_that_dates_files_only(lake: Lake) -> None:
    assert opened(lake, "SELECT max(value) FROM telemetry") == len(DATES)
    assert opened(lake, f"SELECT max(value) FROM telemetry WHERE date = '{DATES[1]}'") == 1  # noqa: S608 - constants of our own
    before = lake.files.requests
    assert asked(lake, "SELECT max(value) FROM telemetry WHERE date = '2001-01-01'") == [(None,)]
    assert lake.files.requests == before


def test_a_query_on_a_time_opens_the_files_of_that_time_only(lake: Lake) -> None:
    query = (
        f"SELECT max(value) FROM telemetry WHERE time >= '{DATES[1]} 00:05:00' "  # noqa: S608 - constants of our own
        f"AND time < '{DATES[1]} 12:00:00'"
    )
    assert opened(lake, query) == len(DATES)
    assert lake.narrow(query) == len(DATES) - 1
    assert opened(lake, query) == 1
    assert asked(lake, query) == [(PER_DAY - 1,)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM telemetry",
        "SELECT count(*) FROM telemetry WHERE time > '{0}' OR value = 1",
        "SELECT count(*) FROM telemetry WHERE NOT (time > '{0}')  OR metric = 'x'",
        "SELECT count(*) FROM telemetry WHERE device_id = 'a AND (telemetry.time > ''{0}'')'",
        "SELECT count(*) FROM telemetry a JOIN telemetry b USING (value) WHERE a.time > '{0}'",
        "SELECT count(*) FROM telemetry WHERE received_at > '{0}'",
        "SELECT (SELECT count(*) FROM telemetry WHERE time > '{0}'), count(*) FROM telemetry",
        "SELECT nonsense FROM telemetry WHERE time > '{0}'",
    ],
)
def test_what_may_need_every_file_leaves_out_none(lake: Lake, query: str) -> None:
    assert lake.narrow(query.format(DATES[2])) == 0


MOMENTS = st.integers(-2 * 1440, 5 * 1440).map(
    lambda minutes: (
        datetime.fromtimestamp(FIRST_DAY * DAY_MS / 1000, tz=UTC) + timedelta(minutes=minutes)
    ).isoformat()
)
CONDITIONS = st.tuples(st.sampled_from(["<", "<=", ">", ">=", "=", "<>"]), MOMENTS).map(
    lambda told: f"time {told[0]} '{told[1]}'"
)
WHERE = st.recursive(
    CONDITIONS | st.just("metric = 'vibration'"),
    lambda inner: st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(
        lambda three: f"({three[0]} {three[1]} {three[2]})"
    ),
    max_leaves=5,
)


@trying(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=WHERE, other=WHERE)
def test_leaving_out_files_never_changes_an_answer(lake: Lake, where: str, other: str) -> None:
    query = (
        f"SELECT count(*), sum(value) FROM telemetry WHERE {where} "  # noqa: S608 - constants of our own
        f"UNION ALL SELECT count(*), sum(value) FROM telemetry WHERE {other}"
    )
    lake.refresh()
    whole = asked(lake, query)
    lake.narrow(query)
    assert sorted(asked(lake, query), key=str) == sorted(whole, key=str)


def test_columns_tell_what_they_are_and_in_which_unit(lake: Lake) -> None:
    told_of = {
        (view, column): comment
        for view, column, comment in asked(
            lake, "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
        )
    }
    assert told_of["telemetry", "metric"] == "What was measured, as the device names it."
    assert told_of["deliveries", "latency_ms"].endswith("[ms]")
    assert told_of["events", "date"] == views.DATE.doc


def test_open_alarms_are_those_raised_and_not_cleared_as_last_told(lake: Lake) -> None:
    found = asked(lake, "SELECT id, summary, times_told FROM open_alarms")
    assert found == [("event-1", "told 2", 2)]


def test_latest_readings_and_hours_agree_with_the_readings(lake: Lake) -> None:
    assert asked(lake, "SELECT metric, value FROM latest_readings ORDER BY 1") == [
        ("temperature", PER_DAY - 2),
        ("vibration", PER_DAY - 1),
    ]
    assert asked(lake, "SELECT sum(readings) FROM telemetry_hourly") == [(3 * PER_DAY,)]


def test_a_device_from_the_future_does_not_hide_the_latest_readings(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    write_days(settings, [0, 60_000])
    with Lake(settings) as one:
        one.refresh()
        found = asked(one, "SELECT max(time) FROM latest_readings WHERE value < 1000")
        assert found[0][0].date().isoformat() == DATES[0]


FORBIDDEN = (
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_text('file:///etc/passwd')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM read_text('https://127.0.0.1:1/x')",
    "COPY (SELECT 1) TO '{folder}/out.csv'",
    "COPY (SELECT 1 AS a) TO 'lake://telemetry/date=2024-10-04/out.parquet'",
    "COPY telemetry TO '{folder}/lake/telemetry/date=2024-10-04/out.parquet'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/out.csv'",
    "EXPORT DATABASE '{folder}/out'",
    "EXPORT DATABASE 'lake://telemetry'",
    "ATTACH '{folder}/out.db'",
    "ATTACH '{folder}/catalogue.db' (TYPE sqlite)",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET allowed_directories = ['/']",
    "RESET lock_configuration",
    "SET lock_configuration = false",
    "SET allowed_configs = ['enable_external_access']",
    "SET disabled_filesystems = ''",
    "SET temp_directory = '{folder}'",
    "SET python_enable_replacements = true",
    "CREATE PERSISTENT SECRET a (TYPE s3)",
    "SELECT * FROM local_table",
)


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_a_sealed_lake_reads_nothing_else_and_writes_nothing(
    tmp_path: Path, statement: str
) -> None:
    import duckdb  # noqa: PLC0415 - an extra

    settings = settings_of(tmp_path)
    write_days(settings, [0])
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    local_table = pa.table({"a": [1]})
    with Lake(settings, sealed=True) as one:
        one.refresh()
        with pytest.raises((duckdb.Error, PermissionError)):
            asked(one, statement.format(folder=tmp_path))
        del local_table
        one.refresh()
        assert asked(one, SHOWN) == [(DATES[0], PER_DAY)]
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before


def test_other_objects_of_the_lake_are_not_named(lake: Lake) -> None:
    assert asked(lake, "SELECT * FROM glob('lake://telemetry/_ranges/*/*/*')") == []
    assert asked(lake, "SELECT * FROM glob('lake://*')") == []
    for path in ("telemetry/../../../../../../../../etc/passwd", "../catalogue.db"):
        assert asked(lake, f"SELECT * FROM read_blob('lake://{path}')") == []  # noqa: S608 - constants of our own
    found = asked(lake, "SELECT count(*) FROM glob('lake://telemetry/*/*.parquet')")
    assert found == [(len(DATES),)]


def test_limits_are_duckdbs(three_days: Settings) -> None:
    with Lake(three_days, limits=Limits(memory_mb=64, threads=1), sealed=True) as one:
        found = dict(
            asked(one, "SELECT name, value FROM duckdb_settings() WHERE name ~ '^(memory|thr)'")
        )
        assert (found["memory_limit"], found["threads"]) == ("61.0 MiB", "1")


def test_a_table_elsewhere_and_a_catalogue_away_are_one_sentence(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    write_days(settings, [0])
    (tmp_path / "other").mkdir()
    moved = settings.model_copy(update={"lake_url": f"file://{tmp_path}/other"})
    with Lake(moved) as one, pytest.raises(SettingsError, match="LAKE_URL"):
        one.refresh()
    away = Settings.model_validate(
        {"lake_url": settings.lake_url, "lake_catalog": f"sqlite:///{tmp_path}/no/such/place.db"}
    )
    with Lake(away) as one, pytest.raises(SettingsError, match="LAKE_CATALOG") as found:
        one.refresh()
    assert "\n" not in str(found.value)


def test_delete_files_of_another_engine_are_said_not_overlooked(
    three_days: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = LakeConfig.from_settings(three_days)
    table = open_catalog(config).load_table((NAMESPACE, "telemetry"))
    [task, *_] = table.scan().plan_files()
    with Lake(three_days) as one:
        task.delete_files = {task.file}
        look = one._look  # noqa: SLF001 - what a table says is given to it here
        monkeypatch.setattr(type(table.scan()), "plan_files", lambda _: [task])
        with pytest.raises(SettingsError, match="delete files"):
            look.now(Dataset.TELEMETRY)
