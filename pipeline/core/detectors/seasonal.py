"""Seasonal profile: how far a value is from what this hour of this weekday usually brings.

    expected = hour profile(t) + offset of the weekday
    e = x - expected;    score = |e| / s,    s = max(sqrt(pi/2) m, floors)

The profile has 24 values, the weeks' hours by local time (UTC + utc_offset_h), taken at the
middle of the hour and joined by straight lines, so that a smooth day does not look like stairs;
the weekday adds one of 7 offsets. All learn from e clipped to +-clip s (Huber's estimators in
recursive form, as in zscore.py), weighted by the time since the sample before (an hour at
most), so a profile is the same for a reading a second and one an hour. Memory is
`memory_days` days of each hour; m is the running mean of |clipped e|.

Nothing is clipped on the first two days. The weekday offsets learn from the second week on,
when the hours are known, and m begins anew after that week and the next. Nothing is scored
before `min_days` different days were seen, nor at hours seen on less than a quarter of as many.
Clocks that change for summer shift the profile by an hour: give devices a fixed offset.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from pipeline.core.jit import jit

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

FIELDS: Final = 62
HOURS, WEIGHTS, WEEKDAYS = 0, 24, 48
"""Where the 24 hours' values, the hours seen of each, and the 7 offsets begin in the state."""
TIME, HEARD, DAY, DAYS, DEVIATION, EXPECTED, SCORE = range(55, FIELDS)
"""Last sample's time (ms), hours seen in all, number of the last day, days seen, mean absolute
deviation; what was expected of the last sample, and its score."""

PARAMS: Final = (
    "utc_offset_h",
    "min_days",
    "memory_days",
    "clip",
    "scale_floor",
    "scale_floor_relative",
)
DEFAULTS: Final[Mapping[str, float]] = {
    "utc_offset_h": 0.0,  # local time less UTC, hours
    "min_days": 14.0,  # different days seen before the first score
    "memory_days": 28.0,  # days of each hour that the profile remembers, 7 or more
    "clip": 3.0,  # a sample moves the profile by this many deviations at most
    "scale_floor": 1e-9,  # least deviation, in the metric's unit, above 0
    "scale_floor_relative": 1e-5,  # the same as a share of what is expected
}

_TO_SIGMA = math.sqrt(math.pi / 2)
_HOUR_MS = 3_600_000.0
_DAY_MS = 86_400_000.0
_LEAST_H = 1.0 / 3600.0
"""What a sample counts for that has no time before it, hours."""
_UNCLIPPED_H = 48.0
_DAY_H = 24.0
_WEEK = 7.0
_SETTLED_DAYS = 15.0
_SEEN = 0.25


@jit
def _learn(state: Floats, hour: int, clipped: float, part: float, memory: float) -> None:
    """Let one hour's value learn from an error that counts for `part` hours of it."""
    if part > 0.0:
        seen = min(state[24 + hour] + part, memory)
        state[hour] += clipped * part / seen
        state[24 + hour] = seen


@jit
def _new_day(state: Floats, day: float) -> None:
    if day > state[57]:
        state[58] += 1.0
        if state[58] == _SETTLED_DAYS or state[58] == _SETTLED_DAYS + _WEEK:
            # The deviation of the first weeks is that of a profile without weekdays.
            state[56] = min(state[56], _UNCLIPPED_H + 1.0)
    state[57] = day


@jit
def step(state: Floats, param: Floats, value: float, time_ms: float) -> float:
    """Deviations from the profile, 0.0 while it is young."""
    local = time_ms + param[0] * _HOUR_MS
    day = float(math.floor(local / _DAY_MS))
    hour = (local - day * _DAY_MS) / _HOUR_MS - 0.5
    low = math.floor(hour)
    share = hour - low
    if low < 0:
        low = 23
    high = low + 1 if low < 23 else 0  # noqa: PLR2004 - the day's last hour
    weekday = 48 + int(day + 3.0) % 7
    weight = _LEAST_H
    if state[56] == 0.0:
        state[57] = day
        state[58] = 1.0
    else:
        weight = min(max((time_ms - state[55]) / _HOUR_MS, 0.0), 1.0)
        if day != state[57]:
            _new_day(state, day)
    state[55] = time_ms
    heard, days = state[56], state[58]
    seen = min(state[24 + low], state[24 + high])
    if seen == 0.0:  # an hour that was never seen starts where the sample is
        if state[24 + low] == 0.0:
            state[low] = value - state[weekday]
        if state[24 + high] == 0.0:
            state[high] = value - state[weekday]
    expected = state[low] + (state[high] - state[low]) * share + state[weekday]
    surprise = value - expected
    scale = max(state[59] * _TO_SIGMA, param[4], abs(expected) * param[5])
    size = abs(surprise)
    if heard > _UNCLIPPED_H:
        size = min(size, param[3] * scale)
    clipped = math.copysign(size, surprise)

    memory = param[2]
    _learn(state, low, clipped, weight * (1.0 - share), memory)
    _learn(state, high, clipped, weight * share, memory)
    if days > _WEEK:
        # A weekday comes round once a week, so it learns twice as fast as a running mean would.
        weeks = math.ceil(min(days - _WEEK, memory) / _WEEK)
        state[weekday] += clipped * weight / (0.5 * _DAY_H * weeks)
    heard = min(heard + weight, _DAY_H * memory)
    state[56] = heard
    state[59] += (size - state[59]) * weight / heard
    state[60] = expected
    score = 0.0
    if days > param[1] and seen >= _SEEN * param[1] and scale > 0.0:
        score = abs(surprise) / scale
    state[61] = score
    return score


def explain(state: Floats, param: Floats, value: float) -> dict[str, float]:
    """What was `expected` of this sample and how far off it is, signed: `beyond` (metric's unit).

    `deviation`: one standard deviation of what the profile leaves, same unit; `days` seen.
    """
    expected = float(state[EXPECTED])
    return {
        "expected": expected,
        "beyond": value - expected,
        "direction": math.copysign(1.0, value - expected),
        "deviation": max(
            float(state[DEVIATION]) * _TO_SIGMA, float(param[4]), abs(expected) * float(param[5])
        ),
        "days": float(state[DAYS]),
    }


def confidence(score: float, enter_samples: int) -> float:  # noqa: ARG001 - detectors share one signature
    """Least probability, 0 to 1, that noise alone would not have made such a sample.

    Vysochanskij and Petunin's 4 / (9 k^2) for noise with a single peak. Samples in a row may
    share a cause, so they count once.
    """
    return 1.0 - 4.0 / (9.0 * score * score) if score * score >= 8.0 / 3.0 else 0.0
