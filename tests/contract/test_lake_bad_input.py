"""Rows that no one would wish for: archived, flagged, and no reason to stop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.lake import base
from pipeline.core.lake_columns import Dataset, Flag
from pipeline.core.telemetry import DeduplicatedBatch, TelemetryBatch
from tests.contract.lake_producers import TOPIC, Feed, Producer, Registry
from tests.contract.lake_tables import Lake, opened

NOW_MS = round(datetime(2026, 11, 22, tzinfo=UTC).timestamp() * 1000)
YEAR_MS = 365 * 86_400_000
TIMES = {
    "an ordinary one": (NOW_MS, None, "2026-11-22"),
    "the epoch": (0, Flag.PAST, "1970-01-01"),
    "in 1970": (90_000_000, Flag.PAST, "1970-01-02"),
    "before 1970": (-5, Flag.CLAMPED, "1970-01-01"),
    "long before 1970": (-(2**62), Flag.CLAMPED, "1970-01-01"),
    "in 2200": (230 * YEAR_MS, Flag.FUTURE, "2199-11-06"),
    "after 9999": (2**62, Flag.CLAMPED, "9999-12-31"),
    "two years ago": (NOW_MS - 2 * YEAR_MS, Flag.PAST, "2024-11-22"),
    "next week": (NOW_MS + 7 * 86_400_000, Flag.FUTURE, "2026-11-29"),
}
LONG = "x" * 1_000_000


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def readings(
    times: Sequence[int], values: Sequence[float], *, device: str = "acme/pump", metric: str = "t"
) -> DeduplicatedBatch:
    count = len(times)
    return DeduplicatedBatch(
        source_topic="telemetry.readings",
        source_partition=0,
        source_offset=0,
        batch=TelemetryBatch(
            devices=(device,),
            metrics=(metric,),
            sample_device=np.zeros(count, np.int32),
            sample_session=np.ones(count, np.int64),
            sample_seq=np.arange(count, dtype=np.int64),
            sample_time_ms=np.array(times, np.int64),
            sample_received_ms=np.full(count, NOW_MS, np.int64),
            sample_readings=np.ones(count, np.int32),
            reading_metric=np.zeros(count, np.int32),
            reading_value=np.array(values, np.float64),
        ),
        late=np.zeros(count, np.bool_),
        duplicates=0,
    )


def three(lake: Lake, dataset: Dataset, columns: Sequence[str], key: str) -> list[dict[str, Any]]:
    """What each of the three readers has in these columns, as JSON by `key`; they must agree."""
    by_iceberg = lake.rows(dataset).select(columns).to_pylist()
    by_pyarrow = lake.hive(dataset).select(columns).to_pylist()
    selected = lake.duck(f"SELECT {', '.join(columns)} FROM lake", dataset)  # noqa: S608 - ours
    by_duck = [dict(zip(columns, row, strict=True)) for row in selected]
    answers = [{row[key]: row for row in rows} for rows in (by_iceberg, by_pyarrow, by_duck)]
    said = [json.dumps(one, default=str, sort_keys=True) for one in answers]
    assert said[0] == said[1] == said[2]
    assert {len(rows) for rows in (by_iceberg, by_pyarrow, by_duck)} == {len(answers[0])}
    return [answers[0][name] for name in sorted(answers[0])]


async def test_readings_of_any_time_are_archived_and_flagged(lake: Lake) -> None:
    writer = lake.writer()
    await opened(writer)
    writer.offer(0, 0, readings([time for time, _, _ in TIMES.values()], [1.0] * len(TIMES)))
    assert isinstance(await writer.flush(0), base.Flushed)
    rows = three(lake, Dataset.TELEMETRY, ("sequence", "flag", "value"), "sequence")
    assert [row["flag"] for row in rows] == [flag for _, flag, _ in TIMES.values()]
    days = lake.duck("SELECT sequence, CAST(CAST(time AS DATE) AS VARCHAR) FROM lake ORDER BY 1")
    assert [day for _, day in days] == [date for _, _, date in TIMES.values()]
    hive = lake.hive()
    by_folder = dict(zip(hive["sequence"].to_pylist(), hive["date"].to_pylist(), strict=True))
    assert [by_folder[place] for place in range(len(TIMES))] == [day for _, day in days]
    # And a query on time finds them through Iceberg's hidden partitions.
    found = lake.loaded().scan("time > '2100-01-01T00:00:00+00:00'").to_arrow()
    assert sorted(found["flag"].to_pylist()) == [Flag.CLAMPED, Flag.FUTURE]


async def test_values_that_are_no_numbers_and_very_long_names_are_archived(lake: Lake) -> None:
    writer = lake.writer()
    await opened(writer)
    values = [1.0, float("nan"), float("inf"), float("-inf"), 5e-324, -0.0, 1.7e308]
    writer.offer(0, 0, readings([NOW_MS] * len(values), values))
    long = readings([NOW_MS], [2.0], device=f"acme/{LONG}", metric=LONG)
    writer.offer(0, 1, replace(long, source_offset=1))
    assert isinstance(await writer.flush(0), base.Flushed)
    columns = ("source_offset", "sequence", "value", "flag", "device_id", "metric")
    rows = sorted(
        (tuple(row[name] for name in columns) for row in lake.rows().to_pylist()),
        key=lambda row: row[:2],
    )
    assert [row[3] for row in rows] == [None, *[Flag.NOT_FINITE] * 3, *[None] * 4]
    assert [repr(row[2]) for row in rows] == [repr(float(one)) for one in [*values, 2.0]]
    assert rows[-1][4:] == (f"acme/{LONG}", LONG)
    again = lake.duck(f"SELECT {', '.join(columns)} FROM lake ORDER BY 1, 2")  # noqa: S608 - ours
    assert list(map(repr, again)) == list(map(repr, rows))
    assert lake.hive().num_rows == len(rows)


async def test_events_of_any_time_word_and_number_are_archived_and_flagged(lake: Lake) -> None:
    registry = Registry()
    entry = {"metric": "m", "value": float("inf"), "baseline": None, "score": None}
    newer = Producer(
        registry,
        change={
            "severity": {
                "type": {
                    "type": "enum",
                    "name": "Severity",
                    "symbols": ["info", "warning", "critical", "catastrophic"],
                }
            }
        },
    )
    cases: list[tuple[dict[str, Any], str | None]] = [
        *(({"occurred_at_ms": time}, flag) for time, flag, _ in TIMES.values()),
        ({"confidence": float("nan")}, Flag.NOT_FINITE),
        ({"snapshot": [entry]}, Flag.NOT_FINITE),
        ({"severity": "catastrophic"}, Flag.UNKNOWN_WORD),
        ({"summary": LONG, "rule": "\x00\u202e\U0001f4a5'\"\\;--"}, None),
        ({"snapshot": [entry | {"metric": LONG, "value": 1.0}]}, None),
    ]
    writer = lake.writer(Dataset.EVENTS)
    await opened(writer, 0, TOPIC)
    told = Feed(registry, writer)
    for offset, (values, _) in enumerate(cases):
        usual = {"occurred_at_ms": NOW_MS, "observed_at_ms": NOW_MS}
        told.offer(offset, newer.message(offset, **(usual | values)))
    flushed = await told.flush()
    assert (flushed.rows, flushed.last_offset) == (len(cases), len(cases) - 1)
    columns = ("id", "flag", "severity", "summary", "rule", "kafka_offset")
    rows = three(lake, Dataset.EVENTS, columns, "id")
    assert [row["flag"] for row in rows] == [flag for _, flag in cases]
    assert rows[11]["severity"] == "catastrophic"
    assert rows[12]["summary"] == LONG
    assert rows[12]["rule"] == "\x00\u202e\U0001f4a5'\"\\;--"
    [(long,)] = lake.duck("SELECT max(length(snapshot[1].metric)) FROM lake", Dataset.EVENTS)
    assert long == len(LONG)


async def test_a_number_beyond_its_type_goes_to_extra_and_stops_nothing(lake: Lake) -> None:
    """Avro's int and long are the same on the wire, and nothing checks what a producer writes."""
    registry = Registry()
    wide = Producer(registry, add=({"name": "count", "type": "long"},))
    honest = Producer(registry, add=({"name": "count", "type": "int"},))
    lying = bytes((0,)) + (2).to_bytes(4, "big") + wide.message(0, count=2**40)[5:]
    writer = lake.writer(Dataset.EVENTS)
    await opened(writer, 0, TOPIC)
    told = Feed(registry, writer)
    told.offer(0, lying)
    told.offer(1, honest.message(1, count=7))
    await told.flush()
    rows = {row["kafka_offset"]: row for row in lake.rows(Dataset.EVENTS).to_pylist()}
    assert (rows[0]["count"], json.loads(rows[0]["extra"])) == (None, {"count": 2**40})
    assert (rows[1]["count"], rows[1]["extra"]) == (7, None)
