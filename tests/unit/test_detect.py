from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.core.fleet import MAX_METRICS
from pipeline.core.rules import MetricRule
from pipeline.core.telemetry import NO_SEQUENCE, Sample, TelemetryBatch, pack
from tests.unit.detect_world import LIMIT, RULES, SHIPPED, ZSCORE, World, flat_sample


def test_a_too_late_sample_is_kept_with_its_flag_and_feeds_no_detector() -> None:
    world = World()
    world.apply([flat_sample(1_000, (("a", 10.0),))], 0)
    decision = world.apply([flat_sample(3, (("a", 9e9),))], 1)
    assert decision.deduplicated.late.tolist() == [True]
    assert decision.deduplicated.late_readings == 1
    assert world.series("t/d")[0][0] == 1


def test_the_order_of_metrics_does_not_hide_a_duplicate_without_a_number() -> None:
    world = World()
    one = Sample("t/d", 0, NO_SEQUENCE, 5, 6, (("a", 1.0), ("b", 2.0)))
    other = replace(one, received_ms=99, readings=(("b", 2.0), ("a", 1.0)))
    assert world.apply([one], 0).deduplicated.accepted_readings == 2
    assert world.apply([other], 1).deduplicated.duplicates == 2
    assert World(stored=world.store()).apply([other], 2).deduplicated.duplicates == 2


def test_another_partition_has_offsets_of_its_own() -> None:
    world = World()
    world.apply([flat_sample(1, (("a", 1.0),))], 500)
    moved = World(stored=world.store(), partition=3)
    decision = moved.apply([flat_sample(2, (("a", 1.0),))], 4)
    assert decision.deduplicated.accepted_readings == 1


def test_another_window_keeps_what_it_can_know_and_pretends_nothing() -> None:
    world = World(window=8)
    world.apply([flat_sample(n, ()) for n in range(100)], 0)
    wider = World(stored=world.store(), window=64)
    numbers = (50, 95, 120, 93, 110, 60)
    got = wider.apply([flat_sample(n, ()) for n in numbers], 1).deduplicated
    # 95 and 93 are known, 50 and 60 lie before all that was remembered.
    assert got.batch.sample_seq.tolist() == [50, 120, 110, 60]
    assert got.late.tolist() == [True, False, False, True]


def test_a_reading_that_is_not_finite_is_archived_and_harms_nothing() -> None:
    world = World()
    for n in range(40):
        poison = (float("nan"), float("inf"), 1e300)[n % 3]
        world.apply([flat_sample(n, (("a", 10.0 + n % 2), ("b", poison)))], n)
    assert np.isfinite(world.series("t/d")).all()
    assert len(world.accepted) == 40
    assert world.series("t/d")[1] == [0.0] * 4


def test_a_metric_twice_in_a_sample_is_watched_once_by_its_last_reading() -> None:
    world = World()
    world.apply([flat_sample(0, (("a", 1.0), ("b", 3.0), ("a", 2.0)))], 0)
    assert world.metrics("t/d") == ("a", "b")
    assert [one[:2] for one in world.series("t/d")] == [[1.0, 2.0], [1.0, 3.0]]


def test_metrics_beyond_the_cap_are_archived_only() -> None:
    readings = tuple((f"m{i}", 1.0) for i in range(MAX_METRICS + 5))
    world = World()
    world.apply([flat_sample(0, readings)], 0)
    world.apply([flat_sample(1, (*readings, ("late", 1.0)))], 1)
    assert len(world.metrics("t/d")) == MAX_METRICS
    assert len(world.accepted) == 2


def test_empty_messages_and_empty_samples_are_fine() -> None:
    world = World()
    assert world.apply([], 0).deduplicated.batch.samples == 0
    world.apply([flat_sample(0, ()), flat_sample(1, (("a", 1.0),)), flat_sample(2, ())], 1)
    assert len(world.accepted) == 3


