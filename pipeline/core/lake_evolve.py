"""How a table follows its producers' schemas: add, rename by alias, widen; never lose a column.

Old and new producers write at once, so a table is what all of them together need: a column
that newer ones dropped stays (and is null in what they write), one they renamed is found by
both names, one they widened takes both widths. What contradicts the table (a text that became
a number) does not stop it: such values go to the column `extra`.

Sources: Avro 1.12, "Schema Resolution" (aliases, promotion); Apache Iceberg table spec,
"Schema Evolution" (the promotions a table can make: int → long, float → double).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

from pipeline.core.lake_columns import Column

MOST_COLUMNS: Final = 1_000
"""A table grows no further: a producer with a new field in every message must not fill it."""
RESERVED: Final = frozenset({"date"})
"""Names that no column may have: the folder `date=…` is a column to whoever reads the hive
layout."""

_WIDER: Final[Mapping[pa.DataType, pa.DataType]] = {
    pa.int32(): pa.int64(),
    pa.float32(): pa.float64(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a table must become to take rows of other columns.

    `columns` are those it then has; `renamed` are (old name, new name) of columns it has
    now; `homes` says of each wanted column which of them it goes to, None where it contradicts
    the table.
    """

    columns: tuple[Column, ...]
    renamed: tuple[tuple[str, str], ...]
    homes: Mapping[str, str | None]
    changed: bool


def plan(there: Sequence[Column], wanted: Sequence[Column]) -> Plan:
    """How columns `there` take rows that have columns `wanted`."""
    growing = _Growing(there)
    for one in wanted:
        growing.take(one)
    columns = growing.columns()
    return Plan(
        columns=columns,
        renamed=growing.renamed(),
        homes=growing.homes,
        changed=[_told(column) for column in columns] != [_told(column) for column in there],
    )


def merge(there: pa.DataType, wanted: pa.DataType) -> pa.DataType | None:
    """The narrowest type that holds both; None where none does."""
    if there == wanted or _WIDER.get(wanted) == there:
        return there
    if _WIDER.get(there) == wanted:
        return wanted
    if pa.types.is_list(there) and pa.types.is_list(wanted):
        inner = merge(there.value_type, wanted.value_type)
        if inner is None:
            return None
        loose = there.value_field.nullable or wanted.value_field.nullable
        return pa.list_(pa.field("element", inner, nullable=loose))
    if pa.types.is_struct(there) and pa.types.is_struct(wanted):
        return _merged_struct(there, wanted)
    return None


class _Growing:
    """A table's columns while it takes those that are wanted, one by one."""

    def __init__(self, there: Sequence[Column]) -> None:
        self._columns = {column.name: column for column in there}
        self._names = {name.lower() for name in self._columns} | RESERVED
        self._was = {name: name for name in self._columns}
        self._is_new = not there
        self.homes: dict[str, str | None] = {}

    def columns(self) -> tuple[Column, ...]:
        return tuple(
            replace(one, aliases=tuple(a for a in one.aliases if a not in self._columns))
            for one in self._columns.values()
        )

    def renamed(self) -> tuple[tuple[str, str], ...]:
        return tuple((old, name) for name, old in self._was.items() if old != name)

    def take(self, one: Column) -> None:
        home = self._home(one)
        self.homes[one.name] = home
        if home is None:
            return
        known = self._columns[home]
        merged = merge(known.type, one.type)
        aliases = dict.fromkeys((*known.aliases, *one.aliases, one.name))
        self._columns[home] = replace(
            known, type=known.type if merged is None else merged, aliases=tuple(aliases)
        )

    def _home(self, one: Column) -> str | None:
        if one.name in self._columns:
            return one.name if self._fits(one, one.name) else None
        if one.name.lower() in self._names:
            # Most warehouses, DuckDB among them, tell names apart without regard to case.
            return None
        for name, column in self._columns.items():
            if one.name in column.aliases and self._fits(one, name):
                return name
        for alias in one.aliases:
            if alias in self._columns and self._fits(one, alias):
                self._rename(alias, one.name)
                return one.name
        if len(self._columns) >= MOST_COLUMNS:
            return None
        self._names.add(one.name.lower())
        # Rows that are there already have nothing in it.
        self._columns[one.name] = one if self._is_new else replace(one, required=False)
        return one.name

    def _fits(self, one: Column, name: str) -> bool:
        return merge(self._columns[name].type, one.type) is not None

    def _rename(self, old: str, new: str) -> None:
        self._columns = {
            (new if name == old else name): (
                replace(column, name=new, aliases=(*column.aliases, old)) if name == old else column
            )
            for name, column in self._columns.items()
        }
        self._names = self._names - {old.lower()} | {new.lower()}
        self.homes = {name: new if home == old else home for name, home in self.homes.items()}
        if old in self._was:
            self._was[new] = self._was.pop(old)


def _told(column: Column) -> tuple[str, pa.DataType, frozenset[str]]:
    return column.name, column.type, frozenset(column.aliases)


def _merged_struct(there: pa.StructType, wanted: pa.StructType) -> pa.DataType | None:
    ours, theirs = ({field.name: field for field in one} for one in (there, wanted))
    names = dict.fromkeys((*ours, *theirs))
    if len({name.lower() for name in names}) < len(names):
        return None
    fields: list[pa.Field] = []
    for name in names:
        if name not in ours or name not in theirs:
            fields.append(pa.field(name, (ours.get(name) or theirs[name]).type))
            continue
        one, other = ours[name], theirs[name]
        inner = merge(one.type, other.type)
        if inner is None:
            return None
        fields.append(pa.field(name, inner, nullable=one.nullable or other.nullable))
    return pa.struct(fields)
