from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.dedup import Verdict
from pipeline.core.telemetry import NO_SEQUENCE
from pipeline.simulate.cmapss import CYCLE_MS, SENSORS, load_fleet
from pipeline.simulate.plan import (
    READINGS,
    Expected,
    Flaw,
    Form,
    Kind,
    Knobs,
    Plan,
    expect,
    make_plan,
)
from tests.unit.one_device import Device

FLEET = load_fleet()
WINDOW = 128


def verdicts(plan: Plan, window: int) -> Expected:
    """What dedup itself says of the plan: the oracle, sample by sample."""
    seen: dict[int, Device] = defaultdict(lambda: Device(window))
    counts: Counter[Verdict] = Counter()
    quarantined = 0
    for send in plan.sends:
        quarantined += send.flaw is not None
        for cycle in send.cycles:
            numbered = plan.numbered(send.engine)
            said = seen[send.engine].any(
                1 if numbered else 0,
                cycle if numbered else NO_SEQUENCE,
                plan.event_ms(send.engine, cycle, 10**12),
                cycle,
            )
            counts[Verdict(said)] += READINGS
    return Expected(
        published=sum(counts.values()) + quarantined,
        unique_readings=counts[Verdict.FRESH],
        duplicates=counts[Verdict.DUPLICATE],
        too_late=counts[Verdict.TOO_LATE],
        quarantined=quarantined,
    )


def test_the_sample_is_the_whole_of_fd001() -> None:
    assert (len(FLEET.lives), sum(FLEET.lives)) == (100, 20_631)
    assert (min(FLEET.lives), max(FLEET.lives)) == (128, 362)
    assert len(SENSORS) == 21
    first = dict(zip(SENSORS, FLEET.engines[0][0], strict=True))
    assert (first["T2"], first["T24"], first["W32"]) == (518.67, 641.82, 23.419)


def test_the_default_run_plays_every_reading_and_uses_every_kind_form_and_flaw() -> None:
    plan = make_plan(Knobs(), FLEET.lives, WINDOW)
    played = {(s.engine, c) for s in plan.sends for c in s.cycles}
    assert len(played) * READINGS == 433_251
    assert {s.kind for s in plan.sends} == set(Kind)
    assert {s.flaw for s in plan.sends} == set(Flaw) | {None}
    assert set(plan.forms) == set(Form)
    assert {len(s.cycles) for s in plan.sends} == {0, 1, 2, 3}
    assert sum(skew != 0 for skew in plan.skew_ms) == 10


def test_the_default_runs_expectation_is_what_dedup_says() -> None:
    plan = make_plan(Knobs(), FLEET.lives, WINDOW)
    assert expect(plan.sends) == verdicts(plan, WINDOW)


def test_event_time_ends_at_the_start_of_the_run_and_spans_two_and_a_half_days() -> None:
    plan = make_plan(Knobs(skewed=0), FLEET.lives, WINDOW)
    longest = FLEET.lives.index(362)
    assert plan.event_ms(longest, 362, 10**12) == 10**12
    assert plan.event_ms(0, 1, 10**12) == 10**12 - 361 * CYCLE_MS


def test_engines_take_turns() -> None:
    sends = make_plan(Knobs(), FLEET.lives, WINDOW).sends
    same = sum(a.engine == b.engine for a, b in pairwise(sends))
    assert same < len(sends) / 10


def test_a_silent_engine_sends_what_was_due_at_once() -> None:
    plan = make_plan(Knobs(bursts=3, burst_cycles=20), FLEET.lives, WINDOW)
    places = defaultdict(list)
    for place, send in enumerate(plan.sends):
        if send.kind is Kind.BURST:
            places[send.engine].append(place)
    assert len(places) == 3
    for engine, found in places.items():
        others = [s for s in plan.sends[found[0] : found[-1] + 1] if s.engine != engine]
        assert others == []


def test_the_same_knobs_give_the_same_plan_and_another_seed_another() -> None:
    assert make_plan(Knobs(), FLEET.lives, WINDOW) == make_plan(Knobs(), FLEET.lives, WINDOW)
    assert make_plan(Knobs(), FLEET.lives, WINDOW) != make_plan(Knobs(seed=2), FLEET.lives, WINDOW)


FRACTIONS = st.sampled_from([0.0, 0.05, 0.5, 1.0])


@settings(max_examples=60, deadline=None)
@given(
    knobs=st.builds(
        Knobs,
        duplicates=FRACTIONS,
        reordered=FRACTIONS,
        late=FRACTIONS,
        malformed=FRACTIONS,
        arrays=st.sampled_from([0.0, 0.5]),
        senml=st.sampled_from([0.0, 0.5]),
        unnumbered=st.booleans(),
        skewed=FRACTIONS,
        bursts=st.integers(0, 3),
        burst_cycles=st.integers(1, 60),
        seed=st.integers(0, 9),
    ),
    lives=st.lists(st.integers(1, 90), min_size=1, max_size=4),
    window=st.integers(8, 40),
)
def test_whatever_the_knobs_the_expectation_is_what_dedup_says(
    knobs: Knobs, lives: list[int], window: int
) -> None:
    plan = make_plan(knobs, lives, window)
    assert expect(plan.sends) == verdicts(plan, window)
    assert expect(plan.sends).closes
    once = Counter(
        (s.engine, c) for s in plan.sends if s.kind is not Kind.DUPLICATE for c in s.cycles
    )
    assert once == {(e, c): 1 for e, life in enumerate(lives) for c in range(1, life + 1)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"duplicates": 1.1},
        {"late": -0.1},
        {"engines": 0},
        {"engines": 101},
        {"speed": -1.0},
        {"burst_cycles": 0},
        {"skew_s": 4000.0},
    ],
)
def test_knobs_beyond_their_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Knobs(**wrong)  # type: ignore[arg-type] # the test is about wrong ones
