"""What has become of a dead letter, from what is known of its event since.

| the newest result is | a replay has no result yet | the ledger's row, of this payload | state |
|---|---|---|---|
| delivered | any | any | delivered |
| any | any | succeeded | delivered |
| any | yes | any other | replaying |
| any | no | in flight, unknown, retryable | replaying |
| superseded, rejected, discarded | no | any other | the same |
| dead_lettered | no | any other | open |
| none (kept for 90 days) | no | superseded, rejected | the same |
| none | no | any other | discarded where the newest action is a discard, else open |

A row of another payload says nothing about this entry (a conflict of keys, or an edit that was
not replayed yet). A replay that was written to the audit and then not sent, because the
command died in between, stays `replaying`: sending it again is safe, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipeline.core.ledger import State as Row


class State(StrEnum):
    """What has become of a dead letter."""

    OPEN = "open"
    """A person has to decide."""
    REPLAYING = "replaying"
    """It was sent again, and its end is not known yet."""
    DELIVERED = "delivered"
    """The target has it."""
    SUPERSEDED = "superseded"
    """The target has a newer state of the same record."""
    REJECTED = "rejected"
    """Refused when it was sent again, and policy says that nobody needs to decide."""
    DISCARDED = "discarded"
    """A person decided that it is not to be delivered."""


DISCARD = "discard"
EDIT = "edit"
REPLAY = "replay"

_UNDER_WAY = frozenset({Row.IN_FLIGHT, Row.UNKNOWN, Row.RETRYABLE})
_ENDED = {state.value: state for state in (State.SUPERSEDED, State.REJECTED, State.DISCARDED)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one event at one sink.

    `outcome` is the newest delivery result's, '' where there is none; `row` the state of the
    ledger's row where that is of this very payload; `action` the newest action of an
    operator, '' where there is none; `pending` whether the newest replay has no result yet.
    """

    outcome: str = ""
    row: Row | None = None
    action: str = ""
    pending: bool = False


def state_of(facts: Facts) -> State:
    """The state, by the table above."""
    if facts.outcome == State.DELIVERED or facts.row is Row.SUCCEEDED:
        return State.DELIVERED
    if facts.pending or facts.row in _UNDER_WAY:
        return State.REPLAYING
    if facts.outcome:
        return _ENDED.get(facts.outcome, State.OPEN)
    if facts.row is not None and facts.row.value in _ENDED:
        return _ENDED[facts.row.value]
    return State.DISCARDED if facts.action == DISCARD else State.OPEN
