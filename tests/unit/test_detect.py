from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.detect import At, Decision, Detection
from pipeline.core.events import Severity
from pipeline.core.fleet import MAX_METRICS
from pipeline.core.registry import DeviceRecord, Registry
from pipeline.core.rules import DetectorRule, EpisodeRule, LaneRule, MetricRule, Rules, SilentRule
from pipeline.core.telemetry import NO_SEQUENCE, Sample, TelemetryBatch, pack
from pipeline.state.device_restore import Decoder
from pipeline.state.device_state import Encoder
from pipeline.state.rules_file import load

if TYPE_CHECKING:
    from pipeline.core.events import BusinessEvent
    from pipeline.core.telemetry import DeduplicatedBatch

WINDOW = 8
SHIPPED = load(Path("infra/config/rules.yaml"))


def lane(severity: Severity, enter: float, leave: float, samples: int, agree: int = 1) -> LaneRule:
    return LaneRule(
        severity=severity,
        enter=enter,
        leave=leave,
        enter_samples=samples,
        leave_samples=2,
        agree=agree,
    )


ZSCORE = DetectorRule(
    detector="zscore",
    params=(5.0, 100.0, 2.0, 3.0, 8.0, 1e-9, 1e-5),
    lanes=(lane(Severity.INFO, 3.0, 1.0, 1), lane(Severity.WARNING, 5.0, 2.0, 2, agree=2)),
)
LIMIT = DetectorRule(
    detector="limit",
    params=(-np.inf, 40.0, 1.0),
    lanes=(lane(Severity.CRITICAL, 0.0, -1.0, 2),),
)
RULES = Rules(
    name="test",
    version=1,
    defaults=MetricRule(label="", unit="", detectors=(ZSCORE, LIMIT)),
    episodes={"": EpisodeRule(cool_down=4)},
)
SILENT = replace(RULES, silent=SilentRule(after_s=5.0, severity=Severity.WARNING))
REGISTRY = Registry(
    {
        "acme/d0": DeviceRecord(
            device_id="acme/d0",
            asset_id="asset-0",
            asset_name="Pump",
            customer_id="customer-0",
            customer_name="Customer",
            customer_tax_id="",
            active=True,
        )
    }
)


@dataclass
class World:
    """One partition, fed round by round; `stored` are devices as a checkpoint keeps them."""

    rules: Rules = RULES
    stored: dict[str, bytes] = field(default_factory=dict)
    partition: int = 2
    window: int = WINDOW
    events: list[BusinessEvent] = field(default_factory=list)
    accepted: list[tuple[object, ...]] = field(default_factory=list)
    detection: Detection = field(init=False)

    def __post_init__(self) -> None:
        self.detection = Detection(self.rules, REGISTRY, window=self.window)
        decoder = Decoder(self.detection, self.partition)
        for device, row in self.stored.items():
            decoder.decode(device, row)

    def apply(self, samples: list[Sample], offset: int) -> Decision:
        return self.round([samples], offset)[0]

    def round(self, messages: list[list[Sample]], offset: int) -> list[Decision]:
        decisions = self.detection.apply(
            [(self.at(offset + n), pack(part)) for n, part in enumerate(messages)]
        )
        for decision in decisions:
            self.events += decision.events
            self.accepted += rows(decision.deduplicated)
        return decisions

    def at(self, offset: int) -> At:
        return At(topic="telemetry.readings", partition=self.partition, offset=offset)

    def store(self) -> dict[str, bytes]:
        fleet = self.detection.fleet
        encoder = Encoder(fleet, self.detection.plans, self.partition)
        return encoder.encode(range(fleet.devices))

    def metrics(self, device: str) -> tuple[str, ...]:
        fleet = self.detection.fleet
        slots = fleet.slots_of(fleet.rows[device])
        return tuple(fleet.metrics[fleet.arrays.series_metric[s]] for s in slots)

    def series(self, device: str) -> list[list[float]]:
        """Count, baseline, deviation and level of each of a device's metrics."""
        fleet = self.detection.fleet
        bases = [fleet.arrays.series_base[s] for s in fleet.slots_of(fleet.rows[device])]
        return [fleet.arrays.pool[base : base + 4].tolist() for base in bases]


def rows(result: DeduplicatedBatch) -> list[tuple[object, ...]]:
    batch, starts = result.batch, result.batch.starts().tolist()
    return [
        (
            batch.devices[batch.sample_device[i]],
            int(batch.sample_session[i]),
            int(batch.sample_seq[i]),
            int(batch.sample_time_ms[i]),
            bool(result.late[i]),
            tuple(batch.reading_value[starts[i] : starts[i + 1]].tolist()),
        )
        for i in range(batch.samples)
    ]


def content(events: list[BusinessEvent]) -> list[BusinessEvent]:
    """Events without what depends on how messages were cut, in one order."""
    bare = [replace(e, source=replace(e.source, offset=0, index=0)) for e in events]
    return sorted(bare, key=lambda e: (e.id, e.severity))


