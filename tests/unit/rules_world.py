"""Made-up detectors, and a rules file for them: what the file means must not depend on ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import ModuleType

from pipeline.core.detectors.table import Detector
from pipeline.core.rules import Rules
from pipeline.state.rules_file import parse


def detector(name: str, defaults: Mapping[str, float], **more: object) -> Detector:
    module = ModuleType(name)
    vars(module).update(more)
    return Detector(
        name=name,
        event_type=f"test.{name}",
        fields=1,
        params=tuple(defaults),
        defaults=defaults,
        module=module,
    )


LEVEL = detector("level", {"memory": 100.0, "floor": 0.0}, BOUNDS={"floor": (0.0, 9.0)})
EDGE = detector("edge", {"low": -math.inf, "high": math.inf}, ORDERED=(("low", "high"),))
OWN = detector("own", {"gain": 0.5}, ENTER=0.06, LEAVE=0.01, COOL_DOWN=26)
MADE_UP = (LEVEL, EDGE, OWN)

TEXT = """\
name: plant
version: 7
review_below: 0.25
episodes:
  default: {cool_down: 30}
  level: {min_duration_s: 5}
storm:
  asset: {events: 5, window_s: 60}
silent: {after_s: 600, severity: warning}
geofence:
  latitude: lat
  longitude: lon
  severity: info
  fences:
    yard: {circle: [52.5, 13.4, 500]}
    field: {polygon: [[53.5, 9.9], [53.5, 10.0], [53.4, 10.0]]}
drift: {block_readings: 1000, p: 1e-6}
feedback: {step: 0.1, least: 0.5, most: 2}
defaults:
  unit: "%"
  level:
    memory: 50
    info: {enter: 4, leave: 3, enter_samples: 5, leave_samples: 10}
    warning: {enter: 6, agree: 3}
  edge:
    applies: listed
    critical: {enter: 0, leave: -1}
metrics:
  oil:
    label: Oil level
    edge: {low: 1, high: 9}
    level: {floor: 0.1, warning: {enter: 7}}
  "temp[1]":
    level: off
overrides:
  - when: {tenant: acme, metric: oil}
    set: {level: {info: off}}
  - when: {class: pump-*}
    set: {level: {memory: 10}}
"""


def parsed(text: str = TEXT) -> Rules:
    return parse(text, "rules.yaml", MADE_UP)


def changed(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)
