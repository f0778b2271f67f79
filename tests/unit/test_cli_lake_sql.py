"""fieldline lake sql, shell and files, as a person or a script meets them."""

from __future__ import annotations

import csv
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipeline.cli import lake_print, lake_shell
from pipeline.ops import lake_sql as ops
from pipeline.settings import Settings, SettingsError, load
from tests.lake_world import DATES, PER_DAY, environment, settings_of, write_days
from tests.unit.cli_world import called, json_lines
from tests.waiting import blocking_until

COUNTED = "SELECT date, count(*) AS n FROM telemetry GROUP BY date ORDER BY date"
ENDLESS = (
    "SELECT count(*) FROM range(1000000000) a, range(1000000) b WHERE hash(a.range + b.range) = 7"
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = settings_of(tmp_path_factory.mktemp("lake"))
    write_days(settings, [0, 1, 2])
    return settings


@pytest.fixture(autouse=True)
def _configured(small: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in environment(small).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "100")
    load.cache_clear()
    yield
    load.cache_clear()


@pytest.fixture
def session(small: Settings) -> Iterator[ops.Session]:
    with ops.Session(small) as one:
        yield one


def said(*arguments: str, stdin: str = "") -> str:
    ended = called("lake", *arguments, stdin=stdin)
    assert ended.exit_code == 0, ended.output
    return str(ended.stdout)


def refused(*arguments: str) -> str:
    ended = called("lake", *arguments)
    assert isinstance(ended.exception, SettingsError), ended.output
    return str(ended.exception)


def test_a_result_shows_names_types_values_and_its_row_count() -> None:
    shown = said("sql", COUNTED)
    words = shown.split()
    assert words[:4] == ["date", "n", "DATE", "BIGINT"]
    assert words.count(str(PER_DAY)) == len(DATES)
    assert shown.endswith("3 rows.\n")


def test_a_longer_result_than_asked_for_says_that_it_is_cut() -> None:
    shown = said("sql", "SELECT value FROM telemetry ORDER BY value", "--rows", "2")
    assert "The first 2 rows; there are more: --rows N" in shown
    assert "4.0" not in shown
    assert "there are more" not in said("sql", "SELECT 1 UNION ALL SELECT 2", "--rows", "2")


def test_csv_json_and_parquet_hold_the_same_rows(tmp_path: Path) -> None:
    query = "SELECT * FROM telemetry ORDER BY time, metric"
    as_csv = list(csv.DictReader(io.StringIO(said("sql", query, "--csv"))))
    as_json = json_lines(said("sql", query, "--json"))
    path = tmp_path / "out.parquet"
    ended = called("lake", "sql", query, "--parquet", str(path))
    assert (ended.exit_code, ended.stdout) == (0, "")
    as_parquet = pq.read_table(path).to_pylist()
    assert len(as_csv) == len(as_json) == len(as_parquet) == 3 * PER_DAY
    for one, two, three in zip(as_csv, as_json, as_parquet, strict=True):
        assert float(one["value"]) == two["value"] == three["value"]
        assert one["time"] == two["time"] == three["time"].isoformat()
        assert (one["flag"], two["flag"], three["flag"]) == ("", None, None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.parquet"]


def test_json_has_words_for_what_json_has_not() -> None:
    query = "SELECT 'nan'::DOUBLE AS a, '\\xFF'::BLOB AS b, [1, NULL] AS c, MAP {1: 2} AS d"
    assert json_lines(said("sql", query, "--json")) == [
        {"a": "nan", "b": "/w==", "c": [1, None], "d": {"1": 2}}
    ]


def test_several_statements_run_in_turn_and_a_file_may_hold_them(tmp_path: Path) -> None:
    script = tmp_path / "ask.sql"
    script.write_text(
        "-- two steps; one result\nCREATE TABLE few AS FROM telemetry LIMIT 5;\n"
        "SELECT count(*) AS n FROM few;"
    )
    assert json_lines(said("sql", "-f", str(script), "--json")) == [{"n": 5}]
    assert json_lines(said("sql", "-", "--json", stdin=script.read_text())) == [{"n": 5}]
    shown = said("sql", "SELECT 1 AS one; SELECT 2 AS two")
    assert "one" in shown
    assert "two" in shown


def test_explain_shows_the_plan_and_the_files_left_out() -> None:
    shown = said("sql", f"SELECT * FROM telemetry WHERE time > '{DATES[2]}'", "--explain")  # noqa: S608 - constants of our own
    assert "READ_PARQUET" in shown
    assert shown.endswith("Left out beforehand by event time: 2 files.\n")


@pytest.mark.parametrize(
    ("query", "sentence", "place"),
    [
        ("SELECT nope FROM telemetry", 'Referenced column "nope" not found', "nope"),
        ("SELECT * FROM nix", "Table with name nix does not exist", "nix"),
        ("SELECT 1 FRM x", "syntax error at or near", "x"),
        ("SELECT 1; SELECT 'a", "unterminated", "'a"),
    ],
)
def test_a_bad_query_is_one_sentence_with_its_place(query: str, sentence: str, place: str) -> None:
    text, line, caret = refused("sql", query).splitlines()
    assert text.startswith(sentence)
    assert line.startswith("LINE 1: ")
    assert line[caret.index("^") :].startswith(place)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("sql", "  "), "There is nothing to ask"),
        (("sql", "SELECT 1", "--csv", "--json"), "not several"),
        (("sql", "SELECT 1", "-f", "x.sql"), "not both"),
        (("sql", "-f", "no/such.sql"), "cannot be read"),
        (("sql", "SET TimeZone = 'UTC'", "--json"), "gives no rows"),
        (("sql", "SELECT 1", "--parquet", "no/such/place.parquet"), "cannot be written"),
        (("sql", "COPY telemetry TO 'x.csv'"), "The lake is only read here"),
        (("sql", "SELECT * FROM read_text('/etc/passwd')"), "read here and nothing else"),
        (("sql", f"SELECT '{'x' * ops.MAX_TEXT}'"), "at most 1,000,000"),
        (("files", "telemetry", "--date", "yesterday"), "is no date"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    arguments: Sequence[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = refused(*arguments)
    assert sentence in told
    assert "\n" not in told
    assert list(tmp_path.iterdir()) == []


def test_a_query_beyond_its_memory_says_so(small: Settings) -> None:
    with ops.Session(small, memory_mb=32, threads=1) as one:
        [statement] = one.split("SELECT list(range) FROM range(20000000)")
        with pytest.raises(ops.QueryError, match="--memory"):
            one.run(statement).head(1)


def test_without_duckdb_a_person_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert "pip install 'fieldline[warehouse]'" in refused("sql", "SELECT 1")


def test_files_lists_addresses_that_plain_tools_can_read(small: Settings) -> None:
    lines = said("files", "telemetry", "--date", DATES[1]).splitlines()
    [(address, size, rows)] = [line.split("\t") for line in lines]
    assert address.startswith(f"{small.lake_url}/telemetry/date={DATES[1]}/")
    path = Path(address.removeprefix("file://"))
    assert (path.stat().st_size, pq.read_metadata(path).num_rows) == (int(size), int(rows))
    assert len(json_lines(said("files", "telemetry", "--json"))) == len(DATES)
    assert said("files", "quarantine") == ""


def shelled(session: ops.Session, *lines: str, rows: int = 10) -> str:
    """What the shell prints when these lines are typed."""
    out = io.StringIO()
    left = list(lines)

    def read(prompt: str) -> str:
        out.write(prompt)
        if not left:
            raise EOFError
        return left.pop(0)

    console = Console(file=out, width=100)
    lake_shell.Shell(session, rows=rows, console=console, read=read).run()
    return out.getvalue()


def test_the_shell_takes_statements_over_several_lines(session: ops.Session) -> None:
    shown = shelled(session, "SELECT ';' AS semi,", "count(*) AS n -- ;", "FROM telemetry;")
    assert shown.count(lake_shell.GOES_ON) == 2
    assert str(3 * PER_DAY) in shown
    assert "1 row." in shown


def test_the_shell_goes_on_after_an_error(session: ops.Session) -> None:
    shown = shelled(session, "SELEC 1;", r"\nix", r"\d nix", "SELECT 41 + 1 AS n;", r"\q", "gone")
    for part in ("syntax error", r"There is no \nix", "There is no view nix", "42"):
        assert part in shown
    assert "gone" not in shown


def test_the_shell_lists_views_and_columns_with_what_they_mean(session: ops.Session) -> None:
    views = shelled(session, r"\d")
    for name in ("telemetry", "quarantine", "open_alarms", "latest_readings"):
        assert name in views
    one = shelled(session, r"\d deliveries;")
    assert "latency_ms" in one
    assert "[ms]" in one


def test_the_shell_changes_how_it_shows(session: ops.Session) -> None:
    shown = shelled(
        session, r"\x", r"\timing", "SELECT 7 AS n;", r"\e", r"\?", "CREATE TABLE t(a INT);"
    )
    for part in ("row 1", " ms.", "Left out beforehand", r"\timing ", "CREATE: done."):
        assert part in shown
    assert shown.index("row 1") < shown.index("1 row.")


def test_a_statement_that_failed_in_a_transaction_can_be_rolled_back(session: ops.Session) -> None:
    shown = shelled(session, "BEGIN;", "SELECT nope;", "SELECT 1;", "ROLLBACK;", "SELECT 5 AS n;")
    assert "aborted" in shown
    assert "1 row." in shown


@pytest.fixture
def _ctrl_c_is_heard() -> Iterator[None]:
    """Also where the tests run behind a shell that lets nobody interrupt them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_ctrl_c_stops_a_query_and_the_session_goes_on(session: ops.Session) -> None:
    [endless, short] = session.split(f"{ENDLESS}; SELECT 3 AS n")

    def press() -> None:
        try:
            blocking_until(lambda: session.progress() >= 0)
        finally:
            # Otherwise the query would run for ever.
            os.kill(os.getpid(), signal.SIGINT)

    presses = threading.Thread(target=press)

    def work() -> None:
        presses.start()
        session.run(endless).head(1)

    with pytest.raises(ops.StoppedError):
        lake_print.patiently(session, Console(file=io.StringIO()), work)
    presses.join()
    assert session.run(short).head(5) == [(3,)]


def test_a_result_that_is_given_up_makes_room_for_the_next(session: ops.Session) -> None:
    [long, short] = session.split("SELECT range FROM range(100000000000); SELECT 1")
    result = session.run(long)
    assert result.head(2) == [(0,), (1,)]
    result.close()
    assert session.run(short).head(2) == [(1,)]


def test_completion_offers_views_and_columns_whatever_the_case() -> None:
    words = ("telemetry", "time", "date_trunc('hour', ", "SELECT")
    assert lake_shell.completions("TE", words) == ["telemetry"]
    assert lake_shell.completions("sel", words) == ["SELECT"]
    assert lake_shell.completions("t.ti", words) == ["t.time"]
    assert lake_shell.completions("t.da", words) == []
    assert lake_shell.completions("", words) == []


def test_history_stays_in_the_checkout_or_with_the_persons_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert lake_shell.history_path() == tmp_path / "state" / "fieldline" / "lake_history"
    (tmp_path / ".local").mkdir()
    assert lake_shell.history_path() == Path(".local/lake_history")


@given(st.one_of(st.text(), st.binary(), st.lists(st.text())))
def test_no_value_steers_the_terminal(value: object) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=False, width=10_000)
    console.print(lake_print.cell(value), highlight=False)
    assert all(c.isprintable() for c in out.getvalue().rstrip("\n"))


def test_a_wide_result_on_a_terminal_is_shown_record_by_record() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=40, color_system=None)
    columns = [(f"column_{n}", "VARCHAR") for n in range(8)]
    lake_print.rows(console, columns, [["x" * 9] * 8], more=False)
    lines = out.getvalue().splitlines()
    assert sum("column_" in line for line in lines) == len(columns)
    assert max(map(len, lines)) <= 40


def test_every_option_of_the_command_is_told_in_its_help() -> None:
    shown = said("sql", "--help")
    for option in ("--csv", "--json", "--parquet", "--explain", "--memory", "--threads", "--rows"):
        assert option in shown
