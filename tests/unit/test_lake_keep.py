"""Rules of the lake's keepers: what is merged, dropped and swept, and what is wrong."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.archive import Part
from pipeline.core.lake_accounts import Finding, Holding, Line, Wrong, examine
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_forget import Whose, rows_of
from pipeline.core.lake_keep import (
    DAY_MS,
    HOUR_MS,
    Found,
    Small,
    Span,
    Tally,
    Version,
    bins,
    expirable,
    foldable,
    joined,
    kept_name,
    note_of,
    outlived,
    place_of,
    settled,
    spans_of,
    sweepable,
)

TOPIC = "telemetry.deduplicated"


def spans() -> st.SearchStrategy[list[Span]]:
    """Spans of two partitions that do not overlap."""

    def made(lengths: list[tuple[int, int, bool]]) -> list[Span]:
        at = {0: 0, 1: 0}
        out = []
        for partition, length, gap in lengths:
            first = at[partition] + gap
            out.append(Span(TOPIC, partition, first, first + length))
            at[partition] = first + length + 1
        return out

    return st.lists(st.tuples(st.sampled_from((0, 1)), st.integers(0, 9), st.booleans())).map(made)


@given(spans())
def test_joined_spans_cover_the_same_offsets_and_none_touch(given_: list[Span]) -> None:
    def offsets(some: list[Span] | tuple[Span, ...]) -> set[tuple[int, int]]:
        return {(s.partition, o) for s in some for o in range(s.first, s.last + 1)}

    out = joined(given_)
    assert offsets(out) == offsets(given_)
    for one, other in pairwise(out):
        assert one.partition != other.partition or one.last + 1 < other.first


@given(spans())
def test_a_note_of_spans_is_read_back(given_: list[Span]) -> None:
    assert spans_of(note_of(given_)) == (tuple(given_) if given_ else None)


@pytest.mark.parametrize("note", ["", "a/b", "a/1/2", "a/x/1-2", "a/1/1-", "a/1/-2", "a/1/1-2 x"])
def test_a_note_that_is_none_of_ours_is_not_understood(note: str) -> None:
    assert spans_of(note) is None


def test_names_of_kept_files_say_where_they_begin() -> None:
    key = "telemetry/date=2024-10-04/telemetry.deduplicated-00003-00000000000000000012.parquet"
    assert place_of(key) == (TOPIC, 3, 12)
    kept = kept_name(key, "abc1")
    assert kept != key
    assert place_of(kept) == (TOPIC, 3, 12)
    assert place_of(kept_name(kept, "abc2")) == (TOPIC, 3, 12)
    assert place_of("telemetry/date=2024-10-04/notes.parquet") is None


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(0, 3))), st.integers(2, 150))
def test_bins_take_each_small_file_once_and_none_that_is_half_the_target(
    sizes: list[tuple[int, int]], target: int
) -> None:
    files = [
        Small(key=f"{n:04d}", size=size, place=(TOPIC, partition, n))
        for n, (size, partition) in enumerate(sizes)
    ]
    groups = bins(files, target)
    keys = [one.key for group in groups for one in group]
    assert len(keys) == len(set(keys))
    assert all(len(group) > 1 for group in groups)
    assert all(sum(one.size for one in group) <= target for group in groups)
    assert all(one.size * 2 < target for group in groups for one in group)
    assert [one.place for group in groups for one in group] == sorted(
        one.place for group in groups for one in group
    )
    # What is left alone could not be put with its neighbour.
    left = [f for f in files if f.key not in keys and f.size * 2 < target]
    assert len(left) <= len(groups) + 1


@pytest.mark.parametrize(
    ("day", "arrived", "keep", "over"),
    [
        (100, 100, 0, False),
        (100, 100, 30, True),
        (170, 170, 30, False),
        (169, 169, 30, True),
        (100, None, 30, True),
        # A late row goes with its date.
        (100, 199, 30, True),
        # A clock that lies: 1970, or years ahead. Its arrival counts.
        (0, 19_999, 30, False),
        (30_000, 100, 30, True),
        (30_000, 199, 30, False),
    ],
)
def test_retention_counts_from_the_date_unless_the_clock_lied(
    day: int,
    arrived: int | None,
    keep: int,
    over: bool,  # noqa: FBT001 - a table's column
) -> None:
    today = 20_000 if arrived and arrived > 1_000 else 200
    assert outlived(day, arrived, today, keep) is over


def test_dates_are_settled_once_they_are_over_so_long() -> None:
    assert [settled(day, 100, 1) for day in (98, 99, 100, 101, 102)] == [
        *(True, False, False, False),
        True,
    ]


def test_a_version_expires_when_its_successor_is_older_than_the_grace() -> None:
    now = 100 * HOUR_MS
    versions = [
        Version(id=n, made_ms=at * HOUR_MS, held=held)
        for n, (at, held) in enumerate([(1, False), (2, True), (3, False), (99, False)])
    ]
    # The third was made long ago but replaced an hour ago only.
    assert expirable(versions, now, 24 * HOUR_MS) == (0,)
    assert expirable(versions, now, HOUR_MS // 2) == (0, 2)
    assert expirable([], now, 0) == ()


def test_only_what_nobody_needs_is_swept_and_not_before_its_time() -> None:
    now = 100 * DAY_MS
    old, fresh = now - 2 * DAY_MS, now - HOUR_MS
    found = [
        Found(key="named", size=1, changed_ms=old),
        Found(key="orphan", size=1, changed_ms=old),
        Found(key="young orphan", size=1, changed_ms=fresh),
        Found(key="replaced", size=1, changed_ms=old),
        Found(key="replaced just now", size=1, changed_ms=old),
        Found(key="made and replaced", size=1, changed_ms=fresh),
    ]
    swept = sweepable(
        found,
        needed=frozenset({"named"}),
        replaced_ms={
            "replaced": now - 13 * HOUR_MS,
            "replaced just now": now - HOUR_MS,
            "made and replaced": now - 13 * HOUR_MS,
            "named": 0,
        },
        now_ms=now,
        grace_ms=12 * HOUR_MS,
    )
    assert [one.key for one in swept] == ["orphan", "replaced", "made and replaced"]


def test_claims_are_folded_from_the_oldest_on_up_to_the_tables_newest() -> None:
    now = 10 * DAY_MS
    claims = [Found(key=f"c{n}", size=1, changed_ms=n * DAY_MS) for n in range(9)]
    firsts = {f"c{n}": n * 10 for n in range(9)}
    assert [c.key for c in foldable(claims, firsts, 30, now)] == ["c0", "c1", "c2"]
    assert [c.key for c in foldable(claims[::-1], firsts, 30, now)] == ["c0", "c1", "c2"]
    young = [Found(key="c0", size=1, changed_ms=now), *claims[1:]]
    assert foldable(young, firsts, 30, now) == ()


# -- accounts

A, B = "2024-10-04", "2024-10-05"


def line(first: int, last: int, *parts: Part, partition: int = 0) -> Line:
    return Line(TOPIC, partition, first, last, parts)


def holding(*offsets: tuple[int, int], rows: int, total: int | None, date: str = A) -> Holding:
    own = tuple(Span(TOPIC, 0, first, last) for first, last in offsets)
    return Holding(key=f"f{offsets}{date}", date=date, spans=own, rows=rows, sum=total)


CHAIN = [
    line(0, 9, Part(A, 5, 50)),
    line(10, 19, Part(A, 6, 60), Part(B, 1, 7)),
    line(20, 29, Part(A, 7, 70)),
]
WHOLE = [holding((0, 29), rows=18, total=180), holding((10, 19), rows=1, total=7, date=B)]


def wrongs(lines: list[Line], held: list[Holding]) -> list[tuple[Wrong, str, str]]:
    account = examine(lines, held, {(TOPIC, 0): 29})
    return [(f.wrong, f.offsets.removeprefix(f"{TOPIC}/0/"), f.date) for f in account.findings]


def test_a_lake_that_holds_what_it_claims_has_nothing_wrong() -> None:
    apart = [
        holding((0, 9), rows=5, total=None),
        holding((10, 29), rows=13, total=130),
        holding((10, 19), rows=1, total=None, date=B),
    ]
    for held in (WHOLE, apart):
        assert wrongs(CHAIN, held) == []
    assert examine(CHAIN, WHOLE, {(TOPIC, 0): 29}).sums == 19


@pytest.mark.parametrize(
    ("lines", "held", "found"),
    [
        (CHAIN[:1] + CHAIN[2:], [holding((0, 9), rows=5, total=50)], (Wrong.GAP, "10-19", "")),
        (
            [*CHAIN, line(25, 29)],
            WHOLE,
            (Wrong.OVERLAP, "25-29", ""),
        ),
        (CHAIN, WHOLE[:1], (Wrong.MISSING, "10-19", B)),
        (CHAIN, WHOLE[1:], (Wrong.MISSING, "0-29", A)),
        (CHAIN, [*WHOLE, holding((20, 29), rows=7, total=70)], (Wrong.DOUBLED, "20-29", A)),
        (
            CHAIN,
            [holding((0, 29), rows=17, total=180), WHOLE[1]],
            (Wrong.MISSING, "0-29", A),
        ),
        (
            CHAIN,
            [holding((0, 29), rows=19, total=180), WHOLE[1]],
            (Wrong.DOUBLED, "0-29", A),
        ),
        (
            CHAIN,
            [holding((0, 29), rows=18, total=181), WHOLE[1]],
            (Wrong.CHANGED, "0-29", A),
        ),
        (CHAIN, [*WHOLE, holding((40, 49), rows=3, total=3)], (Wrong.UNCLAIMED, "40-49", A)),
    ],
)
def test_what_is_wrong_is_named_by_offsets_and_date(
    lines: list[Line], held: list[Holding], found: tuple[Wrong, str, str]
) -> None:
    assert found in wrongs(lines, held)


def test_a_claim_beyond_the_table_waits_and_is_no_alarm() -> None:
    newer = [*CHAIN, line(30, 39, Part(A, 9, 9))]
    account = examine(newer, WHOLE, {(TOPIC, 0): 29})
    assert account.findings == ()
    assert account.waiting == (Span(TOPIC, 0, 30, 39),)


def test_forgotten_and_dropped_rows_count_as_held() -> None:
    forgotten = Holding(
        key="f",
        date=A,
        spans=(Span(TOPIC, 0, 0, 29),),
        rows=10,
        sum=100,
        forgotten=Tally(8, 80),
    )
    dropped = Holding(
        key="g", date=B, spans=(Span(TOPIC, 0, 10, 19),), rows=1, sum=None, live=False
    )
    account = examine(CHAIN, [forgotten, dropped], {(TOPIC, 0): 29})
    assert account.findings == ()
    assert (account.rows, account.forgotten, account.dropped) == (10, 8, 1)


@given(st.data())
def test_one_changed_file_is_always_noticed(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    lines = [line(n, n, Part(A, rows, rows * 11 + n)) for n, rows in enumerate(counts)]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(counts)))) | {len(counts)})
    held, start = [], 0
    for end in cuts:
        some = lines[start:end]
        rows = sum(one.files[0].rows for one in some)
        total = sum(one.files[0].sum for one in some)
        held.append(holding((start, end - 1), rows=rows, total=total))
        start = end
    standing = {(TOPIC, 0): len(counts)}
    assert examine(lines, held, standing).findings == ()
    place = data.draw(st.integers(0, len(held) - 1))
    bad: list[list[Holding]] = [
        held[:place] + held[place + 1 :],
        [*held, held[place]],
    ]
    for wrong in bad:
        found = examine(lines, wrong, standing).findings
        assert found
        assert all(isinstance(one, Finding) and one.date == A for one in found)


# -- forgetting


def test_rows_of_a_device_are_its_own_and_not_those_of_a_longer_name() -> None:
    rows = pa.table(
        {
            "device_id": ["acme/p-1", "acme/p-11", None, None, None],
            "mqtt_topic": ["x", "x", "telemetry/acme/p-1/batch", "telemetry/acme/p-11", "t"],
            "payload": pa.array([b"", b"", b"\xff", b"acme/p-1x", b'\xff"acme/p-1"'], pa.binary()),
        }
    )
    whose = Whose(devices=frozenset({"acme/p-1"}))
    mask = rows_of(Dataset.QUARANTINE, rows, whose).to_pylist()
    assert mask == [True, False, True, False, True]


def test_rows_of_a_customer_are_events_that_name_it_and_what_became_of_them() -> None:
    whose = Whose(devices=frozenset({"a/d"}), customer="C-1", events=frozenset({"e1"}))
    events = pa.table({"device_id": ["a/d", "a/x", "a/x"], "customer_id": ["C-2", "C-1", None]})
    assert rows_of(Dataset.EVENTS, events, whose).to_pylist() == [True, True, False]
    results = pa.table({"device_id": ["a/d", "a/x", "a/x"], "event_id": ["e9", "e1", "e2"]})
    assert rows_of(Dataset.DELIVERIES, results, whose).to_pylist() == [True, True, False]
    readings = pa.table({"device_id": ["a/d", "a/x"]})
    assert rows_of(Dataset.TELEMETRY, readings, whose).to_pylist() == [True, False]
