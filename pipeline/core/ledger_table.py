"""The ledger's states and tables: what can happen to a delivery, and what follows.

Data only; the rules that use it are in pipeline/core/ledger.py.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    SUPERSEDED = "superseded"


class Event(StrEnum):
    """What happens to a delivery."""

    SEND = "send"
    """A worker is about to send it."""
    SUPERSEDE = "supersede"
    """A worker is about to send it, and the target has a later version of its entity."""
    TAKE_OVER = "take_over"
    """A worker finds it with its end unknown."""
    DOUBT = "doubt"
    """A worker finds no row where there may have been one."""
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


class Mode(StrEnum):
    """Why a delivery is begun."""

    FIRST = "first"
    """It came in the ordinary way."""
    REPLAY = "replay"
    """An operator wants it again."""
    EDITED = "edited"
    """An operator wants it again, with a payload that may differ."""
    DOUBT = "doubt"
    """It came in the ordinary way, and the ledger was lost since."""


_S, _E, _M = State, Event, Mode

TRANSITIONS: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (_S.PENDING, _E.SEND): _S.IN_FLIGHT,
        (_S.RETRYABLE, _E.SEND): _S.IN_FLIGHT,
        (_S.PENDING, _E.SUPERSEDE): _S.SUPERSEDED,
        (_S.RETRYABLE, _E.SUPERSEDE): _S.SUPERSEDED,
        (_S.PENDING, _E.DOUBT): _S.UNKNOWN,
        (_S.IN_FLIGHT, _E.TAKE_OVER): _S.UNKNOWN,
        (_S.UNKNOWN, _E.TAKE_OVER): _S.UNKNOWN,
        (_S.REJECTED, _E.REPLAY): _S.UNKNOWN,
        (_S.DEAD_LETTERED, _E.REPLAY): _S.UNKNOWN,
        (_S.SUPERSEDED, _E.REPLAY): _S.UNKNOWN,
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

_ALIKE: Mapping[State, Event | None] = MappingProxyType(
    {
        # A replay that was looked up in vain comes back as retryable, and is then sent.
        _S.RETRYABLE: _E.SEND,
        _S.IN_FLIGHT: _E.TAKE_OVER,
        _S.UNKNOWN: _E.TAKE_OVER,
        _S.SUCCEEDED: None,
    }
)
_OVER = (_S.REJECTED, _S.DEAD_LETTERED, _S.SUPERSEDED)

BEGIN: Mapping[tuple[State, Mode], Event | None] = MappingProxyType(
    {(state, mode): event for state, event in _ALIKE.items() for mode in Mode}
    | {(state, mode): None for state in _OVER for mode in (_M.FIRST, _M.DOUBT)}
    | {(state, mode): _E.REPLAY for state in _OVER for mode in (_M.REPLAY, _M.EDITED)}
    | {(_S.PENDING, _M.FIRST): _E.SEND}
    | {(_S.PENDING, mode): _E.DOUBT for mode in (_M.REPLAY, _M.EDITED, _M.DOUBT)}
)
"""(state, mode) → what beginning a delivery does to its row; None leaves it alone."""

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

FINISHED = frozenset({_S.SUCCEEDED, *_OVER})
"""States that only a replay leaves; their rows expire after the retention."""

OTHER_PAYLOAD = frozenset((state, _M.EDITED) for state in FINISHED)
"""(state, mode) in which another payload than the row's is no conflict."""

KEEPS_VERSION = frozenset({_S.SUCCEEDED, _S.REJECTED})
"""Ends after which an older version of the same entity must not be sent any more."""
