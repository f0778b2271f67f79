"""How unusual a reading is: running baselines and scores, elementwise over arrays.

One series (a metric of a device) is a column of four numbers, whatever its age, so a
million series are one array. With x the value, b the baseline, m the mean absolute
deviation, l the level, n the samples so far (this one included):

    s = max(sqrt(pi/2) m, floor, floor_relative |b|)     scale, before this sample
    e = clip(x - b, -c s, +c s)                          c = clip; no clip while n <= 8
    b += e max(1/n, slow)                                running mean, then slow and clipped
    m += (|e| - m) max(1/(n-1), slow)
    l  = b while warming up, then l += fast (b' + clip(x - b', -k s, +k s) - l)
    z  = (l - b) / (s sqrt(fast/(2-fast) + max(1/n, slow/(2-slow))))

The clipped steps are Huber's estimator of location and scale in recursive form (Huber,
"Robust Estimation of a Location Parameter", 1964); b' is the baseline before the sample and
k = level_clip, so that one wild reading moves the level by fast k s at most. sqrt(pi/2)
turns the mean absolute deviation of Gaussian noise into its standard deviation. The root
adds the variances of level and baseline for independent noise of scale 1. They share
samples, so their true difference varies less: the score is on the safe side (its standard
deviation on plain noise is about 0.8 with the default rules, not 1).

Only + - * / sqrt, min and max are used: IEEE 754 rounds them alike in every array shape,
so a result does not depend on how series were grouped.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pipeline.core.rules import Columns

    Floats = npt.NDArray[np.float64]

FIELDS = 4
"""Rows of a series array: count, baseline, mean absolute deviation, level."""
COUNT, BASELINE, DEVIATION, LEVEL = range(FIELDS)

MAX_VALUE = 1e150
"""Readings beyond are not scored: differences of two must stay finite."""

_TO_SIGMA = math.sqrt(math.pi / 2)
_UNCLIPPED = 8
"""Samples before the scale is sure enough to clip by."""
_UNIMODAL = math.sqrt(8 / 3)
"""Vysochanskij and Petunin's bound 4/(9 k^2) holds from this many deviations on."""


def fresh(series: int) -> Floats:
    """State of `series` series that have seen nothing, shape (FIELDS, series)."""
    return np.zeros((FIELDS, series))


def update(state: Floats, value: Floats, rule: Columns) -> tuple[Floats, Floats]:
    """One more sample of each series: the new state and the scores.

    `state` has shape (FIELDS, ...), `value` and the rule's columns the shape (...) or one
    that broadcasts to it; |value| <= MAX_VALUE. Scores are signed z-scores in standard
    deviations of the level, 0 while the series warms up. Arguments are not changed.
    """
    count, baseline, deviation, level = state
    out = np.empty_like(state)
    n = np.add(count, 1.0, out=out[COUNT])
    inverse = 1.0 / n
    warm = n > rule.warm_up
    scale = np.maximum(
        np.maximum(deviation * _TO_SIGMA, rule.floor), np.abs(baseline) * rule.floor_relative
    )
    surprise = value - baseline
    distance = np.abs(surprise)
    bound = np.where(n > _UNCLIPPED, scale * rule.clip, np.inf)
    size = np.minimum(distance, bound)
    gain = np.maximum(inverse, rule.slow_gain)
    moved = np.add(baseline, np.copysign(size, surprise) * gain, out=out[BASELINE])
    # At n = 1 there is nothing to deviate from; at n = 2 the weight 1 wipes that entry out.
    spread_gain = np.maximum(1.0 / np.maximum(count, 1.0), rule.slow_gain)
    np.add(deviation, (size - deviation) * spread_gain, out=out[DEVIATION])
    shift = np.copysign(np.minimum(distance, scale * rule.level_clip), surprise)
    out[LEVEL] = np.where(warm, level + (baseline + shift - level) * rule.fast_gain, moved)
    variance = rule.level_variance + np.maximum(inverse, rule.baseline_variance)
    score = (out[LEVEL] - moved) / (scale * np.sqrt(variance))
    return out, np.where(warm, score, 0.0)


def limit_score(value: Floats, rule: Columns) -> Floats:
    """How far beyond its limits each value is, in hystereses: 0 on the limit, -1 calm again.

    Minus infinity where a metric has no limits. Shapes as in `update`.
    """
    beyond = np.maximum(value - rule.high, rule.low - value)
    return beyond / rule.hysteresis


def score_confidence(scores: Sequence[float]) -> float:
    """Least probability, 0 to 1, that noise alone would not have made such a sample.

    `scores` are the z-scores of all warm metrics of the sample (m of them). Noise of
    standard deviation 1 with a single peak exceeds k deviations with probability
    4 / (9 k^2) at most (Vysochanskij and Petunin, 1980); by Markov's inequality j of m
    metrics do so together with m/j times that at most, however they depend on each other.
    The j with the smallest bound counts. It says nothing of the many samples looked at.
    """
    ranked = sorted((abs(score) for score in scores), reverse=True)
    chance = 1.0
    for agreeing, score in enumerate(ranked, start=1):
        if score < _UNIMODAL:
            break
        chance = min(chance, len(ranked) / agreeing * 4.0 / (9.0 * score * score))
    return 1.0 - chance


def limit_confidence(samples: int) -> float:
    """Least probability, 0 to 1, that a breach of `samples` samples in a row is real.

    Sign test: were the true value still inside the limit and the noise symmetric, each
    sample would be beyond it with probability 1/2 at most, so all of them with 2^-samples.
    """
    return 1.0 - math.ldexp(1.0, -samples)
