"""The parts of the ledger's world: a ledger over dicts, a worker's memory, a target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.core import ledger_book
from pipeline.core.ledger import Begin, Claim, Ending, Held, Hold, Place, Row, State


class Book(Protocol):
    """A ledger of one sink."""

    def hold(self, places: Mapping[int, Place], owner: str, now: int) -> dict[int, Hold]: ...
    def begin(self, claims: Sequence[Claim], owner: str, now: int) -> list[Begin]: ...
    def finish(self, endings: Sequence[Ending], owner: str, now: int) -> list[Held]: ...
    def row(self, key: str) -> Row | None: ...
    def empty(self) -> None: ...
    def expire(self, key: str) -> None: ...
    def close(self) -> None: ...


class CoreBook(ledger_book.Book):
    """The core's rules over dicts."""

    def row(self, key: str) -> Row | None:
        return self.rows.get(key)

    def empty(self) -> None:
        self.__init__()  # type: ignore[misc]

    def expire(self, key: str) -> None:
        self.rows.pop(key, None)

    def close(self) -> None:
        """Nothing."""


@dataclass
class Run:
    """One key in one worker's memory. `ends`: what is to be written, one after another."""

    claim: Claim
    fence: int
    since: int
    sends: bool
    ends: list[State] = field(default_factory=list)


@dataclass
class Memory:
    """What one worker knows."""

    holds: dict[int, Hold] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    runs: dict[str, Run] = field(default_factory=dict)


class Target:
    """Keeps what it gets, twice if it gets it twice."""

    def __init__(self) -> None:
        self.effects: Counter[str] = Counter()
        self.forgotten: Counter[str] = Counter()

    def has(self, key: str) -> bool:
        return self.effects[key] > self.forgotten[key]


ENDS: Mapping[str, list[State]] = {
    "took": [State.SUCCEEDED],
    "took and did not answer": [State.UNKNOWN],
    "did not answer": [State.UNKNOWN],
    "is busy": [State.RETRYABLE],
    "refused for good": [State.RETRYABLE, State.REJECTED],
    "refused, and a person decides": [State.RETRYABLE, State.DEAD_LETTERED],
}
"""What the target does with a request → what its sender writes then, one after another."""


def name(number: int) -> str:
    """A key, which is also its version."""
    return f"{number:03d}"
