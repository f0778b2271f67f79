"""Statements: what each warehouse is told, held by golden files, and what none may hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlglot

from connectors.warehouse.base import Present, Warehouse, WrongError
from connectors.warehouse.dialects import literal, next_date
from connectors.warehouse.redshift import manifest_key
from pipeline.core.lake_columns import TEXT, Column, Dataset
from pipeline.wire.lake import columns_of
from tests.contract.warehouse_golden import SECRET, dialect, file, golden, ledger, told

GOLDEN = golden()


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_statements_are_as_the_golden_file_has_them(path: Path) -> None:
    assert GOLDEN[path] == path.read_text(), (
        "Read the difference; where it is meant, run python -m tests.contract.warehouse_golden."
    )


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_no_statement_holds_a_secret(path: Path) -> None:
    assert GOLDEN[path]
    assert SECRET not in GOLDEN[path]


@pytest.mark.parametrize(
    ("warehouse", "speaks"),
    [(Warehouse.SNOWFLAKE, "snowflake"), (Warehouse.BIGQUERY, "bigquery")],
)
@pytest.mark.parametrize("dataset", list(Dataset))
def test_another_parser_reads_the_sql(warehouse: Warehouse, speaks: str, dataset: Dataset) -> None:
    said = (*ledger(warehouse), *told(warehouse, dataset))
    own = [one for one in said if not one.startswith("{")]
    assert own
    for one in own:
        if "ICEBERG" not in one:
            assert sqlglot.parse(one, read=speaks)


def test_a_column_that_was_renamed_is_renamed_and_not_added() -> None:
    sql = dialect(Warehouse.REDSHIFT)
    columns = [Column(name="unit", type=TEXT, doc="", aliases=("einheit",))]
    assert sql.change(
        Dataset.EVENTS, [Present(name="einheit", type="character varying")], columns
    ) == ('ALTER TABLE fieldline.events RENAME COLUMN "einheit" TO "unit"',)


def test_a_table_that_has_everything_is_left_alone() -> None:
    for warehouse in Warehouse:
        columns = columns_of(Dataset.EVENTS)
        there = [Present(name=c.name.upper(), type="wide enough", precision=19) for c in columns]
        assert dialect(warehouse).change(Dataset.EVENTS, there, columns) == ()


def test_columns_that_differ_in_capitals_only_are_refused() -> None:
    columns = [Column(name="unit", type=TEXT, doc=""), Column(name="Unit", type=TEXT, doc="")]
    with pytest.raises(WrongError, match="capitals only"):
        dialect(Warehouse.SNOWFLAKE).change(Dataset.EVENTS, [], columns)


def test_a_manifest_names_every_file_with_its_size() -> None:
    written: dict[str, bytes] = {}
    files = (file(Dataset.EVENTS, 0), file(Dataset.EVENTS, 10))
    dialect(Warehouse.REDSHIFT, written).stage(Dataset.EVENTS, 0, files, "t")
    [(key, data)] = written.items()
    assert key == manifest_key(Dataset.EVENTS, data)
    assert [one["url"] for one in json.loads(data)["entries"]] == [
        f"s3://lake/{one.key}" for one in files
    ]
    assert all(one["meta"]["content_length"] == 4096 for one in json.loads(data)["entries"])


@pytest.mark.parametrize("bad", ["a\\'; DROP TABLE events; --", "line\nbreak", "\x00"])
def test_a_text_that_could_end_its_literal_is_refused(bad: str) -> None:
    with pytest.raises(WrongError):
        literal(bad)


def test_a_quote_is_doubled() -> None:
    assert literal("o'neil/pump") == "'o''neil/pump'"


def test_the_last_date_of_the_calendar_has_no_next() -> None:
    assert next_date("9999-12-31") is None
    assert next_date("2024-02-28") == "2024-02-29"
