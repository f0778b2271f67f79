"""A detector over one whole series at machine speed, without the worker; for tuning.

The rule for flags is that of the episodes in pipeline.core.kernel with `min_duration` 0, one
detector and one severity: a score of `enter` or more begins an episode, which is one flag; it
ends with the `cool_down`-th reading in a row whose score is not over `leave`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numba
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.quality.nab import Flags, Series

F64 = npt.NDArray[np.float64]


class Detector(Protocol):
    """A module of pipeline.core.detectors."""

    FIELDS: int

    @property
    def step(self) -> Callable[[F64, F64, float, float], float]:
        """Under jit: state, parameters, value, time in ms to a score."""


def scores(detector: Detector, series: Series, param: F64) -> F64:
    """Score of every row, from an empty state."""
    out = np.empty(len(series.value))
    _runner(detector.step)(np.zeros(detector.FIELDS), param, series.value, series.time_ms, out)
    return out


@lru_cache(maxsize=8)
def _runner(
    step: Callable[[F64, F64, float, float], float],
) -> Callable[[F64, F64, F64, F64, F64], None]:
    @numba.njit(error_model="numpy")
    def run(state: F64, param: F64, value: F64, time_ms: F64, out: F64) -> None:
        for row in range(len(value)):
            out[row] = step(state, param, value[row], time_ms[row])

    done: Callable[[F64, F64, F64, F64, F64], None] = run
    return done


def flag(score: F64, enter: float, leave: float, cool_down: int) -> Flags:
    """True at the first reading of each episode."""
    flags = np.zeros(len(score), dtype=np.bool_)
    inside = False
    quiet = 0
    for row, reached in enumerate(score.tolist()):
        if not inside:
            inside = flags[row] = reached >= enter
            quiet = 0
        elif reached > leave:
            quiet = 0
        else:
            quiet += 1
            inside = quiet < cool_down
    return flags
