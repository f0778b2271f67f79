"""Producers' schemas change while others stay: the lake follows, and loses nothing."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.lake import base
from connectors.lake.writer import LakeWriter
from pipeline.core.lake_columns import Dataset
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.lake import RecordReader
from tests.contract.lake_producers import TOPIC, Feed, Producer, Registry, example
from tests.contract.lake_tables import Lake, opened

EVENTS = Dataset.EVENTS


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


async def feed(lake: Lake, registry: Registry, partition: int = 0) -> Feed:
    writer = lake.writer(EVENTS)
    await opened(writer, partition, TOPIC)
    return Feed(registry, writer, partition)


def by_id(lake: Lake) -> dict[str, dict[str, Any]]:
    """pyiceberg's rows; each id once."""
    rows = lake.rows(EVENTS).to_pylist()
    found = {row["id"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def id_of(offset: int) -> str:
    return f"{offset:024d}"


COUNT = {"name": "count", "type": "int", "default": 0, "doc": "How often."}
SHARE = {"name": "share", "type": "float", "default": 0, "doc": "Of all."}
ENTRY_AND_UNIT = {
    "type": "array",
    "items": {
        "type": "record",
        "name": "SnapshotEntry",
        "fields": [
            {"name": "metric", "type": "string"},
            {"name": "value", "type": "double"},
            {"name": "baseline", "type": ["null", "double"], "default": None},
            {"name": "score", "type": ["null", "double"], "default": None},
            {"name": "unit", "type": ["null", "string"], "default": None},
        ],
    },
}


async def test_old_and_new_producers_at_once_and_one_query_over_both(lake: Lake) -> None:
    registry = Registry()
    old = Producer(registry, add=(COUNT, SHARE))
    new = Producer(
        registry,
        drop=("asset_id",),
        add=(
            COUNT | {"type": "long"},
            SHARE | {"type": "double"},
            {"name": "mood", "type": ["null", "string"], "default": None, "doc": "Of the device."},
        ),
        change={
            "summary": {"name": "headline", "aliases": ["summary"]},
            "snapshot": {"type": ENTRY_AND_UNIT},
        },
    )
    told = await feed(lake, registry)
    for offset in range(3):
        told.offer(offset, old.message(offset, count=offset, share=0.5, summary=f"s{offset}"))
    await told.flush()
    entry = {"metric": "T50", "value": 1.0, "baseline": None, "score": None, "unit": "K"}
    for offset in range(3, 9):
        if offset % 2:
            value = new.message(
                offset, count=2**40, share=0.1, mood="sad", headline=f"s{offset}", snapshot=[entry]
            )
        else:
            value = old.message(offset, count=offset, share=0.5, summary=f"s{offset}")
        told.offer(offset, value)
    await told.flush()
    # One that was never told of the change writes on with the columns it knows.
    for offset in range(9, 11):
        told.offer(offset, old.message(offset, count=offset, share=0.5, summary=f"s{offset}"))
    await told.flush()

    rows = by_id(lake)
    assert set(rows) == {id_of(offset) for offset in range(11)}
    for offset in range(11):
        row, is_new = rows[id_of(offset)], offset in {3, 5, 7}
        assert row["headline"] == f"s{offset}"
        assert row["count"] == (2**40 if is_new else offset)
        assert row["share"] == (0.1 if is_new else 0.5)
        assert row["mood"] == ("sad" if is_new else None)
        assert row["asset_id"] == (None if is_new else "ESN-1")
        assert [one["unit"] for one in row["snapshot"]] == (["K"] if is_new else [None, None])
        assert row["extra"] is None
    assert "summary" not in lake.rows(EVENTS).column_names

    query = "SELECT id, headline, count, share, mood, asset_id, snapshot[1].unit FROM lake"
    expected = [
        (
            *(row[name] for name in ("id", "headline", "count", "share", "mood", "asset_id")),
            row["snapshot"][0]["unit"],
        )
        for row in rows.values()
    ]
    assert sorted(lake.duck(query, EVENTS)) == sorted(expected)
    [(wide, mean)] = lake.duck(
        "SELECT max(count), avg(share) FROM lake WHERE headline LIKE 's%'", EVENTS
    )
    assert (wide, round(mean, 6)) == (2**40, round((3 * 0.1 + 8 * 0.5) / 11, 6))
    # By plain names pyarrow finds both, each in the files of its own time.
    hive = lake.hive(EVENTS)
    assert {"summary", "headline"} <= set(hive.column_names)
    assert hive.num_rows == 11


async def test_iceberg_still_finds_by_value_what_was_written_narrow(lake: Lake) -> None:
    registry = Registry()
    told = await feed(lake, registry)
    told.offer(0, Producer(registry, add=(COUNT,)).message(0, count=7))
    await told.flush()
    told.offer(1, Producer(registry, add=(COUNT | {"type": "long"},)).message(1, count=2**40))
    await told.flush()
    table = lake.loaded(EVENTS)
    assert table.scan("count = 7").to_arrow()["id"].to_pylist() == [id_of(0)]
    assert table.scan("count > 7").to_arrow()["id"].to_pylist() == [id_of(1)]
    assert len(list(table.scan("count > 7").plan_files())) == 1


async def test_what_contradicts_the_table_goes_to_extra(lake: Lake) -> None:
    registry = Registry()
    strange = Producer(
        registry,
        change={"confidence": {"type": "string"}},
        add=(
            {"name": "date", "type": "string"},
            {"name": "ID", "type": "string"},
            {"name": "kafka_offset", "type": "long"},
            {"name": "flag", "type": "string"},
            {"name": "source_offset", "type": "long"},
            {"name": "blob", "type": "bytes"},
            {"name": "any", "type": ["null", "string", {"type": "map", "values": "double"}]},
        ),
    )
    told = await feed(lake, registry)
    told.offer(0, Producer(registry).message(0))
    told.offer(
        1,
        strange.message(
            1,
            confidence="high",
            date="today",
            ID="other",
            kafka_offset=99,
            flag="mine",
            source_offset=77,
            blob=b"\x00\xff",
            any={"a": float("nan")},
        ),
    )
    await told.flush()
    row = by_id(lake)[id_of(1)]
    assert json.loads(row["extra"]) == {
        "confidence": "high",
        "date": "today",
        "ID": "other",
        "kafka_offset": 99,
        "flag": "mine",
        "source_offset": 77,
    }
    assert (row["kafka_offset"], row["source_offset"], row["flag"]) == (1, 1, None)
    assert row["blob"] == b"\x00\xff"
    assert json.loads(row["any"]) == {"a": "nan"}
    assert by_id(lake)[id_of(0)]["confidence"] == 0.9
    [(level,)] = lake.duck("SELECT extra->>'confidence' FROM lake WHERE extra NOT NULL", EVENTS)
    assert level == "high"


async def test_types_beyond_the_plain_ones_stay_what_is_on_the_wire(lake: Lake) -> None:
    registry = Registry()
    level = {"type": "enum", "name": "Level", "symbols": ["low", "high"]}
    fancy = Producer(
        registry,
        add=(
            {"name": "first_level", "type": level},
            {"name": "second_level", "type": "fieldline.Level"},
            {"name": "day", "type": {"type": "int", "logicalType": "date"}},
            {"name": "until", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {
                "name": "price",
                "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
            },
            {
                "name": "node",
                "type": {
                    "type": "record",
                    "name": "Node",
                    "fields": [
                        {"name": "text", "type": "string"},
                        {"name": "next", "type": ["null", "Node"], "default": None},
                    ],
                },
            },
        ),
    )
    told = await feed(lake, registry)
    told.offer(
        0,
        fancy.message(
            0,
            first_level="low",
            second_level="high",
            day=20_000,
            until=datetime(2026, 1, 2, tzinfo=UTC),
            price=b"\x30\x39",
            node={"text": "a", "next": {"text": "b", "next": None}},
        ),
    )
    await told.flush()
    row = by_id(lake)[id_of(0)]
    assert (row["first_level"], row["second_level"], row["day"]) == ("low", "high", 20_000)
    assert row["until"] == 1_767_312_000_000
    assert row["price"] == b"\x30\x39"
    assert row["node_text"] == "a"
    assert json.loads(row["node_next"]) == {"text": "b", "next": None}


async def test_two_workers_that_evolve_at_once_agree(lake: Lake) -> None:
    registry = Registry()
    one, other = [await feed(lake, registry, partition) for partition in (0, 1)]
    names = ("mood", "tone")
    producers = [
        Producer(
            registry,
            add=({"name": name, "type": "string", "default": ""}, COUNT),
            change={"summary": {"name": "headline", "aliases": ["summary"]}},
        )
        for name in names
    ]
    plain = Producer(registry)
    for start in (0, 10):
        for offset in range(start, start + 10):
            mine = producers[0].message(offset, mood="m", count=1, headline="h")
            theirs = producers[1].message(100 + offset, tone="t", count=2, headline="h")
            one.offer(offset, mine if offset % 2 else plain.message(offset, summary="h"))
            other.offer(offset, theirs if offset % 2 else plain.message(100 + offset, summary="h"))
        await asyncio.gather(one.flush(), other.flush())
    rows = by_id(lake)
    assert len(rows) == 40
    assert {row["headline"] for row in rows.values()} == {"h"}
    assert sorted({(row["mood"], row["tone"]) for row in rows.values()}, key=str) == [
        ("m", None),
        (None, "t"),
        (None, None),
    ]
    again = lake.duck("SELECT id, headline, mood, tone, count FROM lake", EVENTS)
    told = ("id", "headline", "mood", "tone", "count")
    assert sorted(again) == sorted(tuple(row[name] for name in told) for row in rows.values())


async def test_a_lake_without_tables_evolves_too(lake: Lake) -> None:
    registry = Registry()
    writer = LakeWriter(lake.store, dataset=EVENTS, flush_rows=10**6, flush_s=1)
    await opened(writer, 0, TOPIC)
    told = Feed(registry, writer)
    told.offer(0, Producer(registry, add=(COUNT,)).message(0, count=7))
    await told.flush()
    told.offer(1, Producer(registry, add=(COUNT | {"type": "long"},)).message(1, count=2**40))
    await told.flush()
    assert sorted(lake.hive(EVENTS)["count"].to_pylist()) == [7, 2**40]
    # And a table that comes later takes them with all their columns.
    shown = lake.writer(EVENTS)
    assert (await opened(shown, 0, TOPIC)).next_offset == 2
    assert {row["count"] for row in by_id(lake).values()} == {7, 2**40}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"drop": ("occurred_at_ms",)}, "occurred_at"),
        ({"drop": ("source",)}, "source"),
        ({"drop": ("id",)}, "id"),
        ({"change": {"occurred_at_ms": {"type": ["null", "long"]}}}, "occurred_at"),
        ({"change": {"occurred_at_ms": {"type": "string"}}}, "occurred_at"),
        ({"change": {"id": {"type": ["null", "string"]}}}, "id"),
    ],
)
def test_a_record_that_cannot_be_told_from_others_is_refused_by_name(
    changes: dict[str, Any], why: str
) -> None:
    registry = Registry()
    producer = Producer(registry, **changes)
    other = {"string": "yesterday"}
    told = {name: other.get(str(form["type"])) for name, form in changes.get("change", {}).items()}
    reader = RecordReader(Codec(registry), EVENTS)
    with pytest.raises(UnreadableError, match=why):
        reader.read(TOPIC, 0, 0, producer.message(0, **told))


