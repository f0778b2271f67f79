from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.detectors import storm
from pipeline.core.detectors.storm import Storm, Verdict

HOUR = 3_600_000


def verdicts(times: list[int], events: int = 2, window_ms: int = 100) -> list[str]:
    state = Storm()
    return [state.admit("a", time, events=events, window_ms=window_ms).name[:2] for time in times]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0, 1, 2, 3], ["AD", "AD", "ST", "SU"]),
        ([0, 99, 99, 100], ["AD", "AD", "ST", "AD"]),
        ([0, 0, 0, 100, 100, 100], ["AD", "AD", "ST", "AD", "AD", "ST"]),
        ([0, 0, 50, 100, 120, 140], ["AD", "AD", "ST", "AD", "AD", "SU"]),  # one storm goes on
        ([0, 0, 50, 150, 150, 150], ["AD", "AD", "ST", "AD", "AD", "ST"]),  # another begins
        ([50, 20, 0], ["AD", "AD", "ST"]),  # out of order
        ([10**13, 0, 0, 0], ["AD", "AD", "AD", "ST"]),  # a wild clock stands in nobody's way
    ],
)
def test_so_many_are_admitted_and_the_first_held_back_begins_a_storm(
    times: list[int], expected: list[str]
) -> None:
    assert verdicts(times) == expected


def test_keys_do_not_know_of_each_other() -> None:
    state = Storm()
    for key in ("a", "b"):
        assert state.admit(key, 0, events=1, window_ms=HOUR) is Verdict.ADMIT
        assert state.admit(key, 1, events=1, window_ms=HOUR) is Verdict.STORM_BEGINS


@given(st.lists(st.integers(0, 300), max_size=80), st.integers(1, 5), st.integers(1, 60))
def test_no_window_holds_more_than_is_allowed_and_nothing_is_held_back_without_need(
    given_times: list[int], events: int, window_ms: int
) -> None:
    times = sorted(given_times)
    state, admitted = Storm(), list[int]()
    for time in times:
        verdict = state.admit("a", time, events=events, window_ms=window_ms)
        recent = [t for t in admitted if t > time - window_ms]
        assert (verdict is Verdict.ADMIT) == (len(recent) < events)
        if verdict is Verdict.ADMIT:
            admitted.append(time)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(-500, 500)), max_size=60),
    st.integers(0, 60),
)
def test_a_state_that_was_written_and_read_goes_on_alike(
    given_events: list[tuple[str, int]], cut: int
) -> None:
    one, other = Storm(), Storm()
    for n, (key, time) in enumerate(given_events):
        if n == cut:
            other = Storm.from_bytes(other.to_bytes())
        assert one.admit(key, time, events=2, window_ms=90) is other.admit(
            key, time, events=2, window_ms=90
        )
    assert one.to_bytes() == other.to_bytes()


def test_memory_is_bounded_and_the_longest_unused_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storm, "MAX_KEYS", 3)
    state = Storm()
    for key in ("a", "b", "c", "a", "d"):
        state.admit(key, 0, events=5, window_ms=HOUR)
    assert list(state.keys) == ["c", "a", "d"]
    monkeypatch.setattr(storm, "MAX_TIMES", 6)
    for time in range(5):
        state.admit("e", time, events=5, window_ms=HOUR)
    assert list(state.keys) == ["d", "e"]
    for time in range(10):
        state.admit("e", time, events=10, window_ms=HOUR)
    assert list(state.keys) == ["e"]


@pytest.mark.parametrize("cut", [0, 3, 6, 20, -1])
def test_damaged_state_is_refused(cut: int) -> None:
    state = Storm()
    state.admit("a", 0, events=1, window_ms=1)
    with pytest.raises(ValueError, match="damaged"):
        Storm.from_bytes(state.to_bytes()[:cut])
    with pytest.raises(ValueError, match="damaged"):
        Storm.from_bytes(state.to_bytes() + b"x")
    with pytest.raises(ValueError, match="version 9"):
        Storm.from_bytes(b"\x09" + state.to_bytes()[1:])
