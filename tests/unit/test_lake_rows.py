"""Telemetry's rows: what a plain loop would give, sorted, split by date, flagged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import lake_rows
from pipeline.core.lake_columns import TELEMETRY, arrow_schema
from pipeline.core.lake_rows import batch_arrival, telemetry_tables
from pipeline.core.lake_times import DAY_MS, FUTURE_MS, LAST_MS, PAST_MS, date_text
from pipeline.core.telemetry import DeduplicatedBatch, Sample, pack

SCHEMA = arrow_schema(TELEMETRY)
NOW = 20_000 * DAY_MS
EDGES = (0, NOW - PAST_MS, NOW, NOW + FUTURE_MS, LAST_MS)
TIMES = (
    st.integers(-(2**63), 2**63 - 1)
    | st.integers(NOW, NOW + 3 * DAY_MS)
    | st.sampled_from([edge + by for edge in EDGES for by in (-1, 0, 1)])
)
SAMPLES = st.lists(
    st.builds(
        Sample,
        device_id=st.sampled_from(["acme/b", "acme/a", "zeta/a"]),
        session=st.integers(0, 3),
        sequence=st.integers(-1, 9),
        time_ms=TIMES,
        received_ms=TIMES,
        readings=st.lists(st.tuples(st.sampled_from(["x", "y"]), st.floats()), max_size=3).map(
            tuple
        ),
    ),
    max_size=8,
)
MESSAGES = st.lists(SAMPLES, max_size=4)


def deduplicated(samples: Sequence[Sample], offset: int = 7) -> DeduplicatedBatch:
    return DeduplicatedBatch(
        source_topic="telemetry.readings",
        source_partition=2,
        source_offset=offset,
        batch=pack(list(samples)),
        late=np.array([s.sequence == 0 for s in samples], dtype=np.bool_),
        duplicates=0,
    )


def batches(messages: Sequence[Sequence[Sample]]) -> list[DeduplicatedBatch]:
    return [deduplicated(samples, offset) for offset, samples in enumerate(messages)]


def clamp(time_ms: int) -> int:
    return min(max(time_ms, 0), LAST_MS)


def when(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms // 1000, tz=UTC).replace(
        microsecond=time_ms % 1000 * 1000
    )


def doubt(time_ms: int, received_ms: int, value: float) -> str | None:
    """The flag as its documentation says it."""
    if clamp(time_ms) != time_ms:
        return "clamped"
    if time_ms > clamp(received_ms) + FUTURE_MS:
        return "future"
    if time_ms < clamp(received_ms) - PAST_MS:
        return "past"
    return None if math.isfinite(value) else "not_finite"


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "value": repr(row["value"])}


@given(MESSAGES)
def test_telemetry_rows_are_those_of_a_plain_loop_sorted_and_split_by_date(
    messages: list[list[Sample]],
) -> None:
    expected: list[dict[str, Any]] = [
        {
            "tenant": s.device_id.partition("/")[0],
            "device_id": s.device_id,
            "metric": metric,
            "time": when(clamp(s.time_ms)),
            "value": value,
            "session": s.session,
            "sequence": s.sequence,
            "received_at": when(clamp(s.received_ms)),
            "late": s.sequence == 0,
            "flag": doubt(s.time_ms, s.received_ms, value),
            "source_partition": 2,
            "source_offset": offset,
        }
        for offset, samples in enumerate(messages)
        for s in samples
        for metric, value in s.readings
    ]
    expected.sort(key=lambda r: (r["time"].date(), r["device_id"], r["metric"], r["time"]))
    tables = telemetry_tables(batches(messages), SCHEMA)
    rows = [row for _, table in tables for row in table.to_pylist()]
    assert list(map(comparable, rows)) == list(map(comparable, expected))
    dates = [date for date, _ in tables]
    assert dates == sorted({row["time"].date().isoformat() for row in expected})
    for date, table in tables:
        assert {row["time"].date().isoformat() for row in table.to_pylist()} == {date}
        assert table.schema.names == SCHEMA.names
        assert [f.metadata for f in table.schema] == [f.metadata for f in SCHEMA]
        assert [f.nullable for f in table.schema] == [f.nullable for f in SCHEMA]
        # Words are codes into a dictionary still; else the types are the schema's.
        assert table.cast(SCHEMA).schema == SCHEMA


@given(MESSAGES)
def test_rows_are_the_same_whether_they_are_dealt_out_or_sorted(
    messages: list[list[Sample]],
) -> None:
    def rows() -> list[tuple[str, list[dict[str, Any]]]]:
        tables = telemetry_tables(batches(messages), SCHEMA)
        return [(date, list(map(comparable, table.to_pylist()))) for date, table in tables]

    dealt = rows()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lake_rows, "DEALT_BUCKETS", 0)
        patch.setattr(lake_rows, "_DEALT_EACH", 0)
        assert rows() == dealt


@given(MESSAGES)
def test_an_arrival_says_how_many_rows_on_which_dates_a_batch_brings(
    messages: list[list[Sample]],
) -> None:
    for offset, samples in enumerate(messages):
        batch = deduplicated(samples, offset)
        arrival = batch_arrival(batch)
        assert arrival.rows == sum(len(s.readings) for s in samples)
        assert (arrival.source, arrival.position) == (("telemetry.readings", 2), (offset, 0))
        dates = {date for date, _ in telemetry_tables([batch], SCHEMA)}
        # A sample without readings has a date and no row.
        assert dates <= {date_text(day) for day in arrival.days}
        assert arrival.days == {clamp(s.time_ms) // DAY_MS for s in samples}


def test_a_time_in_1970_or_2200_and_a_value_that_is_none_are_flagged_and_kept() -> None:
    in_2200 = 7_258_118_400_000
    told = ((0, 1.0), (in_2200, 2.0), (NOW, math.nan), (NOW, -math.inf), (-5, 3.0), (NOW, 4.0))
    samples = [
        Sample(
            device_id="acme/a",
            session=1,
            sequence=at,
            time_ms=time_ms,
            received_ms=NOW,
            readings=(("x", value),),
        )
        for at, (time_ms, value) in enumerate(told)
    ]
    tables = telemetry_tables([deduplicated(samples)], SCHEMA)
    rows = {r["sequence"]: (d, r["flag"]) for d, table in tables for r in table.to_pylist()}
    assert rows == {
        0: ("1970-01-01", "past"),
        1: ("2200-01-01", "future"),
        2: ("2024-10-04", "not_finite"),
        3: ("2024-10-04", "not_finite"),
        4: ("1970-01-01", "clamped"),
        5: ("2024-10-04", None),
    }


def test_no_messages_and_messages_without_readings_have_no_table() -> None:
    assert telemetry_tables([], SCHEMA) == ()
    silent = Sample(
        device_id="a/b", session=0, sequence=0, time_ms=NOW, received_ms=NOW, readings=()
    )
    assert telemetry_tables([deduplicated([silent])], SCHEMA) == ()


def test_columns_tell_their_description() -> None:
    for column, field in zip(TELEMETRY, SCHEMA, strict=True):
        assert field.metadata[b"doc"].decode() == column.doc
        assert column.doc.endswith(".")
    assert SCHEMA.field("time").type == pa.timestamp("us", tz="UTC")