@st.composite
def streams(draw: st.DrawFn) -> list[Sample]:
    """Samples of three devices that go wrong, with repetitions, reboots and missing metrics."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    out: list[Sample] = []
    for step in range(draw(st.integers(10, 60))):
        device = int(rng.integers(0, 3))
        session = 1 + step // 25
        numbered = device != 2
        bad = 60.0 if step > 30 and device != 1 else 0.0
        names = [n for n in ("a", "b", "c") if rng.random() > 0.1]
        out.append(
            Sample(
                f"acme/d{device}",
                session if numbered else 0,
                step if numbered else NO_SEQUENCE,
                1_000 * step,
                1_000 * step + 7,
                tuple((name, float(rng.normal(10.0, 1.0) + bad)) for name in names),
            )
        )
        if rng.random() < 0.2:
            out.append(out[int(rng.integers(0, len(out)))])
    return out


def split(samples: list[Sample], cuts: list[int]) -> list[list[Sample]]:
    edges = [0, *sorted({c % (len(samples) + 1) for c in cuts}), len(samples)]
    return [samples[a:b] for a, b in pairwise(edges)]


cut_lists = st.lists(st.integers(0, 1_000), max_size=12)


@given(streams(), cut_lists, cut_lists, st.integers(1, 5))
def test_any_split_into_messages_and_rounds_gives_the_same_events_and_samples(
    samples: list[Sample], one: list[int], other: list[int], together: int
) -> None:
    worlds = []
    for cuts, size in ((one, 1), (other, together)):
        world = World()
        messages = split(samples, cuts)
        for offset in range(0, len(messages), size):
            world.round(messages[offset : offset + size], offset)
        worlds.append(world)
    assert content(worlds[0].events) == content(worlds[1].events)
    assert sorted(map(repr, worlds[0].accepted)) == sorted(map(repr, worlds[1].accepted))


def test_the_streams_of_these_tests_do_raise_events_of_every_severity() -> None:
    rng = np.random.default_rng(5)
    world = World()
    for step in range(80):
        shift = 0.0 if step < 40 else (3.0 if step < 60 else 60.0)
        readings = tuple((n, float(rng.normal(10.0, 1.0) + shift)) for n in ("a", "b", "c"))
        world.apply([Sample("acme/d0", 1, step, step, step, readings)], step)
    assert {e.severity.value for e in world.events} == {"info", "warning", "critical"}
    assert len({e.id for e in world.events}) == len(world.events)
    assert len({e.correlation_id for e in world.events}) < len(world.events)


@given(streams(), cut_lists, st.data())
def test_replaying_any_suffix_on_stored_state_changes_nothing_and_raises_nothing(
    samples: list[Sample], cuts: list[int], data: st.DataObject
) -> None:
    messages = split(samples, cuts)
    world = World()
    for offset, part in enumerate(messages):
        world.apply(part, offset)
    before = world.store()
    again = World(stored=before)
    for offset in range(data.draw(st.integers(0, len(messages))), len(messages)):
        decision = again.apply(messages[offset], offset)
        assert decision.events == ()
        assert (decision.deduplicated.batch.samples, decision.deduplicated.duplicates) == (0, 0)
    assert again.store() == before


@given(streams(), cut_lists, st.data())
def test_after_a_crash_devices_with_older_states_catch_up_with_identical_events(
    samples: list[Sample], cuts: list[int], data: st.DataObject
) -> None:
    messages = split(samples, cuts)
    straight, history = World(), [dict[str, bytes]()]
    for offset, part in enumerate(messages):
        straight.apply(part, offset)
        history.append(straight.store())
    # Each device's state was stored at its own moment; the replay starts at the oldest.
    moments = {d: data.draw(st.integers(0, len(messages))) for d in sorted(history[-1])}
    stored = {d: history[m][d] for d, m in moments.items() if d in history[m]}
    replayed = World(stored=stored)
    for offset in range(min(moments.values(), default=0), len(messages)):
        replayed.apply(messages[offset], offset)
    assert replayed.store() == straight.store()
    first = {e.id: e for e in straight.events}
    for event in replayed.events:
        # In every byte: another payload under the same id would be a conflict at the ledger.
        assert event == first[event.id]
    missing = [e for e in straight.events if moments[e.device_id] <= e.source.offset]
    assert {e.id for e in missing} == {e.id for e in replayed.events}


@given(streams(), cut_lists)
def test_readings_in_are_accepted_late_or_duplicates(
    samples: list[Sample], cuts: list[int]
) -> None:
    world = World()
    for offset, part in enumerate(split(samples, cuts)):
        got = world.apply(part, offset).deduplicated
        readings = sum(len(sample.readings) for sample in part)
        assert got.accepted_readings + got.late_readings + got.duplicates == readings


def flat_sample(
    sequence: int, readings: tuple[tuple[str, float], ...], device: str = "t/d"
) -> Sample:
    return Sample(device, 1, sequence, sequence, sequence, readings)


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


@given(st.lists(st.integers(0, 20), min_size=2, max_size=30), cut_lists, st.integers(1, 5))
def test_every_silence_is_one_event_however_the_input_is_cut(
    gaps_s: list[int], cuts: list[int], together: int
) -> None:
    """Device `a` has gaps; device `b` reports every second and moves the clock."""
    samples, clock = [], 1_000
    for n, gap in enumerate(gaps_s):
        samples.append(Sample("t/a", 1, n, clock, clock, (("m", 1.0),)))
        for _ in range(gap):
            clock += 1_000
            samples.append(Sample("t/b", 1, clock, clock, clock, (("m", 1.0),)))
    messages = split(samples, cuts)
    world = World(rules=SILENT)
    for offset in range(0, len(messages), together):
        world.round(messages[offset : offset + together], offset)
    silences = [(e.device_id, e.source.sequence) for e in world.events if e.detector == "silent"]
    assert silences == [("t/a", n) for n, gap in enumerate(gaps_s) if gap > 5]


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
