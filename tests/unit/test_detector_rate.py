from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.detectors import MAX_VALUE, rate

Floats = npt.NDArray[np.float64]

START_MS = 1_790_000_000_000.0


def param(rise: float = 2.0, fall: float = 4.0, span: float = 10.0) -> Floats:
    return np.array([rise, fall, span, 3600.0])


def run(times_s: Floats, values: Floats, limits: Floats) -> tuple[Floats, list[float]]:
    state = np.zeros(rate.FIELDS)
    pairs = zip(times_s.tolist(), values.tolist(), strict=True)
    return state, [rate.step(state, limits, v, START_MS + t * 1000.0) for t, v in pairs]


@pytest.mark.parametrize(("slope", "score"), [(1.0, 0.5), (3.0, 1.5), (-3.0, 0.75), (0.0, 0.0)])
def test_a_straight_line_has_its_slope_whatever_the_clock_jitters(
    slope: float, score: float
) -> None:
    gaps = np.random.default_rng(1).integers(1, 2_000, 200) / 1000.0
    times = np.cumsum(gaps)
    state, scores = run(times, 20.0 + slope * times, param())
    first = int(np.argmax(np.array(scores) > 0)) if slope else 0
    assert times[first] < times[0] + 10.0 + 3 * 2.0
    assert scores[first:] == pytest.approx([score] * (200 - first), abs=1e-9)
    told = rate.explain(state, param(), 0.0)
    assert told["slope_per_s"] == pytest.approx(slope, abs=1e-9)
    assert told["limit_per_s"] == (2.0 if slope >= 0 else -4.0)


def test_the_span_stays_between_one_and_two_of_what_is_asked() -> None:
    state, limits = np.zeros(rate.FIELDS), param()
    for second in range(100):
        rate.step(state, limits, float(second), START_MS + second * 1000.0)
        span = rate.explain(state, limits, 0.0)["span_s"]
        assert (span == 0.0) == (second < 12)
        assert span == 0.0 or 10.0 <= span <= 21.0


def test_one_wild_reading_has_no_effect() -> None:
    times = np.arange(100.0)
    values = np.full(100, 7.0)
    values[50] = 1e6
    assert max(run(times, values, param())[1]) == 0.0


def test_a_jump_that_stays_is_a_rate_over_the_span() -> None:
    times = np.arange(60.0)
    values = np.where(times < 30, 0.0, 50.0)
    scores = run(times, values, param())[1]
    assert max(scores[:31]) == 0.0
    assert 50.0 / 21.0 / 2.0 <= max(scores) <= 50.0 / 10.0 / 2.0
    assert max(scores[55:]) == 0.0


def test_a_clock_that_stands_still_or_goes_back_a_little_is_not_judged_nor_learnt() -> None:
    times = np.arange(60.0)
    state, scores = run(times, 3.0 * times, param())
    assert scores[-1] == 1.5
    kept = state.copy()
    for back_s in (0.0, 5.0, 3600.0):
        assert rate.step(state, param(), 1e9, START_MS + (59.0 - back_s) * 1000.0) == 0.0
    assert (state[: rate.SLOPE] == kept[: rate.SLOPE]).all()
    assert rate.step(state, param(), 180.0, START_MS + 60_000.0) == pytest.approx(1.5)


def test_one_date_in_the_future_does_not_end_the_watch() -> None:
    times = np.arange(60.0)
    state, _ = run(times, 3.0 * times, param())
    rate.step(state, param(), 3.0 * 60, START_MS + 1e12)
    scores = [
        rate.step(state, param(), 3.0 * second, START_MS + second * 1000.0)
        for second in range(61, 90)
    ]
    assert scores[-1] == pytest.approx(1.5)


def test_without_limits_nothing_scores() -> None:
    none = np.array([rate.DEFAULTS[name] for name in rate.PARAMS])
    assert max(run(np.arange(60.0), np.exp(np.arange(60.0)), none)[1]) == 0.0


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(st.tuples(st.floats(-MAX_VALUE, MAX_VALUE), st.integers(-(10**9), 10**9)), max_size=40)
)
def test_scores_are_never_below_zero_and_never_nan(samples: list[tuple[float, int]]) -> None:
    state = np.zeros(rate.FIELDS)
    for value, offset in samples:
        score = rate.step(state, param(), value, START_MS + offset)
        assert score >= 0.0
        assert not math.isnan(score)


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 10**6), st.integers(-(10**6), 10**6), st.integers(0, 2**32))
def test_shifting_time_and_value_by_whole_numbers_changes_no_score(
    later_s: int, more: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    times = np.cumsum(random.integers(0, 8, 60)).astype(float)
    values = random.integers(-50, 50, 60).astype(float)
    assert run(times, values, param())[1] == run(times + float(later_s), values + more, param())[1]


def test_confidence_is_that_of_the_sign_test() -> None:
    assert rate.confidence(1.0, 4) == 0.9375
