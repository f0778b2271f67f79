"""Detection rules: what counts as unusual, per metric. Policy is data, this is its shape.

A *lane* is one row of LANES: a detector at one severity. Lanes of one detector belong to
one episode, so a weak early sign (info) and the clear one (warning) are two steps of the
same trouble. Detectors to come add rows here and a score row in pipeline.core.anomaly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.events import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

ZSCORE = "zscore"
LIMIT = "limit"

_CACHED_LAYOUTS = 4_096
"""Column sets kept per Rules; about 4 kB each at 21 metrics. Device fleets have few."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One detector at one severity, and the type of the event it raises."""

    detector: str
    severity: Severity
    event_type: str


LANES = (
    Lane(ZSCORE, Severity.INFO, "fieldline.anomaly.detected"),
    Lane(ZSCORE, Severity.WARNING, "fieldline.anomaly.detected"),
    Lane(LIMIT, Severity.CRITICAL, "fieldline.limit.exceeded"),
)
"""Every lane; within a detector from the mildest to the gravest."""

GROUPS = tuple(dict.fromkeys(lane.detector for lane in LANES))
"""Detectors that have an episode of their own, in the order of LANES."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRule:
    """Hysteresis of one z-score lane: `enter` and `leave` in deviations, counts in samples.

    `enter` is infinity where the lane is switched off.
    """

    enter: float
    leave: float
    enter_samples: int
    leave_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRule:
    """Alarm limits in the metric's unit; None = no limit on that side.

    A breach ends once values stay `hysteresis` (unit of the metric, above 0) inside the limit.
    """

    low: float | None
    high: float | None
    hysteresis: float
    enter_samples: int
    leave_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRule:
    """All that is set for one metric.

    `warm_up` samples make the first baseline; `baseline_samples` is the memory of the slow
    baseline after that and `level_samples` the span of the fast level (both in samples);
    `clip` (in deviations) is how much of a surprise the baseline learns from one sample,
    `level_clip` the same for the level: small enough that one wild reading is no alarm;
    `scale_floor` (unit of the metric, above 0) and `scale_floor_relative` (share of the
    baseline) keep a constant sensor's last-digit flicker from looking large.
    """

    label: str
    unit: str
    warm_up: int
    baseline_samples: float
    level_samples: float
    clip: float
    level_clip: float
    scale_floor: float
    scale_floor_relative: float
    info: ScoreRule
    warning: ScoreRule
    limit: LimitRule


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """Rules of some metrics as arrays: shape (metrics,), lanes' as (len(LANES), metrics).

    The gains are the weights of a new sample; `level_variance` is the variance of the fast
    level as a multiple of the noise's, alpha / (2 - alpha).
    """

    warm_up: Floats
    slow_gain: Floats
    fast_gain: Floats
    level_variance: Floats
    baseline_variance: Floats
    clip: Floats
    level_clip: Floats
    floor: Floats
    floor_relative: Floats
    low: Floats
    high: Floats
    hysteresis: Floats
    enter: Floats
    leave: Floats
    enter_samples: npt.NDArray[np.int16]
    leave_samples: npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A version of the rules.

    `agree` (one number per lane) is how many of a device's metrics must be over their
    threshold before the lane raises its event; a device with fewer metrics needs all of them.
    `cool_down` is how many samples of a device must pass with no metric over before its
    episode ends: what enters sooner belongs to the old episode.
    """

    name: str
    version: int
    defaults: MetricRule
    metrics: Mapping[str, MetricRule]
    agree: tuple[int, ...]
    cool_down: int
    _columns: dict[tuple[str, ...], Columns] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def label(self) -> str:
        """name@version, as events carry it."""
        return f"{self.name}@{self.version}"

    def of(self, metric: str) -> MetricRule:
        """The metric's own rule, or the defaults."""
        return self.metrics.get(metric, self.defaults)

    def columns(self, metrics: tuple[str, ...]) -> Columns:
        """Rules of `metrics` as columns, in that order; remembered, as fleets repeat them."""
        found = self._columns.get(metrics)
        if found is None:
            if len(self._columns) >= _CACHED_LAYOUTS:
                self._columns.clear()
            found = self._columns[metrics] = _columns([self.of(m) for m in metrics])
        return found


def _columns(rules: list[MetricRule]) -> Columns:
    def column(get: Callable[[MetricRule], float]) -> Floats:
        return np.array([get(rule) for rule in rules], dtype=np.float64)

    def lanes(info: str, limit: float) -> Floats:
        rows = [
            column(lambda rule: float(getattr(rule.info, info))),
            column(lambda rule: float(getattr(rule.warning, info))),
            np.full(len(rules), limit),
        ]
        return np.stack(rows)

    def counts(name: str) -> npt.NDArray[np.int16]:
        rows = [
            [getattr(part, name) for part in (rule.info, rule.warning, rule.limit)]
            for rule in rules
        ]
        return np.array(rows, dtype=np.int16).reshape(-1, len(LANES)).T.copy()

    slow = 1.0 / column(lambda rule: rule.baseline_samples)
    fast = 2.0 / (column(lambda rule: rule.level_samples) + 1.0)
    return Columns(
        warm_up=column(lambda rule: rule.warm_up),
        slow_gain=slow,
        fast_gain=fast,
        level_variance=fast / (2.0 - fast),
        baseline_variance=slow / (2.0 - slow),
        clip=column(lambda rule: rule.clip),
        level_clip=column(lambda rule: rule.level_clip),
        floor=column(lambda rule: rule.scale_floor),
        floor_relative=column(lambda rule: rule.scale_floor_relative),
        low=column(lambda rule: -np.inf if rule.limit.low is None else rule.limit.low),
        high=column(lambda rule: np.inf if rule.limit.high is None else rule.limit.high),
        hysteresis=column(lambda rule: rule.limit.hysteresis),
        # A limit's score counts hystereses beyond the limit: see pipeline.core.anomaly.
        enter=lanes("enter", 0.0),
        leave=lanes("leave", -1.0),
        enter_samples=counts("enter_samples"),
        leave_samples=counts("leave_samples"),
    )
