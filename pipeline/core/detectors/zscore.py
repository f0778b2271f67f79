"""Level shift: a fast level against a slow, robust baseline, in standard deviations.

One series is four numbers, whatever its age. With x the value, b the baseline, m the mean
absolute deviation, l the level, n the samples so far (this one included):

    s = max(sqrt(pi/2) m, floor, floor_relative |b|)     scale, before this sample
    e = clip(x - b, -c s, +c s)                          c = clip; no clip while n <= 8
    b += e max(1/n, slow)                                running mean, then slow and clipped
    m += (|e| - m) max(1/(n-1), slow)
    l  = b while warming up, then l += fast (b' + clip(x - b', -k s, +k s) - l)
    z  = (l - b) / (s sqrt(fast/(2-fast) + max(1/n, slow/(2-slow))))

slow = 1/baseline_samples and fast = 2/(level_samples + 1). The clipped steps are Huber's
estimator of location and scale in recursive form (Huber, "Robust Estimation of a Location
Parameter", 1964); b' is the baseline before the sample and k = level_clip, so that one wild
reading moves the level by fast k s at most. sqrt(pi/2) turns the mean absolute deviation of
Gaussian noise into its standard deviation. The root adds the variances of level and baseline
for independent noise of scale 1. They share samples, so their true difference varies less:
the score is on the safe side (its standard deviation on plain noise is about 0.8 with the
defaults, not 1).

The score is |z|, and 0 during the first `warm_up` samples.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from pipeline.core.jit import jit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

FIELDS: Final = 4
COUNT, BASELINE, DEVIATION, LEVEL = range(FIELDS)
"""Places in the state: samples seen, baseline, mean absolute deviation, level."""

PARAMS: Final = (
    "warm_up",
    "baseline_samples",
    "level_samples",
    "clip",
    "level_clip",
    "scale_floor",
    "scale_floor_relative",
)
DEFAULTS: Final[Mapping[str, float]] = {
    "warm_up": 20.0,  # samples before the first score
    "baseline_samples": 100.0,  # memory of the slow baseline, samples, at least 1
    "level_samples": 20.0,  # span of the fast level, samples, at least 1
    "clip": 3.0,  # a sample moves the baseline by this many deviations at most
    "level_clip": 8.0,  # the same for the level: one wild reading is no alarm
    "scale_floor": 1e-9,  # least deviation, in the metric's unit, above 0
    "scale_floor_relative": 1e-5,  # the same as a share of the baseline
}

_TO_SIGMA = math.sqrt(math.pi / 2)
_UNCLIPPED = 8
"""Samples before the scale is sure enough to clip by."""
_UNIMODAL = math.sqrt(8 / 3)
"""Vysochanskij and Petunin's bound 4/(9 k^2) holds from this many deviations on."""


@jit
def _advance(
    state: Floats,
    value: float,
    warm_up: float,
    slow: float,
    fast: float,
    clip: float,
    level_clip: float,
    floor: float,
    floor_relative: float,
    settled: float,
    root: float,
    fast_variance: float,
    slow_variance: float,
) -> float:
    """The formulas; from `settled` samples on 1/n does not matter and `root` is their root."""
    count, baseline, deviation, level = state[0], state[1], state[2], state[3]
    n = count + 1.0
    scale = max(deviation * _TO_SIGMA, floor, abs(baseline) * floor_relative)
    surprise = value - baseline
    size = abs(surprise)
    if n > _UNCLIPPED:
        size = min(size, scale * clip)
    # Division rounds monotonically: past `settled` the young series' gains are the smaller.
    if count >= settled:
        gain = slow
        spread_gain = slow
    else:
        gain = max(1.0 / n, slow)
        # At n = 1 there is nothing to deviate from; at n = 2 the weight 1 wipes that entry out.
        spread_gain = max(1.0 / max(count, 1.0), slow)
        root = math.sqrt(fast_variance + max(1.0 / n, slow_variance))
    moved = baseline + math.copysign(size, surprise) * gain
    state[0] = n
    state[1] = moved
    state[2] = deviation + (size - deviation) * spread_gain
    if n <= warm_up:
        state[3] = moved
        return 0.0
    shift = math.copysign(min(abs(surprise), scale * level_clip), surprise)
    level = level + (baseline + shift - level) * fast
    state[3] = level
    spread = scale * root
    return abs(level - moved) / spread if spread > 0.0 else 0.0


