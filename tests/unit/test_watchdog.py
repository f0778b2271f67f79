from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.watchdog import Clock, Kind, Limits, Look, Stall, watch

LIMITS = Limits(stall_s=60.0, gap_s=30.0)
PATIENT = replace(LIMITS, patient=True)
STEP_S = 5.0


def play(looks: list[Look], limits: Limits = LIMITS, step_s: float = STEP_S) -> list[Stall[int]]:
    """Stalls of partition 0, looked at every `step_s` seconds."""
    clocks: dict[int, Clock] = {}
    found: list[Stall[int]] = []
    for number, look in enumerate(looks):
        clocks, stalls = watch(clocks, {0: look}, 100.0 + number * step_s, limits)
        found += stalls
    return found


@pytest.mark.parametrize(
    ("name", "look", "limits", "kind"),
    [
        ("all read and done", Look(end=9, position=9, committed=9), LIMITS, None),
        ("a new, empty topic", Look(end=0, position=0, committed=None), LIMITS, None),
        ("a control record at the end", Look(end=9, position=9, committed=8), LIMITS, None),
        ("unread, nothing in hand", Look(end=9, position=5, committed=5), LIMITS, Kind.READING),
        ("the same, patient", Look(end=9, position=5, committed=5), PATIENT, Kind.READING),
        ("uncommitted", Look(end=9, position=9, committed=5, unsaved=True), LIMITS, Kind.READING),
        ("in hand", Look(end=9, position=9, committed=5, in_hand=4), LIMITS, Kind.FINISHING),
        (
            "in hand, none before",
            Look(end=9, position=9, committed=None, in_hand=9),
            LIMITS,
            Kind.FINISHING,
        ),
        ("waits on purpose", Look(end=9, position=7, committed=5, in_hand=2), PATIENT, None),
    ],
)
def test_a_partition_that_stands_still_is_told_only_where_work_waits_for_us(
    name: str, look: Look, limits: Limits, kind: Kind | None
) -> None:
    looks = [look] * 13
    assert play(looks[:-1], limits) == [], name
    stalls = play(looks, limits)
    assert [s.kind for s in stalls] == ([] if kind is None else [kind]), name
    if stalls:
        assert stalls[0] == Stall(partition=0, kind=stalls[0].kind, for_s=60.0, look=look)


def test_reading_on_does_not_excuse_an_agent_that_finishes_nothing() -> None:
    looks = [Look(end=n, position=n, committed=5, in_hand=n - 5) for n in range(10, 23)]
    assert [s.kind for s in play(looks)] == [Kind.FINISHING]
    assert play(looks, PATIENT) == []


def test_after_a_pause_in_looking_the_clocks_start_anew() -> None:
    look = Look(end=9, position=5, committed=5)
    clocks, _ = watch({}, {0: look}, 0.0, LIMITS)
    clocks, stalls = watch(clocks, {0: look}, 1_000.0, LIMITS)
    assert not stalls, "a frozen process has missed the looks, not the messages"
    clocks, stalls = watch(clocks, {}, 1_005.0, LIMITS)
    assert clocks == {}
    _, stalls = watch(clocks, {0: look}, 1_010.0, LIMITS)
    assert not stalls


def test_partitions_are_judged_alone() -> None:
    still = Look(end=9, position=5, committed=5)
    clocks: dict[str, Clock] = {}
    stalls: list[Stall[str]] = []
    for n in range(13):
        moving = Look(end=100, position=n, committed=n)
        clocks, stalls = watch(clocks, {"a": moving, "b": still}, n * STEP_S, LIMITS)
    assert [s.partition for s in stalls] == ["b"]


steps = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0.5, 29.0)), min_size=1, max_size=60
)


@given(steps, st.booleans())
def test_a_worker_that_finishes_something_at_each_look_is_never_told(
    steps: list[tuple[int, int, float]],
    patient: bool,  # noqa: FBT001 - drawn
) -> None:
    limits, now_s, offset = replace(LIMITS, patient=patient), 0.0, 0
    clocks: dict[int, Clock] = {}
    for in_hand, unread, wait_s in steps:
        now_s, offset = now_s + wait_s, offset + 1
        look = Look(
            end=offset + in_hand + unread,
            position=offset + in_hand,
            committed=offset,
            in_hand=in_hand,
        )
        clocks, stalls = watch(clocks, {0: look}, now_s, limits)
        assert not stalls


@given(steps)
def test_one_that_stands_still_is_told_once_its_clock_has_run_out_and_not_before(
    steps: list[tuple[int, int, float]],
) -> None:
    look = Look(end=9, position=5, committed=5)
    now_s = 0.0
    clocks, _ = watch({}, {0: look}, now_s, LIMITS)
    for *_, wait_s in steps:
        now_s += wait_s
        clocks, stalls = watch(clocks, {0: look}, now_s, LIMITS)
        assert bool(stalls) is (now_s >= LIMITS.stall_s)
