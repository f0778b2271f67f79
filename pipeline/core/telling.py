"""What an alarm is in words, and how sure it is: one entry per detector.

`explained` is what the detector's `explain` says at the moment of the alarm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.core.detectors.table import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.core.events import SnapshotEntry
    from pipeline.core.rules import MetricRule

_NAME_CHARACTERS = 80
"""A summary is one line for a person: longer names are cut."""
_MINUTE, _HOUR, _DAY = 60.0, 3_600.0, 86_400.0


def summary(
    detector: str, metric: str, rule: MetricRule, value: float, explained: Mapping[str, float]
) -> str:
    """One line for a person: which metric, what is wrong with it, by which numbers."""
    unit = f" {rule.unit}" if rule.unit else ""
    return f"{name_of(metric, rule)} {_WORDS[detector](value, explained, unit)}"


def cleared(
    detector: str,
    metric: str,
    rule: MetricRule,
    reading: SnapshotEntry | None,
    lasted_s: float,
) -> str:
    """One line for a person: how long it lasted, and how the metric stands now.

    `reading` is the metric's in the sample that ended it, None where the sample has none;
    `lasted_s` counts from the event that is cleared.
    """
    unit = f" {rule.unit}" if rule.unit else ""
    one = rule.of(detector)
    now = ""
    if reading is not None:
        now = f" ({reading.value:.6g}{unit}"
        if detector == "limit" and one is not None:
            limit = BY_NAME[detector].module.explain((), one.params, reading.value)["limit"]
            now += f", limit {limit:.6g}{unit}"
        elif reading.baseline is not None:
            now += f", baseline {reading.baseline:.6g}{unit}"
        now += ")"
    return f"{name_of(metric, rule)} is calm again after {duration(max(0.0, lasted_s))}{now}"


def confidence(detector: str, score: float, enter_samples: int) -> float:
    """0 to 1: what it means is said in the detector's own `confidence`."""
    sure: float = BY_NAME[detector].module.confidence(score, enter_samples)
    return min(1.0, max(0.0, sure))


def name_of(metric: str, rule: MetricRule) -> str:
    """Label and metric, made safe: names come from devices."""
    printable = "".join(c if c.isprintable() else " " for c in f"{rule.label} {metric}")
    return " ".join(printable.split())[:_NAME_CHARACTERS]


def duration(seconds: float) -> str:
    """A length of time in words: '3.5 days'."""
    for least, name in ((2 * _DAY, "days"), (2 * _HOUR, "hours"), (2 * _MINUTE, "minutes")):
        if seconds >= least:
            return f"{seconds / (least / 2):.1f} {name}"
    return f"{seconds:.0f} s"


def _zscore(_value: float, e: Mapping[str, float], unit: str) -> str:
    side = "above" if e["zscore"] > 0 else "below"
    return (
        f"{abs(e['zscore']):.1f} deviations {side} its baseline "
        f"({e['level']:.6g}, baseline {e['baseline']:.6g}{unit})"
    )


def _limit(value: float, e: Mapping[str, float], unit: str) -> str:
    side = "above" if e["direction"] > 0 else "below"
    return f"at or {side} its limit of {e['limit']:.6g}{unit} ({value:.6g})"


def _rate(_value: float, e: Mapping[str, float], unit: str) -> str:
    way = "rises" if e["slope_per_s"] >= 0 else "falls"
    return (
        f"{way} by {abs(e['slope_per_s']):.4g}{unit}/s, limit {abs(e['limit_per_s']):.4g}{unit}/s"
    )


def _stuck(_value: float, e: Mapping[str, float], unit: str) -> str:
    return (
        f"stuck at {e['stuck_at']:.6g}{unit} for {duration(e['for_s'])}; "
        f"before, it moved every {duration(e['usual_s'])}"
    )


def _novelty(value: float, e: Mapping[str, float], unit: str) -> str:
    return f"is rare for this series ({value:.6g}{unit}, expected {e['expected']:.6g}{unit})"


def _seasonal(value: float, e: Mapping[str, float], unit: str) -> str:
    return f"at {value:.6g}{unit}, where its profile has {e['expected']:.6g}{unit} at this hour"


def _trend(value: float, e: Mapping[str, float], unit: str) -> str:
    return (
        f"on its way to its limit of {e['limit']:.6g}{unit} ({value:.6g}): there in about "
        f"{duration(e['eta_s'])}"
    )


def _usage(value: float, e: Mapping[str, float], unit: str) -> str:
    return f"has passed {e['milestone']:.6g}{unit} ({value:.6g})"


_WORDS: dict[str, Callable[[float, Mapping[str, float], str], str]] = {
    "zscore": _zscore,
    "limit": _limit,
    "novelty": _novelty,
    "rate": _rate,
    "stuck": _stuck,
    "seasonal": _seasonal,
    "trend": _trend,
    "usage": _usage,
}
