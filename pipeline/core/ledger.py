"""The delivery ledger: what is known of each (sink, idempotency key), and what may follow.

    pending ──send──▶ in_flight ──confirm──▶ succeeded
       no row           │ │ │ ▲
                        │ │ │ └──send── retryable ◀──fail── unknown
                        │ │ └────fail──▶ retryable
                        │ └───lose, take_over──▶ unknown ──confirm──▶ succeeded
                        └──refuse──▶ rejected

    retryable | in_flight ──refuse──▶ rejected            settled: the result is stored
    retryable | in_flight | unknown ──bury──▶ dead_lettered      settled: the DLQ has it
    rejected | dead_lettered ──replay──▶ unknown          an operator asks for it again
    unknown ──take_over──▶ unknown                        whoever comes next looks up first

Two phases: the in-flight row is durable before a byte leaves, so a row found in flight by
someone who did not put it there means "perhaps it was sent": it turns unknown and is
looked up at the target before anything is sent again. The rules stand here only: the
Redis scripts (pipeline/state/ledger.py) are written out of TRANSITIONS and BEGIN.

Every begin that touches a row adds one to its `fence`; an ending with an older fence is
refused, so a worker that was taken over cannot overwrite its successor's row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """What is known of a delivery. A missing row is PENDING."""

    PENDING = "pending"
    IN_FLIGHT = "in_flight"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    RETRYABLE = "retryable"
    UNKNOWN = "unknown"
    DEAD_LETTERED = "dead_lettered"


class Event(StrEnum):
    """What happens to a delivery."""

    SEND = "send"
    """A worker is about to send it."""
    TAKE_OVER = "take_over"
    """A worker finds it with its end unknown."""
    REPLAY = "replay"
    """An operator wants a finished one again."""
    CONFIRM = "confirm"
    """The target has it."""
    FAIL = "fail"
    """The target certainly has it not."""
    LOSE = "lose"
    """No answer that is understood came back."""
    REFUSE = "refuse"
    """The target refused it, nobody needs to decide, and the result is stored."""
    BURY = "bury"
    """A person has to decide, and the DLQ entry is stored."""


_S, _E = State, Event

TRANSITIONS: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (_S.PENDING, _E.SEND): _S.IN_FLIGHT,
        (_S.RETRYABLE, _E.SEND): _S.IN_FLIGHT,
        (_S.IN_FLIGHT, _E.TAKE_OVER): _S.UNKNOWN,
        (_S.UNKNOWN, _E.TAKE_OVER): _S.UNKNOWN,
        (_S.REJECTED, _E.REPLAY): _S.UNKNOWN,
        (_S.DEAD_LETTERED, _E.REPLAY): _S.UNKNOWN,
        (_S.IN_FLIGHT, _E.CONFIRM): _S.SUCCEEDED,
        (_S.UNKNOWN, _E.CONFIRM): _S.SUCCEEDED,
        (_S.IN_FLIGHT, _E.FAIL): _S.RETRYABLE,
        (_S.UNKNOWN, _E.FAIL): _S.RETRYABLE,
        (_S.IN_FLIGHT, _E.LOSE): _S.UNKNOWN,
        (_S.IN_FLIGHT, _E.REFUSE): _S.REJECTED,
        (_S.RETRYABLE, _E.REFUSE): _S.REJECTED,
        (_S.IN_FLIGHT, _E.BURY): _S.DEAD_LETTERED,
        (_S.RETRYABLE, _E.BURY): _S.DEAD_LETTERED,
        (_S.UNKNOWN, _E.BURY): _S.DEAD_LETTERED,
    }
)
"""The whole state machine; a pair that is not here is illegal."""

BEGIN: Mapping[tuple[State, bool], Event | None] = MappingProxyType(
    {
        (_S.PENDING, False): _E.SEND,
        (_S.PENDING, True): _E.SEND,
        (_S.RETRYABLE, False): _E.SEND,
        (_S.RETRYABLE, True): _E.SEND,
        (_S.IN_FLIGHT, False): _E.TAKE_OVER,
        (_S.IN_FLIGHT, True): _E.TAKE_OVER,
        (_S.UNKNOWN, False): _E.TAKE_OVER,
        (_S.UNKNOWN, True): _E.TAKE_OVER,
        (_S.SUCCEEDED, False): None,
        (_S.SUCCEEDED, True): None,
        (_S.REJECTED, False): None,
        (_S.REJECTED, True): _E.REPLAY,
        (_S.DEAD_LETTERED, False): None,
        (_S.DEAD_LETTERED, True): _E.REPLAY,
    }
)
"""(state, is a replay) → what beginning a delivery does to its row; None leaves it alone."""

ENDINGS: Mapping[State, Event] = MappingProxyType(
    {
        _S.SUCCEEDED: _E.CONFIRM,
        _S.RETRYABLE: _E.FAIL,
        _S.UNKNOWN: _E.LOSE,
        _S.REJECTED: _E.REFUSE,
        _S.DEAD_LETTERED: _E.BURY,
    }
)
"""States an attempt can be ended with, and the event each stands for."""

FINISHED = frozenset({State.SUCCEEDED, State.REJECTED, State.DEAD_LETTERED})
"""States that only a replay leaves; their rows expire after the retention."""


class IllegalTransitionError(Exception):
    """The table has no such transition: a fault in the program, never in the data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One ledger row.

    `payload_hash` is SHA-256, hex; `attempt` counts sends in all; `fence` counts begins;
    `code` is the last cause ('' where none). `at_ms` (Unix epoch, UTC) is when the state was
    reached; a take-over leaves it alone, so it stays the time after which bytes may have left.
    """

    state: State
    payload_hash: str
    attempt: int
    fence: int
    target_id: str | None
    code: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """The row is in flight and ours: send, then finish with this fence."""

    fence: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpFirst:
    """It may be at the target: look up. `since_ms` is when it may have been sent last."""

    fence: int
    attempt: int
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyDone:
    """The target has it since before."""

    target_id: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyFinished:
    """It was settled as rejected or dead-lettered before."""

    state: State
    code: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyConflict:
    """The key belongs to another payload: nothing was written, nothing may be sent."""


Begin = Send | LookUpFirst | AlreadyDone | AlreadyFinished | KeyConflict


def decide(event: Event | None, row: Row) -> Begin:
    """What the caller may do, from what BEGIN did and the row as it is afterwards."""
    if event is Event.SEND:
        return Send(fence=row.fence, attempt=row.attempt)
    if event is not None:
        return LookUpFirst(fence=row.fence, attempt=row.attempt, since_ms=row.at_ms)
    if row.state is State.SUCCEEDED:
        return AlreadyDone(target_id=row.target_id or "", attempt=row.attempt)
    return AlreadyFinished(state=row.state, code=row.code, attempt=row.attempt)


def begin(
    row: Row | None, *, payload_hash: str, replay: bool, now_ms: int
) -> tuple[Begin, Row | None]:
    """Begin a delivery: the decision and the row to store (the same one where unchanged)."""
    if row is None:
        row = Row(
            state=State.PENDING,
            payload_hash=payload_hash,
            attempt=0,
            fence=0,
            target_id=None,
            code="",
            at_ms=now_ms,
        )
    elif row.payload_hash != payload_hash:
        return KeyConflict(), row
    event = BEGIN[row.state, replay]
    if event is not None:
        sends = event is Event.SEND
        row = replace(
            row,
            state=TRANSITIONS[row.state, event],
            fence=row.fence + 1,
            attempt=row.attempt + sends,
            at_ms=now_ms if sends else row.at_ms,
        )
    return decide(event, row), row


def finish(
    row: Row | None, *, fence: int, state: State, target_id: str | None, code: str, now_ms: int
) -> Row | None:
    """End an attempt: the row to store, or None where the fence is no longer ours.

    Ending twice in the same state with the same fence changes nothing (an answer of Redis
    may get lost). IllegalTransitionError where the table has no such step.
    """
    if row is None or row.fence != fence:
        return None
    if row.state is state:
        return row
    event = ENDINGS.get(state)
    reached = TRANSITIONS.get((row.state, event)) if event is not None else None
    if reached is None:
        raise IllegalTransitionError(f"A delivery cannot go from {row.state} to {state}.")
    return replace(row, state=reached, target_id=target_id, code=code, at_ms=now_ms)
