from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.crash.plan import (
    BLOCK,
    MOST_WORKERS,
    PAUSES_S,
    SESSION_S,
    SHORT,
    Kind,
    Wait,
    make_plan,
)

seeds = st.integers(0, 10**6)


@given(seeds, st.integers(1, 60))
def test_a_plan_is_a_pure_function_of_its_seed(seed: int, rounds: int) -> None:
    assert make_plan(seed, rounds) == make_plan(seed, rounds)
    assert len(make_plan(seed, rounds).faults) == rounds


def test_other_seeds_give_other_plans() -> None:
    assert len({make_plan(seed, 30).faults for seed in range(20)}) == 20


@given(seeds, st.integers(1, 60))
def test_faults_strike_members_of_the_group_and_it_never_runs_empty(seed: int, rounds: int) -> None:
    members = {0}
    for fault in make_plan(seed, rounds).faults:
        if fault.kind in {Kind.BROKER_KILL, Kind.BROKER_RESTART}:
            assert fault.worker is None
        elif fault.kind is Kind.JOIN:
            assert fault.worker is not None
            assert fault.worker not in members
            members.add(fault.worker)
        else:
            assert fault.worker in members
            if fault.kind in {Kind.LEAVE, Kind.GONE}:
                members.remove(fault.worker)
        assert 1 <= len(members) <= MOST_WORKERS


@given(seeds)
def test_thirty_rounds_have_every_kind_of_fault_as_often_as_three_blocks(seed: int) -> None:
    struck = Counter(fault.kind for fault in make_plan(seed, 30).faults)
    assert struck == {kind: 3 * count for kind, count in Counter(BLOCK).items()}
    assert set(struck) == set(Kind)


@given(seeds)
def test_the_short_plan_has_one_of_each_family(seed: int) -> None:
    assert tuple(fault.kind for fault in make_plan(seed, len(SHORT)).faults) == SHORT


@given(seeds)
def test_pauses_last_as_long_as_their_kind_says(seed: int) -> None:
    for fault in make_plan(seed, 30).faults:
        low, high = PAUSES_S.get(fault.kind, (0.0, 0.0))
        assert low <= fault.for_s <= high
    assert PAUSES_S[Kind.PAUSE_SHORT][1] < SESSION_S < PAUSES_S[Kind.PAUSE_LONG][0]


@given(seeds)
def test_a_pause_is_measured_only_where_no_other_fault_reaches_into_it(seed: int) -> None:
    plan = make_plan(seed, 30)
    for fault in plan.faults:
        alone = fault.wait is not Wait.NOTHING
        if fault.number and plan.faults[fault.number - 1].wait is Wait.NOTHING:
            alone = False
        assert plan.measured(fault.number) == alone


def test_every_round_is_told_in_one_line() -> None:
    lines = make_plan(1, 30).lines()
    assert len(lines) == 30
    assert not [line for line in lines if "\n" in line]


def test_a_plan_without_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        make_plan(1, 0)
