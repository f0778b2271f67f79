"""The models' head comments, the dictionary, and the same SQL in other warehouses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from pipeline.core.feedback import Verdict
from pipeline.core.lake_columns import Dataset
from pipeline.ops import marts
from pipeline.ops.marts import MartColumn
from tests.unit.marts_world import (
    NOW,
    at,
    delivery,
    event,
    lake,
    parameters,
    reading,
    refused,
    told,
)

DICTIONARY = Path("infra/warehouse/DICTIONARY.md")
NAMES = [model.name for model in marts.models()]
HEAD = """-- m: What it tells.
--
-- grain: one row per x
-- reads: events, parameters
-- parameters: tenant
--
-- A note.
--
-- columns:
--   x (text): A thing.
--   took_ms (integer, ms): A time.
SELECT 1
"""


def test_the_dictionary_that_is_checked_in_is_current() -> None:
    told_now = DICTIONARY.read_text(encoding="utf-8") if DICTIONARY.exists() else ""
    assert told_now == marts.dictionary(), (
        "it is out of date: fieldline report --dictionary > infra/warehouse/DICTIONARY.md"
    )


def test_a_head_is_read_as_it_stands() -> None:
    model = marts.parse("m", HEAD)
    assert (model.says, model.grain, model.notes) == ("What it tells.", "one row per x", "A note.")
    assert model.reads == ("events", "parameters")
    assert model.columns[1] == MartColumn(name="took_ms", kind="integer", unit="ms", doc="A time.")
    assert model.sql == "SELECT 1"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("-- m: ", "-- n: ", "does not begin"),
        ("-- grain: one row per x\n", "", "tells no grain"),
        ("--   x (text): A thing.", "--   x: A thing.", "tells no column"),
        ("(integer, ms)", "(number of, ms)", "tells no column"),
    ],
)
def test_a_head_that_leaves_something_out_is_refused(old: str, new: str, why: str) -> None:
    assert old in HEAD
    with pytest.raises(ValueError, match=why):
        marts.parse("m", HEAD.replace(old, new))


@pytest.mark.parametrize("name", NAMES)
def test_a_model_has_the_columns_its_head_tells_and_no_others(name: str) -> None:
    connection = lake()
    marts.install(connection, parameters())
    model = next(model for model in marts.models() if model.name == name)
    found = connection.execute(f"DESCRIBE {name}").fetchall()
    assert [row[0] for row in found] == [column.name for column in model.columns]
    wanted = {column.name: marts.TYPES[column.kind] for column in model.columns}
    narrow = {row[0]: row[1].replace("INTEGER", "BIGINT") for row in found}
    assert narrow == wanted


@pytest.mark.parametrize("name", NAMES)
def test_a_model_reads_what_its_head_tells_and_nothing_else(name: str) -> None:
    model = next(model for model in marts.models() if model.name == name)
    tree = sqlglot.parse_one(model.sql, read="duckdb")
    own = {cte.alias for cte in tree.find_all(exp.CTE)}
    assert {table.name for table in tree.find_all(exp.Table)} - own == set(model.reads)
    allowed = {*Dataset, *marts.OWN, *NAMES[: NAMES.index(name)]}
    assert set(model.reads) <= allowed


@pytest.mark.parametrize("dialect", marts.DIALECTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_sql_of_other_warehouses_too(name: str, dialect: str) -> None:
    text = marts.translated(name, dialect)
    tree = sqlglot.parse_one(text, read=dialect, error_level=sqlglot.ErrorLevel.RAISE)
    # What sqlglot does not know it hands through as an anonymous function: none may be left.
    assert not list(tree.find_all(exp.Anonymous))
    assert "DATE_DIFF(" not in text
    model = next(model for model in marts.models() if model.name == name)
    assert isinstance(tree, exp.Select)
    assert tree.named_selects == [column.name for column in model.columns]


WORLD: dict[str, list[Any]] = {
    "events": [
        *(event("a", 0, observed_at=at(1)), event("a", 30, "clear")),
        *(event("b", 20, severity="warning"), event("b", 25, "update")),
        event("c", 40, tenant="bolt", asset_id=None, device_id="bolt/d", disposition="review"),
        *(event("d", 700), event("d", 760, "clear"), event("e", 800, flag="past")),
    ],
    "deliveries": [
        delivery("a", 2),
        delivery("a", 3, sink="tryton", latency_ms=400),
        *(delivery("b", 21, "dead_lettered", attempts=5), delivery("b", 2000, attempts=6)),
    ],
    "telemetry": [
        *(reading(0), reading(1, late=True)),
        reading(-40_000, received_at=at(5), flag="past"),
        reading(800, tenant="bolt", device_id="bolt/d"),
    ],
    "quarantine": [refused(0, "not_json"), refused(1, "bad_topic", device_id=None, readings=3)],
}
OUTCOMES = [told("a", Verdict.CONFIRMED), told("d", Verdict.FALSE_ALARM)]


@pytest.mark.parametrize("dialect", marts.DIALECTS)
def test_the_models_mean_the_same_in_other_warehouses(dialect: str) -> None:
    """As sqlglot reads that SQL back: what a function means there, not only that it is one."""
    here, there = lake(**WORLD), lake(**WORLD)
    for connection in (here, there):
        marts.install(connection, parameters(), OUTCOMES)
    for model in marts.models():
        [back] = sqlglot.transpile(
            marts.translated(model.name, dialect), read=dialect, write="duckdb"
        )
        there.execute(f"CREATE OR REPLACE VIEW {model.name} AS {back}")
        ours = marts.rows(here, model.name)
        assert ours, "the example shows nothing of this model"
        assert marts.rows(there, model.name) == ours


def test_the_example_of_the_other_warehouses_is_what_it_is_by_hand() -> None:
    """Else both could be wrong in the same way: press-1 was down 0-30, 25 (b) and 800 till now."""
    connection = lake(**WORLD)
    marts.install(connection, parameters(), OUTCOMES)
    [row] = marts.rows(connection, "downtime_by_asset")
    # One period from minute 0: b, critical from 25, is open, and d was false.
    assert row["downtime_s"] == (NOW - at(0)).total_seconds()
    assert row["open_s"] == (NOW - at(25)).total_seconds()
