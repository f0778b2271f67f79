from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.lake import mapping
from pipeline.core import archive, archive_search
from pipeline.core.archive import (
    Arrival,
    Cut,
    Decision,
    Limits,
    Part,
    RangeBuffer,
    Seen,
    Selection,
)

START = archive.resume(None, complete=True)
LIMITS = Limits(rows=10, age_ms=1000, size=100, dates=3)


def arrival(
    offset: int,
    *,
    rows: int = 1,
    event_id: str | None = None,
    replay: bool = False,
    day: int = 0,
    size: int = 0,
) -> Arrival:
    return Arrival(
        source=("telemetry.readings", 0),
        position=(offset, 0),
        rows=rows,
        days=frozenset((day,)),
        event_id=event_id,
        replay=replay,
        size=size,
    )


def claim_of(selection: Selection[str]) -> archive.Claim:
    return archive.Claim(
        topic="t",
        partition=0,
        first=selection.first,
        last=selection.last,
        seen_before=selection.seen_before,
        seen=selection.seen,
        messages=len(selection.messages),
        files=(Part("1970-01-01", len(selection.messages), 0),),
    )


def selected(buffer: RangeBuffer[str]) -> Selection[str]:
    selection = buffer.selection()
    assert isinstance(selection, Selection)
    return selection


ARRIVALS = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from([None, "a", "b", "c"]), st.booleans()),
    min_size=1,
    max_size=25,
)


@given(ARRIVALS, st.integers(0, 24), st.integers(0, 24))
def test_memory_after_an_offset_does_not_depend_on_where_ranges_are_cut(
    items: list[tuple[int, str | None, bool]], first_cut: int, second_cut: int
) -> None:
    def memory_with(cuts: set[int]) -> Seen:
        buffer: RangeBuffer[str] = RangeBuffer(START, LIMITS)
        for at, (position, event_id, replay) in enumerate(items):
            buffer.add(at, f"m{at}", arrival(position, event_id=event_id, replay=replay))
            if at in cuts and isinstance(buffer.selection(), Selection):
                buffer.advance(claim_of(selected(buffer)))
        rest = buffer.selection()
        return rest.seen if isinstance(rest, Selection) else buffer.seen_before

    assert memory_with({first_cut}) == memory_with({second_cut}) == memory_with(set())


@given(ARRIVALS, st.data())
def test_a_range_rebuilt_from_its_claim_takes_the_same_messages(
    items: list[tuple[int, str | None, bool]], data: st.DataObject
) -> None:
    whole: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    last = data.draw(st.integers(0, len(items) - 1))
    short: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    for at, (position, event_id, replay) in enumerate(items):
        whole.add(at, f"m{at}", arrival(position, event_id=event_id, replay=replay))
        if at <= last:
            short.add(at, f"m{at}", arrival(position, event_id=event_id, replay=replay))
    cut_short = selected(short)
    whole.adopt(claim_of(cut_short))
    assert selected(whole) == cut_short


def test_a_source_position_not_above_the_greatest_is_a_repetition() -> None:
    buffer: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    decisions = [buffer.add(at, "m", arrival(source)) for at, source in enumerate((5, 5, 4, 6))]
    assert decisions == [
        Decision.TAKE,
        Decision.SKIP_REPEATED,
        Decision.SKIP_REPEATED,
        Decision.TAKE,
    ]


def test_an_event_id_counts_once_in_a_range_and_again_in_the_next() -> None:
    buffer: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    assert buffer.add(0, "m0", arrival(1, event_id="a")) is Decision.TAKE
    assert buffer.add(1, "m1", arrival(2, event_id="a")) is Decision.SKIP_REPEATED
    # Another writer cut after offset 0: then offset 1 begins a range of its own.
    buffer.adopt(replace(claim_of(selected(buffer)), last=0))
    buffer.advance(claim_of(selected(buffer)))
    assert selected(buffer).messages == ("m1",)


def test_an_offset_offered_again_is_recognised() -> None:
    buffer: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    buffer.add(0, "m", arrival(0))
    assert buffer.add(0, "m", arrival(0)) is Decision.SKIP_BUFFERED
    buffer.advance(claim_of(selected(buffer)))
    assert buffer.add(0, "m", arrival(0)) is Decision.SKIP_ALREADY_IN_LAKE


@given(st.permutations(range(8)), st.lists(st.integers(0, 5), min_size=8, max_size=8))
def test_the_order_in_which_offsets_are_offered_does_not_change_the_range(
    order: list[int], positions: list[int]
) -> None:
    rising: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    mixed: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    for at in range(8):
        rising.add(at, f"m{at}", arrival(positions[at], event_id=f"e{at}"))
    for at in order:
        mixed.add(at, f"m{at}", arrival(positions[at], event_id=f"e{at}"))
        assert mixed.add(at, f"m{at}", arrival(positions[at])) is Decision.SKIP_BUFFERED
    assert selected(mixed) == selected(rising)
    assert mixed.rows == rising.rows


def test_only_so_many_replays_are_remembered() -> None:
    buffer: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    for at in range(archive.MAX_REPLAYED + 10):
        buffer.add(at, "m", arrival(0, event_id=f"e{at}", replay=True))
    replayed = selected(buffer).seen.replayed
    assert len(replayed) == archive.MAX_REPLAYED
    assert replayed[0] == "e10"


