from __future__ import annotations

from typing import Any

from faust.transport.consumer import Consumer
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.acks import AckTracker


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=30),
    st.data(),
)
def test_the_committed_offset_never_passes_an_event_in_hand(
    gaps: list[int], data: st.DataObject
) -> None:
    offsets = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    tracker: AckTracker[str] = AckTracker()
    for offset in offsets:
        tracker.hand("p", offset)
    unfinished = set(offsets)
    committed = 0
    for offset in data.draw(st.permutations(offsets)):
        tracker.finish("p", offset)
        unfinished.discard(offset)
        position = tracker.take("p")
        if position is not None:
            assert position > committed
            committed = position
        assert all(left >= committed for left in unfinished)
        lowest = min(unfinished, default=offsets[-1] + 1)
        done_below = [o for o in offsets if o < lowest]
        assert committed == (done_below[-1] + 1 if done_below else 0)
    assert tracker.in_hand("p") == 0
    assert list(tracker.pending()) == []


def test_what_is_not_in_hand_is_ignored() -> None:
    tracker: AckTracker[str] = AckTracker()
    tracker.finish("p", 7)
    tracker.hand("p", 8)
    tracker.finish("p", 7)
    assert tracker.take("p") is None
    tracker.reset()
    tracker.finish("p", 8)
    assert tracker.take("p") is None


def test_stock_faust_commits_past_an_event_in_hand_and_the_tracker_does_not() -> None:
    """Regression for faust#606: why the tracker is there.

    Offset 95 is committed (the next to read), 95 is in hand, 96 is done.
    """
    tp = TP("t", 0)
    stock: Any = type("Stock", (), {})()
    stock._acked = {tp: [96]}  # noqa: SLF001 - the state that Faust would have
    stock._acked_index = {tp: {96}}  # noqa: SLF001
    stock._gap = {tp: None}  # noqa: SLF001
    stock._committed_offset = {tp: 95}  # noqa: SLF001
    assert Consumer._new_offset(stock, tp) == 97, "Faust mended it: is the tracker still needed?"  # noqa: SLF001

    tracker: AckTracker[TP] = AckTracker()
    tracker.hand(tp, 95)
    tracker.hand(tp, 96)
    tracker.finish(tp, 96)
    assert tracker.take(tp) is None
    tracker.finish(tp, 95)
    assert tracker.take(tp) == 97
