"""Rules as a document again: to show what they come to, and in what two versions differ.

Here everything that is inherited, in the file or from a detector's own defaults, is spelt out
where it differs from the defaults; detectors kept ready with `applies: listed` are gone, and an
override by a pattern stands once per metric. `parse(dump(rules))` gives equal rules.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from pipeline.core.rules import SEVERITIES, MetricRule
from pipeline.state.rules_fields import RulesFileError, root
from pipeline.state.rules_file import MAX_VERSION
from pipeline.state.rules_metrics import LANE_FIELDS, literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.core.detectors.table import Detector
    from pipeline.core.rules import DetectorRule, GeofenceRule, Rules

_OFF: Final = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field in which two versions differ; None where a version does not have it."""

    field: str
    before: str | None
    after: str | None


def dump(rules: Rules, detectors: Sequence[Detector]) -> str:
    """The rules as a file: YAML, without what feedback has learnt."""
    return yaml.safe_dump(
        to_document(rules, detectors), sort_keys=False, allow_unicode=True, width=100
    )


def with_version(text: str, source: str, version: int) -> str:
    """The rules file `text` with another version number and nothing else changed.

    RulesFileError where it is no rules file, or its version cannot be replaced.
    """
    if not 1 <= version <= MAX_VERSION:
        raise RulesFileError(f"{source} line 1: version {version} is beyond {MAX_VERSION}.")
    old = root(text, source).fields().need("version")
    old.count(1, MAX_VERSION)
    start, end = old.node.start_mark.index, old.node.end_mark.index
    new = f"{text[:start]}{version}{text[end:]}"
    try:
        done = root(new, source).fields().need("version").plain == str(version)
    except RulesFileError:
        done = False  # an anchor, say, that another field refers to
    if not done:
        old.refuse("must be a plain number")
    return new


def differences(old: Rules, new: Rules, detectors: Sequence[Detector]) -> list[Difference]:
    """Fields in which `new` differs from `old`, version and learnt factors aside."""
    before = dict(_flat(to_document(old, detectors)))
    after = dict(_flat(to_document(new, detectors)))
    return [
        Difference(field=field, before=before.get(field), after=after.get(field))
        for field in dict.fromkeys((*before, *after))
        if field != "version" and before.get(field) != after.get(field)
    ]


def _flat(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if not value and path:
            yield path, "{}"
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else str(name))
    elif path == "overrides" and isinstance(value, list):
        for entry in value:
            when = " ".join(f"{name}={pattern}" for name, pattern in entry["when"].items())
            yield from _flat(entry["set"], f"overrides[{when}]")
    elif isinstance(value, bool):
        yield path, str(value).lower()
    elif isinstance(value, float):
        yield path, f"{value:.12g}"
    else:
        yield path, "null" if value is None else str(value)


def to_document(rules: Rules, detectors: Sequence[Detector]) -> dict[str, Any]:
    """The rules as plain dicts, lists, text and numbers, in the file's order."""
    out: dict[str, Any] = {
        "name": rules.name,
        "version": rules.version,
        "review_below": rules.review_below,
        "episodes": {name or "default": asdict(rule) for name, rule in rules.episodes.items()},
    }
    storm = {"asset": rules.storm_asset, "site": rules.storm_site}
    out["storm"] = {name: asdict(rule) for name, rule in storm.items() if rule is not None}
    for name, part in (
        ("silent", rules.silent and asdict(rules.silent)),
        ("geofence", rules.geofence and _geofence(rules.geofence)),
        ("drift", rules.drift and asdict(rules.drift)),
        ("feedback", rules.feedback and asdict(rules.feedback)),
    ):
        if part:
            out[name] = part | ({"severity": part["severity"].value} if "severity" in part else {})
    out["defaults"] = _metric(rules.defaults, MetricRule(), MetricRule(), detectors)
    out["metrics"] = {
        name: _metric(rule, rules.defaults, rules.defaults, detectors)
        for name, rule in rules.metrics.items()
    }
    out["overrides"] = [
        {
            "when": {
                "tenant": override.tenant,
                "class": override.device_class,
                "metric": override.metric,
            },
            "set": _metric(
                override.rule,
                rules.metrics.get(literal(override.metric) or "", rules.defaults),
                rules.defaults,
                detectors,
            ),
        }
        for override in rules.overrides
    ]
    return out


def _metric(
    rule: MetricRule, base: MetricRule, defaults: MetricRule, detectors: Sequence[Detector]
) -> dict[str, Any]:
    """What `rule` has that is not `base`'s."""
    out: dict[str, Any] = {
        name: getattr(rule, name)
        for name in ("label", "unit")
        if getattr(rule, name) != getattr(base, name)
    }
    for detector in detectors:
        one, inherited = rule.of(detector.name), base.of(detector.name)
        if one is None:
            if inherited is not None:
                out[detector.name] = _OFF
        elif one != inherited:
            # A detector that is switched off keeps what the defaults say of it.
            out[detector.name] = _section(one, inherited or defaults.of(detector.name), detector)
    return out


def _section(rule: DetectorRule, base: DetectorRule | None, detector: Detector) -> dict[str, Any]:
    inherited = {} if base is None else dict(zip(detector.params, base.params, strict=True))
    out: dict[str, Any] = {
        name: value if math.isfinite(value) else None
        for name, value in zip(detector.params, rule.params, strict=True)
        if value != inherited.get(name)
    }
    if rule.clears != (base is not None and base.clears):
        out["clears"] = rule.clears
    lanes = {lane.severity: lane for lane in rule.lanes}
    before = {} if base is None else {lane.severity: lane for lane in base.lanes}
    for severity in SEVERITIES:
        lane, old_lane = lanes.get(severity), before.get(severity)
        if lane is None:
            if old_lane is not None:
                out[severity.value] = _OFF
        elif lane != old_lane:
            out[severity.value] = {
                name: getattr(lane, name)
                for name in LANE_FIELDS
                if old_lane is None or getattr(lane, name) != getattr(old_lane, name)
            }
    return out


def _geofence(rule: GeofenceRule) -> dict[str, Any]:
    from pipeline.core.detectors.geofence import Circle  # noqa: PLC0415 - numba comes with it

    return {
        "latitude": rule.latitude,
        "longitude": rule.longitude,
        "severity": rule.severity,
        "margin_m": rule.fences.margin_m,
        "fences": {
            name: {"circle": [fence.latitude, fence.longitude, fence.radius_m]}
            if isinstance(fence, Circle)
            else {"polygon": [list(corner) for corner in fence.corners]}
            for name, fence in rule.fences.fences.items()
        },
    }
