"""The delivery ledger: what is known of each (sink, idempotency key), and what may follow.

    pending ──send──▶ in_flight ──confirm──▶ succeeded
       no row           │ │ │ ▲
                        │ │ │ └──send── retryable ◀──fail── unknown
                        │ │ └────fail──▶ retryable
                        │ └───lose, take_over──▶ unknown ──confirm──▶ succeeded
                        └──refuse──▶ rejected

    retryable | in_flight ──refuse──▶ rejected            settled: the result is stored
    retryable | in_flight | unknown ──bury──▶ dead_lettered      settled: the DLQ has it
    pending | retryable ──supersede──▶ superseded         the target has a later version
    rejected | dead_lettered | superseded ──replay──▶ unknown    an operator wants it again
    pending ──doubt──▶ unknown                            the row may have been lost
    unknown ──take_over──▶ unknown                        whoever comes next looks up first

Two phases: the in-flight row is durable before a byte leaves, so a row found in flight by
someone who did not put it there means "perhaps it was sent": it turns unknown and is
looked up at the target before anything is sent again. The rules stand here only: the
Redis scripts (pipeline/state/ledger_scripts.py) are written out of the tables below.

Two fences. Every begin that touches a row adds one to its `fence`; an ending with an older
fence is refused, so a worker that was taken over cannot overwrite its successor's row. And
every worker that gets a partition takes a new `token` for it (`hold`): begins and endings
with an older one are refused, so a worker that lost the partition writes nothing at all.

The token lives beside the rows, so it also tells that rows are gone: no token where the
group has committed offsets means that Redis was emptied. What the topic held by then is
then in doubt (Mode.DOUBT): where a row is missing it is looked up first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from pipeline.core.ledger_table import (
    BEGIN,
    ENDINGS,
    KEEPS_VERSION,
    OTHER_PAYLOAD,
    TRANSITIONS,
    Event,
    Mode,
    State,
)

__all__ = [
    "HISTORY",
    "SUPERSEDED_CODE",
    "AlreadyDone",
    "AlreadyFinished",
    "Begin",
    "Claim",
    "Ending",
    "Fenced",
    "Gone",
    "Held",
    "Hold",
    "IllegalTransitionError",
    "KeyConflict",
    "LookUpFirst",
    "Mode",
    "Note",
    "Place",
    "Row",
    "Send",
    "State",
    "Superseded",
    "begin",
    "finish",
    "hold",
]

HISTORY = 16
"""Notes that a row keeps."""
SUPERSEDED_CODE = "delivery.superseded"
"""Cause of a superseded row."""


class IllegalTransitionError(Exception):
    """The table has no such transition: a fault in the program, never in the data."""

    def __init__(self, before: str, after: str) -> None:
        super().__init__(f"A delivery cannot go from {before} to {after}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One line of a row's history: from `at_ms` (Unix epoch) on it was in `state`.

    `code` is the cause, '' where none; `owner` the worker that wrote it.
    """

    at_ms: int
    state: State
    code: str
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One ledger row.

    `payload_hash` is SHA-256, hex; `attempt` counts sends in all; `fence` counts begins;
    `code` is the last cause ('' where none). `at_ms` (Unix epoch, UTC) is when the state was
    reached; a take-over leaves it alone, so it stays the time after which bytes may have left.
    `owner` is the worker that began last; `history` the newest notes, oldest first.
    """

    state: State
    payload_hash: str
    attempt: int
    fence: int
    target_id: str | None
    code: str
    at_ms: int
    owner: str = ""
    history: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a group stands in one partition of the sink's topic.

    `committed` is its committed offset, 0 where none; `end` the end of the log. `held`: this
    worker had a token before, so that a missing one means a loss whatever is committed.
    """

    committed: int
    end: int
    held: bool = False

    @property
    def lost(self) -> bool:
        """Whether a missing marker means that there was one."""
        return self.held or self.committed > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A partition's marker: the token of its holder, and what is in doubt.

    What lies below the offset `doubt_below` is begun with Mode.DOUBT; 0 where no row is lost.
    """

    token: int
    doubt_below: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A delivery that somebody wants to begin.

    `token` 0 asks for no fencing. `version` is the place among the versions of `entity`, as
    text, later ones greater (by code point); '' where there is none.
    """

    key: str
    payload_hash: str
    mode: Mode = Mode.FIRST
    partition: int = 0
    token: int = 0
    entity: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The end of an attempt that was begun with `fence`; the rest as in Claim."""

    key: str
    fence: int
    state: State
    target_id: str | None = None
    code: str = ""
    partition: int = 0
    token: int = 0
    entity: str = ""
    version: str = ""


class Held(StrEnum):
    """What became of an ending."""

    OURS = "ours"
    """It is written."""
    TAKEN = "taken"
    """Nothing is written: another began it since, or there is no such row."""
    FENCED = "fenced"
    """Nothing is written: another worker holds the partition."""
    GONE = "gone"
    """Nothing is written: nobody holds the partition, so Redis was emptied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """The row is in flight and ours: send, then finish with this fence."""

    fence: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpFirst:
    """It may be at the target: look up. `since_ms` is when it may have been sent last.

    `newer` is a later version of the entity that the target has, '' where there is none: then
    not even an upsert may be sent again, as it would undo that.
    """

    fence: int
    attempt: int
    since_ms: int
    newer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyDone:
    """The target has it since before."""

    target_id: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyFinished:
    """It was settled as rejected, dead-lettered or superseded before."""

    state: State
    code: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyConflict:
    """The key belongs to another payload: nothing was written, nothing may be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """The target has `version`, a later one of the same entity: it is not sent, for good."""

    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fenced:
    """Another worker holds the partition: nothing was written, nothing may be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """Nobody holds the partition: Redis was emptied. Nothing was written; hold it again."""


