"""The order-free sum of rows: what it must see, and what it must not."""

from __future__ import annotations

import math
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.lake_columns import LAYOUTS, Dataset
from pipeline.core.lake_sum import MODULUS, SUMMED, column_sum, row_sum
from pipeline.wire.lake import columns_of

ROW = st.tuples(
    st.sampled_from(["acme/a", "acme/b", ""]) | st.text(max_size=4),
    st.sampled_from(["x", "y"]),
    st.integers(0, 253_402_300_799_999_000),
    st.floats(allow_nan=False),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**63 - 1),
)
ROWS = st.lists(ROW, max_size=12)
TYPES = {
    "device_id": pa.string(),
    "metric": pa.string(),
    "time": pa.timestamp("us", tz="UTC"),
    "value": pa.float64(),
    "source_partition": pa.int32(),
    "source_offset": pa.int64(),
}
Row = tuple[str, str, int, float, int, int]


def table(rows: list[Row]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(TYPES)
    arrays = [pa.array(c, t) for c, t in zip(columns, TYPES.values(), strict=True)]
    return pa.table(arrays, names=list(TYPES))


def telemetry_sum(rows: list[Row]) -> int:
    return row_sum(Dataset.TELEMETRY, table(rows))


def same(row: Row) -> tuple[object, ...]:
    """What makes two rows the same: the two zeros are one."""
    return (*row[:3], struct.pack("<d", row[3] + 0.0), *row[4:])


@given(ROWS, st.randoms())
def test_the_order_of_rows_does_not_matter(rows: list[Row], chance: object) -> None:
    mixed = list(rows)
    chance.shuffle(mixed)  # type: ignore[attr-defined]  # hypothesis's random.Random
    assert telemetry_sum(mixed) == telemetry_sum(rows)
    assert 0 <= telemetry_sum(rows) < MODULUS


@given(ROWS, st.integers(0, 12))
def test_sums_of_parts_add_up_to_that_of_the_whole(rows: list[Row], cut: int) -> None:
    parts = telemetry_sum(rows[:cut]) + telemetry_sum(rows[cut:])
    assert parts % MODULUS == telemetry_sum(rows)


@given(st.lists(ROW, min_size=1, max_size=12), ROW, st.integers(0, 11))
def test_a_row_that_is_missing_doubled_or_changed_shows(
    rows: list[Row], other: Row, at: int
) -> None:
    whole, at = telemetry_sum(rows), at % len(rows)
    assert telemetry_sum(rows[:at] + rows[at + 1 :]) != whole
    assert telemetry_sum([*rows, rows[at]]) != whole
    changed = telemetry_sum([*rows[:at], other, *rows[at + 1 :]])
    assert (changed == whole) == (same(other) == same(rows[at]))


@given(ROWS)
def test_how_words_are_stored_and_chunked_does_not_matter(rows: list[Row]) -> None:
    plain = table(rows)
    coded = plain.set_column(0, "device_id", plain["device_id"].dictionary_encode())
    parts = pa.concat_tables([coded.slice(0, 3), coded.slice(3)])
    other = (
        pa.DictionaryArray.from_arrays(
            pa.array(
                [["acme/z", *sorted({r[0] for r in rows})].index(r[0]) for r in rows], pa.int32()
            ),
            ["acme/z", *sorted({r[0] for r in rows})],
        )
        if rows and "acme/z" not in {r[0] for r in rows}
        else plain["device_id"]
    )
    otherwise = plain.set_column(0, "device_id", other)
    sums = {row_sum(Dataset.TELEMETRY, one) for one in (plain, coded, parts, otherwise)}
    assert len(sums) == 1


def test_values_that_change_columns_or_rows_show() -> None:
    there = pa.table({"a": [1, 2], "b": [3, 4]})
    assert column_sum(there) != column_sum(pa.table({"a": [3, 4], "b": [1, 2]}))
    assert column_sum(there) != column_sum(pa.table({"a": [1, 2], "b": [4, 3]}))
    assert column_sum(pa.table({"a": [2, 1], "b": [4, 3]})) == column_sum(there)


def test_every_nan_is_one_and_so_are_the_zeros() -> None:
    quiet = np.array([0x7FF8_0000_0000_0001, 0xFFF8_0000_0000_0000], dtype=np.uint64)
    one, two = (pa.table({"value": [value]}) for value in quiet.view(np.float64))
    assert column_sum(one) == column_sum(two) == column_sum(pa.table({"value": [math.nan]}))
    assert column_sum(pa.table({"value": [-0.0]})) == column_sum(pa.table({"value": [0.0]}))
    assert column_sum(pa.table({"value": [1.0]})) != column_sum(pa.table({"value": [-1.0]}))


@pytest.mark.parametrize("dataset", Dataset)
def test_what_is_summed_is_required_in_its_dataset(dataset: Dataset) -> None:
    columns = {column.name: column for column in columns_of(dataset)}
    assert all(columns[name].required for name in SUMMED[dataset])
    assert LAYOUTS[dataset].time in columns
    empty = pa.table({name: pa.array([], columns[name].type) for name in SUMMED[dataset]})
    assert row_sum(dataset, empty) == 0
