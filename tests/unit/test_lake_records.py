"""Rows of the record datasets: values, flags, sort order, and the same bytes each time."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events import BusinessEvent
from pipeline.core.lake_columns import LAYOUTS, Dataset
from pipeline.core.lake_evolve import plan
from pipeline.core.lake_records import (
    Record,
    RecordSchema,
    Shape,
    record_arrival,
    record_tables,
    unfit,
    wanted,
)
from pipeline.core.lake_times import DAY_MS, LAST_MS
from pipeline.wire.avro import Codec
from pipeline.wire.lake import RecordReader, columns_of, plain_schema
from pipeline.wire.records import encode_event
from tests.unit.examples import event

CODEC = Codec()
EVENTS = RecordReader(CODEC, Dataset.EVENTS)
SHAPE = Shape(columns=columns_of(Dataset.EVENTS))
NOW = 20_000 * DAY_MS


def read(told: BusinessEvent, offset: int = 0) -> Record:
    return EVENTS.read("sink.lake", 3, offset, encode_event(CODEC, told))


def rows(*records: Record) -> list[dict[str, Any]]:
    tables = record_tables(Dataset.EVENTS, records, SHAPE)
    return [row for _, table in tables for row in table.to_pylist()]


def made(fields: dict[str, tuple[Any, Any]]) -> Record:
    """A quarantine record of a newer producer that has these fields too: name to (type, value)."""
    known = plain_schema("quarantined.v1")
    more = [{"name": name, "type": kind, "doc": "New."} for name, (kind, _) in fields.items()]
    schema = {**known, "fields": [*known["fields"], *more]}
    values = {
        "reason": "r",
        "detail": "d",
        "mqtt_topic": "t",
        "device_id": None,
        "payload": b"p",
        "payload_size": 1,
        "readings": 1,
        "received_ms": NOW,
        **{name: value for name, (_, value) in fields.items()},
    }
    return Record(
        values=values,
        schema=RecordSchema(schema, known=known),
        topic="telemetry.quarantine",
        partition=0,
        offset=7,
    )


def of_newer(fields: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    record = made(fields)
    shape = Shape(columns=plan(columns_of(Dataset.QUARANTINE), wanted([record])).columns)
    ((_, table),) = record_tables(Dataset.QUARANTINE, [record], shape)
    (row,) = table.to_pylist()
    found: dict[str, Any] = row
    return found


def test_event_rows_are_flat_and_keep_the_snapshot() -> None:
    first, second = event(occurred_at_ms=NOW + 3 * DAY_MS), event(id="e2", occurred_at_ms=NOW + 1)
    tables = record_tables(Dataset.EVENTS, [read(first, 4), read(second, 5)], SHAPE)
    assert [date for date, _ in tables] == ["2024-10-04", "2024-10-07"]
    (row,) = tables[0][1].to_pylist()
    assert row["id"] == "e2"
    assert row["occurred_at"] == datetime(2024, 10, 4, 0, 0, 0, 1000, tzinfo=UTC)
    assert (row["source_topic"], row["source_offset"], row["source_index"]) == (
        "telemetry.readings",
        7,
        0,
    )
    assert (row["source_session"], row["source_sequence"], row["severity"]) == (3, 42, "critical")
    assert row["snapshot"][0] == {
        "metric": "T50",
        "value": 1426.9,
        "baseline": 1400.0,
        "score": 8.5,
    }
    assert row["snapshot"][1]["baseline"] is None
    assert (row["kafka_partition"], row["kafka_offset"], row["extra"]) == (3, 5, None)


@given(
    st.lists(
        st.builds(
            event,
            id=st.sampled_from(["a", "b", "c"]),
            device_id=st.sampled_from(["acme/a", "acme/b"]),
            metric=st.sampled_from(["x", "y"]),
            occurred_at_ms=st.integers(NOW, NOW + 3 * DAY_MS) | st.integers(-(2**63), 2**63 - 1),
        ),
        max_size=8,
    )
)
def test_rows_are_sorted_split_by_date_and_a_pure_function_of_the_messages(
    told: list[BusinessEvent],
) -> None:
    records = [read(one, at) for at, one in enumerate(told)]
    tables = record_tables(Dataset.EVENTS, records, SHAPE)
    order = LAYOUTS[Dataset.EVENTS].order
    got = []
    for date, table in tables:
        part = table.to_pylist()
        assert {row["occurred_at"].date().isoformat() for row in part} == {date}
        keys = [(*(row[name] for name in order), row["kafka_offset"]) for row in part]
        assert keys == sorted(keys)
        got += [row["kafka_offset"] for row in part]
    assert sorted(got) == list(range(len(told)))
    assert [date for date, _ in tables] == sorted({date for date, _ in tables})
    again = record_tables(Dataset.EVENTS, [read(one, at) for at, one in enumerate(told)], SHAPE)
    assert [(d, t.to_pylist()) for d, t in again] == [(d, t.to_pylist()) for d, t in tables]


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({}, None),
        ({"occurred_at_ms": -1}, "clamped"),
        ({"occurred_at_ms": LAST_MS + 1}, "clamped"),
        ({"occurred_at_ms": 0}, "past"),
        ({"occurred_at_ms": 7_258_118_400_000}, "future"),
        ({"confidence": math.nan}, "not_finite"),
        ({"confidence": math.inf}, "not_finite"),
    ],
)
def test_a_row_to_be_doubted_is_flagged_and_kept(changes: dict[str, Any], flag: str | None) -> None:
    told = replace(event(occurred_at_ms=NOW, observed_at_ms=NOW), **changes)
    (row,) = rows(read(told))
    assert row["flag"] == flag


def test_a_word_that_this_version_does_not_know_is_flagged() -> None:
    record = read(event(occurred_at_ms=NOW, observed_at_ms=NOW))
    newer = replace(record, values={**record.values, "severity": "apocalyptic"})
    (row,) = rows(newer)
    assert (row["severity"], row["flag"]) == ("apocalyptic", "unknown_word")


@pytest.mark.parametrize(
    ("kind", "value", "held"),
    [
        (["null", "string"], None, None),
        (["null", "string"], "x" * 1_000_000, "x" * 1_000_000),
        (["string", "long"], 5, "5"),
        (["null", "string", "long"], "five", '"five"'),
        ({"type": "map", "values": "long"}, {"b": 1, "a": 2}, '{"a": 2, "b": 1}'),
        ({"type": "array", "items": ["null", "double"]}, [1.5, None], [1.5, None]),
        ({"type": "enum", "name": "E", "symbols": ["a", "b"]}, "b", "b"),
        ("bytes", b"\x00\xff", b"\x00\xff"),
    ],
)
def test_a_newer_producers_field_is_a_column_of_its_own(
    kind: Any,  # noqa: ANN401 - Avro's
    value: Any,  # noqa: ANN401 - Avro's
    held: Any,  # noqa: ANN401 - Arrow's
) -> None:
    assert of_newer({"newer": (kind, value)})["newer"] == held


def test_a_value_beyond_its_column_goes_to_extra_and_stops_nothing() -> None:
    row = of_newer({"count": ("int", 2**40), "name": ("string", "n")})
    assert (row["count"], row["name"]) == (None, "n")
    assert json.loads(row["extra"]) == {"count": 2**40}


def test_a_column_that_the_table_has_no_room_for_goes_to_extra() -> None:
    record = made({"newer": ("long", 5)})
    shape = Shape(columns=columns_of(Dataset.QUARANTINE))
    ((date, table),) = record_tables(Dataset.QUARANTINE, [record], shape)
    (row,) = table.to_pylist()
    assert (date, json.loads(row["extra"])) == ("2024-10-04", {"newer": 5})
    assert table.schema == shape.schema()


def test_an_event_is_told_by_its_source_and_all_else_by_its_place() -> None:
    arrival = record_arrival(Dataset.EVENTS, read(event(occurred_at_ms=NOW), 9), replay=True)
    assert (arrival.source, arrival.position) == (("telemetry.readings", 1), (7, 0))
    assert (arrival.event_id, arrival.replay) == ("aaaaaaaaaaaaaaaaaaaaaaaa", True)
    assert arrival.days == {20_000}
    other = record_arrival(Dataset.QUARANTINE, made({}))
    assert (other.source, other.position) == (("telemetry.quarantine", 0), (7, 0))
    assert (other.event_id, other.rows) == (None, 1)


def test_a_record_without_its_time_or_source_is_no_row() -> None:
    record = read(event())
    assert unfit(Dataset.EVENTS, record) is None
    timeless = replace(record, values={**record.values, "occurred_at_ms": None})
    assert "occurred_at" in (unfit(Dataset.EVENTS, timeless) or "")
    rootless = replace(record, values={**record.values, "source": None})
    assert "came from" in (unfit(Dataset.EVENTS, rootless) or "")


def test_no_records_have_no_table() -> None:
    assert record_tables(Dataset.EVENTS, [], SHAPE) == ()
