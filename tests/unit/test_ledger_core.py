"""The ledger's rules, by example and over everything that can happen."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipeline.core.ledger as core
from pipeline.core.ledger import (
    BEGIN,
    ENDINGS,
    FINISHED,
    TRANSITIONS,
    AlreadyDone,
    AlreadyFinished,
    Event,
    IllegalTransitionError,
    KeyConflict,
    LookUpFirst,
    Row,
    Send,
    State,
    begin,
    finish,
)

HASH = "a" * 64


def row(state: State, *, fence: int = 3, at_ms: int = 1_000) -> Row:
    return Row(
        state=state,
        payload_hash=HASH,
        attempt=2,
        fence=fence,
        target_id="T1" if state is State.SUCCEEDED else None,
        code="",
        at_ms=at_ms,
    )


def started(held: Row | None, *, replay: bool = False, payload_hash: str = HASH) -> core.Begin:
    return begin(held, payload_hash=payload_hash, replay=replay, now_ms=5_000)[0]


def test_a_fresh_key_is_sent_and_its_row_is_in_flight() -> None:
    decision, stored = begin(None, payload_hash=HASH, replay=False, now_ms=5_000)
    assert decision == Send(fence=1, attempt=1)
    assert stored is not None
    assert (stored.state, stored.at_ms) == (State.IN_FLIGHT, 5_000)


def test_a_row_found_in_flight_or_unknown_is_looked_up_first_and_keeps_its_time() -> None:
    for state in (State.IN_FLIGHT, State.UNKNOWN):
        decision, stored = begin(row(state), payload_hash=HASH, replay=False, now_ms=5_000)
        assert decision == LookUpFirst(fence=4, attempt=2, since_ms=1_000)
        assert stored is not None
        assert (stored.state, stored.at_ms) == (State.UNKNOWN, 1_000)


def test_finished_rows_are_left_alone_unless_an_operator_replays_them() -> None:
    assert started(row(State.SUCCEEDED), replay=True) == AlreadyDone(target_id="T1", attempt=2)
    for state in (State.REJECTED, State.DEAD_LETTERED):
        assert started(row(state)) == AlreadyFinished(state=state, code="", attempt=2)
        assert isinstance(started(row(state), replay=True), LookUpFirst)


def test_a_key_with_another_payload_is_refused_in_every_state_and_changes_nothing() -> None:
    for state in set(State) - {State.PENDING}:
        held = row(state)
        assert begin(held, payload_hash="b" * 64, replay=True, now_ms=5_000) == (
            KeyConflict(),
            held,
        )


def test_a_stale_fence_writes_nothing_and_a_repeated_ending_is_the_same() -> None:
    held = row(State.IN_FLIGHT, fence=3)
    stale = finish(held, fence=2, state=State.SUCCEEDED, target_id="X", code="", now_ms=9)
    assert stale is None
    done = finish(held, fence=3, state=State.SUCCEEDED, target_id="X", code="", now_ms=9)
    assert done is not None
    again = finish(done, fence=3, state=State.SUCCEEDED, target_id="X", code="", now_ms=99)
    assert again == done


def test_a_step_that_the_table_does_not_have_is_refused() -> None:
    with pytest.raises(IllegalTransitionError, match="from succeeded to retryable"):
        finish(
            row(State.SUCCEEDED), fence=3, state=State.RETRYABLE, target_id=None, code="", now_ms=9
        )


def test_every_state_has_a_rule_for_beginning_and_every_state_can_be_left_or_is_finished() -> None:
    assert set(BEGIN) == {(state, replay) for state in State for replay in (False, True)}
    assert {event for _, event in TRANSITIONS} == set(Event)
    assert set(ENDINGS) == set(State) - {State.PENDING, State.IN_FLIGHT}
    for state in FINISHED:
        assert {e for s, e in TRANSITIONS if s is state} <= {Event.REPLAY}
    for (state, _), event in BEGIN.items():
        assert event is None or (state, event) in TRANSITIONS


def test_the_drawing_names_every_state_and_event() -> None:
    words = set(re.findall(r"[a-z_]+", core.__doc__ or ""))
    assert {*State, *Event} <= words


actions = st.one_of(
    st.tuples(st.just("begin"), st.booleans()),
    st.tuples(st.just("finish"), st.sampled_from(sorted(ENDINGS))),
)


@given(st.lists(st.tuples(st.integers(0, 1), actions), max_size=40))
def test_two_workers_never_both_hold_a_key_and_what_succeeded_is_never_sent(
    script: list[tuple[int, tuple[str, bool | State]]],
) -> None:
    held: Row | None = None
    fences = [0, 0]
    may_be_there = False
    for worker, (what, argument) in script:
        if what == "begin":
            decision, stored = begin(
                held, payload_hash=HASH, replay=bool(argument), now_ms=len(fences)
            )
            if isinstance(decision, Send):
                assert not may_be_there
                may_be_there = True
            if isinstance(decision, Send | LookUpFirst):
                fences[worker] = decision.fence
            assert stored is not None
            assert held is None or stored.fence - held.fence in {0, 1}
            held = stored
        else:
            state = State(str(argument))
            mine = held is not None and fences[worker] == held.fence
            try:
                stored = finish(
                    held, fence=fences[worker], state=state, target_id=None, code="", now_ms=1
                )
            except IllegalTransitionError:
                continue
            assert (stored is not None) == mine
            if stored is not None:
                held = stored
                may_be_there = may_be_there and state is not State.RETRYABLE
    assert fences[0] != fences[1] or fences == [0, 0]
