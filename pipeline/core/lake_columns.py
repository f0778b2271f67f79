"""What the lake's datasets hold: columns with units and descriptions, told by their Avro schemas.

A row dataset has a column for each field of its Avro record, whatever version wrote it: a
nested record's fields stand beside the others (`source.offset` → `source_offset`), a time
in milliseconds becomes a timestamp (`occurred_at_ms` → `occurred_at`), an enum its text, and
what no column can hold is told as JSON. Telemetry comes in columns and stays in them.

Types are those that Apache Iceberg and Parquet share (Iceberg table spec, "Primitive Types"):
times in microseconds, as Iceberg has no others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import pyarrow as pa

TIME: Final = pa.timestamp("us", tz="UTC")
TEXT: Final = pa.string()
_SIMPLE: Final[Mapping[str, pa.DataType]] = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": TEXT,
    "bytes": pa.binary(),
    "enum": TEXT,
    "fixed": pa.binary(),
}
_EPOCH = "since the Unix epoch"


class Dataset(StrEnum):
    """The lake's datasets: one topic each."""

    TELEMETRY = "telemetry"
    """Deduplicated readings, one row each."""
    EVENTS = "events"
    DELIVERIES = "deliveries"
    """How each event ended at each sink."""
    QUARANTINE = "quarantine"
    """What could not be read, as it came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. `doc` is a sentence, `unit` empty where it has none.

    `aliases` are names it had before. A column that is not `required` may be null: whatever
    comes from an Avro record may be, as another version may not have it.
    """

    name: str
    type: pa.DataType
    doc: str
    unit: str = ""
    required: bool = False
    aliases: tuple[str, ...] = ()


def _required(name: str, kind: pa.DataType, doc: str, unit: str = "") -> Column:
    return Column(name=name, type=kind, doc=doc, unit=unit, required=True)


TELEMETRY: Final = (
    _required("tenant", TEXT, "Tenant the device belongs to."),
    _required("device_id", TEXT, "Device, 'tenant/device'."),
    _required("metric", TEXT, "What was measured, as the device names it."),
    _required("time", TIME, "When it was measured, by the device's clock, UTC."),
    _required("value", pa.float64(), "The reading, in the metric's own unit."),
    _required("session", pa.int64(), "The device's session; 0 where it tells none."),
    _required("sequence", pa.int64(), "The sample's number in its session; -1 where it has none."),
    _required("received_at", TIME, "Arrival at the bridge, UTC."),
    _required("late", pa.bool_(), "It came too late for detection to look at it."),
    Column(name="flag", type=TEXT, doc="Why it is to be doubted (Flag); null where it is not."),
    _required("source_partition", pa.int32(), "Partition of telemetry.readings it came on."),
    _required("source_offset", pa.int64(), "Offset in that partition of the message it came in."),
)
"""One row per reading, sorted by device, metric and time."""

POSITION: Final = (
    Column(name="flag", type=TEXT, doc="Why it is to be doubted (Flag); null where it is not."),
    Column(name="extra", type=TEXT, doc="JSON object: what its columns cannot hold, by name."),
    _required("kafka_partition", pa.int32(), "Partition of the dataset's topic it came on."),
    _required("kafka_offset", pa.int64(), "Its offset in that partition."),
)
"""Columns that every row dataset has beside those of its Avro record."""


class Flag(StrEnum):
    """Why a row is to be doubted. It is archived all the same."""

    CLAMPED = "clamped"
    """Its time lies before 1970 or after 9999 and was set to that edge."""
    FUTURE = "future"
    """Its time lies more than a day after its arrival."""
    PAST = "past"
    """Its time lies more than 400 days before its arrival."""
    NOT_FINITE = "not_finite"
    """Its value is NaN or infinite."""
    UNKNOWN_WORD = "unknown_word"
    """One of its words is none that this version knows (an enum's symbol of a newer one)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a dataset lies: its event time (partition and sort), sort order, Bloom filters.

    `arrival` is the column a time is compared with to be flagged; None: nothing to compare.
    """

    time: str
    order: tuple[str, ...]
    bloom: tuple[str, ...] = ()
    arrival: str | None = None


LAYOUTS: Final[Mapping[Dataset, Layout]] = {
    Dataset.TELEMETRY: Layout(
        time="time", order=("device_id", "metric", "time"), arrival="received_at"
    ),
    Dataset.EVENTS: Layout(
        time="occurred_at",
        order=("device_id", "metric", "occurred_at", "id"),
        bloom=("id", "entity_id"),
        arrival="observed_at",
    ),
    Dataset.DELIVERIES: Layout(
        time="at", order=("device_id", "at", "event_id", "sink"), bloom=("event_id",)
    ),
    Dataset.QUARANTINE: Layout(time="received_at", order=("mqtt_topic", "received_at")),
}
"""Ties keep the topic's order. Bloom filters are for ids, which have no range worth a statistic;
a device is found by its place in the order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a column's value stands in an Avro record: names from the record down."""

    column: Column
    path: tuple[str, ...]
    symbols: frozenset[str] = frozenset()
    """Of an enum: the words this version knows."""
    as_json: bool = False
    """No column type holds it (a union of several): its text is JSON."""


