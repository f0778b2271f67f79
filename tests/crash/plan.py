"""Which fault comes when: a pure function of a seed, so that a failure can be played again.

The plan keeps count of who is in the group, so that a fault always has a worker to strike.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MOST_WORKERS: Final = 3
SESSION_S: Final = 10.0
"""Kafka's session time-out of our workers: a silent member is put out after it."""


class Kind(StrEnum):
    """Kinds of faults."""

    KILL = "kill -9"
    PAUSE_SHORT = "pause, shorter than the session"
    PAUSE_LONG = "pause, longer than the session"
    JOIN = "a worker joins"
    LEAVE = "a worker leaves"
    GONE = "a worker is killed for good"
    BROKER_RESTART = "broker restarts"
    BROKER_KILL = "broker is killed"
    LOST_STATE = "kill -9, local state lost"


class Wait(StrEnum):
    """What a round waits for before the next one begins."""

    NOTHING = "nothing"
    FLOW = "flow"
    QUIET = "quiet"


PAUSES_S: Final = {
    Kind.PAUSE_SHORT: (2.0, 0.7 * SESSION_S),
    Kind.PAUSE_LONG: (1.1 * SESSION_S, 1.5 * SESSION_S),
    Kind.BROKER_RESTART: (0.5, 4.0),
    Kind.BROKER_KILL: (0.5, 4.0),
}
"""How long the kinds that end by themselves last, seconds: least and most."""

BLOCK: Final = (
    Kind.KILL,
    Kind.LOST_STATE,
    Kind.PAUSE_SHORT,
    Kind.PAUSE_LONG,
    Kind.JOIN,
    Kind.JOIN,
    Kind.LEAVE,
    Kind.GONE,
    Kind.BROKER_RESTART,
    Kind.BROKER_KILL,
)
"""Every ten rounds of a long plan, in an order by chance. As many join as leave."""

SHORT: Final = (
    Kind.JOIN,
    Kind.PAUSE_LONG,
    Kind.KILL,
    Kind.BROKER_KILL,
    Kind.LOST_STATE,
    Kind.LEAVE,
)
"""A plan too short for a whole block: one of each family, in this order."""

_HAUNT: Final = 0.5
"""How often lost state follows a long pause at once: what a worker that was put out still wrote
to the changelog shows when another rebuilds from it, and only until the rightful owner has
written the same devices again."""
_JOINING = {Kind.JOIN}
_LEAVING = {Kind.LEAVE, Kind.GONE}
_MEASURED = {Wait.FLOW, Wait.QUIET}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One round. `worker` is an instance number, None where the broker is struck.

    The fault comes `after_s` seconds into the round and lasts `for_s` seconds (0: it is a
    moment). `wait` says when the round ends; then `rest_s` more seconds pass.
    """

    number: int
    kind: Kind
    worker: int | None
    after_s: float
    for_s: float
    wait: Wait
    rest_s: float

    def line(self) -> str:
        """One line for a person."""
        whom = "broker" if self.worker is None else f"worker {self.worker}"
        lasts = f" for {self.for_s:.1f} s" if self.for_s else ""
        return (
            f"{self.number:>3}  {self.kind:<32} {whom:<9} after {self.after_s:.1f} s{lasts}, "
            f"waits for {self.wait}, rests {self.rest_s:.1f} s"
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """All rounds of a run. The group begins with worker 0 alone."""

    seed: int
    faults: tuple[Fault, ...]

    def lines(self) -> list[str]:
        """The plan for a person, one line a round."""
        return [fault.line() for fault in self.faults]

    def measured(self, number: int) -> bool:
        """Whether the pause of this round is its own: no earlier fault reaches into it."""
        before = self.faults[number - 1].wait if number else Wait.FLOW
        return before in _MEASURED and self.faults[number].wait in _MEASURED


def make_plan(seed: int, rounds: int) -> Plan:
    """The plan of a seed. ValueError under one round.

    With fewer rounds than a block has, one kind of each family in a fixed order and short
    rests; with more, blocks in orders by chance.
    """
    if rounds < 1:
        raise ValueError(f"A plan has at least one round, not {rounds}.")
    rng = random.Random(seed)  # noqa: S311 - a plan that can be played again, no secret
    kinds = _kinds(rng, rounds)
    short = rounds < len(BLOCK)
    members = [0]
    faults: list[Fault] = []
    for number, kind in enumerate(kinds):
        worker = _victim(rng, kind, members, _still(faults))
        low, high = PAUSES_S.get(kind, (0.0, 0.0))
        wait = _wait(rng, kind, short=short)
        faults.append(
            Fault(
                number=number,
                kind=kind,
                worker=worker,
                after_s=round(rng.uniform(0.2, 1.5 if short else 5.0), 2),
                for_s=round(rng.uniform(low, min(high, low + 1) if short else high), 2),
                wait=wait,
                rest_s=round(rng.uniform(0.0, 0.5 if short else 4.0), 2),
            )
        )
    return Plan(seed, tuple(faults))


def _kinds(rng: random.Random, rounds: int) -> Sequence[Kind]:
    if rounds <= len(SHORT):
        return SHORT[:rounds]
    out: list[Kind] = []
    members = 1
    while len(out) < rounds:
        left = list(BLOCK)
        while left:
            kind = rng.choice([k for k in left if _possible(k, members)])
            if out[-1:] == [Kind.PAUSE_LONG] and Kind.LOST_STATE in left and rng.random() < _HAUNT:
                kind = Kind.LOST_STATE
            left.remove(kind)
            members += (kind in _JOINING) - (kind in _LEAVING)
            out.append(kind)
    return out[:rounds]


def _possible(kind: Kind, members: int) -> bool:
    if kind in _JOINING:
        return members < MOST_WORKERS
    return members > 1 if kind in _LEAVING else True


def _wait(rng: random.Random, kind: Kind, *, short: bool) -> Wait:
    if short:
        # A long pause costs a short run nothing when the next faults strike meanwhile.
        return Wait.NOTHING if kind is Kind.PAUSE_LONG else Wait.FLOW
    return rng.choices(list(Wait), weights=(4, 13, 3))[0]


def _still(faults: Sequence[Fault]) -> int | None:
    """The worker that may stand still while the next fault strikes."""
    last = faults[-1] if faults else None
    pausing = last is not None and last.kind in {Kind.PAUSE_SHORT, Kind.PAUSE_LONG}
    return last.worker if last is not None and pausing and last.wait is Wait.NOTHING else None


def _victim(rng: random.Random, kind: Kind, members: list[int], still: int | None) -> int | None:
    """The worker that is struck, not the one that stands still where there is another.

    `members` is kept up to date.
    """
    if kind in {Kind.BROKER_RESTART, Kind.BROKER_KILL}:
        return None
    if kind in _JOINING:
        worker = rng.choice([n for n in range(MOST_WORKERS) if n not in members])
        members.append(worker)
        return worker
    worker = rng.choice([n for n in members if n != still] or members)
    if kind in _LEAVING:
        members.remove(worker)
    return worker
