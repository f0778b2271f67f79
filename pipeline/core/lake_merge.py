"""Sorted files into one sorted file, a piece at a time, whatever columns they were written with.

Memory is bounded by what is buffered of each source: one batch.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

Key = tuple[tuple[bool, Any], ...]
FIELD_ID: Final = b"PARQUET:field_id"


class _Run:
    """One source: the batch in hand and how far it is taken."""

    def __init__(self, batches: Iterator[pa.Table], order: Sequence[str]) -> None:
        self._batches = batches
        self._order = order
        self.at = 0
        self._table: pa.Table | None = None
        self._keys: list[pa.ChunkedArray] = []

    def fill(self) -> bool:
        """Whether there is a row in hand; the next batch is fetched where there is none."""
        while self._table is None or self.at >= self._table.num_rows:
            batch = next(self._batches, None)
            if batch is None:
                return False
            self._table = batch.combine_chunks()
            self._keys = [_plain(self._table[name]) for name in self._order]
            self.at = 0
        return True

    @property
    def last(self) -> Key:
        return self.key(self._rows - 1)

    @property
    def _rows(self) -> int:
        assert self._table is not None  # noqa: S101 - `fill` comes first
        return int(self._table.num_rows)

    def key(self, row: int) -> Key:
        values = (column[row].as_py() for column in self._keys)
        return tuple((value is not None, value) for value in values)

    def up_to(self, bound: Key, *, equal: bool) -> pa.Table:
        """Take the rows below the bound, and those equal to it where so asked."""
        find = bisect_right if equal else bisect_left
        end = find(range(self._rows), bound, lo=self.at, key=self.key)
        return self._take(end)

    def rest(self) -> pa.Table:
        """Take all that is in hand."""
        return self._take(self._rows)

    def _take(self, end: int) -> pa.Table:
        assert self._table is not None  # noqa: S101 - `fill` comes first
        taken = self._table.slice(self.at, end - self.at)
        self.at = end
        return taken


def merged(sources: Sequence[Iterator[pa.Table]], order: Sequence[str]) -> Iterator[pa.Table]:
    """Pieces whose rows rise over all sources, each of which rises by `order`, nulls first.

    Rows equal in `order` keep the order of the sources and, within one, their own. All tables
    have the same schema.
    """
    runs = [run for run in (_Run(source, order) for source in sources) if run.fill()]
    while runs:
        # The first of those that end lowest: nothing that is still to come lies below its end.
        place, bound = min(
            ((n, run.last) for n, run in enumerate(runs)), key=lambda e: (e[1], e[0])
        )
        taken = [
            run.rest() if n == place else run.up_to(bound, equal=n < place)
            for n, run in enumerate(runs)
        ]
        runs = [run for run in runs if run.fill()]
        yield in_order(pa.concat_tables([piece for piece in taken if piece.num_rows]), order)


def in_order(table: pa.Table, order: Sequence[str]) -> pa.Table:
    """A table's rows by `order`, nulls first; rows equal in it keep their order."""
    keys = [(name, "ascending", "at_start") for name in order]
    # Arrow's sort is stable (Arrow C++, "Sorts and partitions").
    places = pc.sort_indices(table, sort_keys=keys)
    return table.combine_chunks().take(places)


def regrouped(pieces: Iterable[pa.Table], rows: int, size: int) -> Iterator[pa.Table]:
    """The same rows in tables of `rows` each, or of fewer where these take `size` bytes."""
    waiting: list[pa.Table] = []
    count = weight = 0
    for piece in pieces:
        waiting.append(piece)
        count += piece.num_rows
        weight += piece.nbytes
        while count >= rows or (weight >= size and count):
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, rows)
            left = whole.slice(rows)
            waiting, count, weight = [left], left.num_rows, left.nbytes
    if count:
        yield pa.concat_tables(waiting)


def projected(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table as `schema` has it: columns are found by their Iceberg field ids, or by name.

    `table` has the field ids of the file it was read from; a file from before there were ids
    has none. A column it lacks is null; a narrower one is widened.
    """
    ids = _ids(table.schema)
    columns = []
    for field in schema:
        place = ids.get((field.metadata or {}).get(FIELD_ID, b"")) if ids else None
        if not ids:
            found = table.schema.get_field_index(field.name)
            place = None if found < 0 else found
        if place is None:
            columns.append(pa.nulls(table.num_rows, field.type))
        else:
            columns.append(_fitted(table.column(place), table.schema.field(place), field))
    return pa.table(columns, schema=schema)


def _ids(schema: pa.Schema) -> dict[bytes, int]:
    told = ((n, (field.metadata or {}).get(FIELD_ID)) for n, field in enumerate(schema))
    return {own: n for n, own in told if own is not None}


def _fitted(column: pa.ChunkedArray, there: pa.Field, wanted: pa.Field) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not pa.types.is_nested(wanted.type):
        return column.cast(wanted.type)
    if _same(there.type, wanted.type):
        return column.cast(wanted.type)
    # A list or record that has changed within: seldom, so value by value.
    values = [_moved(value, there, wanted) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(values, wanted.type)])


def _same(there: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether two types have the same names and widths, field ids apart."""
    if pa.types.is_list(there) and pa.types.is_list(wanted):
        return _same(there.value_type, wanted.value_type)
    if pa.types.is_struct(there) and pa.types.is_struct(wanted):
        return [f.name for f in there] == [f.name for f in wanted] and all(
            _same(a.type, b.type) for a, b in zip(there, wanted, strict=True)
        )
    return bool(there == wanted)


def _moved(value: Any, there: pa.Field, wanted: pa.Field) -> Any:  # noqa: ANN401 - Arrow's
    if value is None:
        return None
    if pa.types.is_list(wanted.type):
        return [_moved(v, there.type.value_field, wanted.type.value_field) for v in value]
    if pa.types.is_struct(wanted.type):
        by_id: Mapping[bytes, pa.Field] = {
            (f.metadata or {}).get(FIELD_ID, f.name.encode()): f for f in there.type
        }
        out = {}
        for field in wanted.type:
            old = by_id.get((field.metadata or {}).get(FIELD_ID, field.name.encode()))
            out[field.name] = None if old is None else _moved(value[old.name], old, field)
        return out
    return value


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    # As a number: a time becomes a datetime of Python's otherwise, which is slow.
    return column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
