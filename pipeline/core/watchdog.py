"""When a partition stands still though there is work: what to look at, and from when on.

Faust consumers sometimes stop without an error (faust#175, #640, #166). Two clocks run per
partition; each is set to now while it has nothing to wait for, or when what it watches moves:

| clock    | runs while                                | watches                              |
|----------|-------------------------------------------|--------------------------------------|
| reading  | messages are unread, or offsets to commit | position, in hand, committed         |
|          | are there, and none is in hand            |                                      |
| finishing| messages are in hand                      | committed                            |

The finishing clock is for agents whose step is done with a round in seconds (detect, fanout).
A *patient* agent waits on purpose with messages in hand, for as long as its target is away
(deliver, archive): for it only the reading clock runs, and that one rests while it waits.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Kind(StrEnum):
    """Which clock ran out."""

    READING = "reading"
    FINISHING = "finishing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One assigned partition at one moment. Offsets are of the *next* message, as in Kafka.

    `end` is the broker's, `position` the consumer's, `committed` the group's (None: nothing
    yet). `in_hand` messages the agent has; `unsaved` says that finished ones wait for a commit.
    """

    end: int
    position: int
    committed: int | None
    in_hand: int = 0
    unsaved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The last look at a partition, and since when each clock runs; seconds, monotonic."""

    look: Look
    seen_s: float
    reading_s: float
    finishing_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a clock may run (`stall_s`), and when all start anew (`gap_s`), seconds.

    They do after a longer pause in looking: the process was frozen, or Kafka did not answer.
    """

    stall_s: float
    gap_s: float
    patient: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall(Generic[K]):
    """A partition that stands still, for how long (seconds), and how it looks."""

    partition: K
    kind: Kind
    for_s: float
    look: Look


def watch(
    before: Mapping[K, Clock], looks: Mapping[K, Look], now_s: float, limits: Limits
) -> tuple[dict[K, Clock], list[Stall[K]]]:
    """Clocks after these looks, and the partitions whose clock ran out.

    `before` is what the last call gave (empty at first). A partition that is not in `looks` is
    forgotten: it was revoked, or nobody could look.
    """
    clocks: dict[K, Clock] = {}
    stalls: list[Stall[K]] = []
    for partition, look in looks.items():
        last = before.get(partition)
        if last is None or now_s - last.seen_s > limits.gap_s:
            clocks[partition] = Clock(look=look, seen_s=now_s, reading_s=now_s, finishing_s=now_s)
            continue
        clock = clocks[partition] = Clock(
            look=look,
            seen_s=now_s,
            reading_s=now_s if _reads(last.look, look) else last.reading_s,
            finishing_s=now_s if _finishes(last.look, look) else last.finishing_s,
        )
        found = [(Kind.READING, now_s - clock.reading_s)]
        if not limits.patient:
            found.append((Kind.FINISHING, now_s - clock.finishing_s))
        kind, for_s = max(found, key=lambda one: one[1])
        if for_s >= limits.stall_s:
            stalls.append(Stall(partition=partition, kind=kind, for_s=for_s, look=look))
    return clocks, stalls


def _reads(last: Look, look: Look) -> bool:
    """Whether the reading clock is set to now."""
    waiting = look.end > look.position or look.unsaved
    before = (last.position, last.in_hand, last.committed)
    moved = before != (look.position, look.in_hand, look.committed)
    return moved or not waiting or look.in_hand > 0


def _finishes(last: Look, look: Look) -> bool:
    """Whether the finishing clock is set to now."""
    return look.in_hand == 0 or look.committed != last.committed