@pytest.mark.parametrize(
    ("arrivals", "now_ms", "cut"),
    [
        ([arrival(0)], 999, Cut.NOT_YET),
        ([arrival(0)], 1000, Cut.AGE),
        ([arrival(0, rows=10)], 0, Cut.ROWS),
        ([arrival(at, day=at) for at in range(3)], 0, Cut.DATES),
        ([arrival(0, size=99)], 0, Cut.NOT_YET),
        ([arrival(0, size=99), arrival(1, size=1)], 0, Cut.SIZE),
    ],
)
def test_a_range_is_cut_by_rows_size_dates_or_age(
    arrivals: list[Arrival], now_ms: int, cut: Cut
) -> None:
    buffer: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    assert buffer.cut(0) is Cut.NOT_YET
    for at, item in enumerate(arrivals):
        buffer.add(at, "m", item)
    if now_ms:
        assert buffer.cut(0) is Cut.NOT_YET
    assert buffer.cut(now_ms) is cut


def test_a_claimed_range_is_cut_only_at_its_end() -> None:
    buffer: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    buffer.add(0, "m", arrival(0, rows=100))
    buffer.adopt(replace(claim_of(selected(buffer)), last=2))
    assert buffer.cut(10**9) is Cut.NOT_YET
    assert buffer.selection() == archive.Awaiting(offset=2)
    assert buffer.awaits
    buffer.add(3, "m", arrival(3))
    assert buffer.cut(0) is Cut.CLAIMED
    assert not buffer.awaits


def test_what_waits_is_counted_and_what_is_in_the_lake_is_not() -> None:
    buffer: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    for at in range(3):
        buffer.add(at, "m", arrival(at, size=10, day=at % 2))
    assert (buffer.size, buffer.rows, buffer.dates) == (30, 3, 2)
    claim = claim_of(selected(buffer))
    buffer.add(3, "m", arrival(3, size=10, day=9))
    buffer.advance(claim)
    assert (buffer.size, buffer.rows, buffer.dates) == (10, 1, 1)


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_repetitions_alone_take_no_memory_once_they_are_settled(of_events: list[bool]) -> None:
    """However long a topic repeats itself, and whatever comes again meanwhile."""
    buffer: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    buffer.add(0, "m", arrival(50, event_id="e", size=10))
    buffer.advance(claim_of(selected(buffer)))
    for at, of_event in enumerate(of_events, 1):
        event_id = f"e{at}" if of_event else None
        added = [buffer.add(at, "m", arrival(at, event_id=event_id, size=10)) for _ in range(2)]
        assert added == [Decision.SKIP_REPEATED, Decision.SKIP_BUFFERED]
    last = len(of_events)
    assert buffer.selection() == archive.Nothing(last=last)
    buffer.settle()
    assert (buffer.size, buffer.cut(10**9)) == (0, Cut.NOT_YET)
    assert buffer.add(last, "m", arrival(last)) is Decision.SKIP_REPEATED
    assert buffer.add(last + 1, "new", arrival(51)) is Decision.TAKE
    assert selected(buffer).messages == ("new",)
    assert (selected(buffer).first, selected(buffer).last) == (1, last + 1)


@settings(max_examples=300)
@given(st.sets(st.integers(0, archive_search.MAX_OFFSET), max_size=40), st.integers(1, 5))
def test_the_newest_claim_is_found_whatever_the_names(firsts: set[int], page_size: int) -> None:
    ordered = sorted(firsts)
    found, calls = search(ordered, page_size)
    assert found == (ordered[-1] if ordered else None)
    assert calls < 140


def test_the_newest_of_a_million_claims_takes_few_listings() -> None:
    found, calls = search(list(range(0, 208_000_000, 208)), 1000)
    assert found == 207_999_792
    assert calls <= 20


def search(ordered: list[int], page_size: int) -> tuple[int | None, int]:
    conversation = archive_search.newest_claim()
    above, calls = next(conversation), 0
    while True:
        calls += 1
        start = int(np.searchsorted(np.array(ordered, dtype=np.int64), above, side="right"))
        page = tuple(ordered[start : start + page_size])
        try:
            above = conversation.send(
                archive_search.Page(firsts=page, more=start + page_size < len(ordered))
            )
        except StopIteration as found:
            return found.value, calls


@given(
    st.builds(
        Seen,
        greatest=st.lists(
            st.tuples(st.text(max_size=5), st.integers(0, 9), st.integers(0), st.integers(0)),
            max_size=3,
        ).map(lambda entries: tuple(sorted(entries))),
        replayed=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    )
)
def test_a_claim_survives_its_json(seen: Seen) -> None:
    claim = archive.Claim(
        topic="t",
        partition=3,
        first=4,
        last=9,
        seen_before=Seen(),
        seen=seen,
        messages=2,
        files=(Part("2025-01-01", 1, 2**64 - 1), Part("2025-01-02", 3, 0)),
    )
    assert mapping.decode_claim(mapping.encode_claim(claim)) == claim
    assert claim.rows == 4


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"topic": 1}', b"\xff", b"0" * 2_000_000])
def test_what_is_no_claim_is_not_taken_for_one(data: bytes) -> None:
    assert mapping.decode_claim(data) is None
