"""Slow trend to a limit: when will the value get there if it goes on like this?

Least squares of value on event time, in which a sample's weight falls by 1 - 1/memory_samples
with each that follows. Kept are the weighted means and co-moments (West, "Updating Mean and
Variance Estimates", 1979, with forgetting), with time measured back from the last sample, so
no large numbers are subtracted, however old the series. With W the weights' sum:

    slope = Ctv / Ctt
    error^2 = (Cvv - slope Ctv) / ((W - 2) Ctt)      of the slope
    now = mean + slope (t - mean time)               the line's value at the last sample
    eta = (limit - now) / slope                      towards the limit it moves to; at least 0
    score = horizon_s / eta, 1,000 at most           1: reached within the horizon

The score is 0 while there are fewer than `min_samples` samples or |slope| < 5 error. For
independent noise the error is right at first and up to twice too large once old samples fade:
what that leaves goes to autocorrelation. Readings out of order are taken at their own time; a
clock that goes back by more than an hour starts the series anew.
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

FIELDS: Final = 8
COUNT, WEIGHT, MEAN_T, MEAN_V, CTT, CTV, CVV, TIME = range(FIELDS)
"""Places in the state: samples, sum of weights, mean time (s, relative to the last sample) and
value, co-moments (s^2, s x unit, unit^2), time of the last sample (ms)."""

PARAMS: Final = ("low", "high", "memory_samples", "horizon_s", "min_samples")
DEFAULTS: Final[Mapping[str, float]] = {
    "low": -math.inf,  # limit below, in the metric's unit; -inf: none
    "high": math.inf,  # limit above, in the metric's unit; inf: none
    "memory_samples": 200.0,  # span of the line, samples, more than 3
    "horizon_s": 7 * 86_400.0,  # alarm when the limit is nearer than this, seconds, above 0
    "min_samples": 50.0,  # samples before the first score, more than 3
}

SIGNIFICANCE: Final = 5.0
"""Standard errors by which a slope must differ from 0."""
MOST: Final = 1000.0
"""Greatest score: the limit is reached, or as good as."""
_BACK_MS: Final = 3_600_000.0


@jit
def learn(state: Floats, memory_samples: float, value: float, time_ms: float) -> None:
    """Take one more sample into the line: `state` has at least FIELDS places."""
    passed = (time_ms - state[7]) * 0.001
    if state[0] == 0.0 or time_ms < state[7] - _BACK_MS:
        state[0] = 1.0
        state[1] = 1.0
        state[2] = 0.0
        state[3] = value
        state[4] = 0.0
        state[5] = 0.0
        state[6] = 0.0
        state[7] = time_ms
        return
    mean_t = state[2]
    if passed > 0.0:  # move the origin of time to this sample
        mean_t -= passed
        state[7] = time_ms
        passed = 0.0
    keep = 1.0 - 1.0 / memory_samples
    old = state[1] * keep
    weight = old + 1.0
    dt, dv = passed - mean_t, value - state[3]
    inverse = 1.0 / weight
    share = old * inverse
    state[0] += 1.0
    state[1] = weight
    state[2] = mean_t + dt * inverse
    state[3] += dv * inverse
    state[4] = keep * state[4] + share * dt * dt
    state[5] = keep * state[5] + share * dt * dv
    state[6] = keep * state[6] + share * dv * dv


@jit
def step(state: Floats, param: Floats, value: float, time_ms: float) -> float:
    """Horizon over the predicted time to the limit; 0.0 without a sure trend towards one."""
    learn(state, param[2], value, time_ms)
    ctt = state[4]
    if state[0] < param[4] or not ctt > 0.0:
        return 0.0
    slope = state[5] / ctt
    free = slope * state[5]  # at most Cvv, where the square of Ctv could be beyond all numbers
    noise = max(state[6] - free, 0.0)
    if free * (state[1] - 2.0) < SIGNIFICANCE * SIGNIFICANCE * noise or free == 0.0:
        return 0.0
    now = state[3] - slope * state[2]
    ahead = param[1] - now if slope > 0.0 else now - param[0]
    # eta = ahead / |slope|, and MOST where the limit is behind.
    reach = abs(slope) * param[3]
    score: float = reach / ahead if ahead * MOST > reach else MOST
    return score


def explain(state: Floats, param: Floats, value: float) -> dict[str, float]:  # noqa: ARG001 - detectors share one signature
    """The line at the last sample.

    `eta_s`: seconds until the limit is reached (inf: not moving towards one); `slope_per_s` and
    its standard error `slope_error_per_s` in the metric's unit per second; `now`: the line's
    value, `limit`: the one it moves to, `direction`: 1.0 up, -1.0 down.
    """
    _, weight, mean_t, mean_v, ctt, ctv, cvv, _ = (float(field) for field in state[:FIELDS])
    slope = ctv / ctt if ctt > 0.0 else 0.0
    error = math.inf
    if ctt > 0.0 and weight > 2.0:  # noqa: PLR2004 - a line has two parameters
        error = math.sqrt(max(cvv - slope * ctv, 0.0) / (weight - 2.0) / ctt)
    now = mean_v - slope * mean_t
    limit = float(param[1]) if slope >= 0.0 else float(param[0])
    return {
        "eta_s": max((limit - now) / slope, 0.0) if slope else math.inf,
        "slope_per_s": slope,
        "slope_error_per_s": error,
        "now": now,
        "limit": limit,
        "direction": math.copysign(1.0, slope),
    }


def confidence(score: float, enter_samples: int) -> float:  # noqa: ARG001 - detectors share one signature
    """Least probability, 0 to 1, that the trend is there at all (not that it will last).

    A slope estimate with a single peak and no bias lies k errors to one side with probability
    4 / (9 (1 + k^2)) at most (Vysochanskij and Petunin, one-sided); k is 5 or more.
    """
    return 1.0 - 4.0 / (9.0 * (1.0 + SIGNIFICANCE * SIGNIFICANCE)) if score > 0.0 else 0.0
