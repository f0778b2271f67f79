"""Rate of change: how fast a value rises or falls, against what is allowed per second.

The slope goes from an anchor to now, over at least `min_span_s` seconds of event time (and
under twice that plus one sampling interval, gaps apart), so jitter in the clock cannot
blow it up. Both ends are the median of three values in a row at the time of the middle one:
on a straight line that is the middle reading itself and the slope is exact, and one wild
reading has no effect. The result lags by one sample.

    score = max(slope / rise_per_s, -slope / fall_per_s)     at least 0; 1 is the limit

A reading whose clock stands still or goes back is not judged and not learnt; one that goes
back by more than `reset_s` starts the series anew, so that a single date in the future
does not end the watch.
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

FIELDS: Final = 10
COUNT, TIME, VALUE, BEFORE, OLD_TIME, OLD_VALUE, NEW_TIME, NEW_VALUE, SLOPE, SPAN = range(FIELDS)
"""Places in the state: samples, the last one's time (ms) and value, the value before it, two
anchors (time in ms, value), the last slope (unit per second) and its span (ms)."""

PARAMS: Final = ("rise_per_s", "fall_per_s", "min_span_s", "reset_s")
DEFAULTS: Final[Mapping[str, float]] = {
    "rise_per_s": math.inf,  # allowed rise, unit of the metric per second, above 0; inf: any
    "fall_per_s": math.inf,  # allowed fall, the same
    "min_span_s": 10.0,  # the slope is taken over at least this long, seconds, above 0
    "reset_s": 3600.0,  # a clock that goes back further than this starts anew, seconds
}


@jit
def step(state: Floats, param: Floats, value: float, time_ms: float) -> float:
    """Slope as a share of the limit, 0.0 where there is none to judge."""
    count, last_ms = state[0], state[1]
    if count > 0.0 and time_ms <= last_ms:
        state[8] = 0.0
        state[9] = 0.0
        if last_ms - time_ms <= param[3] * 1000.0:
            return 0.0
        count = 0.0
    last, before = state[2], state[3]
    state[0] = count + 1.0
    state[1] = time_ms
    state[2] = value
    state[3] = last
    if count < 2.0:  # noqa: PLR2004 - a median of three needs two before
        state[8] = 0.0
        state[9] = 0.0
        return 0.0
    middle = max(min(value, last), min(max(value, last), before))
    if count == 2.0:  # noqa: PLR2004 - the first median is the first anchor
        state[4] = last_ms
        state[5] = middle
        state[6] = last_ms
        state[7] = middle
        return 0.0
    span_s = param[2]
    if last_ms - state[6] >= span_s * 1000.0:
        state[4] = state[6]
        state[5] = state[7]
        state[6] = last_ms
        state[7] = middle
    span = last_ms - state[4]
    if span < span_s * 1000.0:
        return 0.0
    slope = (middle - state[5]) / span * 1000.0
    state[8] = slope
    state[9] = span
    score: float = slope / param[0] if slope >= 0.0 else -slope / param[1]
    return score


def explain(state: Floats, param: Floats, value: float) -> dict[str, float]:  # noqa: ARG001 - detectors share one signature
    """`slope_per_s` (unit per second), over `span_s` seconds, and the `limit_per_s` it is held to.

    `slope_per_s` and `span_s` are 0.0 where the last sample was not judged.
    """
    slope = float(state[SLOPE])
    return {
        "slope_per_s": slope,
        "span_s": float(state[SPAN]) / 1000.0,
        "limit_per_s": float(param[0]) if slope >= 0.0 else -float(param[1]),
        "direction": math.copysign(1.0, slope),
    }


def confidence(score: float, enter_samples: int) -> float:  # noqa: ARG001 - detectors share one signature
    """Probability, 0 to 1, that `enter_samples` samples in a row over the limit are real.

    Sign test as for limits: were the true rate at the limit and the noise symmetric, each
    would be over it with probability 1/2. It takes the samples as independent; they share the
    older end of their slopes, so it is a little kind.
    """
    return 1.0 - math.ldexp(1.0, -enter_samples)
