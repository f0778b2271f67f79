"""Rates and concurrency: never above what is allowed, never stuck, always back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.ratelimit import MAX_ASK, Concurrency, Limiter, Limits, Rate

rates = st.builds(Rate, per_s=st.floats(0.01, 1_000), burst=st.floats(1, 100))
gaps = st.lists(st.tuples(st.floats(0, 5), st.integers(1, 300)), max_size=40)


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    limiter, waits = Limiter(rate=Rate(per_s=2, burst=3)), []
    for _ in range(5):
        limiter, wait = limiter.admit(100)
        waits.append(wait)
    assert waits == [0, 0, 0, 0.5, 0.5]
    limiter, wait = limiter.admit(100.5)
    assert wait == 0


def test_a_batch_above_the_burst_goes_and_is_paid_for_afterwards() -> None:
    limiter, wait = Limiter(rate=Rate(per_s=10, burst=1)).admit(0, 200)
    assert wait == 0
    assert limiter.admit(0)[1] == pytest.approx(20)


@pytest.mark.parametrize(("per_s", "burst"), [(0, 1), (-1, 1), (float("nan"), 1), (1, 0.5)])
def test_a_rate_that_is_none_is_refused(per_s: float, burst: float) -> None:
    with pytest.raises(ValueError, match="correct the sink"):
        Rate(per_s=per_s, burst=burst)


@given(rates, gaps)
def test_no_window_has_more_than_the_rate_the_burst_and_one_ask(
    rate: Rate, asks: list[tuple[float, int]]
) -> None:
    limiter, now, went = Limiter(rate=rate), 1_000.0, []
    for gap, n in asks:
        now += gap
        limiter, wait = limiter.admit(now, n)
        if not wait:
            went.append((now, n))
    for first, (start, _) in enumerate(went):
        count = 0
        for end, n in went[first:]:
            count += n
            largest = max(size for _, size in went[first:])
            allowed = rate.per_s * (end - start + 1e-5) + rate.burst + largest - 1
            assert count <= allowed + 1e-6


@given(rates, gaps, st.integers(1, 10_000))
def test_whoever_waits_as_long_as_told_goes(
    rate: Rate, asks: list[tuple[float, int]], n: int
) -> None:
    limiter, now = Limiter(rate=rate), 0.0
    for gap, size in asks:
        now += gap
        limiter, _ = limiter.admit(now, size)
    _, wait = limiter.admit(now, n)
    assert limiter.admit(now + wait + 1e-5, n)[1] == 0


@given(rates, st.floats(-1e9, 1e9))
def test_a_clock_that_is_set_back_costs_a_bounded_wait(rate: Rate, jump: float) -> None:
    limiter, _ = Limiter(rate=rate).admit(1e9, 5)
    assert limiter.admit(1e9 + jump)[1] <= (MAX_ASK + 1) / rate.per_s * 1.000001


def test_a_tenant_at_its_limit_holds_no_other_and_the_sinks_limit_holds_all() -> None:
    limits = Limits.of(Rate(per_s=1, burst=3), Rate(per_s=1, burst=1))
    limits, waits = limits.admit(0, {"a": 1})
    assert waits == {"a": 0}
    limits, waits = limits.admit(0, {"a": 1, "b": 1})
    assert waits == {"a": 1, "b": 0}
    limits, waits = limits.admit(0, {"c": 1, "d": 1})
    assert waits == {"c": 0, "d": 1}
    assert limits.admit(1, {"d": 1})[1] == {"d": 0}


def test_no_limit_is_no_wait_and_no_memory() -> None:
    limits, waits = Limits.of(None, None).admit(0, {"a": 10_000})
    assert (waits, limits.any, limits.tenants) == ({"a": 0.0}, False, {})


@given(st.lists(st.tuples(st.floats(0, 2), st.sampled_from("abc"), st.integers(1, 9)), max_size=40))
def test_no_tenant_has_more_than_its_rate_and_those_at_rest_are_forgotten(
    asks: list[tuple[float, str, int]],
) -> None:
    limits, now = Limits.of(None, Rate(per_s=3, burst=2)), 0.0
    went: dict[str, int] = {"a": 0, "b": 0, "c": 0}
    for gap, tenant, n in asks:
        now += gap
        limits, waits = limits.admit(now, {tenant: n})
        went[tenant] += 0 if waits[tenant] else n
    assert all(count <= 3 * now + 2 + 9 for count in went.values())
    assert limits.admit(now + 10, {})[0].tenants == {}


def test_congestion_halves_once_a_round_and_good_answers_bring_it_back() -> None:
    now = Concurrency(lanes=8)
    assert now.slots == 8
    for _ in range(8):  # the conversations that were under way
        now = now.after(congested=True, now_s=10)
    assert now.slots == 4
    assert now.after(congested=True, now_s=11).slots == 2
    for _ in range(5):
        now = now.after(congested=False, now_s=12)
    assert now.slots == 5


@given(st.integers(1, 100), st.lists(st.tuples(st.booleans(), st.floats(-5, 5)), max_size=200))
def test_concurrency_stays_between_one_and_all_lanes_and_always_recovers(
    lanes: int, script: list[tuple[bool, float]]
) -> None:
    state, now = Concurrency(lanes=lanes), 0.0
    for congested, passed in script:
        now += passed
        state = state.after(congested=congested, now_s=now)
        assert 1 <= state.slots <= lanes
    for _ in range(lanes * lanes):
        state = state.after(congested=False, now_s=now)
    assert state.slots == lanes
