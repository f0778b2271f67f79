"""Which fault comes when to the archive workers: a pure function of a seed.

The plan keeps count of who is in the group, so that a fault always has a worker to strike.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tests.crash.lake_door import Phase, Stage, Way, Weather

MOST_WORKERS: Final = 3
FIRST_WORKERS: Final = (0, 1)
"""The group begins with two, so that somebody takes over whenever one is struck."""


class Kind(StrEnum):
    """Kinds of faults."""

    KILL = "kill -9"
    KILL_AT = "kill -9 at a step"
    KILL_COMMITTED = "kill -9, table yes, Kafka no"
    LATE = "dead worker's request arrives"
    ZOMBIE = "zombie: stopped, replaced, wakes"
    JOIN = "a worker joins"
    LEAVE = "a worker leaves"
    GONE = "a worker is killed for good"
    S3_DOWN = "S3 down"
    S3_SLOW = "S3 slow"
    S3_BUSY = "S3 says 503 SlowDown"
    S3_CUT = "S3 PUT cut in its body"
    S3_LOST = "S3 PUT done, answer lost"
    S3_SILENT = "S3 does not answer"
    CATALOGUE_LOCKED = "catalogue locked"
    CATALOGUE_AWAY = "catalogue away"
    DEVICE_CLOCKS = "device clocks jump"
    WALL_CLOCK = "workers' clocks jump"
    BROKER_KILL = "Kafka is killed"
    COMPACT = "kill -9 a compaction"


LASTS_S: Final = {
    Kind.S3_DOWN: (1.0, 6.0),
    Kind.S3_SLOW: (3.0, 8.0),
    Kind.S3_BUSY: (2.0, 6.0),
    Kind.S3_CUT: (2.0, 6.0),
    Kind.S3_LOST: (2.0, 6.0),
    Kind.S3_SILENT: (2.0, 14.0),
    # SQLite waits five seconds for a lock before it gives up.
    Kind.CATALOGUE_LOCKED: (5.5, 8.0),
    Kind.CATALOGUE_AWAY: (1.5, 5.0),
    Kind.DEVICE_CLOCKS: (2.0, 4.0),
    Kind.WALL_CLOCK: (3.0, 5.0),
    Kind.BROKER_KILL: (0.5, 3.0),
    # From its step on: it may be at any other when it dies.
    Kind.COMPACT: (0.0, 0.4),
}
"""How long the kinds that end by themselves last, seconds: least and most."""

WEATHER: Final = {
    Kind.S3_DOWN: Weather(way=Way.REFUSE),
    Kind.S3_SLOW: Weather(way=Way.DELAY, seconds=1.5),
    Kind.S3_BUSY: Weather(way=Way.SLOW_DOWN, share=0.6),
    Kind.S3_CUT: Weather(way=Way.CUT, share=0.6),
    Kind.S3_LOST: Weather(way=Way.LOST, share=0.5),
    Kind.S3_SILENT: Weather(way=Way.SILENT, share=0.3),
}

STEPS: Final = tuple(
    (stage, phase)
    for stage in (Stage.CLAIM, Stage.FILE, Stage.MANIFEST, Stage.METADATA)
    for phase in Phase
)
"""Every place within a commit where a worker can be struck."""
HELD: Final = tuple((s, p) for s, p in STEPS if p is not Phase.HALF)
_LATE: Final = ((Stage.CLAIM, Phase.BEFORE), (Stage.FILE, Phase.BEFORE))
COMPACTING: Final = tuple(
    (stage, phase) for stage in (Stage.FILE, Stage.NOTE, Stage.MANIFEST) for phase in Phase
)
"""Where a compaction is sure to come beside writers, who may be first at the table for ever."""

_JOINING = {Kind.JOIN}
_LEAVING = {Kind.LEAVE, Kind.GONE}
_OF_ALL = {*WEATHER, Kind.CATALOGUE_LOCKED, Kind.CATALOGUE_AWAY, Kind.DEVICE_CLOCKS}
_OF_ALL |= {Kind.WALL_CLOCK, Kind.BROKER_KILL, Kind.COMPACT}
BLOCK: Final = (*Kind, Kind.KILL_AT, Kind.JOIN)
"""Every so many rounds have each kind, in an order by chance. As many join as leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One round. `worker` is an instance number, None where all are struck, or none of them.

    The fault comes `after_s` seconds into the round and lasts `for_s` seconds (0: a moment).
    `step` is where in a commit, at the `nth` request of that kind; None: anywhere.
    """

    number: int
    kind: Kind
    worker: int | None
    after_s: float
    for_s: float
    step: tuple[Stage, Phase] | None
    nth: int

    def line(self) -> str:
        """One line for a person."""
        whom = "all" if self.worker is None else f"worker {self.worker}"
        if self.kind is Kind.COMPACT:
            whom = "no worker"
        lasts = f" for {self.for_s:.1f} s" if self.for_s else ""
        where = f" {self.step[1]} {self.nth}. {self.step[0]}" if self.step else ""
        return f"{self.number:>3}  {self.kind:<33} {whom:<9}{where}{lasts}, after {self.after_s} s"


@dataclass(frozen=True, slots=True)
class Plan:
    """All rounds of a run."""

    seed: int
    faults: tuple[Fault, ...]

    def lines(self) -> list[str]:
        """The plan for a person, one line a round."""
        return [fault.line() for fault in self.faults]


def make_plan(seed: int, rounds: int) -> Plan:
    """The plan of a seed. ValueError under one round.

    Blocks of all kinds in orders by chance; a plan shorter than a block has short faults.
    """
    if rounds < 1:
        raise ValueError(f"A plan has at least one round, not {rounds}.")
    rng = random.Random(seed)  # noqa: S311 - a plan that can be played again, no secret
    short = rounds < len(BLOCK)
    members = list(FIRST_WORKERS)
    faults: list[Fault] = []
    left: list[Kind] = []
    while len(faults) < rounds:
        left = left or list(BLOCK)
        kind = rng.choice([k for k in left if _possible(k, len(members))] or [Kind.KILL_AT])
        if kind in left:
            left.remove(kind)
        low, high = LASTS_S.get(kind, (0.0, 0.0))
        step = _step(rng, kind)
        faults.append(
            Fault(
                number=len(faults),
                kind=kind,
                worker=_victim(rng, kind, members),
                after_s=round(rng.uniform(0.1, 0.5 if short else 3.0), 2),
                for_s=round(rng.uniform(low, min(high, low + 1.0) if short else high), 2),
                step=step,
                nth=_nth(rng, kind, step),
            )
        )
    return Plan(seed, tuple(faults))


def _possible(kind: Kind, members: int) -> bool:
    if kind in _JOINING:
        return members < MOST_WORKERS
    return members > 1 if kind in {*_LEAVING, Kind.ZOMBIE} else True


def _step(rng: random.Random, kind: Kind) -> tuple[Stage, Phase] | None:
    if kind is Kind.KILL_AT:
        return rng.choice(STEPS)
    if kind is Kind.LATE:
        return rng.choice(_LATE)
    if kind is Kind.ZOMBIE:
        return rng.choice((None, *HELD))
    if kind is Kind.COMPACT:
        return rng.choice(COMPACTING)
    return (Stage.METADATA, Phase.AFTER) if kind is Kind.KILL_COMMITTED else None


def _nth(rng: random.Random, kind: Kind, step: tuple[Stage, Phase] | None) -> int:
    """Which of a step's requests is struck: several may come within one flush."""
    stage = step and step[0]
    if kind is Kind.COMPACT:
        # Each try of a commit has manifests; a second file comes once the table has the first.
        return rng.randint(1, 12) if stage is Stage.MANIFEST else 1
    return rng.randint(1, 3) if stage is Stage.FILE else 1


def _victim(rng: random.Random, kind: Kind, members: list[int]) -> int | None:
    """The worker that is struck; `members` is kept up to date."""
    if kind in _OF_ALL:
        return None
    if kind in _JOINING:
        worker = rng.choice([n for n in range(MOST_WORKERS) if n not in members])
        members.append(worker)
        return worker
    worker = rng.choice(members)
    if kind in _LEAVING:
        members.remove(worker)
    return worker
