"""Novelty: is this reading rare for its own series, and unlike those that were rare before?

The detector for telemetry that nobody has described. One set of parameters for all series,
constant state, nothing to train. Per reading:

1. *Expectation*: the mean of all history plus a profile of the day (UTC, twelve bins); both
   are averages that grow stiffer with age.
2. *Surprise*, in nats: log(floor + level) + error_weight log(floor + error), where level is
   the distance from the expectation and error that from a short exponential average (one-step
   prediction), each over its own mean absolute size. The blend asks for both: far away, and
   not merely drifting there.
3. *Threshold*: the surprise that a share passes / (1000 + n) of this series' readings exceeds,
   n being its age in readings: a quantile tracked by stochastic approximation (Robbins and
   Monro 1951), so that a noisy series raises its own bar, and ever higher, as records grow
   rarer with age. What DSPOT (Siffer et al. 2017) has a model of the tail for.
4. *Bar*: people have so much time a day for alarms, however often a device sends. Readings that
   are `apart_s` or more apart are all judged by the threshold; of nearer ones only the share
   distance / apart_s of those over the threshold may alarm. With an exponential tail of mean
   excess e (tracked, in nats) that is the share over threshold + e log(apart_s / distance),
   where the distance is the mean of all history, gaps counted as a day at most.
5. *Habituation*: the last four kinds of readings over the bar are kept, as distances from the
   mean. One within `alike` of a kept one is not new: a nightly backup's spike alarms once, not
   every night. In the spirit of CAD OSE's (Smirnov 2016) store of known contexts.

The score is 1 at the bar and grows by 1 with each factor e of surprise; below, it falls to 0;
over it, it is 0 for what was seen before. It does not change with the unit of the
readings (scale, sign, offset) beyond rounding. Figures, and what did not help: infra/adr.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from pipeline.core.jit import jit, jit_inline

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

_SEEN: Final = 0
_MEAN: Final = 1
_SHORT: Final = 2
_LEVEL_SIZE: Final = 3
_ERROR_SIZE: Final = 4
_THRESHOLD: Final = 5
_HEARD: Final = 6
_NEWEST: Final = 7
_BINS: Final = 12
_PROFILE: Final = 8
_KINDS: Final = 4
_KNOWN: Final = _PROFILE + _BINS
_EXCESS: Final = _KNOWN + _KINDS

FIELDS: Final = _EXCESS + 1
"""Float64 a series, 200 bytes: nine numbers, the profile, the kept kinds."""

PARAMS: Final = (
    "smoothing",  # weight of the newest reading in the short average, 0 to 1
    "error_weight",  # how much the one-step error counts beside the level
    "floor",  # added to both ratios before the logarithm
    "pace",  # how far a reading over the threshold lifts it, nats
    "passes",  # see 3. above
    "settle_days",  # head start of the profile: greater is slower in its first days
    "alike",  # relative difference under which two deviations are of one kind
    "memory",  # readings after which the averages begin to forget
    "apart_s",  # readings nearer together than this share their alarms, seconds
)
DEFAULTS: Final[Mapping[str, float]] = {
    "smoothing": 0.869,
    "error_weight": 0.245,
    "floor": 0.116,
    "pace": 0.0785,
    "passes": 7.29,
    "settle_days": 0.408,
    "alike": 0.116,
    "memory": 50_000.0,
    "apart_s": 300.0,
}
"""All but apart_s tuned together on NAB by tests/bench/quality: a plateau, not a peak (see the
ADR). NAB's series have a reading in five minutes or more: so many alarms are meant for those."""

ENTER: Final = 1.02
LEAVE: Final = 1.01
COOL_DOWN: Final = 17
"""Readings; ENTER, LEAVE and COOL_DOWN are those of every series."""

_DAY_MS: Final = 86_400_000.0
_MOST_DAYS: Final = 60.0
_FIRST: Final = 10.0
_WARM_UP: Final = 180.0
_YOUNG: Final = 1000.0
_MOST_RATIO: Final = 1e6
_ROUNDING: Final = 1e-12
_TINY: Final = 1e-200
_MOVE: Final = 0.3
_FIRST_EXCESS: Final = 0.2
"""Nats; Gaussian noise comes to half of that, log-normal noise to twice."""
_EXCESS_PACE: Final = 0.1
_MOST_EXCESS: Final = 1.0


@jit_inline
def _known(state: NDArray[np.float64], deviation: float, alike: float) -> bool:
    """Whether a deviation of this kind is kept; it is now, as the newest.

    The kinds stand newest first; the one not met for longest makes room.
    """
    place = _KINDS - 1
    known = False
    for i in range(_KINDS):
        kept = state[_KNOWN + i]
        if abs(deviation - kept) < alike * max(abs(deviation), abs(kept)):
            place = i
            deviation = kept + _MOVE * (deviation - kept)
            known = True
            break
    for i in range(place, 0, -1):
        state[_KNOWN + i] = state[_KNOWN + i - 1]
    state[_KNOWN] = deviation
    return known


