"""The parts of the rules file that are about metrics: detectors, their lanes, overrides.

A metric says only what differs from the defaults, an override only what differs from the
metric. Which detectors and parameters there are comes from the detectors themselves: a
module may add to PARAMS and DEFAULTS

- `BOUNDS`: {parameter: (least, most)}; without one, a parameter whose default is a positive
  number must be positive too;
- `ORDERED`: pairs of parameters of which the first must be under the second;
- `ENTER`, `LEAVE`: thresholds of a lane that names none.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from pipeline.core.detectors import MAX_VALUE
from pipeline.core.rules import SEVERITIES, DetectorRule, LaneRule, MetricRule, Override

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pipeline.core.detectors.table import Detector
    from pipeline.core.events import Severity
    from pipeline.state.rules_fields import Fields, Value

MAX_SAMPLES: Final = 10_000
"""Longest count of samples in a rule: streaks are kept in 16 bits."""
MAX_AGREE: Final = 1_000
MAX_METRICS: Final = 10_000
MAX_OVERRIDES: Final = 1_000
_MOST_EXPANDED: Final = 100_000
"""Most (override, metric) pairs: each is a rule in memory."""
_LEAST: Final = 1e-12
"""Least value of what must be positive: scores are divided by it."""

_LISTED: Final = "listed"
_APPLIES: Final = ("all", _LISTED)
LANE_FIELDS: Final = ("enter", "leave", "enter_samples", "leave_samples", "agree")
_WHEN: Final = ("tenant", "class", "metric")


@dataclass(frozen=True, slots=True)
class _Section:
    """What is set for one detector; `on` false where it is only kept ready for metrics."""

    params: Mapping[str, float]
    lanes: Mapping[Severity, LaneRule]
    on: bool = True
    clears: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A metric as the file has it, with all that it inherits; `rule` is what it comes to."""

    label: str = ""
    unit: str = ""
    sections: Mapping[str, _Section] = field(default_factory=dict)

    def rule(self, detectors: Sequence[Detector]) -> MetricRule:
        """The rule, detectors in the order of `detectors`."""
        return MetricRule(
            label=self.label,
            unit=self.unit,
            detectors=tuple(
                DetectorRule(
                    detector=detector.name,
                    params=tuple(section.params[name] for name in detector.params),
                    lanes=tuple(section.lanes[s] for s in SEVERITIES if s in section.lanes),
                    clears=section.clears,
                )
                for detector in detectors
                if (section := self.sections.get(detector.name)) is not None and section.on
            ),
        )


def read_metric(
    value: Value, base: Plan, detectors: Sequence[Detector], *, defaults: bool = False
) -> Plan:
    """The metric that `value` describes, on top of `base`."""
    fields = value.fields(("label", "unit", *(detector.name for detector in detectors)))
    sections = dict(base.sections)
    for detector in detectors:
        section = fields.get(detector.name)
        if section is not None:
            sections[detector.name] = _section(
                section, sections.get(detector.name), detector, defaults=defaults
            )
    label, unit = fields.get("label"), fields.get("unit")
    return Plan(
        label=base.label if label is None else label.text(),
        unit=base.unit if unit is None else unit.text(),
        sections=sections,
    )


def _section(
    value: Value, base: _Section | None, detector: Detector, *, defaults: bool
) -> _Section:
    base = base or _Section(params=dict(detector.defaults), lanes={})
    if value.is_off:
        return replace(base, on=False)
    if value.is_null:
        value.refuse("must be fields with values, or off")
    lanes_of = tuple(s.value for s in SEVERITIES)
    fields = value.fields(
        (*detector.params, *lanes_of, "clears", *(("applies",) if defaults else ()))
    )
    params = dict(base.params)
    for name in detector.params:
        if (given := fields.get(name)) is not None:
            params[name] = _param(given, name, detector)
    for low, high in getattr(detector.module, "ORDERED", ()):
        if params[low] >= params[high]:
            fields.refuse(low if fields.get(low) else high, f"leaves {low} not under {high}")
    lanes = _lanes(fields, base.lanes, detector)
    if not lanes:
        value.refuse(f"has no lane; add {', '.join(SEVERITIES)} or write off")
    applies, clears = fields.get("applies"), fields.get("clears")
    return _Section(
        params=params,
        lanes=lanes,
        on=applies is None or applies.choice(_APPLIES) != _LISTED,
        clears=base.clears if clears is None else clears.flag(),
    )


