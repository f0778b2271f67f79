"""Stuck sensor: the same value for much longer than this series ever stays.

A run is a stretch of samples within `epsilon` of the run's first value. It is stuck after

    need = max(for_s, 20 x the mean run, 2 x the longest run)     seconds observed

and at least `samples` samples; score = min(run / need, run's samples / samples), 1 is stuck.
A series that is constant by nature is never judged: only one that has ended `moves` runs.
For runs that end by chance (exponential) one of 20 means has probability 2e-9; the longest
run stands for sensors with habits, such as quiet nights, and fades with 30 days of data.

Time counts as far as it was observed: a gap adds `max_gap_s` at most, a clock that stands
still or goes back nothing. A stuck run teaches no more than its `need`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.core.jit import jit

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

FIELDS: Final = 7
RUN_SAMPLES, VALUE, TIME, RUN_S, MOVES, MEAN_S, LONGEST_S = range(FIELDS)
"""Places in the state: samples of this run (0: nothing seen), the run's first value, time of
the last sample (ms), seconds of this run; runs ended, their mean and longest in seconds."""

PARAMS: Final = ("epsilon", "for_s", "samples", "moves", "max_gap_s")
DEFAULTS: Final[Mapping[str, float]] = {
    "epsilon": 0.0,  # how far a value may move and still be the same, in the metric's unit
    "for_s": 3600.0,  # no shorter run is stuck, seconds, above 0
    "samples": 20.0,  # nor one of fewer samples, at least 1
    "moves": 20.0,  # runs that must have ended before the series is judged
    "max_gap_s": 600.0,  # what a gap between two samples counts for at most, seconds
}

MEANS: Final = 20.0
"""Mean runs that a run must last to be stuck."""
_LONGEST: Final = 2.0
_MEMORY: Final = 50.0
"""Runs that the mean remembers."""
_FADE_S: Final = 30.0 * 86_400.0


@jit
def step(state: Floats, param: Floats, value: float, time_ms: float) -> float:
    """Share of the needed stretch that this run has lasted; 0.0 where it is not judged."""
    run_samples = state[0]
    if run_samples == 0.0:
        state[0] = 1.0
        state[1] = value
        state[2] = time_ms
        return 0.0
    passed = min(max((time_ms - state[2]) / 1000.0, 0.0), param[4])
    state[2] = time_ms
    run = state[3] + passed
    need = max(param[1], MEANS * state[5], _LONGEST * state[6])
    if abs(value - state[1]) <= param[0]:
        run_samples += 1.0
        state[0] = run_samples
        state[3] = run
        if state[4] < param[3]:
            return 0.0
        share: float = min(run / need, run_samples / param[2])
        return share
    moves = state[4] + 1.0
    # Before anything is known a run is taken as it was: its need would be for_s alone.
    learnt = min(run, need) if moves > param[3] else run
    state[0] = 1.0
    state[1] = value
    state[3] = 0.0
    state[4] = moves
    state[5] += (learnt - state[5]) / min(moves, _MEMORY)
    state[6] = max(learnt, state[6] * (1.0 - min(run / _FADE_S, 1.0)))
    return 0.0


def explain(state: Floats, param: Floats, value: float) -> dict[str, float]:  # noqa: ARG001 - detectors share one signature
    """`stuck_at` (unit of the metric), for `for_s` seconds observed and `samples` samples.

    `usual_s` and `longest_s` are the mean and the longest of the runs before, in seconds.
    """
    return {
        "stuck_at": float(state[VALUE]),
        "for_s": float(state[RUN_S]),
        "samples": float(state[RUN_SAMPLES]),
        "usual_s": float(state[MEAN_S]),
        "longest_s": float(state[LONGEST_S]),
    }


def confidence(score: float, enter_samples: int) -> float:  # noqa: ARG001 - detectors share one signature
    """Least probability, 0 to 1, that an ordinary run would not have lasted so long.

    Markov's inequality: whatever the distribution of the series' runs, no more than one in
    20 x score lasts 20 x score times their mean.
    """
    return max(0.0, 1.0 - 1.0 / (MEANS * score)) if score > 0.0 else 0.0
