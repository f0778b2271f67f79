"""How long a fault kept the partitions waiting, from the output's own time stamps. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tests.crash.plan import Fault, Kind

GOALS_S: Final = {Kind.JOIN: 5.0, Kind.LEAVE: 5.0, Kind.KILL: 12.0, Kind.GONE: 12.0}
"""Longest pause wanted, where one is. Missing it fails nothing: machines differ."""


@dataclass(slots=True, kw_only=True)
class Round:
    """What one round was in wall-clock time, milliseconds since the epoch.

    `ended_ms` is when the fault was over (the worker goes on, the broker answers), and
    `until_ms` when the round was: the load flowed from `begun_ms` to there.
    """

    fault: Fault
    begun_ms: int
    struck_ms: int
    ended_ms: int = 0
    until_ms: int = 0
    flows: bool = True
    """False where partitions did not come back in time."""


def pauses_s(round_: Round, fresh_ms: Mapping[int, Sequence[int]]) -> dict[int, float]:
    """By partition, the longest wait between two new outputs from the fault on, seconds.

    `fresh_ms`: when each new message was appended to telemetry.deduplicated, broker's clock.
    A wait that the fault cut into counts from the fault. Without any fault it is the load's
    own grain, about load.TICK_S.
    """
    return {
        partition: _longest(times, round_.struck_ms, round_.until_ms)
        for partition, times in fresh_ms.items()
    }


def _longest(times: Sequence[int], struck_ms: int, until_ms: int) -> float:
    inside = [struck_ms, *times[bisect_right(times, struck_ms) : bisect_right(times, until_ms)]]
    longest = max((b - a for a, b in pairwise(inside)), default=0)
    # The wait that goes on where the round ends belongs to it only if it began in it.
    return max(longest, until_ms - inside[-1]) / 1000
