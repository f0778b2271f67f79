"""How a table follows its producers: rules that hold for any columns."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.lake_columns import Column
from pipeline.core.lake_evolve import MOST_COLUMNS, merge, plan

INTS, FLOATS, TEXTS = (
    st.sampled_from([pa.int32(), pa.int64()]),
    st.sampled_from([pa.float32(), pa.float64()]),
    st.just(pa.string()),
)
PLAIN = st.one_of(INTS, FLOATS, TEXTS, st.just(pa.bool_()))
TYPES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        inner.map(lambda kind: pa.list_(pa.field("element", kind))),
        st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3).map(
            lambda fields: pa.struct(sorted(fields.items()))
        ),
    ),
    max_leaves=4,
)
FAMILIES = {"a": INTS, "b": INTS, "c": FLOATS, "d": TEXTS, "e": INTS}


def column(name: str, kind: pa.DataType, aliases: tuple[str, ...] = ()) -> Column:
    return Column(name=name, type=kind, doc="", aliases=aliases)


@st.composite
def columns(draw: st.DrawFn) -> list[Column]:
    """Columns of several producers: names keep to their kind of type, renames only go on."""
    wanted = []
    for name in draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=6)):
        older = [one for one in "abcde" if one < name]
        aliases = tuple(older) if draw(st.booleans()) else ()
        wanted.append(column(name, draw(FAMILIES[name]), aliases))
    return wanted


@given(columns(), columns())
def test_a_plan_never_loses_a_column_and_finds_each_a_home(
    there: list[Column], wanted: list[Column]
) -> None:
    before = plan((), there).columns
    made = plan(before, wanted)
    names = {one.name for one in made.columns}
    renamed = dict(made.renamed)
    assert len(names) == len(made.columns)
    for one in before:
        [now] = [c for c in made.columns if c.name == renamed.get(one.name, one.name)]
        assert merge(one.type, now.type) == now.type
    for one in wanted:
        home = made.homes[one.name]
        if home is not None:
            [now] = [c for c in made.columns if c.name == home]
            assert merge(now.type, one.type) == now.type


@given(columns(), columns())
def test_a_plan_that_was_followed_wants_nothing_more(
    there: list[Column], wanted: list[Column]
) -> None:
    made = plan(plan((), there).columns, wanted)
    again = plan(made.columns, wanted)
    assert not again.changed
    assert not again.renamed
    assert [(c.name, c.type) for c in again.columns] == [(c.name, c.type) for c in made.columns]


LATEST = st.sampled_from(
    [
        # One column under its names over time, and two that come and go.
        [column("old", pa.int32()), column("new", pa.int64(), ("old",))],
        [column("old", pa.string()), column("new", pa.int64(), ("old",))],
        [
            column("x", pa.int32()),
            column("y", pa.int32(), ("x",)),
            column("z", pa.int64(), ("y", "x")),
        ],
        [column("x", pa.float32()), column("x", pa.float64()), column("other", pa.string())],
    ]
)


@given(LATEST.flatmap(lambda one: st.tuples(st.just(one), st.permutations(one))))
def test_whether_the_old_or_the_new_producer_came_first_the_columns_are_the_same(
    told: tuple[list[Column], list[Column]],
) -> None:
    one, other = told
    assert {c.name: c.type for c in plan((), one).columns} == {
        c.name: c.type for c in plan((), other).columns
    }


@given(TYPES, TYPES)
def test_a_merged_type_holds_both_and_does_not_depend_on_their_order(
    one: pa.DataType, other: pa.DataType
) -> None:
    both, turned = merge(one, other), merge(other, one)
    assert (both is None) == (turned is None)
    if both is not None:
        assert turned is not None
        assert merge(both, one) == both
        assert merge(both, other) == both
        assert merge(both, turned) == both


def test_a_table_does_not_grow_without_end() -> None:
    many = [column(f"c{number}", pa.int32()) for number in range(MOST_COLUMNS + 5)]
    made = plan((), many)
    assert len(made.columns) == MOST_COLUMNS
    assert made.homes[f"c{MOST_COLUMNS + 4}"] is None