def test_a_device_named_twice_in_the_dictionary_is_one_device() -> None:
    batch = pack([flat_sample(n, (("a", 1.0),), f"t/{n}") for n in range(3)])
    twice: TelemetryBatch = replace(batch, devices=("t/x", "t/y", "t/x"))
    world = World()
    world.detection.apply([(world.at(0), twice)])
    assert world.series("t/x")[0][0] == 2.0


def test_an_event_says_where_it_came_from_and_whose_it_is() -> None:
    world = World()
    for n in range(30):
        value = 10.0 + n % 2 if n < 20 else 90.0
        readings = (("a", value), ("b", value))
        world.apply([Sample("acme/d0", 3, n, 1_000 + n, 2_000 + n, readings)], n)
    event = next(e for e in world.events if e.detector == "limit")
    assert (event.asset_id, event.customer_id, event.tenant) == ("asset-0", "customer-0", "acme")
    assert (event.source.session, event.source.sequence, event.source.partition) == (3, 21, 2)
    assert (event.occurred_at_ms, event.observed_at_ms) == (1_021, 2_021)
    assert [entry.metric for entry in event.snapshot] == ["a", "b"]
    assert all(entry.score is not None for entry in event.snapshot)
    assert event.rule == "test@1"


def test_a_reset_that_keeps_its_session_gives_its_episodes_other_ids() -> None:
    world = World()
    clock = 0
    for life in range(2):
        for n in range(30):
            clock += 1_000
            value = 10.0 if n < 20 else 90.0
            world.apply([Sample("t/d", 1, n, clock, clock + 5, (("a", value),))], clock)
        assert len([e for e in world.events if e.detector == "limit"]) == life + 1
    assert len({e.id for e in world.events}) == len(world.events)


def test_rules_that_change_keep_what_their_detectors_have_learnt() -> None:
    world = World()
    for n in range(20):
        world.apply([flat_sample(n, (("a", 10.0 + n % 2), ("b", 1.0)))], n)
    learnt = world.series("t/d")
    fewer = replace(RULES, version=2, defaults=MetricRule(detectors=(LIMIT,)))
    without = World(rules=fewer, stored=world.store())
    without.apply([flat_sample(20, (("a", 90.0), ("c", 2.0)))], 20)
    assert without.metrics("t/d") == ("a", "b", "c")
    swapped = MetricRule(detectors=(LIMIT, replace(ZSCORE, lanes=ZSCORE.lanes[:1])))
    other = World(rules=replace(RULES, version=3, defaults=swapped), stored=world.store())
    assert other.series("t/d") == learnt


def test_the_shipped_rules_give_a_failing_engine_one_event_of_each_severity_at_most() -> None:
    rng = np.random.default_rng(11)
    healthy = {"T24": 642.4, "T30": 1588.0, "T50": 1404.0, "P30": 553.7, "Ps30": 47.4, "phi": 521.7}
    spread = {"T24": 0.3, "T30": 4.0, "T50": 4.0, "P30": 0.4, "Ps30": 0.1, "phi": 0.3}
    worst = {"T24": 4.0, "T30": 4.0, "T50": 6.0, "P30": -6.0, "Ps30": 8.0, "phi": -7.0}
    world = World(rules=SHIPPED, window=128)
    life = 200
    for cycle in range(life):
        wear = max(0.0, (cycle - 80) / (life - 80)) ** 3
        readings = tuple(
            (m, float(rng.normal(healthy[m] + wear * worst[m] * spread[m], spread[m])))
            for m in healthy
        )
        world.apply([Sample("acme/engine", 1, cycle, cycle, cycle, readings)], cycle)
    events = [e for e in world.events if e.detector in {"zscore", "limit"}]
    assert 1 <= len(events) <= 3
    assert {"warning", "critical"} <= {e.severity.value for e in events}
    assert all(e.source.sequence > life / 2 for e in events)
    assert len({e.correlation_id for e in events}) == 1
