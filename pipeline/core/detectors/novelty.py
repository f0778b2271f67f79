"""Novelty: is this reading rare for its own series, and not like one that was rare before?

The detector for telemetry nobody has described. One set of parameters for all series,
constant state, nothing to train. Per reading:

1. *Expectation*: the mean of all history plus a profile of the day (UTC, twelve bins), each
   an average that grows stiffer with age.
2. *Surprise* in nats: `log(level) + error_weight * log(error)`, where level is the distance
   from the expectation and error the distance from a short exponential average (one-step
   prediction), each over its own mean absolute size. A geometric blend asks for both: far
   away, and not just drifting there.
3. *Threshold*: the surprise that this series passes at the `rate` of readings, tracked by
   stochastic approximation of a quantile (Robbins & Monro 1951): a noisy series raises its
   own bar. The same end as SPOT's (Siffer et al. 2017) without a model of the tail.
4. *Habituation*: readings over the threshold are kept, the last eight kinds of them, by
   their distance from the mean. One within `alike` of a kept one is not new: a nightly
   backup's spike alarms once, not every night. The idea is CAD OSE's (Smirnov 2016) memory
   of known contexts, for single values.

The score is 1 at the threshold and grows by 1 with each factor e of surprise; below, it falls
to 0; it is 0 for what was seen before. It does not change with the unit of the readings
(scale, offset) beyond rounding. Figures and what did not help: infra/adr.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from pipeline.core.jit import jit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SEEN: Final = 0
_MEAN: Final = 1
_SHORT: Final = 2
_LEVEL_SIZE: Final = 3
_ERROR_SIZE: Final = 4
_THRESHOLD: Final = 5
_BORN: Final = 6
_NEWEST: Final = 7
_BINS: Final = 12
_PROFILE: Final = 8
_KEPT: Final = 8
_KNOWN: Final = _PROFILE + _BINS

FIELDS: Final = _KNOWN + _KEPT

PARAMS: Final = (
    "smoothing",  # weight of the newest reading in the short average, 0 to 1
    "error_weight",  # how much the one-step error counts beside the level
    "floor",  # of both ratios before the logarithm
    "pace",  # how fast the threshold moves, nats per reading over it
    "rate",  # share of readings that pass the threshold in the long run
    "settle_days",  # the profile's head start: greater is slower in its first days
    "alike",  # relative difference under which two deviations are the same kind
    "memory",  # readings after which the averages start to forget
)
DEFAULTS: Final = (0.75, 0.15, 0.1, 0.07, 0.0015, 0.25, 0.06, 50_000.0)

ENTER: Final = 1.02
LEAVE: Final = 1.01
COOL_DOWN: Final = 24

_BIN_MS: Final = 86_400_000.0 / _BINS
_DAY_MS: Final = 86_400_000.0
_MOST_DAYS: Final = 60.0
_LEARN: Final = 10.0
_WARM_UP: Final = 64.0
_MOST_RATIO: Final = 1e6
_ROUNDING: Final = 1e-12
_TINY: Final = 1e-200


@jit
def step(
    state: NDArray[np.float64], param: NDArray[np.float64], value: float, time_ms: float
) -> float:
    """Learn one reading and say how new it is.

    `state`, shape (FIELDS,), is changed; `param`, shape (len(PARAMS),), in the order of
    PARAMS. Returns 0.0 for the first 64 readings of a series, however odd.
    """
    seen = state[_SEEN]
    state[_SEEN] = seen + 1.0
    if seen == 0.0:
        state[_MEAN] = value
        state[_SHORT] = value
        state[_BORN] = time_ms
        state[_NEWEST] = time_ms
        return 0.0

    stiff = max(1.0 / (seen + 1.0), 1.0 / param[7])
    least = _ROUNDING * abs(state[_MEAN]) + _TINY

    # Each bin's weight goes by time, not by readings: a series may send at any rate, and
    # the first day must not count more than the others because it was the first.
    passed = 0.0
    if time_ms > state[_NEWEST]:
        passed = min(time_ms - state[_NEWEST], _BIN_MS) / _BIN_MS
        state[_NEWEST] = time_ms
    now = int((time_ms / _BIN_MS) % _BINS)
    at = _PROFILE + (now if now < _BINS else 0)
    days = min((state[_NEWEST] - state[_BORN]) / _DAY_MS, _MOST_DAYS)
    off_mean = value - state[_MEAN]
    off = off_mean - state[at]
    state[at] += min(passed / (param[5] + days), 1.0) * off

    level = abs(off)
    error = value - state[_SHORT]
    state[_SHORT] += max(param[0], 2.0 / (seen + 2.0)) * error
    error = abs(error)
    level_ratio = min(level / (state[_LEVEL_SIZE] + least), _MOST_RATIO)
    error_ratio = min(error / (state[_ERROR_SIZE] + least), _MOST_RATIO)
    state[_LEVEL_SIZE] += stiff * (level - state[_LEVEL_SIZE])
    state[_ERROR_SIZE] += stiff * (error - state[_ERROR_SIZE])
    state[_MEAN] += stiff * off_mean
    if seen < _LEARN:
        return 0.0

    surprise = math.log(param[2] + level_ratio) + param[1] * math.log(param[2] + error_ratio)
    if seen == _LEARN:
        state[_THRESHOLD] = surprise
    over = surprise - state[_THRESHOLD]
    pace = max(param[3], 1.0 / (seen - _LEARN + 1.0))
    if over <= 0.0:
        state[_THRESHOLD] -= param[4] * pace
        return max(1.0 + over, 0.0) if level_ratio > 1.0 and seen >= _WARM_UP else 0.0
    state[_THRESHOLD] += pace
    if level_ratio <= 1.0:
        return 0.0
    known = _recall(state, off_mean, param[6])
    return 0.0 if known or seen < _WARM_UP else 1.0 + over


@jit
def _recall(state: NDArray[np.float64], deviation: float, alike: float) -> bool:
    """Whether a deviation like this one is kept; it is now, as the latest of its kind.

    The kinds stand with the latest first; the one not seen for longest makes room.
    """
    place = _KEPT - 1
    known = False
    for i in range(_KEPT):
        kept = state[_KNOWN + i]
        if abs(deviation - kept) < alike * max(abs(deviation), abs(kept)):
            place = i
            deviation = kept + 0.3 * (deviation - kept)
            known = True
            break
    for i in range(place, 0, -1):
        state[_KNOWN + i] = state[_KNOWN + i - 1]
    state[_KNOWN] = deviation
    return known


def confidence(score: float) -> float:
    """0 to 1, growing with `score`."""
    return 1.0 - math.exp(-max(0.0, score))
