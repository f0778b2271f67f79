"""Usage milestones: a counter (hours, cycles, kilometres) that passes the next service mark.

Marks are at first, first + every, first + 2 every, ...; with first = 0 at every, 2 every, ...
The score is 1 in the sample that passes a mark never passed before, else 0. A jump over
several marks is one alarm; it names the last. What a series' first sample has behind it was
passed before anyone looked and raises nothing.

A counter that falls by more than `reset_share` of its highest value was reset (a new part, a
new meter) and starts anew; smaller falls are jitter and change nothing. A single reading of,
say, 0 between two good ones is not a reset: a counter that is back near its old height in one
jump goes on where it was.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from pipeline.core.jit import jit

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

FIELDS: Final = 7
SAMPLES, HIGH, PASSED, OLD_HIGH, OLD_PASSED, SKIPPED, RESETS = range(FIELDS)
"""Places in the state: samples since the start or the reset, highest value, marks passed; both
before the last reset; marks the last alarm passed beside the one it names; resets."""

PARAMS: Final = ("every", "first", "reset_share")
DEFAULTS: Final[Mapping[str, float]] = {
    "every": math.inf,  # between two marks, in the metric's unit, above 0; inf: none
    "first": 0.0,  # the first mark, in the metric's unit; 0: the same as every
    "reset_share": 0.5,  # a fall by more than this share of the highest value is a reset, 0 to 1
}


@jit
def step(state: Floats, param: Floats, value: float, time_ms: float) -> float:  # noqa: ARG001 - detectors share one signature
    """1.0 where this sample passes a mark, else 0.0."""
    samples, high, passed = state[0], state[1], state[2]
    keep = 1.0 - param[2]
    state[0] = samples + 1.0
    reset = high > 0.0 and value < high * keep
    if samples > 0.0 and value <= high and not reset:
        return 0.0
    every = param[0]
    first = param[1] if param[1] > 0.0 else every
    # The floor of a float stays a float: a count beyond 64 bits must not wrap.
    marks = np.floor((value - first) / every) + 1.0 if value >= first else 0.0
    if samples == 0.0:
        state[1] = value
        state[2] = marks
        return 0.0
    if reset:
        # Only the first fall tells where the counter stood; a second one soon after is noise.
        if samples > 1.0 or high >= state[3]:
            state[3] = high
            state[4] = passed
        state[0] = 1.0
        state[1] = value
        state[2] = marks
        state[6] += 1.0
        return 0.0
    old = state[3]
    if samples == 1.0 and old > 0.0 and value >= old * keep:
        passed = state[4]
        high = old
        state[3] = 0.0
        state[6] -= 1.0
    state[1] = max(high, value)
    state[2] = max(marks, passed)
    if marks <= passed:
        return 0.0
    state[5] = marks - passed - 1.0
    return 1.0


def explain(state: Floats, param: Floats, value: float) -> dict[str, float]:
    """`milestone` passed last and the `next` one, in the metric's unit.

    `skipped`: marks that the last alarm passed at once beside the one it names; `resets`: how
    often the counter was reset; `value`: the counter. `milestone` is 0.0 before the first.
    """
    every, first = float(param[0]), float(param[1])
    start = first if first > 0.0 else every
    marks = float(state[PASSED])
    return {
        "milestone": start + (marks - 1.0) * every if marks > 1.0 else start * min(marks, 1.0),
        "next": start + marks * every if marks else start,
        "skipped": float(state[SKIPPED]),
        "resets": float(state[RESETS]),
        "value": value,
    }


def confidence(score: float, enter_samples: int) -> float:  # noqa: ARG001 - detectors share one signature
    """1.0 at a mark: the counter says so itself and nothing is estimated; else 0.0."""
    return 1.0 if score >= 1.0 else 0.0
