"""Detection rules: what counts as unusual, per metric. Policy is data, this is its shape.

A *lane* is one detector at one severity: its thresholds and how many samples they must
hold. Lanes of one detector belong to one episode of the device, so a weak early sign
(info) and the clear one (warning) are two steps of the same trouble.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from pipeline.core.events import Severity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.core.detectors.geofence import Fences

SEVERITIES: Final = (Severity.INFO, Severity.WARNING, Severity.CRITICAL)
"""From the mildest to the gravest; a lane's number is detector x 3 + place here."""

_CACHED: Final = 65_536
"""Resolved (tenant, class, metric) kept per Rules; a fleet has few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneRule:
    """When one detector's score is an alarm of one severity.

    A metric enters after `enter_samples` samples in a row with score >= `enter`, and leaves
    after `leave_samples` in a row with score < `leave`. Scores are in the detector's own unit
    (pipeline.core.detectors). `agree` is how many of a device's metrics must be in before the
    lane raises its event; a device with fewer judged metrics needs all of them.
    """

    severity: Severity
    enter: float
    leave: float
    enter_samples: int
    leave_samples: int
    agree: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorRule:
    """One detector for one metric: `params` in the order of the detector's PARAMS.

    `lanes` are in rising severity, each severity at most once. `clears`: the end of an episode
    is an event too, which takes back what its alarms have raised (pipeline.core.episodes).
    """

    detector: str
    params: tuple[float, ...]
    lanes: tuple[LaneRule, ...]
    clears: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRule:
    """All that is set for one metric; a detector that is not listed is off."""

    label: str = ""
    unit: str = ""
    detectors: tuple[DetectorRule, ...] = ()

    def of(self, detector: str) -> DetectorRule | None:
        """That detector's rule, or None where it is off."""
        return next((rule for rule in self.detectors if rule.detector == detector), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A rule for some tenants, device classes and metrics; patterns as in a shell, * = all."""

    tenant: str
    device_class: str
    metric: str
    rule: MetricRule

    def matches(self, tenant: str, device_class: str, metric: str) -> bool:
        """Whether all three patterns match."""
        return (
            fnmatchcase(tenant, self.tenant)
            and fnmatchcase(device_class, self.device_class)
            and fnmatchcase(metric, self.metric)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeRule:
    """How one detector's alarms of a device become one episode.

    An event is raised once the lane's condition has held for `min_duration_s` seconds of event
    time. The episode ends when no metric has been in for `cool_down` samples of the device:
    what enters sooner belongs to it and raises nothing (a graver lane still does).
    """

    cool_down: int = 60
    min_duration_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StormRule:
    """At most `events` events per `window_s` seconds of event time; more are marked suppressed."""

    events: int
    window_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SilentRule:
    """A device not heard of for `after_s` seconds (by arrival) raises an event of `severity`."""

    after_s: float
    severity: Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class GeofenceRule:
    """Fences for devices that report positions in the metrics `latitude` and `longitude`."""

    latitude: str
    longitude: str
    severity: Severity
    fences: Fences


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftRule:
    """When a detector's own alarm rate is unusual; see pipeline.core.drift."""

    block_readings: int
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRule:
    """How far outcomes may move a threshold; see pipeline.core.feedback.

    A false alarm multiplies the threshold's factor by 1 + `step`, a confirmed one divides by
    it; the factor stays in [`least`, `most`].
    """

    step: float
    least: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A version of the rules.

    `episodes` is by detector ('' for those not named). `review_below`: an event less sure than
    that is for a person to look at, not sent on. `factors`, by (detector, metric), multiply
    the lanes' enter and leave: what feedback has learnt.
    """

    name: str
    version: int
    defaults: MetricRule
    metrics: Mapping[str, MetricRule] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()
    episodes: Mapping[str, EpisodeRule] = field(default_factory=dict)
    review_below: float = 0.0
    storm_asset: StormRule | None = None
    storm_site: StormRule | None = None
    silent: SilentRule | None = None
    geofence: GeofenceRule | None = None
    drift: DriftRule | None = None
    feedback: FeedbackRule | None = None
    factors: Mapping[tuple[str, str], float] = field(default_factory=dict)
    _found: dict[tuple[str, str, str], MetricRule] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def label(self) -> str:
        """name@version, as events carry it."""
        return f"{self.name}@{self.version}"

    def of(self, metric: str, tenant: str = "", device_class: str = "") -> MetricRule:
        """The rule of a metric: the first override that matches, else its own, else defaults."""
        key = (tenant, device_class, metric)
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= _CACHED:
                self._found.clear()
            found = self._found[key] = self._resolve(*key)
        return found

    def _resolve(self, tenant: str, device_class: str, metric: str) -> MetricRule:
        for override in self.overrides:
            if override.matches(tenant, device_class, metric):
                return override.rule
        return self.metrics.get(metric, self.defaults)

    def episode(self, detector: str) -> EpisodeRule:
        """How that detector's alarms become episodes."""
        return self.episodes.get(detector) or self.episodes.get("") or EpisodeRule()

    def factor(self, detector: str, metric: str) -> float:
        """What feedback made of that detector's thresholds for the metric; 1.0 untouched."""
        return self.factors.get((detector, metric), 1.0)
