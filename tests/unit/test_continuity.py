from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.continuity import Arrival, Continuity

P = "t/0"


def begun(offset: int | None) -> Continuity[str]:
    found: Continuity[str] = Continuity()
    found.start({P: offset})
    return found


def test_what_is_left_over_from_an_older_assignment_is_skipped() -> None:
    assert Continuity[str]().arrive(P, 5) is Arrival.SKIP


def test_without_a_commit_the_first_offset_begins() -> None:
    found = begun(None)
    assert [found.arrive(P, n) for n in (7, 8, 7)] == [Arrival.TAKE, Arrival.TAKE, Arrival.SKIP]


def test_a_message_that_was_handed_over_is_not_handed_over_again() -> None:
    found = begun(3)
    taken = [n for n in (3, 4, 3, 4, 5) if found.arrive(P, n) is Arrival.TAKE]
    assert taken == [3, 4, 5]


def test_a_seek_back_in_the_same_assignment_does_not_move_the_place() -> None:
    found = begun(3)
    found.arrive(P, 3)
    found.start({P: 0})
    assert found.next_of(P) == 4


def test_missing_messages_are_read_again_and_what_comes_meanwhile_is_skipped() -> None:
    found = begun(10)
    arrivals = [found.arrive(P, n) for n in (11, 12, 13, 10, 11, 12)]
    take, skip = Arrival.TAKE, Arrival.SKIP
    assert arrivals == [Arrival.SEEK, skip, skip, take, take, take]


def test_a_gap_of_the_log_itself_is_accepted_after_one_look() -> None:
    found = begun(10)
    arrivals = [found.arrive(P, n) for n in (15, 16, 15, 16, 17)]
    take, skip = Arrival.TAKE, Arrival.SKIP
    assert arrivals == [Arrival.SEEK, skip, take, take, take]


@given(st.sets(st.integers(0, 40), min_size=1), st.lists(st.integers(0, 30), max_size=8))
def test_whatever_is_dropped_or_read_twice_every_message_is_taken_once_in_order(
    log: set[int], drops: list[int]
) -> None:
    """A reader that loses a record now and then, and reads again from where it is told."""
    offsets = sorted(log)
    found, taken, at, lost = begun(0), list[int](), 0, sorted(set(drops), reverse=True)
    while at < len(offsets):
        if lost and lost[-1] <= at:
            lost.pop()
            at += 1
            continue
        arrival = found.arrive(P, offsets[at])
        if arrival is Arrival.TAKE:
            taken.append(offsets[at])
        if arrival is Arrival.SEEK:
            at = next(i for i, n in enumerate(offsets) if n >= found.next_of(P))
            continue
        at += 1
    assert taken == sorted(taken)
    assert len(taken) == len(set(taken))
    # What was dropped before a later message came has been read again.
    assert [n for n in offsets if taken and n <= taken[-1]] == taken
