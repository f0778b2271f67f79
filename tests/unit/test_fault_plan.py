from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.plan import (
    LASTS_S,
    OUTAGE_S,
    REQUEST_S,
    SETTLE_S,
    SHORT,
    SHORT_OUTAGE_S,
    WORKERS,
    Kind,
    make_plan,
)
from tests.faults.strikes import COMMITTING, Aim, Words


@given(seed=st.integers(0, 10**6), faults=st.integers(1, 400))
def test_a_plan_has_as_many_faults_as_asked_for_and_can_be_played_again(
    seed: int, faults: int
) -> None:
    plan = make_plan(seed, faults)
    assert len(plan.faults) == faults
    assert plan == make_plan(seed, faults)
    assert [fault.number for fault in plan.faults] == list(range(faults))


@given(seed=st.integers(0, 10**6))
def test_a_plan_of_200_has_every_kind_and_one_outage_of_five_minutes(seed: int) -> None:
    plan = make_plan(seed, 200)
    count = Counter(fault.kind for fault in plan.faults)
    assert set(count) == set(Kind)
    assert count[Kind.ERP_OUTAGE] == 1
    assert count[Kind.COMMIT_DROP] == max(count.values())
    for fault in plan.faults:
        if fault.kind is Kind.ERP_OUTAGE:
            assert fault.for_s == OUTAGE_S
        elif fault.kind in LASTS_S:
            low, high = LASTS_S[fault.kind]
            assert low - 0.01 <= fault.for_s <= high + 0.01
        assert fault.worker is None or 0 <= fault.worker < WORKERS
        assert fault.line().startswith(f"{fault.number:>3}  {fault.kind}")


@given(seed=st.integers(0, 10**6))
def test_no_fault_lies_about_what_the_erp_has_done(seed: int) -> None:
    """429 and 401 mean that nothing was done: after a commit they would be the ERP's own bug."""
    for fault in make_plan(seed, 200).faults:
        if (strike := fault.strike) is None:
            continue
        if strike.words in {Words.LIMIT_429, Words.EXPIRED_401}:
            assert not strike.passed_on
        if fault.kind is Kind.COMMIT_DROP:
            assert strike.way in COMMITTING
            assert strike.aim is Aim.WRITES
        if fault.kind is Kind.COMMIT_LATE:
            assert REQUEST_S < strike.seconds < SETTLE_S


def test_the_short_form_has_each_family_and_a_short_outage() -> None:
    plan = make_plan(3, 1, short=True)
    assert [fault.kind for fault in plan.faults] == list(SHORT)
    assert {f.for_s for f in plan.faults if f.kind is Kind.ERP_OUTAGE} == {SHORT_OUTAGE_S}


def test_a_plan_without_faults_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one fault"):
        make_plan(1, 0)
