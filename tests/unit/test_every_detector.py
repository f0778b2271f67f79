"""Each detector through the whole of detection: rule, kernel, event, words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest

from pipeline.core.detect import At, Detection
from pipeline.core.detectors.geofence import Circle, Fences
from pipeline.core.detectors.table import DETECTORS, DEVICE_EVENT_TYPES, GEOFENCE, SILENT
from pipeline.core.events import BusinessEvent, Disposition, Severity
from pipeline.core.registry import DeviceRecord, Registry
from pipeline.core.rules import (
    DetectorRule,
    DriftRule,
    EpisodeRule,
    GeofenceRule,
    LaneRule,
    MetricRule,
    Rules,
    SilentRule,
    StormRule,
)
from pipeline.core.telemetry import Sample, pack

HOUR_MS = 3_600_000
START_MS = 1_760_000_000_000


def wobble(n: int) -> float:
    return 0.3 * math.sin(1.7 * n) + 0.2 * math.sin(0.9 * n)


def seasonal(n: int) -> float:
    wave = 10.0 * math.sin(2 * math.pi * (n % 24) / 24) + wobble(n)
    return wave + (60.0 if n >= 600 else 0.0)


Scenario = tuple[dict[str, float], float, int, int, Callable[[int], float]]
SCENARIOS: dict[str, Scenario] = {
    # parameters beside the defaults, threshold, ms between samples, samples, values
    "zscore": ({}, 4.5, 1_000, 200, lambda n: 10.0 + wobble(n) + 9.0 * (n >= 150)),
    "limit": ({"high": 40.0, "hysteresis": 1.0}, 0.0, 1_000, 60, lambda n: 10.0 + 40.0 * (n >= 50)),
    "novelty": ({}, 1.02, 300_000, 900, lambda n: 10.0 + wobble(n) + 40.0 * (n >= 880)),
    "rate": (
        {"rise_per_s": 1.0, "fall_per_s": 1.0},
        1.0,
        1_000,
        120,
        lambda n: wobble(n) + 5.0 * max(0, n - 90),
    ),
    "stuck": ({"for_s": 60.0}, 1.0, 1_000, 900, lambda n: wobble(min(n, 300))),
    "seasonal": ({}, 6.0, HOUR_MS, 640, seasonal),
    "trend": (
        {"high": 100.0, "horizon_s": 36_000.0},
        1.0,
        60_000,
        900,
        lambda n: 20.0 + 0.08 * n + 0.05 * wobble(n),
    ),
    "usage": ({"every": 100.0}, 1.0, 1_000, 60, lambda n: 5.0 * n),
}


def rules_for(detector: str) -> Rules:
    own = next(one for one in DETECTORS if one.name == detector)
    changed, enter, _, _, _ = SCENARIOS[detector]
    lane = LaneRule(
        severity=Severity.WARNING,
        enter=enter,
        leave=enter - 1.0 if detector == "limit" else 0.5 * enter,
        enter_samples=1,
        leave_samples=2,
    )
    params = tuple((dict(own.defaults) | changed)[name] for name in own.params)
    rule = DetectorRule(detector=detector, params=params, lanes=(lane,))
    return Rules(
        name="test",
        version=1,
        defaults=MetricRule(label="Metric", unit="bar", detectors=(rule,)),
        episodes={"": EpisodeRule(cool_down=5)},
    )


def play(
    rules: Rules, samples: Iterator[Sample], registry: Registry | None = None
) -> list[BusinessEvent]:
    detection = Detection(rules, registry or Registry(), window=64)
    messages = [
        (At(topic="t", partition=0, offset=n), pack([sample])) for n, sample in enumerate(samples)
    ]
    return [event for decision in detection.apply(messages) for event in decision.events]


@pytest.mark.parametrize("detector", [one.name for one in DETECTORS])
def test_a_detector_raises_its_event_and_says_why(detector: str) -> None:
    _, _, step_ms, count, value = SCENARIOS[detector]
    samples = (
        Sample("t/d", 1, n, START_MS + n * step_ms, START_MS + n * step_ms, (("m", value(n)),))
        for n in range(count)
    )
    events = play(rules_for(detector), samples)
    assert events, "the scenario is one that this detector is for"
    for event in events:
        own = next(one for one in DETECTORS if one.name == detector)
        assert (event.detector, event.type, event.metric) == (detector, own.event_type, "m")
        assert event.summary.startswith("Metric m ")
        assert "nan" not in event.summary
        assert 0.0 <= event.confidence <= 1.0


def test_a_device_that_crosses_a_fence_is_told_once_each_way() -> None:
    fences = Fences({"depot": Circle(52.52, 13.405, 500.0)})
    rules = Rules(
        name="test",
        version=1,
        defaults=MetricRule(),
        geofence=GeofenceRule(
            latitude="lat", longitude="lon", severity=Severity.INFO, fences=fences
        ),
    )
    places = [52.52, 52.5201, 52.60, 52.61, 52.52]
    samples = (
        Sample("t/d", 1, n, START_MS + n, START_MS + n, (("lat", at), ("lon", 13.405)))
        for n, at in enumerate(places)
    )
    events = play(rules, samples)
    assert [event.summary for event in events] == ["t/d left depot", "t/d entered depot"]
    assert {event.type for event in events} == {DEVICE_EVENT_TYPES[GEOFENCE]}
    assert len({event.id for event in events}) == 2


def test_a_silent_device_is_told_by_the_clock_of_the_others() -> None:
    rules = Rules(
        name="test",
        version=1,
        defaults=MetricRule(),
        silent=SilentRule(after_s=60.0, severity=Severity.WARNING),
    )
    samples = [Sample("t/quiet", 1, 0, START_MS, START_MS, ())]
    samples += [
        Sample("t/loud", 1, n, START_MS + 10_000 * n, START_MS + 10_000 * n, ()) for n in range(12)
    ]
    [event] = play(rules, iter(samples))
    assert (event.device_id, event.type) == ("t/quiet", DEVICE_EVENT_TYPES[SILENT])
    assert "not heard of for" in event.summary


def test_a_storm_is_one_event_and_the_rest_is_marked() -> None:
    rules = Rules(
        name="test",
        version=1,
        defaults=rules_for("limit").defaults,
        storm_site=StormRule(events=5, window_s=600.0),
    )
    registry = Registry(
        {
            f"t/{n}": DeviceRecord(
                device_id=f"t/{n}",
                asset_id=f"a{n}",
                asset_name="Pump",
                customer_id="c",
                customer_name="Customer",
                customer_tax_id="",
                active=True,
                site="plant",
            )
            for n in range(20)
        }
    )
    samples = (
        Sample(f"t/{n}", 1, 0, START_MS + n, START_MS + n, (("m", 99.0),)) for n in range(20)
    )
    events = play(rules, samples, registry)
    counted = [event.disposition for event in events if event.detector == "limit"]
    assert counted == [Disposition.DELIVER] * 5 + [Disposition.SUPPRESSED] * 15
    [storm] = [event for event in events if event.detector == "storm"]
    assert "site plant" in storm.summary
    assert storm.disposition is Disposition.DELIVER


def test_an_event_that_is_not_sure_enough_is_for_a_person() -> None:
    unsure = rules_for("limit")
    rules = Rules(name="test", version=1, defaults=unsure.defaults, review_below=0.9)
    samples = (Sample("t/d", 1, n, n, n, (("m", 99.0),)) for n in range(3))
    [event] = play(rules, samples)
    assert event.confidence == 0.5
    assert event.disposition is Disposition.REVIEW


def test_a_detector_that_suddenly_raises_more_tells_of_itself() -> None:
    rules = Rules(
        name="test",
        version=1,
        defaults=rules_for("usage").defaults,
        episodes={"": EpisodeRule(cool_down=1)},
        drift=DriftRule(block_readings=200, p=1e-6),
    )
    samples = (
        Sample("t/d", 1, n, n, n, (("m", float(n if n < 8_000 else 8_000 + 20 * (n - 8_000))),))
        for n in range(9_000)
    )
    detection = Detection(rules, Registry(), window=64)
    events: list[BusinessEvent] = []
    for n, sample in enumerate(samples):
        at = At(topic="t", partition=0, offset=n)
        for decision in detection.apply([(at, pack([sample]))]):
            events += decision.events
    drifts = [event for event in events if event.detector == "drift"]
    assert drifts
    assert all(event.source.offset > 8_000 for event in drifts)
    assert "usage" in drifts[0].summary
