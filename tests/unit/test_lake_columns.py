"""Columns as an Avro schema tells them, and what Arrow and Parquet say of them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from pipeline.core.lake_columns import (
    LAYOUTS,
    POSITION,
    TIME,
    Column,
    Dataset,
    arrow_schema,
    columns,
    places,
)
from pipeline.wire.lake import columns_of

EPOCH_MS = "When, milliseconds since the Unix epoch, UTC."


def of_type(kind: Any, name: str = "f", doc: str = "A field.", **more: Any) -> Column:  # noqa: ANN401 - Avro's
    schema = {
        "type": "record",
        "name": "R",
        "fields": [{"name": name, "type": kind, "doc": doc, **more}],
    }
    (place,) = places(schema)
    return place.column


@pytest.mark.parametrize(
    ("kind", "arrow"),
    [
        ("boolean", pa.bool_()),
        ("int", pa.int32()),
        ("long", pa.int64()),
        ("float", pa.float32()),
        ("double", pa.float64()),
        ("string", pa.string()),
        ("bytes", pa.binary()),
        (["null", "long"], pa.int64()),
        (["long", "null"], pa.int64()),
        ({"type": "enum", "name": "E", "symbols": ["a", "b"]}, pa.string()),
        (
            {"type": "array", "items": "int"},
            pa.list_(pa.field("element", pa.int32(), nullable=False)),
        ),
        ({"type": "array", "items": ["null", "int"]}, pa.list_(pa.field("element", pa.int32()))),
        (
            {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "S",
                    "fields": [
                        {"name": "m", "type": "string"},
                        {"name": "v", "type": ["null", "double"]},
                    ],
                },
            },
            pa.list_(
                pa.field(
                    "element",
                    pa.struct(
                        [pa.field("m", pa.string(), nullable=False), pa.field("v", pa.float64())]
                    ),
                    nullable=False,
                )
            ),
        ),
    ],
)
def test_an_avro_type_has_its_column_type(kind: Any, arrow: pa.DataType) -> None:  # noqa: ANN401 - Avro's
    column = of_type(kind)
    assert column.type == arrow
    assert not column.required, "another version of the schema may not have it"


@pytest.mark.parametrize(
    "kind", [["string", "long"], ["null", "string", "double"], {"type": "map", "values": "long"}]
)
def test_what_no_column_can_hold_is_json(kind: Any) -> None:  # noqa: ANN401 - Avro's
    schema = {"type": "record", "name": "R", "fields": [{"name": "f", "type": kind}]}
    (place,) = places(schema)
    assert place.as_json
    assert place.column.type == pa.string()


@pytest.mark.parametrize(
    ("name", "doc", "kind", "expected"),
    [
        ("occurred_at_ms", EPOCH_MS, "long", ("occurred_at", TIME, "")),
        ("at_ms", EPOCH_MS, "long", ("at", TIME, "")),
        ("received_ms", EPOCH_MS, "long", ("received_at", TIME, "")),
        ("received_ms", EPOCH_MS, ["null", "long"], ("received_at", TIME, "")),
        ("latency_ms", "How long; milliseconds.", "long", ("latency_ms", pa.int64(), "ms")),
        ("wait_s", "How long, seconds.", "double", ("wait_s", pa.float64(), "s")),
        ("size_bytes", "How much.", "long", ("size_bytes", pa.int64(), "bytes")),
        ("forms", "How many.", "long", ("forms", pa.int64(), "")),
    ],
)
def test_a_time_becomes_a_timestamp_and_a_unit_is_told(
    name: str,
    doc: str,
    kind: Any,  # noqa: ANN401 - Avro's
    expected: tuple[str, pa.DataType, str],
) -> None:
    column = of_type(kind, name, doc)
    assert (column.name, column.type, column.unit) == expected


def test_a_nested_records_fields_stand_beside_the_others_and_a_nullable_one_is_a_struct() -> None:
    inner = {"type": "record", "name": "I", "fields": [{"name": "offset", "type": "long"}]}
    again = {"type": "record", "name": "J", "fields": [{"name": "x", "type": "int"}]}
    schema = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "source", "type": inner}, {"name": "maybe", "type": ["null", again]}],
    }
    first, second = places(schema)
    assert (first.column.name, first.path) == ("source_offset", ("source", "offset"))
    assert (second.column.name, second.path) == ("maybe", ("maybe",))
    assert pa.types.is_struct(second.column.type)


def test_an_alias_is_the_name_of_the_column_it_was() -> None:
    plain = of_type("string", "colour", aliases=["color"])
    assert plain.aliases == ("color",)
    time = of_type("long", "seen_at_ms", EPOCH_MS, aliases=["observed_ms"])
    assert (time.name, time.aliases) == ("seen_at", ("observed_at",))


@pytest.mark.parametrize("dataset", Dataset)
def test_every_column_tells_what_it_is_and_the_layout_names_columns_that_are_there(
    dataset: Dataset,
) -> None:
    found = columns_of(dataset)
    names = [column.name for column in found]
    assert len(set(names)) == len(names)
    assert all(column.doc for column in found)
    layout = LAYOUTS[dataset]
    assert {layout.time, *layout.order, *layout.bloom} <= set(names)
    assert found[names.index(layout.time)].type == TIME
    if layout.arrival is not None:
        assert found[names.index(layout.arrival)].type == TIME
    if dataset is not Dataset.TELEMETRY:
        assert found[-len(POSITION) :] == POSITION


def test_arrow_has_description_unit_and_field_ids_down_to_the_last_level() -> None:
    schema = {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "wait_ms", "type": "long", "doc": "How long."},
            {"name": "list", "type": {"type": "array", "items": "int"}, "doc": "Some."},
        ],
    }
    told = columns(schema)
    plain = arrow_schema(told)
    assert plain.field("wait_ms").metadata == {b"doc": b"How long.", b"unit": b"ms"}
    names = [*(column.name for column in told), "list.element"]
    ids = {name: place for place, name in enumerate(names, 1)}
    numbered = arrow_schema(told, ids)
    for column in told:
        assert numbered.field(column.name).metadata[b"PARQUET:field_id"].decode() == str(
            ids[column.name]
        )
    element = numbered.field("list").type.value_field
    assert element.metadata[b"PARQUET:field_id"].decode() == str(ids["list.element"])
    assert not numbered.field("kafka_offset").nullable
