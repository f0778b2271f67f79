"""Drift of a detector: its alarm rate leaves its own history.

Readings are counted in blocks of `block_readings`, with the alarms of each. Alarms come, as
long as nothing changes, as a Poisson process whose rate is not known: with Jeffreys' prior
and the history's a alarms in b blocks it has the distribution Gamma(a + 1/2, b), so the next
block's count is negative binomial with r = a + 1/2 and success probability b / (b + 1):

    P(k) = G(k + r) / (k! G(r)) (b / (b + 1))^r (1 / (b + 1))^k        G: gamma function

(Gelman and others, "Bayesian Data Analysis", 3rd ed., 2.6 and 2.8). A block is out when
P(at least k) < p, or P(at most k) < p; the latter cannot happen before the history has
enough alarms to miss. History forgets: a and b shrink by 1 - 1/50 with each block taken in.

A block that is out is not taken in, so a fault does not become the norm at once. The first of
a row is reported; after ADOPT in a row on the same side those blocks are the new history.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.core.rules import DriftRule

LEAST_BLOCKS: Final = 5.0
"""Blocks of history before a block is judged."""
MEMORY_BLOCKS: Final = 50.0
ADOPT: Final = 5
"""Blocks out in a row, on one side, after which they are the new normal."""

_LAYOUT: Final = struct.Struct("<BqqddqBq")
_VERSION: Final = 1
_NEGLIGIBLE: Final = 1e-17
_MOST_TERMS: Final = 100_000


class Side(Enum):
    """Where a block's count lies."""

    WITHIN = 0
    MORE = 1
    FEWER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What is known of one detector; never changed, only replaced.

    `readings` and `alarms` of the block under way; `expected_alarms` (a) in
    `expected_blocks` (b) of history; `streak` blocks in a row out on `side`, with
    `streak_alarms`.
    """

    readings: int = 0
    alarms: int = 0
    expected_alarms: float = 0.0
    expected_blocks: float = 0.0
    streak: int = 0
    side: Side = Side.WITHIN
    streak_alarms: int = 0

    def to_bytes(self) -> bytes:
        """Fixed layout, with its version."""
        return _LAYOUT.pack(
            _VERSION,
            self.readings,
            self.alarms,
            self.expected_alarms,
            self.expected_blocks,
            self.streak,
            self.side.value,
            self.streak_alarms,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> History:
        """What `to_bytes` wrote. ValueError where it is something else."""
        try:
            version, readings, alarms, a, b, streak, side, streak_alarms = _LAYOUT.unpack(data)
        except struct.error as error:
            raise ValueError("Drift state is cut short or damaged.") from error
        if version != _VERSION:
            raise ValueError(f"Drift state of version {version} cannot be read.")
        return cls(
            readings=readings,
            alarms=alarms,
            expected_alarms=a,
            expected_blocks=b,
            streak=streak,
            side=Side(side),
            streak_alarms=streak_alarms,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A block that left the history. `at` counts readings from the start of this call's.

    `alarms` in the block, `expected` by the history, `side` MORE or FEWER, and `tail`: the
    probability of so many (so few) or more (fewer) had nothing changed.
    """

    at: int
    side: Side
    alarms: int
    expected: float
    tail: float

    @property
    def confidence(self) -> float:
        """Probability, 0 to 1, that alarms at the old rate would not have given this block."""
        return 1.0 - self.tail


def observe(
    history: History, readings: int, alarms: Iterable[int], rule: DriftRule
) -> tuple[History, tuple[Drift, ...]]:
    """Count `readings` more, of which those with the numbers `alarms` (from 0) raised one.

    `alarms` ascend and may repeat a number. How a stream is cut into calls changes nothing.
    """
    found: list[Drift] = []
    done = 0
    waiting = iter(alarms)
    alarm = next(waiting, None)
    while True:
        end = done + rule.block_readings - history.readings
        inside = 0
        while alarm is not None and alarm < min(end, readings):
            inside += 1
            alarm = next(waiting, None)
        history = replace(history, alarms=history.alarms + inside)
        if end > readings:
            return replace(history, readings=history.readings + readings - done), tuple(found)
        done = end
        history, drift = _close(history, rule.p, done)
        if drift is not None:
            found.append(drift)


def _close(history: History, p: float, at: int) -> tuple[History, Drift | None]:
    """End the block under way."""
    count = history.alarms
    a, b = history.expected_alarms, history.expected_blocks
    side, tail = Side.WITHIN, 1.0
    if b >= LEAST_BLOCKS:
        side, tail = judge(count, a, b, p)
    if side is Side.WITHIN:
        keep = 1.0 - 1.0 / MEMORY_BLOCKS
        return History(expected_alarms=keep * a + count, expected_blocks=keep * b + 1.0), None
    again = side is history.side
    streak = history.streak + 1 if again else 1
    total = history.streak_alarms + count if again else count
    if streak >= ADOPT:
        return History(expected_alarms=float(total), expected_blocks=float(streak)), None
    drift = Drift(at=at, side=side, alarms=count, expected=(a + 0.5) / b, tail=tail)
    kept = History(
        expected_alarms=a,
        expected_blocks=b,
        streak=streak,
        side=side,
        streak_alarms=total,
    )
    return kept, None if again else drift


def judge(count: int, alarms: float, blocks: float, p: float) -> tuple[Side, float]:
    """Side of a block with `count` alarms given a history (a, b), and its tail probability."""
    more = at_least(count, alarms, blocks)
    if more < p:
        return Side.MORE, more
    fewer = at_most(count, alarms, blocks)
    if fewer < p:
        return Side.FEWER, fewer
    return Side.WITHIN, min(more, fewer)


def at_least(count: int, alarms: float, blocks: float) -> float:
    """P(next block's alarms >= count); 1.0 where count is not above what is expected."""
    r, q = alarms + 0.5, 1.0 / (blocks + 1.0)
    if count <= r / blocks:
        return 1.0
    term = total = _mass(count, r, q)
    k = count
    while term > total * _NEGLIGIBLE and k - count < _MOST_TERMS:
        term *= (k + r) / (k + 1.0) * q
        k += 1
        total += term
    return min(total, 1.0)


def at_most(count: int, alarms: float, blocks: float) -> float:
    """P(next block's alarms <= count); 1.0 where count is not below what is expected."""
    r, q = alarms + 0.5, 1.0 / (blocks + 1.0)
    if count >= r / blocks:
        return 1.0
    term = total = _mass(count, r, q)
    k = count
    while k > 0 and term > total * _NEGLIGIBLE and count - k < _MOST_TERMS:
        term *= k / ((k - 1.0 + r) * q)
        k -= 1
        total += term
    return min(total, 1.0)


def _mass(k: int, r: float, q: float) -> float:
    return math.exp(
        math.lgamma(k + r)
        - math.lgamma(k + 1.0)
        - math.lgamma(r)
        + r * math.log1p(-q)
        + k * math.log(q)
    )