def _param(value: Value, name: str, detector: Detector) -> float:
    default = detector.defaults[name]
    if value.is_null:
        if math.isfinite(default):
            value.refuse("must be a number")
        return default
    low, high = -MAX_VALUE, MAX_VALUE
    bounds: Mapping[str, tuple[float, float]] = getattr(detector.module, "BOUNDS", {})
    if name in bounds:
        low, high = max(low, bounds[name][0]), min(high, bounds[name][1])
    elif 0.0 < default < math.inf:
        low = _LEAST
    return value.number(low, high)


def _lanes(
    fields: Fields, base: Mapping[Severity, LaneRule], detector: Detector
) -> dict[Severity, LaneRule]:
    lanes = dict(base)
    for severity in SEVERITIES:
        given = fields.get(severity.value)
        if given is None:
            continue
        if given.is_off:
            lanes.pop(severity, None)
        else:
            lanes[severity] = _lane(given, lanes.get(severity), severity, detector)
    return lanes


def _lane(value: Value, base: LaneRule | None, severity: Severity, detector: Detector) -> LaneRule:
    fields = value.fields(LANE_FIELDS)
    own_enter: float | None = getattr(detector.module, "ENTER", None)
    if base is None and (fields.get("enter") or own_enter is None):
        enter = fields.need("enter").number()
        leave = enter
    elif base is None:
        enter = own_enter or 0.0
        leave = getattr(detector.module, "LEAVE", enter)
    else:
        enter, leave = base.enter, base.leave
    given = fields.get("enter")
    enter = enter if given is None else given.number(0.0)
    given = fields.get("leave")
    leave = leave if given is None else given.number()
    if leave > enter:
        fields.refuse("leave", f"must not be above enter, {enter:g}")
    counts = {
        name: getattr(base, name, 1) if count is None else count.count(1, most)
        for name, most in zip(LANE_FIELDS[2:], (MAX_SAMPLES, MAX_SAMPLES, MAX_AGREE), strict=True)
        for count in (fields.get(name),)
    }
    return LaneRule(severity=severity, enter=enter, leave=leave, **counts)


def read_metrics(value: Value, base: Plan, detectors: Sequence[Detector]) -> dict[str, Plan]:
    """The metrics by name."""
    out = {}
    for name, metric in value.fields(most=MAX_METRICS):
        check_name(metric, name)
        out[name] = read_metric(metric, base, detectors)
    return out


def check_name(value: Value, name: str) -> None:
    """Refuse a name that is empty or too long."""
    if not name or len(name) > 200 or not name.isprintable():  # noqa: PLR2004 - as other text
        value.refuse("has a name that is not 1 to 200 printable characters")


def read_overrides(
    value: Value, base: Plan, metrics: Mapping[str, Plan], detectors: Sequence[Detector]
) -> tuple[Override, ...]:
    """The overrides, in order; of several that match a series, the first counts.

    One whose metric is a pattern stands here once per listed metric that it matches, so that
    each keeps what is its own, and then once for all others.
    """
    out: dict[tuple[str, str, str], Override] = {}
    for entry in value.items(MAX_OVERRIDES):
        fields = entry.fields(("when", "set"))
        when = fields.need("when").fields(_WHEN)
        if not len(when):
            fields.refuse("when", f"names nothing; give {', '.join(_WHEN)} or some of them")
        tenant, device_class, metric = (
            "*" if (given := when.get(name)) is None else given.text() for name in _WHEN
        )
        change = fields.need("set")
        for pattern, plan in _bases(metric, base, metrics):
            key = (tenant, device_class, pattern)
            if key in out:
                continue
            if len(out) >= _MOST_EXPANDED:
                value.refuse("matches too many metrics; narrow its patterns")
            out[key] = Override(
                tenant=tenant,
                device_class=device_class,
                metric=pattern,
                rule=read_metric(change, plan, detectors).rule(detectors),
            )
    return tuple(out.values())


def _bases(pattern: str, base: Plan, metrics: Mapping[str, Plan]) -> Iterator[tuple[str, Plan]]:
    """The patterns that an override stands for, each with the plan that it changes."""
    if (name := literal(pattern)) is not None:
        yield pattern, metrics.get(name, base)
        return
    for name, plan in metrics.items():
        if fnmatchcase(name, pattern):
            yield escaped(name), plan
    yield pattern, base


def escaped(name: str) -> str:
    """The pattern that matches `name` and nothing else."""
    return re.sub(r"([*?[])", r"[\1]", name)


def literal(pattern: str) -> str | None:
    """The one name that `pattern` matches, or None where it is a true pattern."""
    name = re.sub(r"\[([*?[])\]", r"\1", pattern)
    return name if escaped(name) == pattern or not re.search(r"[*?[]", pattern) else None
