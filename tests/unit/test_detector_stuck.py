from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.detectors import MAX_VALUE, stuck

Floats = npt.NDArray[np.float64]

START_MS = 1_790_000_000_000.0
PARAM = np.array([stuck.DEFAULTS[name] for name in stuck.PARAMS])


def run(values: Floats, every_s: float = 60.0, param: Floats = PARAM) -> tuple[Floats, Floats]:
    state = np.zeros(stuck.FIELDS)
    scores = [
        stuck.step(state, param, value, START_MS + n * every_s * 1000.0)
        for n, value in enumerate(values.tolist())
    ]
    return state, np.array(scores)


def moving(samples: int) -> Floats:
    return np.random.default_rng(1).normal(20.0, 1.0, samples)


def test_a_sensor_that_stops_moving_is_stuck_after_an_hour() -> None:
    values = np.append(moving(100), np.full(80, 21.5))
    state, scores = run(values)
    assert int(np.argmax(scores >= 1.0)) == 100 + 60
    assert (scores[:101] == 0.0).all()
    assert scores[130] == 0.5
    told = stuck.explain(state, PARAM, 21.5)
    assert (told["stuck_at"], told["for_s"], told["samples"]) == (21.5, 79 * 60.0, 80.0)
    assert told["usual_s"] == 60.0


def test_a_sensor_that_is_constant_by_nature_is_never_judged() -> None:
    assert run(np.full(10_000, 14.62))[1].max() == 0.0


def test_a_sensor_that_seldom_moves_is_held_to_its_own_pace() -> None:
    values = np.repeat(np.arange(40.0), 30)  # a step each half hour
    stopped = np.append(values, np.full(1_000, 39.0))
    scores = run(stopped)[1]
    assert scores[:1_200].max() < 1.0
    assert int(np.argmax(scores >= 1.0)) == 1_200 - 30 + 20 * 30


def test_quiet_nights_are_learnt() -> None:
    nights = []
    for day in range(12):
        state_values = moving(960) + day
        nights.append(np.append(state_values, np.full(480, state_values[-1])))
    scores = run(np.concatenate(nights))[1].reshape(12, 1_440)
    alarmed = scores.max(axis=1) >= 1.0
    assert alarmed[0]
    assert not alarmed[4:].any()


def test_small_movement_within_epsilon_is_the_same_value_and_a_slow_drift_is_not() -> None:
    param = PARAM.copy()
    param[0] = 0.05
    flicker = np.append(moving(100), 20.0 + 0.02 * (np.arange(200) % 2))
    assert run(flicker, param=param)[1].max() >= 1.0
    drift = np.append(moving(100), 20.0 + 0.01 * np.arange(600))
    assert run(drift, param=param)[1].max() < 1.0


def test_a_gap_and_a_wild_clock_do_not_make_a_sensor_stuck() -> None:
    state, _ = run(np.append(moving(100), [21.5, 21.5]))
    assert stuck.step(state, PARAM, 21.5, START_MS + 1e12) < 0.5
    assert stuck.step(state, PARAM, 21.5, START_MS) < 0.5


def test_few_samples_are_not_stuck_however_long_they_took() -> None:
    values = np.append(moving(30), np.full(19, 21.5))
    assert run(values, every_s=600.0)[1].max() < 1.0
    assert run(np.append(values, [21.5] * 110), every_s=600.0)[1].max() >= 1.0


def test_it_is_over_with_the_first_reading_that_differs() -> None:
    _, scores = run(np.append(moving(100), [*[21.5] * 80, 21.6]))
    assert scores[-2] > 1.0
    assert scores[-1] == 0.0


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(st.tuples(st.floats(-MAX_VALUE, MAX_VALUE), st.integers(-(10**9), 10**9)), max_size=60)
)
def test_state_and_scores_stay_finite_and_scores_are_never_below_zero(
    samples: list[tuple[float, int]],
) -> None:
    state = np.zeros(stuck.FIELDS)
    for value, offset in samples:
        score = stuck.step(state, PARAM, value, START_MS + offset)
        assert score >= 0.0
        assert math.isfinite(score)
    assert np.isfinite(state).all()


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 10**7), st.integers(-(10**6), 10**6), st.integers(0, 2**32))
def test_shifting_time_and_value_changes_no_score(later_s: int, more: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 2, 200).astype(float)
    param = PARAM.copy()
    param[1] = 300.0
    one, other = np.zeros(stuck.FIELDS), np.zeros(stuck.FIELDS)
    for n, value in enumerate(values.tolist()):
        at = START_MS + n * 60_000.0
        assert stuck.step(one, param, value, at) == stuck.step(
            other, param, value + more, at + later_s * 1000.0
        )


def test_confidence_is_markovs_bound() -> None:
    assert stuck.confidence(1.0, 1) == pytest.approx(0.95)
    assert stuck.confidence(0.0, 1) == 0.0
    assert stuck.confidence(4.0, 1) == pytest.approx(1 - 1 / 80)
