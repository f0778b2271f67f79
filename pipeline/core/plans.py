"""Rules as tables for the kernel: one row per distinct metric rule.

A series keeps its detectors' state and its lanes' words in one stretch of float64, its
*row*; a plan says what lies where. A lane's word is the number of samples in a row towards
the other state: below ACTIVE while out, ACTIVE plus that number while in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.detectors.table import BY_NAME, DETECTORS, NUMBER
from pipeline.core.rules import SEVERITIES

if TYPE_CHECKING:
    from pipeline.core.rules import DetectorRule, MetricRule, Rules

ACTIVE: Final = 1e9

L_LANE, L_ENTER, L_LEAVE, L_ENTER_N, L_LEAVE_N, L_AGREE = range(6)
"""Columns of Tables.lanes."""
P_DETECTOR, P_STATE, P_PARAM, P_FIELDS, P_PARAMS, P_WORD, P_LANE, P_LANES = range(8)
"""Columns of Tables.plan."""


class Tables(NamedTuple):
    """What the kernel reads. R plans, each of up to J detectors.

    plan (R, J, 8): detector number (-1 ends the list), offset of its state in the series' row,
    of its parameters in `param`, how many of both, offset of its lanes' words in the row, of
    its lanes in `lanes`, and how many. `cool_down` (samples) and `duration_ms` are by detector.
    """

    plan: npt.NDArray[np.int64]
    param: npt.NDArray[np.float64]
    lanes: npt.NDArray[np.float64]
    width: npt.NDArray[np.int64]
    cool_down: npt.NDArray[np.int64]
    duration_ms: npt.NDArray[np.int64]


class Plans:
    """Plans of one version of the rules, made as metrics are met. `tables` is replaced then."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.fences = rules.geofence.fences.compile() if rules.geofence else None
        self.metric_rules: list[MetricRule] = []
        self._by_key: dict[tuple[str, str, str], int] = {}
        self._by_content: dict[tuple[MetricRule, tuple[float, ...]], int] = {}
        self._factors: list[tuple[float, ...]] = []
        self._signatures: list[tuple[tuple[int, tuple[int, ...]], ...]] = []
        self.clearing: set[int] = set()
        """Detectors of which some metric met so far wants the end of its episodes told."""
        self.tables = self._build()

    def of(self, metric: str, tenant: str, device_class: str) -> int:
        """Number of the plan for that metric of that device."""
        key = (metric, tenant, device_class)
        found = self._by_key.get(key)
        if found is None:
            rule = self.rules.of(*key)
            factors = tuple(self.rules.factor(r.detector, metric) for r in rule.detectors)
            found = self._by_content.get((rule, factors))
            if found is None:
                found = self._by_content[rule, factors] = len(self.metric_rules)
                self.metric_rules.append(rule)
                self._factors.append(factors)
                self.clearing |= {NUMBER[r.detector] for r in rule.detectors if r.clears}
                self.tables = self._build()
            self._by_key[key] = found
        return found

    def given(self, plan: int, number: int) -> npt.NDArray[np.float64]:
        """That detector's parameters in that plan, as the rule gives them."""
        for rule in self.metric_rules[plan].detectors:
            if NUMBER[rule.detector] == number:
                return np.array(rule.params)
        raise KeyError((plan, DETECTORS[number].name))

    def signature(self, plan: int) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """What lies in a row of that plan: detector numbers with their lanes' numbers."""
        while len(self._signatures) < len(self.metric_rules):
            self._signatures.append(
                tuple(
                    (
                        NUMBER[rule.detector],
                        tuple(lane_number(rule.detector, n) for n in _places(rule)),
                    )
                    for rule in _ordered(self.metric_rules[len(self._signatures)])
                )
            )
        return self._signatures[plan]

    def _build(self) -> Tables:
        rules = [_ordered(rule) for rule in self.metric_rules]
        most = max((len(r) for r in rules), default=0) + 1
        params = max((sum(len(_prepared(d)) for d in r) for r in rules), default=0)
        lanes = max((sum(len(d.lanes) for d in r) for r in rules), default=0)
        plan = np.full((max(1, len(rules)), most, 8), -1, dtype=np.int64)
        param = np.zeros((max(1, len(rules)), max(1, params)))
        lane = np.zeros((max(1, len(rules)), max(1, lanes), 6))
        width = np.zeros(max(1, len(rules)), dtype=np.int64)
        for number, (rule, metric) in enumerate(zip(rules, self.metric_rules, strict=True)):
            at = given = listed = 0
            for j, one in enumerate(rule):
                fields, ready = BY_NAME[one.detector].fields, _prepared(one)
                factor = self._factors[number][metric.detectors.index(one)]
                plan[number, j] = (
                    NUMBER[one.detector],
                    at,
                    given,
                    fields,
                    len(ready),
                    at + fields,
                    listed,
                    len(one.lanes),
                )
                param[number, given : given + len(ready)] = ready
                for n, held in enumerate(one.lanes):
                    lane[number, listed + n] = (
                        lane_number(one.detector, SEVERITIES.index(held.severity)),
                        held.enter * factor,
                        held.leave * factor,
                        held.enter_samples,
                        held.leave_samples,
                        held.agree,
                    )
                at += fields + len(one.lanes)
                given += len(ready)
                listed += len(one.lanes)
            width[number] = at
        episodes = [self.rules.episode(detector.name) for detector in DETECTORS]
        return Tables(
            plan=plan,
            param=param,
            lanes=lane,
            width=width,
            cool_down=np.array([e.cool_down for e in episodes], dtype=np.int64),
            duration_ms=np.array([int(e.min_duration_s * 1000) for e in episodes], dtype=np.int64),
        )


def _ordered(rule: MetricRule) -> list[DetectorRule]:
    return sorted(rule.detectors, key=lambda one: NUMBER[one.detector])


def _prepared(rule: DetectorRule) -> npt.NDArray[np.float64]:
    """What `step` takes: the parameters, or what the detector's `prepare` makes of them."""
    given = np.array(rule.params)
    prepare = getattr(BY_NAME[rule.detector].module, "prepare", None)
    return given if prepare is None else np.asarray(prepare(given))


def _places(rule: DetectorRule) -> list[int]:
    return [SEVERITIES.index(lane.severity) for lane in rule.lanes]


def lane_number(detector: str, place: int) -> int:
    """Number of a detector's lane; `place` is that of its severity in SEVERITIES."""
    return 3 * NUMBER[detector] + place
