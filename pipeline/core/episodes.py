"""From scores to events: hysteresis per metric, one episode per device and detector.

A metric *enters* a lane after `enter_samples` of its samples in a row at or over the
threshold, and *leaves* it after `leave_samples` in a row under the lower one. A lane raises
its event when enough metrics are in it (Rules.agree), so that one failing engine is one
event and not a storm on fourteen sensors. Metrics that enter later join silently. A
detector's episode ends when none of its metrics has been in for `cool_down` samples of the
device; until then only a graver lane of the same detector raises another event.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.anomaly import limit_confidence, score_confidence
from pipeline.core.events import BusinessEvent, SnapshotEntry, episode_id, tenant_of
from pipeline.core.rules import GROUPS, LANES, LIMIT, ZSCORE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pipeline.core.events import Source
    from pipeline.core.registry import Devices
    from pipeline.core.rules import Columns, MetricRule, Rules

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]
    Counts = npt.NDArray[np.int16]

LANES_OF_GROUP = tuple(
    tuple(i for i, lane in enumerate(LANES) if lane.detector == group) for group in GROUPS
)
"""Indices into LANES per group, mildest first."""


_NAME_CHARACTERS = 80
"""A summary is one line for a person: longer names are cut."""


@dataclass(slots=True, eq=False)
class Episodes:
    """Episodes of one device.

    `streak` and `active`, shape (len(LANES), metrics): samples in a row towards the other
    state, and whether the metric is in the lane. Per group: `level`, 0 for no episode, else
    1 + the place of the gravest lane raised within its group, and `quiet`, samples since a
    metric was in. `correlation_id` is the id of the device's first open episode, or ''.
    `idle` is true where nothing is open or under way, so that only a new hit changes anything.
    """

    streak: Counts
    active: Flags
    level: list[int]
    quiet: list[int]
    correlation_id: str = ""
    idle: bool = field(init=False)

    def __post_init__(self) -> None:
        self.settle()

    def copy(self) -> Episodes:
        """An independent copy."""
        return Episodes(
            self.streak.copy(),
            self.active.copy(),
            self.level.copy(),
            self.quiet.copy(),
            self.correlation_id,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Episodes):
            return NotImplemented
        return (
            np.array_equal(self.streak, other.streak)
            and np.array_equal(self.active, other.active)
            and (self.level, self.quiet, self.correlation_id)
            == (other.level, other.quiet, other.correlation_id)
        )

    __hash__ = None  # type: ignore[assignment]  # it changes while a batch is worked on

    def grow(self, metrics: int) -> None:
        """Make room for `metrics` metrics in all."""
        more = ((0, 0), (0, metrics - self.streak.shape[1]))
        self.streak = np.pad(self.streak, more)
        self.active = np.pad(self.active, more)

    def settle(self) -> None:
        """Set `idle` by what the arrays hold now."""
        self.idle = not (any(self.level) or self.streak.any() or self.active.any())


def fresh(metrics: int) -> Episodes:
    """Episodes of a device about which nothing is known."""
    shape = (len(LANES), metrics)
    return Episodes(
        streak=np.zeros(shape, dtype=np.int16),
        active=np.zeros(shape, dtype=np.bool_),
        level=[0] * len(GROUPS),
        quiet=[0] * len(GROUPS),
    )


def hysteresis(streak: Counts, active: Flags, score: Floats, rule: Columns) -> tuple[Counts, Flags]:
    """One more sample: new streaks and flags. All arrays shape (len(LANES), ...).

    `score` is the z-score's size in the zscore lanes and limit_score in the limit lane.
    """
    towards = np.where(active, score < rule.leave, score >= rule.enter)
    run = (streak + 1) * towards
    flip = run >= np.where(active, rule.leave_samples, rule.enter_samples)
    return (run * ~flip).astype(np.int16, copy=False), active ^ flip


def lane_scores(zscore: Floats, limit: Floats) -> Floats:
    """What each lane compares with its thresholds, shape (len(LANES), ...)."""
    out = np.empty((len(LANES), *zscore.shape))
    size = np.abs(zscore)
    for row, lane in enumerate(LANES):
        out[row] = size if lane.detector == ZSCORE else limit
    return out


def lanes_to_raise(
    episodes: Episodes, *, warm: int, agree: Sequence[int], cool_down: int
) -> list[int]:
    """Lanes (indices into LANES) whose event this sample raises, at most one per group.

    `episodes` holds the sample's streaks and flags already; `quiet` is counted on here, and
    a group quiet for `cool_down` samples is closed. `level` is left to `opened`. `warm` is
    how many of the device's metrics have a baseline: where that, or for limits all its
    metrics, is fewer than `agree` asks for, all of them must be in.
    """
    inside = episodes.active.sum(axis=1).tolist()
    raised = []
    for group, lanes in enumerate(LANES_OF_GROUP):
        if any(inside[lane] for lane in lanes):
            episodes.quiet[group] = 0
            for place in reversed(range(episodes.level[group], len(lanes))):
                lane = lanes[place]
                judged = warm if GROUPS[group] == ZSCORE else episodes.active.shape[1]
                if inside[lane] >= max(1, min(agree[lane], judged)):
                    raised.append(lane)
                    break
        elif episodes.level[group]:
            episodes.quiet[group] += 1
            if episodes.quiet[group] >= cool_down:
                episodes.level[group] = episodes.quiet[group] = 0
    if not any(episodes.level):
        episodes.correlation_id = ""
    return raised


def opened(episodes: Episodes, lane: int, event_id: str) -> str:
    """Note that `lane` has raised `event_id`; the correlation id for that event."""
    for group, lanes in enumerate(LANES_OF_GROUP):
        if lane in lanes:
            episodes.level[group] = 1 + lanes.index(lane)
    if not episodes.correlation_id:
        episodes.correlation_id = event_id
    return episodes.correlation_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What is known of one metric in one sample; baseline and level in the metric's unit."""

    baseline: float
    level: float
    zscore: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One sample as an event tells of it.

    `readings` are all of its finite ones; `scores` covers the metrics that have a baseline.
    """

    device_id: str
    time_ms: int
    received_ms: int
    source: Source
    readings: tuple[tuple[str, float], ...]
    scores: Mapping[str, Score]


def business_event(
    lane_index: int,
    metric: str,
    value: float,
    moment: Moment,
    episodes: Episodes,
    rules: Rules,
    registry: Devices,
) -> BusinessEvent:
    """The event that lane `lane_index` raises by `metric` at `moment`; noted in `episodes`."""
    lane, rule, source = LANES[lane_index], rules.of(metric), moment.source
    event_id = episode_id(
        device_id=moment.device_id,
        session=source.session,
        metric=metric,
        detector=lane.detector,
        sequence=source.sequence if source.sequence >= 0 else moment.time_ms,
    )
    if lane.detector == LIMIT:
        sure = limit_confidence(rule.limit.enter_samples)
        summary = limit_summary(metric, rule, value)
    else:
        sure = score_confidence([score.zscore for score in moment.scores.values()])
        summary = score_summary(metric, rule, moment.scores[metric])
    record = registry.get(moment.device_id)
    return BusinessEvent(
        id=event_id,
        type=lane.event_type,
        tenant=tenant_of(moment.device_id),
        device_id=moment.device_id,
        asset_id=record.asset_id if record else None,
        customer_id=record.customer_id if record else None,
        severity=lane.severity,
        confidence=sure,
        summary=summary,
        detector=lane.detector,
        metric=metric,
        rule=rules.label,
        correlation_id=opened(episodes, lane_index, event_id),
        occurred_at_ms=moment.time_ms,
        observed_at_ms=moment.received_ms,
        source=source,
        snapshot=tuple(
            SnapshotEntry(
                metric=name,
                value=reading,
                baseline=moment.scores[name].baseline if name in moment.scores else None,
                score=moment.scores[name].zscore if name in moment.scores else None,
            )
            for name, reading in moment.readings
        ),
    )


def score_summary(metric: str, rule: MetricRule, score: Score) -> str:
    """One line for a person about a shifted level."""
    side = "above" if score.zscore > 0 else "below"
    return (
        f"{_words(metric, rule)} {abs(score.zscore):.1f} deviations {side} its baseline "
        f"({score.level:.6g}, baseline {score.baseline:.6g}{_unit(rule)})"
    )


def limit_summary(metric: str, rule: MetricRule, value: float) -> str:
    """One line for a person about a limit that `value` is beyond."""
    high = rule.limit.high
    over = high is not None and value >= high
    side, limit = ("above", high) if over else ("below", rule.limit.low)
    return (
        f"{_words(metric, rule)} at or {side} its limit of {limit:.6g}{_unit(rule)} ({value:.6g})"
    )


def _words(metric: str, rule: MetricRule) -> str:
    # Metric names come from devices: no line breaks, no control characters, no novels.
    printable = "".join(c if c.isprintable() else " " for c in f"{rule.label} {metric}")
    return " ".join(printable.split())[:_NAME_CHARACTERS]


def _unit(rule: MetricRule) -> str:
    return f" {rule.unit}" if rule.unit else ""