@jit
def step(
    state: NDArray[np.float64], param: NDArray[np.float64], value: float, time_ms: float
) -> float:
    """Learn one reading and say how new it is.

    `state`, shape (FIELDS,), is changed; `param`, shape (len(PARAMS),), in the order of
    PARAMS. Returns 0.0 for the first 180 readings of a series, however odd.
    """
    seen = state[_SEEN]
    state[_SEEN] = seen + 1.0
    if seen == 0.0:
        state[_MEAN] = value
        state[_SHORT] = value
        state[_EXCESS] = _FIRST_EXCESS
        state[_NEWEST] = time_ms
        return 0.0

    age = min(seen + 1.0, param[7])
    stiff = 1.0 / age
    least = _ROUNDING * abs(state[_MEAN]) + _TINY

    # A bin learns by the time that passes in it, not by readings: a series may send at any
    # rate, and its first day must not count more than the others for being the first.
    passed = 0.0
    if time_ms > state[_NEWEST]:
        passed = min((time_ms - state[_NEWEST]) * (_BINS / _DAY_MS), 1.0)
        state[_HEARD] += min(time_ms - state[_NEWEST], _DAY_MS)
        state[_NEWEST] = time_ms
    day = time_ms * (1.0 / _DAY_MS)
    hour = _PROFILE + min(int((day - math.floor(day)) * _BINS), _BINS - 1)
    days = min(state[_HEARD] * (1.0 / _DAY_MS), _MOST_DAYS)
    deviation = value - state[_MEAN]
    level = deviation - state[hour]
    state[hour] += min(passed / (param[5] + days), 1.0) * level
    state[_MEAN] += stiff * deviation

    error = value - state[_SHORT]
    state[_SHORT] += param[0] * error
    level, error = abs(level), abs(error)
    level_ratio = min(level / (state[_LEVEL_SIZE] + least), _MOST_RATIO)
    error_ratio = min(error / (state[_ERROR_SIZE] + least), _MOST_RATIO)
    state[_LEVEL_SIZE] += stiff * (level - state[_LEVEL_SIZE])
    state[_ERROR_SIZE] += stiff * (error - state[_ERROR_SIZE])
    if seen < _FIRST:
        return 0.0

    surprise = math.log(param[2] + level_ratio) + param[1] * math.log(param[2] + error_ratio)
    pace = param[3]
    if seen < _WARM_UP:  # find the threshold's place first, by steps of 1, 1/2, 1/3 ...
        if seen == _FIRST:
            state[_THRESHOLD] = surprise
        pace = max(pace, 1.0 / (seen - _FIRST + 1.0))
    over = surprise - state[_THRESHOLD]
    score = 1.0 + over
    if score > 0.0:  # most readings are so ordinary that the bar does not matter
        apart, most = state[_HEARD] / seen, param[8] * 1000.0
        if apart < most:
            score -= state[_EXCESS] * math.log(most / max(apart, 1.0))
    if over <= 0.0:
        state[_THRESHOLD] -= pace * param[4] / (_YOUNG + age)
    else:
        state[_THRESHOLD] += pace
        state[_EXCESS] += _EXCESS_PACE * (min(over, _MOST_EXCESS) - state[_EXCESS])
        if score > 1.0 and level_ratio > 1.0 and _known(state, deviation, param[6]):
            return 0.0
    # Nearer than usual to the expectation is never an alarm, however small the threshold.
    return max(score, 0.0) if level_ratio > 1.0 and seen >= _WARM_UP else 0.0


def explain(
    state: NDArray[np.float64],
    param: NDArray[np.float64],  # noqa: ARG001 - detectors share one signature
    value: float,  # noqa: ARG001 - the same
) -> dict[str, float]:
    """What the state after a reading says, in the metric's unit.

    `expected` is the expectation for its time of day (it has moved a little towards the reading
    already); `usual_distance` is how far readings are from it on average.
    """
    day = float(state[_NEWEST]) / _DAY_MS
    place = _PROFILE + min(int((day - math.floor(day)) * _BINS), _BINS - 1)
    return {
        "expected": float(state[_MEAN] + state[place]),
        "usual_distance": float(state[_LEVEL_SIZE]),
    }


def confidence(score: float, enter_samples: int = 1) -> float:  # noqa: ARG001 - detectors share one signature
    """Expected share of alarms of this score that a person would have labelled an anomaly.

    On NAB (88 of 156 alarms of the defaults fell outside the labelled windows; 1 to 1.3: 31 %
    inside, 1.3 to 2: 48 %, over 2: 56 %), smoothed to 0.6 - 0.4 exp(-(score - 1) / 0.45) from
    1 on. Fitted without the folder that it is asked about, it says 0.27 where 0.27 were, 0.40
    where 0.45, 0.50 where 0.60, 0.59 where 0.44. So it never passes 0.6: what is unheard of
    is not always wrong. Under 1, where no alarm is, it falls to 0 in a straight line.
    """
    if score < 1.0:
        return 0.2 * max(0.0, score)
    return 0.6 - 0.4 * math.exp((1.0 - score) / 0.45)
