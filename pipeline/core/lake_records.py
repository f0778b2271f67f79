"""Rows of the datasets whose topics hold one record a message: events, deliveries, quarantine.

A row is told by the schema that its producer wrote it with, so a producer newer than this
worker loses nothing: its new fields are columns of their own as soon as the table has them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import pyarrow as pa

from pipeline.core.archive import Arrival
from pipeline.core.lake_columns import (
    LAYOUTS,
    POSITION,
    TIME,
    Column,
    Dataset,
    Flag,
    Place,
    arrow_schema,
    places,
)
from pipeline.core.lake_evolve import plan
from pipeline.core.lake_times import DAY_MS, by_day, clamped_ms, flag_of

_OURS: Final = frozenset(column.name for column in POSITION)
_MISFIT: Final = (pa.ArrowException, OverflowError, TypeError, ValueError)
"""What Arrow raises where a value is none of its column's type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A dataset's columns as they are now; `ids` are their Iceberg field ids by dotted name."""

    columns: tuple[Column, ...]
    ids: Mapping[str, int] | None = None

    def schema(self) -> pa.Schema:
        """As Arrow has it."""
        return arrow_schema(self.columns, self.ids)


class RecordSchema:
    """One Avro schema that records were written with; made once, compared by identity."""

    def __init__(self, schema: Mapping[str, Any], *, known: Mapping[str, Any]) -> None:
        """`known` is the newest schema that this version has: words beyond it are flagged."""
        self.places: tuple[Place, ...] = places(schema)
        self.paths: dict[str, tuple[str, ...]] = {}
        for place in self.places:
            for name in (place.column.name, *place.column.aliases):
                self.paths.setdefault(name, place.path)
        words = {place.column.name: place.symbols for place in places(known)}
        self.words = {
            place.column.name: words.get(place.column.name, place.symbols)
            for place in self.places
            if place.symbols
        }
        self.numbers = tuple(place for place in self.places if _has_floats(place.column.type))

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """What its rows need of a table."""
        by_name = {
            place.column.name: place.column
            for place in reversed(self.places)
            if place.column.name not in _OURS
        }
        return (*reversed(by_name.values()), *POSITION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One message: its Avro record, what it was written with, and its place in the topic."""

    values: Mapping[str, Any] = field(repr=False)
    schema: RecordSchema = field(repr=False)
    topic: str
    partition: int
    offset: int


def unfit(dataset: Dataset, record: Record) -> str | None:
    """Why a record can be no row of the dataset, whatever its columns; None where it can.

    A newer producer may have dropped, or made null, what tells one row from another.
    """
    if not isinstance(_value(record, LAYOUTS[dataset].time), int):
        return f"it has no {LAYOUTS[dataset].time}"
    if dataset is not Dataset.EVENTS:
        return None
    source = record.values.get("source")
    at = source if isinstance(source, Mapping) else {}
    sound = isinstance(record.values.get("id"), str) and isinstance(at.get("topic"), str)
    if not sound or not all(isinstance(at.get(n), int) for n in ("partition", "offset", "index")):
        return "it does not say which event it is and where it came from (id, source)"
    return None


def record_arrival(dataset: Dataset, record: Record, *, replay: bool = False) -> Arrival:
    """What the archive's rules need to know of a record.

    An event is one by its id and the reading that caused it, which a repetition repeats; all
    else is what its place in the topic says.
    """
    day = clamped_ms(_time_ms(dataset, record)) // DAY_MS
    if dataset is Dataset.EVENTS:
        at = record.values["source"]
        return Arrival(
            source=(at["topic"], at["partition"]),
            position=(at["offset"], at["index"]),
            rows=1,
            days=frozenset((day,)),
            event_id=record.values["id"],
            replay=replay,
        )
    return Arrival(
        source=(record.topic, record.partition),
        position=(record.offset, 0),
        rows=1,
        days=frozenset((day,)),
    )


def wanted(records: Sequence[Record]) -> tuple[Column, ...]:
    """The columns that these rows need, of each schema in turn."""
    schemas = dict.fromkeys(record.schema for record in records)
    return tuple(column for schema in schemas for column in schema.columns)


