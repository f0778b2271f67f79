from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.detectors import MAX_VALUE, seasonal

Floats = npt.NDArray[np.float64]

MONDAY_MS = 1_790_553_600_000.0  # 2026-09-28T00:00Z
PARAM = np.array([seasonal.DEFAULTS[name] for name in seasonal.PARAMS])
DAY = 24


def hourly(days: int, seed: int = 1) -> Floats:
    """A value an hour: warm days, cool nights, quiet weekends, noise of deviation 1."""
    hours = np.arange(days * DAY, dtype=float)
    daily = 10.0 * np.sin(2 * np.pi * (hours % 24 - 9) / 24)
    weekend = np.where((hours // 24) % 7 >= 5, -15.0, 0.0)
    return 50.0 + daily + weekend + np.random.default_rng(seed).normal(0, 1.0, len(hours))


def run(
    values: Floats, every_s: float = 3600.0, param: Floats = PARAM, start_ms: float = MONDAY_MS
) -> tuple[Floats, Floats]:
    state = np.zeros(seasonal.FIELDS)
    scores = [
        seasonal.step(state, param, value, start_ms + n * every_s * 1000.0)
        for n, value in enumerate(values.tolist())
    ]
    return state, np.array(scores)


def test_monday_is_the_first_weekday() -> None:
    assert (MONDAY_MS // 86_400_000 + 3) % 7 == 0


def test_nothing_is_scored_before_the_days_it_asks_for() -> None:
    scores = run(hourly(30))[1]
    assert scores[: 14 * DAY].max() == 0.0
    assert (scores[15 * DAY :] > 0.0).all()


def test_an_ordinary_week_stays_calm_once_the_profile_is_known() -> None:
    scores = np.concatenate([run(hourly(90, seed))[1][50 * DAY :] for seed in range(5)])
    assert 0.5 < np.sqrt((scores**2).mean()) < 1.3
    assert scores.max() < 6.0


def test_a_usual_value_at_an_unusual_hour_is_found() -> None:
    values = hourly(60)
    values[50 * DAY + 3] = values[50 * DAY + 15]  # afternoon's warmth at night
    state, scores = run(values[: 50 * DAY + 4])
    assert scores[-1] > 8.0
    told = seasonal.explain(state, PARAM, float(values[50 * DAY + 3]))
    assert told["expected"] == pytest.approx(50.0 + 10.0 * np.sin(2 * np.pi * -6 / 24), abs=2.0)
    assert told["beyond"] > 15.0
    assert told["direction"] == 1.0


def test_a_working_days_value_on_a_sunday_is_found() -> None:
    values = hourly(70)
    sunday = 55 * DAY
    assert (sunday // DAY) % 7 == 6
    values[sunday + 10] += 15.0
    assert run(values)[1][sunday + 10] > 6.0


def test_the_profile_is_the_same_for_a_reading_a_minute_as_for_one_an_hour() -> None:
    minutes = np.arange(40 * 1_440)
    smooth = 50.0 + 10.0 * np.sin(2 * np.pi * (minutes / 60.0 - 9) / 24)
    often, _ = run(smooth, every_s=60.0)
    seldom, _ = run(smooth[30::60], start_ms=MONDAY_MS + 1_800_000.0)
    hours = slice(seasonal.HOURS, seasonal.HOURS + 24)
    assert often[hours] == pytest.approx(seldom[hours], abs=0.5)


def test_the_hour_is_local() -> None:
    param = PARAM.copy()
    param[0] = 5.5
    state, _ = run(hourly(60), param=param)
    utc, _ = run(hourly(60), start_ms=MONDAY_MS + 5.5 * 3_600_000.0)
    assert (state[: seasonal.TIME] == utc[: seasonal.TIME]).all()


def test_a_wild_reading_moves_the_profile_by_the_clip_at_most() -> None:
    values = hourly(40)
    calm, _ = run(values)
    values[30 * DAY] = 1e9
    hit, scores = run(values)
    assert scores[30 * DAY] > 1e6
    assert np.abs(hit[:24] - calm[:24]).max() < 1.0


def test_a_clock_that_stands_still_teaches_nothing() -> None:
    state, _ = run(hourly(30))
    kept = state[:24].copy()
    for _ in range(1_000):
        seasonal.step(state, PARAM, 1e3, state[seasonal.TIME])
    assert (state[:24] == kept).all()


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(
        st.tuples(st.floats(-MAX_VALUE, MAX_VALUE), st.integers(-(10**10), 10**10)), max_size=60
    )
)
def test_any_readings_leave_a_finite_state_and_scores_are_never_below_zero(
    samples: list[tuple[float, int]],
) -> None:
    state, param = np.zeros(seasonal.FIELDS), np.array([-7.25, 1.0, 7.0, 3.0, 1e-9, 1e-5])
    for value, offset in samples:
        score = seasonal.step(state, param, value, MONDAY_MS + offset)
        assert score >= 0.0
        assert np.isfinite(score)
    assert np.isfinite(state).all()


@settings(deadline=None)  # the first call compiles
@given(st.integers(-100, 100), st.integers(0, 2**32))
def test_shifting_time_by_whole_weeks_changes_no_score(weeks: int, seed: int) -> None:
    values = hourly(20, seed)
    later = run(values, start_ms=MONDAY_MS + weeks * 7 * 86_400_000.0)[1]
    assert (run(values)[1] == later).all()


def test_confidence_is_the_unimodal_bound() -> None:
    assert seasonal.confidence(1.0, 5) == 0.0
    assert seasonal.confidence(5.0, 5) == pytest.approx(1 - 4 / 225)
