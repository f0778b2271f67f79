from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.detectors import MAX_VALUE, trend

Floats = npt.NDArray[np.float64]

START_MS = 1_790_000_000_000.0
HOUR_S = 3600.0


def param(low: float = 0.0, high: float = 100.0, memory: float = 200.0, days: float = 7) -> Floats:
    return np.array([low, high, memory, days * 86_400.0, 50.0])


def run(times_s: Floats, values: Floats, limits: Floats) -> tuple[Floats, Floats]:
    state = np.zeros(trend.FIELDS)
    pairs = zip(times_s.tolist(), values.tolist(), strict=True)
    return state, np.array([trend.step(state, limits, v, START_MS + t * 1000.0) for t, v in pairs])


def test_the_line_is_the_weighted_least_squares_line() -> None:
    random = np.random.default_rng(1)
    times = np.cumsum(random.uniform(10, 100, 400))
    values = 20.0 + 0.01 * times + random.normal(0, 1.0, 400)
    state, _ = run(times, values, param(memory=150.0))
    weights = (1 - 1 / 150.0) ** np.arange(399, -1, -1)
    slope, at_last = np.polyfit(times - times[-1], values, 1, w=np.sqrt(weights))
    told = trend.explain(state, param(memory=150.0), 0.0)
    assert told["slope_per_s"] == pytest.approx(slope, rel=1e-9)
    assert told["now"] == pytest.approx(at_last, rel=1e-9)
    assert state[trend.WEIGHT] == pytest.approx(weights.sum())


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_a_straight_line_is_told_the_very_time_it_reaches_the_limit(direction: float) -> None:
    times = np.arange(400.0) * HOUR_S
    values = 50.0 + direction * 0.05 * np.arange(400.0)  # 0.05 an hour
    state, scores = run(times, values, param())
    hours_left = (50.0 - 0.05 * np.arange(400.0)) / 0.05
    assert scores[:49].max() == 0.0
    assert scores[49:] == pytest.approx(7 * 24 / hours_left[49:], rel=1e-6)
    told = trend.explain(state, param(), 0.0)
    assert told["eta_s"] == pytest.approx(hours_left[-1] * HOUR_S, rel=1e-6)
    assert told["limit"] == (100.0 if direction > 0 else 0.0)


def test_a_noisy_trend_alarms_about_a_horizon_ahead_and_not_before() -> None:
    hours = np.arange(2_000.0)
    reached = 1_500.0
    values = 20.0 + 80.0 * hours / reached + np.random.default_rng(2).normal(0, 2.0, 2_000)
    scores = run(hours * HOUR_S, values, param())[1]
    first = int(np.argmax(scores >= 1.0))
    assert 7 * 24 * 0.6 < reached - first < 7 * 24 * 1.6


def test_plain_noise_and_a_constant_do_not_trend() -> None:
    times = np.arange(5_000.0) * HOUR_S
    noise = 98.0 + np.random.default_rng(3).normal(0, 0.5, 5_000)
    assert run(times, noise, param())[1].max() < 1.0
    assert run(times, np.full(5_000, 99.999), param())[1].max() < 1e-6


def test_a_trend_away_from_the_only_limit_does_not_score() -> None:
    times = np.arange(300.0) * HOUR_S
    scores = run(times, 90.0 - 0.1 * np.arange(300.0), param(low=-math.inf))[1]
    assert scores.max() == 0.0


def test_beyond_the_limit_and_going_on_is_the_greatest_score() -> None:
    times = np.arange(300.0) * HOUR_S
    assert run(times, 101.0 + 0.1 * np.arange(300.0), param())[1][-1] == trend.MOST


def test_readings_out_of_order_are_taken_at_their_own_time() -> None:
    order = np.arange(300)
    swapped = order.copy().reshape(-1, 3)[:, ::-1].ravel()
    values = 50.0 + 0.05 * order.astype(float)
    kept = run(60.0 * order.astype(float), values, param())[0]
    state = run(60.0 * swapped.astype(float), values[swapped], param())[0]
    assert trend.explain(state, param(), 0.0)["slope_per_s"] == pytest.approx(0.05 / 60.0)
    assert trend.explain(kept, param(), 0.0)["slope_per_s"] == pytest.approx(0.05 / 60.0)


def test_a_clock_that_goes_far_back_starts_the_series_anew() -> None:
    times = np.arange(300.0) * 60.0
    state, _ = run(times, 50.0 + 0.05 * np.arange(300.0), param())
    assert trend.step(state, param(), 50.0, START_MS - 1e9) == 0.0
    assert state[trend.COUNT] == 1.0


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(
        st.tuples(st.floats(-MAX_VALUE, MAX_VALUE), st.integers(-(10**10), 10**10)), max_size=80
    )
)
def test_scores_are_between_0_and_the_most_and_the_state_stays_finite(
    samples: list[tuple[float, int]],
) -> None:
    state, limits = np.zeros(trend.FIELDS), np.array([-1.0, 1.0, 20.0, 3600.0, 4.0])
    for value, offset in samples:
        assert 0.0 <= trend.step(state, limits, value, START_MS + offset) <= trend.MOST
    assert np.isfinite(state).all()


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 10**9), st.integers(0, 2**32))
def test_shifting_time_changes_no_score_by_a_bit(later_s: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    times = np.cumsum(random.integers(0, 5_000, 120)).astype(float)
    values = 0.001 * times + random.normal(0, 0.1, 120)
    assert (run(times, values, param())[1] == run(times + float(later_s), values, param())[1]).all()


@settings(deadline=None)  # the first call compiles
@given(st.sampled_from([0.25, 4.0, 1024.0]), st.integers(0, 2**32))
def test_another_unit_of_value_changes_no_score(factor: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    times = np.cumsum(random.integers(0, 5_000, 120)).astype(float)
    values = 0.001 * times + random.normal(0, 0.1, 120)
    scaled = param(high=100.0 * factor)
    assert (run(times, values, param())[1] == run(times, values * factor, scaled)[1]).all()


def test_confidence_is_the_one_sided_bound_at_five_errors() -> None:
    assert trend.confidence(1.0, 5) == pytest.approx(1 - 4 / (9 * 26))
    assert trend.confidence(0.0, 5) == 0.0
