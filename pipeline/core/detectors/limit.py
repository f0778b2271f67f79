"""Limit: how far a value is beyond the limits set for it, in hystereses.

    score = max(x - high, low - x) / hysteresis

0 on the limit, positive beyond it, -1 where it is calm again; minus infinity where a metric
has no limits. It needs no memory. Thresholds: enter 0.0, leave -1.0.
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

FIELDS: Final = 0
PARAMS: Final = ("low", "high", "hysteresis")
DEFAULTS: Final[Mapping[str, float]] = {
    "low": -math.inf,  # least allowed value, in the metric's unit; -inf: none
    "high": math.inf,  # greatest allowed value, in the metric's unit; inf: none
    "hysteresis": 1e-6,  # how far inside a value must be to be calm again, same unit, above 0
}


@jit
def step(state: Floats, param: Floats, value: float, time_ms: float) -> float:  # noqa: ARG001 - detectors share one signature
    """Hystereses beyond the nearer limit; negative inside."""
    score: float = max(value - param[1], param[0] - value) / param[2]
    return score


def explain(state: Floats, param: Floats, value: float) -> dict[str, float]:  # noqa: ARG001 - detectors share one signature
    """`limit`: the limit that is broken, or the nearer one; `direction`: 1.0 high, -1.0 low.

    `beyond`: how far `value` is beyond it (negative: inside). All in the metric's unit.
    """
    low, high = float(param[0]), float(param[1])
    above = value - high >= low - value
    return {
        "limit": high if above else low,
        "direction": 1.0 if above else -1.0,
        "beyond": max(value - high, low - value),
    }


def confidence(score: float, enter_samples: int) -> float:  # noqa: ARG001 - detectors share one signature
    """Least probability, 0 to 1, that a breach of `enter_samples` samples in a row is real.

    Sign test: were the true value still inside the limit and the noise symmetric, each sample
    would be beyond it with probability 1/2 at most, so all of them with 2^-enter_samples.
    """
    return 1.0 - math.ldexp(1.0, -enter_samples)
