"""Remaining life: how many more samples (cycles, hours) until a machine fails, learnt from runs.

From runs of like machines to failure `fit` learns a health index and how it ages. Per sample
with metrics x, in five numbers of state a machine whatever its age:

    z_j = clip((x_j - mean_j) / scale_j, -6, 6)           by the training runs
    u = sum f_j z_j,   v = sum s_j z_j                    fixed loadings
    U, V = exponential means of u and v                   over fast_samples and slow_samples
    h = (U + V + intercept) / most                        health index, 1 new, 0 failed
    remaining = clip(c0 + c1 h + c2 h^2 + c3 h^3, 0, 1) x most

Two spans of averaging hold level and slope: U - V grows with how fast a metric moves, so
the loadings weigh both, as a line through the last samples would, at the cost of two
averages of sums in place of two of every metric. Loadings come from ridge regression
(Hoerl and Kennard, 1970) of min(remaining, most) on the exponential means of all metrics,
the curve from least squares of the same on h. Long before failure wear does not show, so
nothing beyond `most` is told from it: the piecewise linear target of Heimes, "Recurrent
Neural Networks for Remaining Useful Life Estimation", PHM 2008.

The error that a prediction states is measured on runs left out of the fit, five-fold.
All of one operating condition: a machine that runs in several needs a model for each.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import jit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

F64 = npt.NDArray[np.float64]

FIELDS: Final = 5
SAMPLES, FAST_WEIGHT, FAST, SLOW_WEIGHT, SLOW = range(FIELDS)
"""Places in the state: samples, then the sum of weights and the mean, for both spans."""

UNKNOWN: Final = -1.0
"""In place of a prediction: too few samples yet."""

_FOLDS = 5
_RIDGE = 1.0
_CLIP = 6.0
_BINS = 5
_LEAST_RUNS = 10
_CONSTANT = 1e-6
"""A metric whose deviation is less, as a share of its mean, is constant and left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What `fit` has learnt; plain numbers.

    Per metric, in the order of `metrics`: `mean` and `scale` (its unit), loadings `fast` and
    `slow`. `curve` are c0 to c3. `most`, the greatest prediction, and the spans are in samples.
    `errors`: root mean square errors of predictions in the 1st to 5th part of 0 to `most`.
    """

    metrics: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    fast: tuple[float, ...]
    slow: tuple[float, ...]
    intercept: float
    curve: tuple[float, ...]
    most: float
    fast_samples: float
    slow_samples: float
    warm_up: int
    errors: tuple[float, ...]

    def __post_init__(self) -> None:
        """ValueError where the numbers do not fit together."""
        count = len(self.metrics)
        columns = (self.mean, self.scale, self.fast, self.slow)
        if not count or any(len(column) != count for column in columns):
            raise ValueError("A remaining-life model needs mean, scale and loadings per metric.")
        numbers = (*self.mean, *self.fast, *self.slow, self.intercept, *self.curve, *self.errors)
        if not all(math.isfinite(n) for n in numbers) or not all(s > 0.0 for s in self.scale):
            raise ValueError("A remaining-life model has a number that is not finite.")
        if len(self.curve) != 4 or len(self.errors) != _BINS:  # noqa: PLR2004 - a cubic
            raise ValueError("A remaining-life model needs 4 numbers of curve and 5 of errors.")
        if not (self.most > 0.0 and self.fast_samples >= 1.0 and self.slow_samples >= 1.0):
            raise ValueError("A remaining-life model's most and spans must be 1 sample or more.")

    def as_dict(self) -> dict[str, Any]:
        """For a file; `from_dict` reads it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Model:
        """The model in a file. ValueError where it is none."""
        try:
            return cls(
                metrics=tuple(str(name) for name in given["metrics"]),
                mean=_numbers(given["mean"]),
                scale=_numbers(given["scale"]),
                fast=_numbers(given["fast"]),
                slow=_numbers(given["slow"]),
                intercept=float(given["intercept"]),
                curve=_numbers(given["curve"]),
                most=float(given["most"]),
                fast_samples=float(given["fast_samples"]),
                slow_samples=float(given["slow_samples"]),
                warm_up=int(given["warm_up"]),
                errors=_numbers(given["errors"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"A remaining-life model cannot be read: {error}.") from error

    def error(self, remaining: float) -> float:
        """Root mean square error of such a prediction, in samples."""
        place = int(remaining / self.most * _BINS)
        return self.errors[min(max(place, 0), _BINS - 1)]

    def chance_within(self, remaining: float, horizon: float) -> float:
        """Probability, 0 to 1, of failure within `horizon` samples given a prediction.

        Takes errors as Gaussian; a prediction of `most` stands for all that is beyond it, and
        the result for it is an upper bound.
        """
        spread = max(self.error(remaining), 1e-9) * math.sqrt(2.0)
        return 0.5 * (1.0 + math.erf((horizon - remaining) / spread))


def _numbers(given: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(n) for n in given)


class Ready(NamedTuple):
    """A model as `step` takes it: `table` (metrics, 4) mean, 1/scale, fast, slow; `rest` (9,)."""

    table: F64
    rest: F64


def prepare(model: Model) -> Ready:
    """`model` for `step`."""
    inverse = [1.0 / scale for scale in model.scale]
    return Ready(
        table=np.column_stack([model.mean, inverse, model.fast, model.slow]),
        rest=np.array(
            [
                1.0 - 1.0 / model.fast_samples,
                1.0 - 1.0 / model.slow_samples,
                model.intercept,
                *model.curve,
                model.most,
                model.warm_up,
            ]
        ),
    )


@jit
def step(state: F64, ready: Ready, values: F64) -> float:
    """Samples until failure after one more sample; UNKNOWN while there were fewer than warm_up.

    `state` (FIELDS,), zeros for a new machine, is changed in place. `values` (metrics,) in the
    model's order; a sample in which one is not finite is left out, as the sums would be of
    something else, and the prediction stays.
    """
    table, rest = ready.table, ready.rest
    fast, slow = 0.0, 0.0
    whole = True
    for j in range(table.shape[0]):
        z = (values[j] - table[j, 0]) * table[j, 1]
        if not math.isfinite(values[j]):
            whole = False
        z = min(max(z, -_CLIP), _CLIP)
        fast += table[j, 2] * z
        slow += table[j, 3] * z
    if whole:
        state[0] += 1.0
        state[1] = state[1] * rest[0] + 1.0
        state[2] += (fast - state[2]) / state[1]
        state[3] = state[3] * rest[1] + 1.0
        state[4] += (slow - state[4]) / state[3]
    if state[0] < rest[8] or state[0] == 0.0:
        return -1.0
    h = (state[2] + state[4] + rest[2]) / rest[7]
    share = rest[3] + h * (rest[4] + h * (rest[5] + h * rest[6]))
    remaining: float = min(max(share, 0.0), 1.0) * rest[7]
    return remaining


def follow(model: Model, values: F64) -> F64:
    """`step` over all samples of one machine: (samples, metrics) to (samples,)."""
    ready, state = prepare(model), np.zeros(FIELDS)
    rows = np.ascontiguousarray(values, dtype=np.float64)
    return np.array([step(state, ready, row) for row in rows], dtype=np.float64)


def fit(
    runs: Sequence[F64],
    metrics: Sequence[str],
    *,
    most: float = 125.0,
    fast_samples: float = 8.0,
    slow_samples: float = 30.0,
    warm_up: int = 8,
) -> Model:
    """Learn from `runs`, each (samples, metrics) of one machine, ending with its failure.

    ValueError where there are fewer than ten runs, or nothing in them moves.
    """
    if len(runs) < _LEAST_RUNS:
        raise ValueError(f"There are {len(runs)} runs to failure: give {_LEAST_RUNS} or more.")
    joined = np.concatenate(runs)
    if not np.isfinite(joined).all():
        raise ValueError("A run has a reading that is not finite: leave such samples out.")
    moves = joined.std(axis=0) > _CONSTANT * np.abs(joined.mean(axis=0))
    if not moves.any():
        raise ValueError("No metric of the runs moves, so nothing can be learnt from them.")
    kept = [run[:, moves] for run in runs]
    mean, scale = joined[:, moves].mean(axis=0), joined[:, moves].std(axis=0)
    features = [_features((run - mean) / scale, fast_samples, slow_samples) for run in kept]
    targets = [np.minimum(np.arange(len(run))[::-1], most) / most for run in kept]
    residuals = []
    for fold in range(_FOLDS):
        inside = [n for n in range(len(runs)) if n % _FOLDS != fold]
        loading, curve = _learn([features[n] for n in inside], [targets[n] for n in inside])
        for n in range(fold, len(runs), _FOLDS):
            guess = _predict(features[n], loading, curve)[warm_up:]
            residuals.append(np.stack([guess, guess - targets[n][warm_up:]]))
    loading, curve = _learn(features, targets)
    count = int(moves.sum())
    return Model(
        metrics=tuple(name for name, moving in zip(metrics, moves, strict=True) if moving),
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        fast=tuple((loading[:count] * most).tolist()),
        slow=tuple((loading[count:-1] * most).tolist()),
        intercept=float(loading[-1] * most),
        curve=tuple(curve.tolist()),
        most=most,
        fast_samples=fast_samples,
        slow_samples=slow_samples,
        warm_up=warm_up,
        errors=_errors(np.concatenate(residuals, axis=1), most),
    )


def _features(z: F64, fast_samples: float, slow_samples: float) -> F64:
    """Both exponential means of every metric after every sample, and a 1 for the intercept."""
    z = np.clip(z, -_CLIP, _CLIP)
    parts = [_means(z, 1.0 - 1.0 / span) for span in (fast_samples, slow_samples)]
    return np.hstack([*parts, np.ones((len(z), 1))])


def _means(z: F64, keep: float) -> F64:
    out = np.empty_like(z)
    mean, weight = np.zeros(z.shape[1]), 0.0
    for n, row in enumerate(z):
        weight = weight * keep + 1.0
        mean = mean + (row - mean) / weight
        out[n] = mean
    return out


def _learn(features: Sequence[F64], targets: Sequence[F64]) -> tuple[F64, F64]:
    x, y = np.concatenate(features), np.concatenate(targets)
    square = x.T @ x
    penalised = np.arange(len(square) - 1)
    square[penalised, penalised] += _RIDGE
    loading = np.linalg.solve(square, x.T @ y)
    powers = np.vander(x @ loading, 4, increasing=True)
    curve: F64 = np.linalg.lstsq(powers, y, rcond=None)[0]
    return np.asarray(loading, dtype=np.float64), curve


def _predict(features: F64, loading: F64, curve: F64) -> F64:
    share = np.vander(features @ loading, 4, increasing=True) @ curve
    return np.clip(share, 0.0, 1.0)


def _errors(found: F64, most: float) -> tuple[float, ...]:
    """Error by prediction, from (2, n): predictions and what they were off, as shares."""
    place = np.minimum((found[0] * _BINS).astype(np.int64), _BINS - 1)
    whole = float(np.sqrt((found[1] ** 2).mean()))
    return tuple(
        most * (float(np.sqrt((found[1][place == n] ** 2).mean())) if (place == n).any() else whole)
        for n in range(_BINS)
    )