Begin = (
    Send | LookUpFirst | AlreadyDone | AlreadyFinished | KeyConflict | Superseded | Fenced | Gone
)


def hold(marker: Hold | None, place: Place, now_ms: int) -> Hold:
    """Take a partition: the marker to store, with a token that nobody had before.

    Where there is no marker but was one, everything in the log so far is in doubt.
    """
    if marker is not None:
        return replace(marker, token=marker.token + 1)
    return Hold(token=max(now_ms, 1), doubt_below=place.end if place.lost else 0)


def begin(
    row: Row | None,
    claim: Claim,
    *,
    marker: Hold | None,
    newest: str,
    now_ms: int,
    owner: str = "",
) -> tuple[Begin, Row | None]:
    """Begin a delivery: the decision and the row to store (the same one where unchanged).

    `newest` is the greatest version of the claim's entity that ended, '' where none.
    """
    barred = _barred(marker, claim.token)
    if barred is not None:
        return Fenced() if barred is Held.FENCED else Gone(), row
    before = row or _fresh(claim, now_ms)
    at = (before.state, claim.mode)
    if before.payload_hash != claim.payload_hash and at not in OTHER_PAYLOAD:
        return KeyConflict(), row
    event = BEGIN[at]
    if event is None:
        return _known(before), row
    newer = newest if claim.entity and claim.version and claim.version < newest else ""
    if newer and event is Event.SEND:
        event = Event.SUPERSEDE
    after = _begun(before, event, claim.payload_hash, owner, now_ms)
    if event is Event.SEND:
        return Send(fence=after.fence, attempt=after.attempt), after
    if event is Event.SUPERSEDE:
        return Superseded(version=newer), after
    since = LookUpFirst(fence=after.fence, attempt=after.attempt, since_ms=after.at_ms, newer=newer)
    return since, after


def finish(
    row: Row | None,
    ending: Ending,
    *,
    marker: Hold | None,
    newest: str,
    now_ms: int,
    owner: str = "",
) -> tuple[Held, Row | None, str]:
    """End an attempt: what became of it, the row and the entity's newest version to store.

    Ending twice in the same state with the same fence changes nothing (an answer of Redis
    may get lost). IllegalTransitionError where the table has no such step.
    """
    event = ENDINGS.get(ending.state)
    barred = _barred(marker, ending.token)
    if barred is not None:
        return barred, row, newest
    if row is None or row.fence != ending.fence:
        return Held.TAKEN, row, newest
    if row.state is ending.state:
        return Held.OURS, row, newest
    reached = TRANSITIONS.get((row.state, event)) if event is not None else None
    if reached is None:
        raise IllegalTransitionError(row.state, ending.state)
    if ending.entity and ending.version and reached in KEEPS_VERSION:
        newest = max(newest, ending.version)
    note = Note(at_ms=now_ms, state=reached, code=ending.code, owner=owner or row.owner)
    row = replace(
        row,
        state=reached,
        target_id=ending.target_id,
        code=ending.code,
        at_ms=now_ms,
        history=_noted(row, note),
    )
    return Held.OURS, row, newest


def _barred(marker: Hold | None, token: int) -> Held | None:
    if token == 0:
        return None
    if marker is None:
        return Held.GONE
    return None if marker.token == token else Held.FENCED


def _fresh(claim: Claim, now_ms: int) -> Row:
    return Row(
        state=State.PENDING,
        payload_hash=claim.payload_hash,
        attempt=0,
        fence=0,
        target_id=None,
        code="",
        at_ms=now_ms,
    )


def _begun(row: Row, event: Event, payload_hash: str, owner: str, now_ms: int) -> Row:
    reached = TRANSITIONS[row.state, event]
    code = SUPERSEDED_CODE if event is Event.SUPERSEDE else ""
    return replace(
        row,
        state=reached,
        payload_hash=payload_hash,
        attempt=row.attempt + (event is Event.SEND),
        fence=row.fence + 1,
        code=code or row.code,
        at_ms=now_ms if event in {Event.SEND, Event.SUPERSEDE} else row.at_ms,
        owner=owner,
        history=_noted(row, Note(at_ms=now_ms, state=reached, code=code, owner=owner)),
    )


def _known(row: Row) -> Begin:
    if row.state is State.SUCCEEDED:
        return AlreadyDone(target_id=row.target_id or "", attempt=row.attempt)
    return AlreadyFinished(state=row.state, code=row.code, attempt=row.attempt)


def _noted(row: Row, note: Note) -> tuple[Note, ...]:
    return (*row.history, note)[-HISTORY:]