@jit
def step(state: Floats, param: Floats, value: float, time_ms: float) -> float:  # noqa: ARG001 - detectors share one signature
    """One more sample: |z| in standard deviations of the level, 0.0 while warming up.

    Rounds exactly as the formulas above in numpy's order of operations do. A loop over many
    samples of one rule may call `prepare` once and `step_prepared` for each.
    """
    slow, fast = 1.0 / param[1], 2.0 / (param[2] + 1.0)
    fast_variance, slow_variance = fast / (2.0 - fast), slow / (2.0 - slow)
    root = math.sqrt(fast_variance + slow_variance)
    score: float = _advance(
        state,
        value,
        param[0],
        slow,
        fast,
        param[3],
        param[4],
        param[5],
        param[6],
        2.0 * param[1],
        root,
        fast_variance,
        slow_variance,
    )
    return score


@jit
def prepare(param: Floats) -> Floats:
    """What is the same for every sample, worked out once for `step_prepared`: (7,) to (11,)."""
    slow, fast = 1.0 / param[1], 2.0 / (param[2] + 1.0)
    ready = np.empty(11)
    ready[:7] = param
    ready[1] = slow
    ready[2] = fast
    ready[7] = 2.0 * param[1]
    ready[9] = fast / (2.0 - fast)
    ready[10] = slow / (2.0 - slow)
    ready[8] = math.sqrt(ready[9] + ready[10])
    return ready


@jit
def step_prepared(state: Floats, ready: Floats, value: float, time_ms: float) -> float:  # noqa: ARG001 - detectors share one signature
    """`step`, to the last bit, for what `prepare` made of the parameters: without its divisions."""
    score: float = _advance(
        state,
        value,
        ready[0],
        ready[1],
        ready[2],
        ready[3],
        ready[4],
        ready[5],
        ready[6],
        ready[7],
        ready[8],
        ready[9],
        ready[10],
    )
    return score


def explain(state: Floats, param: Floats, value: float) -> dict[str, float]:  # noqa: ARG001 - detectors share one signature
    """What the state after a sample says.

    `baseline` and `level` are in the metric's unit, as is `deviation` (one standard deviation
    of its readings). `direction` is 1.0 where the level is above the baseline, -1.0 below:
    direction x score is the signed z-score. `zscore` is signed as well, but measured by the
    scale with this sample in it: a little nearer to 0 than the score, 0.0 while warming up.
    """
    count, baseline, spread, level = (float(field) for field in state)
    named = dict(zip(PARAMS, (float(p) for p in param), strict=True))
    deviation = max(
        spread * _TO_SIGMA, named["scale_floor"], abs(baseline) * named["scale_floor_relative"]
    )
    slow, fast = 1.0 / named["baseline_samples"], 2.0 / (named["level_samples"] + 1.0)
    zscore = 0.0
    if count > named["warm_up"] and deviation > 0.0:
        variance = fast / (2.0 - fast) + max(1.0 / count, slow / (2.0 - slow))
        zscore = (level - baseline) / (deviation * math.sqrt(variance))
    return {
        "baseline": baseline,
        "level": level,
        "deviation": deviation,
        "direction": math.copysign(1.0, level - baseline),
        "zscore": zscore,
    }


def score_confidence(scores: Sequence[float]) -> float:
    """Least probability, 0 to 1, that noise alone would not have made such a sample.

    `scores` are those of all warm metrics of the sample (m of them). Noise of standard
    deviation 1 with a single peak exceeds k deviations with probability 4 / (9 k^2) at most
    (Vysochanskij and Petunin, 1980); by Markov's inequality j of m metrics do so together with
    m/j times that at most, however they depend on each other. The j with the smallest bound
    counts. It says nothing of the many samples looked at.
    """
    ranked = sorted((abs(score) for score in scores), reverse=True)
    chance = 1.0
    for agreeing, score in enumerate(ranked, start=1):
        if score < _UNIMODAL:
            break
        chance = min(chance, len(ranked) / agreeing * 4.0 / (9.0 * score * score))
    return 1.0 - chance


def confidence(score: float, enter_samples: int) -> float:  # noqa: ARG001 - detectors share one signature
    """`score_confidence` of a metric by itself; samples in a row share the level, so count once."""
    return score_confidence((score,))
