"""Sorted files become one sorted file, whatever columns they were written with."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.lake_merge import in_order, merged, projected, regrouped


def table(rows: list[tuple[str | None, int]], source: int) -> pa.Table:
    return pa.table(
        {
            "name": pa.array([name for name, _ in rows], pa.string()),
            "at": pa.array([at for _, at in rows], pa.int64()).cast(pa.timestamp("us", "UTC")),
            "source": pa.array([source] * len(rows), pa.int64()),
            "place": pa.array(range(len(rows)), pa.int64()),
        }
    )


RUNS = st.lists(
    st.lists(st.tuples(st.sampled_from([None, "", "a", "b", "ü"]), st.integers(0, 3)), max_size=20),
    max_size=5,
)


@given(RUNS, st.integers(1, 7))
def test_merged_files_are_what_sorting_them_together_gives_ties_included(
    runs: list[list[tuple[str | None, int]]], size: int
) -> None:
    order = ("name", "at")
    sources = [in_order(table(rows, n), order) for n, rows in enumerate(runs)]
    batches = [
        iter([one.slice(at, size) for at in range(0, one.num_rows, size)]) for one in sources
    ]
    out = list(merged(batches, order))
    if not any(runs):
        assert out == []
        return
    expected = [
        (row["name"], row["at"], row["source"], row["place"])
        for source in sources
        for row in source.to_pylist()
    ]
    expected.sort(key=lambda row: (row[0] is not None, row[0] or "", row[1]))
    got = pa.concat_tables(out).to_pylist()
    assert [(r["name"], r["at"], r["source"], r["place"]) for r in got] == expected


@given(st.lists(st.integers(0, 30), max_size=8), st.integers(1, 20))
def test_regrouped_rows_come_in_groups_of_so_many_and_none_is_lost(
    sizes: list[int], rows: int
) -> None:
    pieces = [pa.table({"n": np.arange(size) + 100 * k}) for k, size in enumerate(sizes)]
    out = list(regrouped(iter(pieces), rows, 2**40))
    assert [n for one in out for n in one["n"].to_pylist()] == [
        n for one in pieces for n in one["n"].to_pylist()
    ]
    assert all(one.num_rows == rows for one in out[:-1])
    small = list(regrouped(iter(pieces), rows, 1))
    assert sum(one.num_rows for one in small) == sum(sizes)


def field(name: str, kind: pa.DataType, own: int) -> pa.Field:
    return pa.field(name, kind, metadata={"PARQUET:field_id": str(own)})


def test_an_old_files_columns_are_found_by_their_ids_renamed_widened_and_added() -> None:
    inner = pa.struct([field("a", pa.int32(), 4), field("gone", pa.string(), 5)])
    newer = pa.struct([field("b", pa.int64(), 4), field("new", pa.float64(), 6)])
    old = pa.table(
        {"n": [1, 2], "items": [[{"a": 1, "gone": "x"}, None], None]},
        schema=pa.schema([field("n", pa.int32(), 1), field("items", pa.list_(inner), 2)]),
    )
    wanted = pa.schema(
        [
            field("number", pa.int64(), 1),
            field("added", pa.string(), 7),
            field("items", pa.list_(pa.field("element", newer)), 2),
        ]
    )
    out = projected(old, wanted)
    assert out.schema == wanted
    assert out.to_pylist() == [
        {"number": 1, "added": None, "items": [{"b": 1, "new": None}, None]},
        {"number": 2, "added": None, "items": None},
    ]


def test_a_file_without_ids_is_read_by_name() -> None:
    wanted = pa.schema([field("b", pa.string(), 9), field("a", pa.int64(), 8)])
    out = projected(pa.table({"a": pa.array([1], pa.int32()), "c": ["x"]}), wanted)
    assert out.to_pylist() == [{"b": None, "a": 1}]