def places(schema: Mapping[str, Any]) -> tuple[Place, ...]:
    """The columns of an Avro record schema (fastavro's parsed form or plain JSON), in its order."""
    return tuple(_places(schema, ()))


def columns(schema: Mapping[str, Any]) -> tuple[Column, ...]:
    """Columns of a row dataset as its Avro schema tells them."""
    return (*(place.column for place in places(schema)), *POSITION)


def arrow_schema(of: tuple[Column, ...], ids: Mapping[str, int] | None = None) -> pa.Schema:
    """Arrow schema with description, unit and, where given, Iceberg field ids by dotted name."""
    return pa.schema([_arrow_field(column, ids) for column in of])


def _arrow_field(column: Column, ids: Mapping[str, int] | None) -> pa.Field:
    metadata = {"doc": column.doc}
    if column.unit:
        metadata["unit"] = column.unit
    if ids is not None:
        metadata["PARQUET:field_id"] = str(ids[column.name])
    kind = column.type if ids is None else _with_ids(column.type, column.name, ids)
    return pa.field(column.name, kind, nullable=not column.required, metadata=metadata)


def _with_ids(kind: pa.DataType, name: str, ids: Mapping[str, int]) -> pa.DataType:
    if pa.types.is_list(kind):
        inner = f"{name}.element"
        element = kind.value_field.with_type(_with_ids(kind.value_type, inner, ids))
        return pa.list_(_named(element.with_name("element"), ids[inner]))
    if pa.types.is_struct(kind):
        return pa.struct(
            _named(f.with_type(_with_ids(f.type, f"{name}.{f.name}", ids)), ids[f"{name}.{f.name}"])
            for f in kind
        )
    return kind


def _named(field: pa.Field, own: int) -> pa.Field:
    return field.with_metadata({"PARQUET:field_id": str(own)})


def _places(schema: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[Place]:
    for field in schema["fields"]:
        kind, nullable = _not_null(field["type"])
        own = (*path, field["name"])
        if isinstance(kind, Mapping) and kind["type"] == "record" and not nullable:
            yield from _places(kind, own)
            continue
        doc = str(field.get("doc", ""))
        name, unit = "_".join(own), _unit(field["name"])
        arrow = _arrow(kind)
        if kind == "long" and unit == "ms" and _EPOCH in doc:
            name, arrow, unit = _time_name(name), TIME, ""
        symbols = kind.get("symbols", ()) if isinstance(kind, Mapping) else ()
        yield Place(
            column=Column(
                name=name,
                type=TEXT if arrow is None else arrow,
                doc=doc,
                unit=unit,
                aliases=tuple(
                    _alias("_".join((*path, alias)), name) for alias in field.get("aliases", ())
                ),
            ),
            path=own,
            symbols=frozenset(symbols),
            as_json=arrow is None,
        )


def _alias(old: str, name: str) -> str:
    return _time_name(old) if name.endswith("at") and _unit(old) == "ms" else old


def _time_name(name: str) -> str:
    stem = name.removesuffix("_ms")
    return stem if stem == "at" or stem.endswith("_at") else f"{stem}_at"


def _unit(name: str) -> str:
    ending = name.rpartition("_")[2]
    return ending if ending in {"ms", "s", "bytes"} else ""


def _not_null(kind: Any) -> tuple[Any, bool]:  # noqa: ANN401 - an Avro type: text, list or object
    if not isinstance(kind, list):
        return kind, False
    rest = [one for one in kind if one != "null"]
    return (rest[0] if len(rest) == 1 else rest), len(rest) != len(kind)


def _arrow(kind: Any) -> pa.DataType | None:  # noqa: ANN401 - the same
    """Arrow type of an Avro type; None where no column type holds it."""
    if isinstance(kind, str):
        return _SIMPLE.get(kind)
    if isinstance(kind, list):
        return None
    name = kind["type"]
    if name == "array":
        inner = _field("element", kind["items"])
        return None if inner is None else pa.list_(inner)
    if name == "record":
        fields = [_field(one["name"], one["type"]) for one in kind["fields"]]
        known = [field for field in fields if field is not None]
        return pa.struct(known) if len(known) == len(fields) else None
    return _SIMPLE.get(name)


def _field(name: str, kind: Any) -> pa.Field | None:  # noqa: ANN401 - the same
    inner, nullable = _not_null(kind)
    arrow = _arrow(inner)
    return None if arrow is None else pa.field(name, arrow, nullable=nullable)
