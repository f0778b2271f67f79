"""The ledger's rules, one by one."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipeline.core.ledger as core
from pipeline.core.ledger import (
    HISTORY,
    SUPERSEDED_CODE,
    AlreadyDone,
    AlreadyFinished,
    Begin,
    Claim,
    Ending,
    Fenced,
    Gone,
    Held,
    Hold,
    IllegalTransitionError,
    KeyConflict,
    LookUpFirst,
    Mode,
    Note,
    Place,
    Row,
    Send,
    State,
    Superseded,
    begin,
    finish,
    hold,
)
from pipeline.core.ledger_table import (
    BEGIN,
    ENDINGS,
    FINISHED,
    KEEPS_VERSION,
    OTHER_PAYLOAD,
    TRANSITIONS,
    Event,
)

HASH = "a" * 64
CLAIM = Claim(key="k", payload_hash=HASH)
MARKER = Hold(token=7, doubt_below=0)
STORED = [state for state in State if state is not State.PENDING]
OPERATOR = (Mode.REPLAY, Mode.EDITED)


def row(state: State, *, fence: int = 3) -> Row:
    return Row(
        state=state,
        payload_hash=HASH,
        attempt=2,
        fence=fence,
        target_id="T1" if state is State.SUCCEEDED else None,
        code="why",
        at_ms=1_000,
        owner="before",
    )


def begun(
    held: Row | None, claim: Claim = CLAIM, *, marker: Hold | None = None, newest: str = ""
) -> tuple[Begin, Row | None]:
    return begin(held, claim, marker=marker, newest=newest, now_ms=5_000, owner="w")


def ended(
    held: Row | None, ending: Ending, *, marker: Hold | None = None, newest: str = ""
) -> tuple[Held, Row | None, str]:
    return finish(held, ending, marker=marker, newest=newest, now_ms=9_000, owner="w")


def end(state: State, *, fence: int = 3, code: str = "", target_id: str | None = None) -> Ending:
    return Ending(key="k", fence=fence, state=state, code=code, target_id=target_id)


# -- begin


def test_a_fresh_key_is_sent_and_its_row_is_in_flight() -> None:
    decision, stored = begun(None)
    assert decision == Send(fence=1, attempt=1)
    assert stored == Row(
        state=State.IN_FLIGHT,
        payload_hash=HASH,
        attempt=1,
        fence=1,
        target_id=None,
        code="",
        at_ms=5_000,
        owner="w",
        history=(Note(at_ms=5_000, state=State.IN_FLIGHT, code="", owner="w"),),
    )


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("state", [State.IN_FLIGHT, State.UNKNOWN])
def test_what_may_have_been_sent_is_looked_up_first_and_keeps_its_time(
    state: State, mode: Mode
) -> None:
    decision, stored = begun(row(state), replace(CLAIM, mode=mode))
    assert decision == LookUpFirst(fence=4, attempt=2, since_ms=1_000)
    assert stored is not None
    assert (stored.state, stored.at_ms, stored.owner) == (State.UNKNOWN, 1_000, "w")


@pytest.mark.parametrize("mode", Mode)
def test_what_the_target_certainly_has_not_is_sent_again(mode: Mode) -> None:
    decision, stored = begun(row(State.RETRYABLE), replace(CLAIM, mode=mode))
    assert decision == Send(fence=4, attempt=3)
    assert stored is not None
    assert (stored.state, stored.at_ms) == (State.IN_FLIGHT, 5_000)


@pytest.mark.parametrize("mode", [*OPERATOR, Mode.DOUBT])
def test_a_missing_row_is_no_proof_for_an_operator_or_after_a_loss(mode: Mode) -> None:
    decision, stored = begun(None, replace(CLAIM, mode=mode))
    assert decision == LookUpFirst(fence=1, attempt=0, since_ms=5_000)
    assert stored is not None
    assert stored.state is State.UNKNOWN


@pytest.mark.parametrize("mode", Mode)
def test_what_was_delivered_is_never_begun_again(mode: Mode) -> None:
    held = row(State.SUCCEEDED)
    assert begun(held, replace(CLAIM, mode=mode)) == (AlreadyDone(target_id="T1", attempt=2), held)


@pytest.mark.parametrize("state", [State.REJECTED, State.DEAD_LETTERED, State.SUPERSEDED])
def test_other_ends_are_left_alone_unless_an_operator_wants_them_again(state: State) -> None:
    held = row(state)
    for mode in (Mode.FIRST, Mode.DOUBT):
        known = AlreadyFinished(state=state, code="why", attempt=2)
        assert begun(held, replace(CLAIM, mode=mode)) == (known, held)
    for mode in OPERATOR:
        decision, stored = begun(held, replace(CLAIM, mode=mode))
        assert decision == LookUpFirst(fence=4, attempt=2, since_ms=1_000)
        assert stored is not None
        assert stored.state is State.UNKNOWN


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("state", STORED)
def test_another_payload_is_a_conflict_unless_an_operator_edited_what_had_ended(
    state: State, mode: Mode
) -> None:
    held = row(state)
    decision, stored = begun(held, replace(CLAIM, mode=mode, payload_hash="b" * 64))
    if mode is Mode.EDITED and state is State.SUCCEEDED:
        assert (decision, stored) == (AlreadyDone(target_id="T1", attempt=2), held)
    elif mode is Mode.EDITED and state in FINISHED:
        assert isinstance(decision, LookUpFirst)
        assert stored is not None
        assert (stored.state, stored.payload_hash) == (State.UNKNOWN, "b" * 64)
    else:
        assert (decision, stored) == (KeyConflict(), held)


# -- versions of an entity


@pytest.mark.parametrize("held", [None, row(State.RETRYABLE)])
def test_what_would_be_sent_after_a_later_version_is_dropped_for_good(held: Row | None) -> None:
    stale = replace(CLAIM, entity="e", version="0002")
    decision, stored = begun(held, stale, newest="0010")
    assert decision == Superseded(version="0010")
    assert stored is not None
    assert (stored.state, stored.code) == (State.SUPERSEDED, SUPERSEDED_CODE)
    attempt = held.attempt if held else 0
    again = AlreadyFinished(state=State.SUPERSEDED, code=SUPERSEDED_CODE, attempt=attempt)
    assert begun(stored, stale, newest="0010") == (again, stored)


def test_the_same_version_a_later_one_and_one_without_entity_are_sent() -> None:
    for claim, newest in [
        (replace(CLAIM, entity="e", version="0010"), "0010"),
        (replace(CLAIM, entity="e", version="0011"), "0010"),
        (replace(CLAIM, entity="e"), "0010"),
        (replace(CLAIM, version="0001"), "0010"),
    ]:
        assert isinstance(begun(None, claim, newest=newest)[0], Send)


def test_a_look_up_is_not_cut_short_by_a_later_version_and_tells_of_it() -> None:
    stale = replace(CLAIM, entity="e", version="0002")
    decision, _ = begun(row(State.IN_FLIGHT), stale, newest="0010")
    assert decision == LookUpFirst(fence=4, attempt=2, since_ms=1_000, newer="0010")


@pytest.mark.parametrize("state", ENDINGS)
def test_an_end_that_the_target_decided_keeps_the_greatest_version(state: State) -> None:
    held = row(State.RETRYABLE if state is State.REJECTED else State.IN_FLIGHT)
    ending = replace(end(state), entity="e", version="0005")
    for newest, kept in [("", "0005"), ("0004", "0005"), ("0006", "0006")]:
        expected = kept if state in KEEPS_VERSION else newest
        assert ended(held, ending, newest=newest)[2] == expected


# -- finish


def test_a_repeated_ending_changes_nothing_and_says_the_same() -> None:
    done = end(State.SUCCEEDED, target_id="T")
    held, stored, _ = ended(row(State.IN_FLIGHT), done)
    assert held is Held.OURS
    assert stored is not None
    assert (stored.state, stored.target_id, stored.code) == (State.SUCCEEDED, "T", "")
    assert (stored.at_ms, stored.fence, stored.attempt) == (9_000, 3, 2)
    assert ended(stored, done) == (Held.OURS, stored, "")


def test_an_older_fence_or_a_missing_row_is_taken_and_nothing_is_written() -> None:
    held = row(State.IN_FLIGHT)
    assert ended(held, end(State.SUCCEEDED, fence=2)) == (Held.TAKEN, held, "")
    assert ended(None, end(State.SUCCEEDED)) == (Held.TAKEN, None, "")


@pytest.mark.parametrize("after", State)
@pytest.mark.parametrize("before", STORED)
def test_an_ending_goes_where_the_table_says_and_nowhere_else(before: State, after: State) -> None:
    event = ENDINGS.get(after)
    if before is after:
        assert ended(row(before), end(after))[1] == row(before)
    elif event is None or (before, event) not in TRANSITIONS:
        with pytest.raises(IllegalTransitionError, match=f"from {before} to {after}"):
            ended(row(before), end(after))
    else:
        stored = ended(row(before), end(after, code="c"))[1]
        assert stored is not None
        assert (stored.state, stored.code) == (after, "c")
        assert stored.history[-1] == Note(at_ms=9_000, state=after, code="c", owner="w")


def test_a_row_keeps_the_newest_notes() -> None:
    stored: Row | None = None
    for n in range(HISTORY):
        decision, stored = begin(stored, CLAIM, marker=None, newest="", now_ms=n, owner=f"w{n}")
        assert isinstance(decision, Send)
        ending = end(State.RETRYABLE, fence=decision.fence, code=f"c{n}")
        _, stored, _ = finish(stored, ending, marker=None, newest="", now_ms=n)
    assert stored is not None
    assert len(stored.history) == HISTORY
    assert stored.history[-1] == Note(
        at_ms=HISTORY - 1, state=State.RETRYABLE, code=f"c{HISTORY - 1}", owner=f"w{HISTORY - 1}"
    )
    assert stored.history[0].at_ms == HISTORY // 2


# -- partitions


@pytest.mark.parametrize("held", [None, *map(row, STORED)])
def test_who_does_not_hold_the_partition_writes_nothing_in_any_state(held: Row | None) -> None:
    for token, marker, begin_says, finish_says in [
        (6, MARKER, Fenced(), Held.FENCED),
        (8, MARKER, Fenced(), Held.FENCED),
        (7, None, Gone(), Held.GONE),
    ]:
        assert begun(held, replace(CLAIM, token=token), marker=marker) == (begin_says, held)
        ending = replace(end(State.RETRYABLE), token=token, entity="e", version="9")
        assert ended(held, ending, marker=marker, newest="1") == (finish_says, held, "1")


@pytest.mark.parametrize("marker", [None, MARKER])
def test_who_asks_for_no_fencing_is_not_fenced_and_the_holder_is_not_either(
    marker: Hold | None,
) -> None:
    assert isinstance(begun(None, marker=marker)[0], Send)
    assert ended(row(State.IN_FLIGHT), end(State.UNKNOWN), marker=marker)[0] is Held.OURS
    assert isinstance(begun(None, replace(CLAIM, token=7), marker=MARKER)[0], Send)


def test_each_hold_has_a_greater_token_and_keeps_what_is_in_doubt() -> None:
    marker = Hold(token=7, doubt_below=40)
    assert hold(marker, Place(committed=90, end=99), 1) == Hold(token=8, doubt_below=40)


def test_a_missing_marker_is_a_loss_where_there_must_have_been_one() -> None:
    assert hold(None, Place(committed=0, end=50), 1_000) == Hold(token=1_000, doubt_below=0)
    assert hold(None, Place(committed=9, end=50), 1_000) == Hold(token=1_000, doubt_below=50)
    held = Place(committed=0, end=50, held=True)
    assert hold(None, held, 1_000) == Hold(token=1_000, doubt_below=50)
    assert hold(None, held, 0).token == 1, "a token of 0 would ask for no fencing"


# -- tables


def test_every_state_has_a_rule_for_every_mode_and_every_event_happens() -> None:
    assert set(BEGIN) == {(state, mode) for state in State for mode in Mode}
    assert {event for _, event in TRANSITIONS} == set(Event)
    assert set(ENDINGS) == set(State) - {State.PENDING, State.IN_FLIGHT, State.SUPERSEDED}
    for state in FINISHED:
        assert {e for s, e in TRANSITIONS if s is state} <= {Event.REPLAY}
    for (state, _), event in BEGIN.items():
        assert event is None or (state, event) in TRANSITIONS
        assert event is not None or state in FINISHED
        assert event is not Event.SEND or (state, Event.SUPERSEDE) in TRANSITIONS
    assert {state for state, _ in OTHER_PAYLOAD} == FINISHED


def test_the_drawing_names_every_state_and_event() -> None:
    words = set(re.findall(r"[a-z_]+", core.__doc__ or ""))
    assert {*State, *Event} <= words


@given(st.lists(st.tuples(st.sampled_from(Mode), st.sampled_from(sorted(ENDINGS))), max_size=30))
def test_a_send_always_follows_proof_that_the_target_has_it_not(
    script: list[tuple[Mode, State]],
) -> None:
    held: Row | None = None
    for mode, state in script:
        before = held
        decision, held = begun(held, replace(CLAIM, mode=mode))
        if isinstance(decision, Send):
            assert before is None or before.state is State.RETRYABLE
            assert before is not None or mode is Mode.FIRST
        if isinstance(decision, Send | LookUpFirst):
            try:
                _, held, _ = ended(held, end(state, fence=decision.fence))
            except IllegalTransitionError:
                assert state is State.REJECTED