def test_a_message_that_is_no_record_is_refused() -> None:
    registry = Registry()
    value = b"\0" + registry.register({"type": "string"}).to_bytes(4, "big") + b"\x02a"
    with pytest.raises(UnreadableError, match="not as a record"):
        RecordReader(Codec(registry), EVENTS).read(TOPIC, 0, 0, value)


def test_fields_that_a_producer_does_not_know_have_their_defaults() -> None:
    registry = Registry()
    producer = Producer(registry, drop=("disposition", "action", "asset_id"))
    record = RecordReader(Codec(registry), EVENTS).read(TOPIC, 0, 5, producer.message(3))
    assert record.values == example(3) | {"asset_id": None}
    assert {place.column.name for place in record.schema.places} >= {"disposition", "asset_id"}


async def test_rows_whose_columns_the_table_cannot_be_given_stay_in_the_buffer(lake: Lake) -> None:
    """The catalogue is away: nothing is written under columns that nobody agreed on."""
    registry = Registry()
    writer = lake.writer(EVENTS)
    await opened(writer, 0, TOPIC)
    told = Feed(registry, writer)
    kept = lake.catalogue.rename(lake.root / "away")
    lake.catalogue.mkdir()
    told.offer(0, Producer(registry, add=(COUNT,)).message(0, count=3))
    assert isinstance(await writer.flush(0), base.Retry)
    assert not list((lake.root / "lake/events").glob("date=*/*"))
    lake.catalogue.rmdir()
    kept.rename(lake.catalogue)
    await told.flush()
    assert by_id(lake)[id_of(0)]["count"] == 3
