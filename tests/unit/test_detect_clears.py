"""What was raised is cleared when it is over: once, wherever it went, in every replay alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events import Action, BusinessEvent, Disposition, Severity
from pipeline.core.rules import MetricRule, SilentRule, StormRule
from pipeline.core.telemetry import NO_SEQUENCE, Sample
from tests.unit.detect_world import (
    CLEARING,
    LIMIT,
    RULES,
    SHIPPED,
    World,
    content,
    cut_lists,
    split,
    streams,
)

LIMITS = replace(
    CLEARING,
    defaults=MetricRule(unit="bar", detectors=CLEARING.defaults.detectors[1:]),
    storm_asset=None,
)
"""Warning from 39 on, critical at 40 twice in a row; calm below 39 for two samples of the device
after two of the metric."""


def play(world: World, values: Iterable[float], *, first: int = 0, device: str = "t/d") -> None:
    for n, value in enumerate(values, first):
        sample = Sample(device, 1, n, 60_000 * n, 60_000 * n + 5, (("m", value),))
        world.apply([sample], n)


def told(world: World) -> list[tuple[str, str, int]]:
    """Action, severity and number of the sample of every event."""
    return [(e.action.value, e.severity.value, e.source.sequence) for e in world.events]


def test_an_episode_that_ends_is_cleared_by_an_event_that_names_what_was_raised() -> None:
    world = World(rules=LIMITS)
    play(world, [10.0, 39.5, 10.0, 10.0, 10.0, 10.0])
    raised, clear = world.events
    assert told(world) == [("raise", "warning", 1), ("clear", "warning", 4)]
    assert (raised.entity_id, raised.entity) == ("", raised.id)
    assert (clear.entity_id, clear.entity) == (raised.id, raised.id)
    assert clear.id != raised.id
    assert len(clear.id) == len(raised.id)
    for field in ("type", "severity", "metric", "detector", "correlation_id", "rule", "tenant"):
        assert getattr(clear, field) == getattr(raised, field), field
    assert clear.summary == "m is calm again after 3.0 minutes (10 bar, limit 40 bar)"
    assert clear.version > raised.version
    assert (clear.confidence, clear.occurred_at_ms) == (1.0, 240_000)
    assert [entry.metric for entry in clear.snapshot] == ["m"]


def test_nothing_is_cleared_where_the_rule_does_not_say_so() -> None:
    world = World(rules=replace(LIMITS, defaults=MetricRule(detectors=(LIMIT,))))
    play(world, [10.0, 90.0, 90.0, 10.0, 10.0, 10.0, 10.0, 10.0])
    assert told(world) == [("raise", "critical", 2)]
    assert world.detection.fleet.raised == {}


def test_a_trouble_that_grows_graver_updates_its_own_event_and_is_cleared_once() -> None:
    world = World(rules=LIMITS)
    play(world, [10.0, 39.5, 90.0, 90.0, 39.5, 90.0, 10.0, 10.0, 10.0, 10.0])
    assert told(world) == [
        ("raise", "warning", 1),
        ("update", "critical", 3),
        ("clear", "warning", 8),
    ]
    raised, update, clear = world.events
    assert update.entity_id == clear.entity_id == raised.id
    assert len({e.id for e in world.events}) == 3


def test_what_begins_critical_is_raised_and_cleared_as_critical() -> None:
    critical = replace(LIMIT, clears=True)
    world = World(rules=replace(LIMITS, defaults=MetricRule(detectors=(critical,))))
    play(world, [10.0, 90.0, 90.0, 10.0, 10.0, 10.0])
    assert told(world) == [("raise", "critical", 2), ("clear", "critical", 5)]


def test_an_early_sign_and_the_warning_after_it_are_two_events_each_with_its_own_clear() -> None:
    rules = replace(CLEARING, storm_asset=None)
    world = World(rules=rules)
    rng = np.random.default_rng(3)
    for n in range(120):
        shift = 0.0 if n < 30 else (6.0 if n < 36 else (20.0 if n < 44 else 0.0))
        readings = tuple((m, float(rng.normal(10.0 + shift, 0.5))) for m in ("a", "b"))
        world.apply([Sample("t/d", 1, n, 1_000 * n, 1_000 * n, readings)], n)
    first: dict[Severity, BusinessEvent] = {}
    for event in world.events:
        if event.detector == "zscore" and event.action is Action.RAISE:
            first.setdefault(event.severity, event)
    assert set(first) == {Severity.INFO, Severity.WARNING}
    clears = {e.entity_id: e for e in world.events if e.action is Action.CLEAR}
    for severity, event in first.items():
        assert clears[event.id].severity is severity
    same_sample = [e.source for e in clears.values()]
    assert len({(s.offset, s.index) for s in same_sample}) == len(same_sample)


def test_the_next_episode_is_raised_and_cleared_under_ids_of_its_own() -> None:
    world = World(rules=LIMITS)
    play(world, [10.0, 39.5, *[10.0] * 4, 39.5, *[10.0] * 4])
    assert [e.action.value for e in world.events] == ["raise", "clear"] * 2
    assert len({e.id for e in world.events}) == 4
    assert world.events[3].entity_id == world.events[2].id


def test_a_device_without_numbers_is_cleared_too() -> None:
    world = World(rules=LIMITS)
    for n, value in enumerate([10.0, 39.5, 10.1, 10.2, 10.3, 10.4]):
        world.apply([Sample("t/d", 0, NO_SEQUENCE, 1_000 * n, 0, (("m", value),))], n)
    raised, clear = world.events
    assert clear.entity_id == raised.id


def test_a_clear_in_a_sample_without_the_metric_says_how_long_and_no_more() -> None:
    world = World(rules=LIMITS)
    play(world, [10.0, 39.5, 10.0, 10.0])
    world.apply([Sample("t/d", 1, 4, 240_000, 240_005, (("other", 1.0),))], 4)
    assert world.events[-1].summary == "m is calm again after 3.0 minutes"


def test_what_a_storm_held_back_is_cleared_as_quietly_as_it_was_raised() -> None:
    rules = replace(LIMITS, storm_asset=StormRule(events=1, window_s=3_600.0))
    world = World(rules=rules)
    play(world, [10.0, 39.5, *[10.0] * 4, 39.5, *[10.0] * 4])
    raised = [e for e in world.events if e.detector == "limit" and e.action is Action.RAISE]
    clears = [e for e in world.events if e.action is Action.CLEAR]
    assert [e.disposition for e in raised] == [Disposition.DELIVER, Disposition.SUPPRESSED]
    assert [e.disposition for e in clears] == [Disposition.DELIVER, Disposition.SUPPRESSED]
    assert [e.detector for e in world.events].count("storm") == 1


def test_a_held_back_warning_that_grows_critical_is_raised_by_itself() -> None:
    """There is no record to update; whether the critical one goes out the storm rule says."""
    rules = replace(LIMITS, review_below=0.6)
    world = World(rules=rules)
    play(world, [10.0, 39.5, 90.0, 90.0, 10.0, 10.0, 10.0, 10.0])
    assert [(e.action, e.disposition) for e in world.events] == [
        (Action.RAISE, Disposition.REVIEW),
        (Action.RAISE, Disposition.DELIVER),
        (Action.CLEAR, Disposition.REVIEW),
        (Action.CLEAR, Disposition.DELIVER),
    ]


def test_a_device_that_is_heard_again_is_cleared_under_the_correlation_of_what_was_raised() -> None:
    rules = replace(LIMITS, silent=SilentRule(after_s=600.0, severity=Severity.WARNING))
    world = World(rules=rules)
    play(world, [10.0, 39.5, 10.0, 10.0])
    late = 60_000 * 100
    world.apply([Sample("t/d", 1, 4, late, late, (("m", 10.0),))], 4)
    raised, clear, silent = world.events
    assert [e.detector for e in world.events] == ["limit", "limit", "silent"]
    assert clear.correlation_id == raised.correlation_id == raised.id
    assert silent.correlation_id == silent.id


def test_clears_switched_off_still_clear_what_was_raised_with_them_on() -> None:
    world = World(rules=LIMITS)
    play(world, [10.0, 39.5])
    off = replace(LIMITS, version=2, defaults=MetricRule(detectors=(LIMIT,)))
    again = World(rules=off, stored=world.store())
    play(again, [10.0] * 4, first=2)
    assert told(again) == [("clear", "warning", 3)]  # at once out: its lane is gone
    on = World(rules=replace(LIMITS, defaults=MetricRule(detectors=(LIMIT,))))
    play(on, [10.0, 90.0, 90.0])
    later = World(rules=LIMITS, stored=on.store())
    play(later, [10.0] * 4, first=3)
    assert told(later) == []


def test_the_shipped_rules_clear_an_engine_that_is_back_within_its_limit() -> None:
    world = World(rules=SHIPPED, window=128)
    for n in range(300):
        value = 645.0 if 100 <= n < 130 else 642.4 + 0.2 * (n % 3)
        world.apply([Sample("t/e", 1, n, 60_000 * n, 60_000 * n, (("T24", value),))], n)
    limits = [e for e in world.events if e.detector == "limit"]
    assert [e.action for e in limits] == [Action.RAISE, Action.CLEAR]
    assert limits[1].summary.startswith("LPC outlet temperature T24 is calm again after ")
    assert "limit 643.6 °R" in limits[1].summary


RECOVERING = streams(recovers=True)


@given(RECOVERING, cut_lists, cut_lists, st.integers(1, 5))
def test_clears_and_updates_are_the_same_however_the_input_is_cut(
    samples: list[Sample], one: list[int], other: list[int], together: int
) -> None:
    worlds = []
    for cuts, size in ((one, 1), (other, together)):
        world = World(rules=CLEARING)
        messages = split(samples, cuts)
        for offset in range(0, len(messages), size):
            world.round(messages[offset : offset + size], offset)
        worlds.append(world)
    assert content(worlds[0].events) == content(worlds[1].events)


@given(RECOVERING)
def test_every_clear_follows_its_raise_and_no_raise_has_two(samples: list[Sample]) -> None:
    world = World(rules=CLEARING)
    for offset, sample in enumerate(samples):
        world.apply([sample], offset)
    raised: dict[str, BusinessEvent] = {}
    cleared: set[str] = set()
    for event in world.events:
        if event.action is Action.RAISE:
            assert event.id not in raised
            raised[event.id] = event
            continue
        about = raised[event.entity_id]
        assert event.entity_id not in cleared
        assert about.source.offset < event.source.offset
        for field in ("device_id", "type", "detector", "disposition", "correlation_id"):
            assert getattr(event, field) == getattr(about, field), field
        if event.action is Action.CLEAR:
            cleared.add(event.entity_id)
            assert (event.severity, event.metric) == (about.severity, about.metric)
    remembered = {
        one.id for lanes in world.detection.fleet.raised.values() for one in lanes.values()
    }
    detectors = {"zscore", "limit"}
    assert remembered == {i for i, e in raised.items() if e.detector in detectors} - cleared


@given(RECOVERING, cut_lists, st.data())
def test_a_worker_that_goes_on_from_stored_states_clears_as_the_first_one_would_have(
    samples: list[Sample], cuts: list[int], data: st.DataObject
) -> None:
    rules = replace(CLEARING, storm_asset=None)  # storms are stored beside the devices
    messages = split(samples, cuts)
    straight, history = World(rules=rules), [dict[str, bytes]()]
    for offset, part in enumerate(messages):
        straight.apply(part, offset)
        history.append(straight.store())
    moments = {d: data.draw(st.integers(0, len(messages))) for d in sorted(history[-1])}
    stored = {d: history[m][d] for d, m in moments.items() if d in history[m]}
    replayed = World(rules=rules, stored=stored)
    for offset in range(min(moments.values(), default=0), len(messages)):
        replayed.apply(messages[offset], offset)
    assert replayed.store() == straight.store()
    first = {e.id: e for e in straight.events}
    assert all(event == first[event.id] for event in replayed.events)
    missing = [e for e in straight.events if moments[e.device_id] <= e.source.offset]
    assert {e.id for e in missing} == {e.id for e in replayed.events}


@given(RECOVERING)
def test_what_is_raised_is_the_same_with_clears_and_without(samples: list[Sample]) -> None:
    """But for the event that grows graver: an update then, and a raise of its own before."""
    rules = replace(CLEARING, storm_asset=None)
    bare = tuple(replace(one, clears=False) for one in rules.defaults.detectors)
    without = replace(rules, defaults=replace(rules.defaults, detectors=bare))
    worlds = [World(rules=rules), World(rules=without)]
    for world in worlds:
        for offset, sample in enumerate(samples):
            world.apply([sample], offset)
    kept = [e for e in worlds[0].events if e.action is not Action.CLEAR]
    before = {
        e.id: replace(e, id=was.id, action=Action.RAISE, entity_id="")
        for e, was in zip(kept, worlds[1].events, strict=True)
    }
    assert list(before.values()) == worlds[1].events
    assert all(e.id == before[e.id].id for e in kept if e.action is Action.RAISE)


@pytest.mark.parametrize("rules", [RULES, CLEARING])
def test_a_row_is_of_the_newer_version_only_while_something_waits_to_be_cleared(
    rules: object,
) -> None:
    world = World(rules=RULES if rules is RULES else CLEARING)
    versions = []
    for n, value in enumerate([10.0, 90.0, 90.0, 10.0, 10.0, 10.0, 10.0, 10.0]):
        world.apply([Sample("t/d", 1, n, n, n, (("m", value),))], n)
        versions.append(world.store()["t/d"][0])
    assert versions == ([2] * 8 if rules is RULES else [2, 3, 3, 3, 3, 2, 2, 2])
