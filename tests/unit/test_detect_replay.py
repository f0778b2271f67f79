"""What holds of detection for any input: cuts into messages, replays, crashes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.telemetry import Sample
from tests.unit.detect_world import SILENT, World, content, cut_lists, split, streams


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