def record_tables(
    dataset: Dataset, records: Sequence[Record], shape: Shape
) -> tuple[tuple[str, pa.Table], ...]:
    """(date, table of the shape's schema) for every event date in UTC, dates rising.

    Sorted as LAYOUTS says; ties keep the topic's order. The shape must have room for
    the records (`wanted`, `plan`): a column it lacks goes to `extra`.
    """
    if not records:
        return ()
    layout = LAYOUTS[dataset]
    homes = {
        schema: plan(shape.columns, schema.columns).homes
        for schema in dict.fromkeys(record.schema for record in records)
    }
    names = {column.name for column in shape.columns}
    days = [clamped_ms(_time_ms(dataset, record)) // DAY_MS for record in records]
    told = zip(days, records, strict=True)
    rows = [(day, *_row(dataset, one, homes[one.schema], names)) for day, one in told]
    rows.sort(key=lambda r: (r[0], *(_sortable(r[1].get(name)) for name in layout.order)))
    table = _table([row for _, row, _ in rows], [extra for _, _, extra in rows], shape.schema())
    return by_day(table, [day for day, _, _ in rows])


def _row(
    dataset: Dataset, record: Record, homes: Mapping[str, str | None], names: set[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row, and what its columns cannot hold."""
    row: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    unknown = False
    for place in record.schema.places:
        value = _at(record.values, place.path)
        if value is None:
            continue
        name = place.column.name
        words = record.schema.words.get(name)
        unknown |= words is not None and value not in words
        home = None if name in _OURS else homes.get(name)
        if home is None or home not in names or home in row:
            extra[".".join(place.path) if name in extra else name] = value
        elif place.as_json:
            row[home] = _json(value)
        else:
            # In microseconds, within what a timestamp can hold.
            row[home] = clamped_ms(value) * 1000 if place.column.type == TIME else value
    row["kafka_partition"] = record.partition
    row["kafka_offset"] = record.offset
    row["flag"] = _flag(dataset, record, unknown=unknown)
    return row, extra


def _table(
    rows: Sequence[dict[str, Any]], extras: Sequence[dict[str, Any]], schema: pa.Schema
) -> pa.Table:
    """Rows as a table; a value that its column cannot hold goes to `extra`, never to a stop.

    Such a one is a number beyond its Avro type: nothing checks what a producer writes.
    """
    for row, extra in zip(rows, extras, strict=True):
        row["extra"] = _json(extra) if extra else None
    try:
        return pa.Table.from_pylist(list(rows), schema)
    except _MISFIT:
        for row, extra in zip(rows, extras, strict=True):
            misfits = {name: row.pop(name) for name in _misfits(row, schema)}
            if misfits:
                row["extra"] = _json(extra | misfits)
        return pa.Table.from_pylist(list(rows), schema)


def _misfits(row: Mapping[str, Any], schema: pa.Schema) -> list[str]:
    found = []
    for one in schema:
        try:
            pa.array([row.get(one.name)], one.type)
        except _MISFIT:
            found.append(one.name)
    return found


def _flag(dataset: Dataset, record: Record, *, unknown: bool) -> str | None:
    arrival = LAYOUTS[dataset].arrival
    arrived = None if arrival is None else _value(record, arrival)
    flag = flag_of(_time_ms(dataset, record), arrived)
    if flag is not None:
        return flag
    numbers = (_at(record.values, place.path) for place in record.schema.numbers)
    if not all(map(math.isfinite, _floats(list(numbers)))):
        return Flag.NOT_FINITE.value
    return Flag.UNKNOWN_WORD.value if unknown else None


def _has_floats(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        return _has_floats(kind.value_type)
    if pa.types.is_struct(kind):
        return any(_has_floats(field.type) for field in kind)
    return bool(pa.types.is_floating(kind))


def _floats(value: object) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _floats(one)
    elif isinstance(value, list):
        for one in value:
            yield from _floats(one)


def _time_ms(dataset: Dataset, record: Record) -> int:
    return int(_value(record, LAYOUTS[dataset].time))


def _value(record: Record, column: str) -> Any:  # noqa: ANN401 - Avro's
    path = record.schema.paths.get(column)
    return None if path is None else _at(record.values, path)


def _at(values: Mapping[str, Any], path: tuple[str, ...]) -> Any:  # noqa: ANN401 - Avro's
    found: Any = values
    for name in path:
        found = found.get(name)
    return found


def _sortable(value: object) -> tuple[bool, Any]:
    return (value is not None, value)


def _json(value: object) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, sort_keys=True)


def _plain(value: Any) -> Any:  # noqa: ANN401 - Avro's, and JSON's
    """What JSON can say: bytes as hexadecimal, and what is no number (RFC 8259, 6) as its word."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
