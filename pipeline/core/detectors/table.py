"""Every detector that looks at one series, in the order of their numbers.

A new one is a module beside this one, a row here, and a branch in pipeline.core.kernel;
tests fail where one of the three is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.core.detectors import limit, novelty, rate, seasonal, stuck, trend, usage, zscore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """One detector: its number is its place in DETECTORS.

    `fields` float64 of state a series; `params` names its parameters in order, `defaults`
    their values where a rule names none.
    """

    name: str
    event_type: str
    fields: int
    params: tuple[str, ...]
    defaults: Mapping[str, float]
    module: ModuleType


def _row(name: str, event_type: str, module: ModuleType) -> Detector:
    return Detector(
        name=name,
        event_type=event_type,
        fields=module.FIELDS,
        params=module.PARAMS,
        defaults=module.DEFAULTS,
        module=module,
    )


DETECTORS: Final = (
    _row("zscore", "fieldline.anomaly.detected", zscore),
    _row("limit", "fieldline.limit.exceeded", limit),
    _row("novelty", "fieldline.novelty.detected", novelty),
    _row("rate", "fieldline.rate.exceeded", rate),
    _row("stuck", "fieldline.sensor.stuck", stuck),
    _row("seasonal", "fieldline.profile.left", seasonal),
    _row("trend", "fieldline.trend.limit_ahead", trend),
    _row("usage", "fieldline.usage.milestone", usage),
)

BY_NAME: Final = {detector.name: detector for detector in DETECTORS}
NUMBER: Final = {detector.name: number for number, detector in enumerate(DETECTORS)}

SILENT: Final = "silent"
GEOFENCE: Final = "geofence"
DEVICE_EVENT_TYPES: Final = {
    SILENT: "fieldline.device.silent",
    GEOFENCE: "fieldline.geofence.crossed",
}
"""Detectors that look at a device as a whole, with the types of their events."""
