"""A sink's policy: what holds for which cause, and how often it may be sent to again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.retry import RetryPolicy
from pipeline.core.sinks import BUDGET_S, RetryClass, SinkPolicy

POLICY = SinkPolicy(
    retry=RetryPolicy(base_s=1, cap_s=60),
    classes=(
        RetryClass(codes="http.429", cap_s=120),
        RetryClass(codes="http.*", base_s=5, max_attempts=2),
        RetryClass(codes="*.locked", max_elapsed_s=9),
    ),
)


def test_the_first_class_that_matches_a_cause_counts_and_keeps_the_rest() -> None:
    assert POLICY.retry_for("http.429") == replace(POLICY.retry, cap_s=120)
    assert POLICY.retry_for("http.503") == replace(POLICY.retry, base_s=5, max_attempts=2)
    assert POLICY.retry_for("tryton.locked") == replace(POLICY.retry, max_elapsed_s=9)
    for code in ("", "HTTP.429", "tryton.other"):
        assert POLICY.retry_for(code) is POLICY.retry


def test_a_class_that_contradicts_the_sink_is_refused() -> None:
    with pytest.raises(ValueError, match="base_s <= cap_s"):
        SinkPolicy(classes=(RetryClass(codes="x", base_s=100),))
    with pytest.raises(ValueError, match="tenant_lanes <= lanes"):
        SinkPolicy(lanes=2, tenant_lanes=3)


def test_limits_hold_a_burst_of_at_least_one_event() -> None:
    limits = SinkPolicy(rate_per_s=0.1, tenant_rate_per_s=50, burst_s=2).limits()
    assert limits.sink is not None
    assert limits.tenant is not None
    assert (limits.sink.rate.burst, limits.tenant.burst) == (1, 100)
    assert not SinkPolicy().limits().any


def test_sends_earn_retries_that_are_lost_when_not_used() -> None:
    policy = SinkPolicy(retry_share=0.5, retry_floor_per_s=1)
    earning = policy.retry_budget().sent(0, 4).sent(0.5, 2)
    waits = []
    for _ in range(5):
        earning, wait = earning.spend(1)
        waits.append(wait)
    assert waits == [0, 0, 0, 0, 1]
    late = policy.retry_budget().sent(0, 100).spend(BUDGET_S + 1)[0]
    assert late.spend(BUDGET_S + 1)[1] == 1


@given(
    st.floats(0, 1),
    st.floats(0.5, 20),
    st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=80),
)
def test_retries_are_at_most_the_share_of_sends_and_the_floor_in_any_window(
    share: float, floor: float, script: list[tuple[float, bool]]
) -> None:
    policy = SinkPolicy(retry_share=share, retry_floor_per_s=floor)
    sent: list[float] = []
    retried: list[float] = []
    budget, now = policy.retry_budget(), 1_000.0
    for gap, retry in script:
        now += gap
        if retry:
            budget, wait = budget.spend(now)
            assert wait <= len(retried) / floor
            retried.append(now + wait)
        else:
            budget = budget.sent(now)
            sent.append(now)
    retried.sort()
    for first, start in enumerate(retried):
        for last, end in enumerate(retried[first:], 1):
            earned = share * sum(start - BUDGET_S - 1 <= at <= end for at in sent)
            assert last <= earned + floor * (end - start) + max(1.0, floor) + 1 + 1e-6
