from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.detectors import MAX_VALUE, zscore

Floats = npt.NDArray[np.float64]

PARAM = np.array([zscore.DEFAULTS[name] for name in zscore.PARAMS])
TO_SIGMA = np.sqrt(np.pi / 2)


def formula(state: Floats, value: Floats, param: Floats) -> tuple[Floats, Floats]:
    """The docstring's formulas over arrays: state (4, n), param (7, n); signed scores."""
    warm_up, baseline_samples, level_samples, clip, level_clip, floor, relative = param
    slow, fast = 1.0 / baseline_samples, 2.0 / (level_samples + 1.0)
    count, baseline, deviation, level = state
    n = count + 1.0
    inverse = 1.0 / n
    warm = n > warm_up
    scale = np.maximum(np.maximum(deviation * TO_SIGMA, floor), np.abs(baseline) * relative)
    surprise = value - baseline
    distance = np.abs(surprise)
    size = np.minimum(distance, np.where(n > 8, scale * clip, np.inf))
    moved = baseline + np.copysign(size, surprise) * np.maximum(inverse, slow)
    spread_gain = np.maximum(1.0 / np.maximum(count, 1.0), slow)
    spread = deviation + (size - deviation) * spread_gain
    shift = np.copysign(np.minimum(distance, scale * level_clip), surprise)
    followed = np.where(warm, level + (baseline + shift - level) * fast, moved)
    variance = fast / (2.0 - fast) + np.maximum(inverse, slow / (2.0 - slow))
    score = (followed - moved) / (scale * np.sqrt(variance))
    return np.stack([n, moved, spread, followed]), np.where(warm, score, 0.0)


def run(values: Floats, param: Floats = PARAM) -> tuple[Floats, Floats]:
    state = np.zeros(zscore.FIELDS)
    return state, np.array([zscore.step(state, param, value, 0.0) for value in values.tolist()])


def noise(samples: int, seed: int = 1) -> Floats:
    return 500.0 + np.random.default_rng(seed).normal(0.0, 2.0, samples)


@pytest.mark.parametrize("seed", range(8))
def test_scores_and_state_are_those_of_the_formula_to_the_last_bit(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(0, 10.0 ** random.integers(-6, 9), 600) + 10.0 ** random.integers(-3, 7)
    values[random.integers(0, 600, 6)] *= 1e4
    values[300:330] = values[300]
    param = PARAM.copy()
    param[0] = random.integers(0, 60)
    param[1] = random.choice([1.0, 7.0, 33.3, 100.0, 400.0])
    param[2] = random.choice([1.0, 3.0, 20.0, 49.5])
    state, scores = run(values, param)
    prepared, ready = np.zeros(zscore.FIELDS), zscore.prepare(param)
    assert [zscore.step_prepared(prepared, ready, v, 0.0) for v in values.tolist()] == list(scores)
    assert (prepared == state).all()
    expected, expected_scores = np.zeros((4, 1)), []
    for value in values:
        expected, score = formula(expected, np.array([value]), param[:, None])
        expected_scores.append(score[0])
    assert (state == expected[:, 0]).all()
    assert (scores == np.abs(expected_scores)).all()


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.floats(-MAX_VALUE, MAX_VALUE), min_size=1, max_size=60))
def test_any_readings_leave_a_finite_state_and_score_like_the_formula(values: list[float]) -> None:
    state, scores = run(np.array(values))
    assert np.isfinite(state).all()
    assert np.isfinite(scores).all()
    assert state[zscore.COUNT] == len(values)
    expected = np.zeros((4, 1))
    for value in values:
        expected, _ = formula(expected, np.array([value]), PARAM[:, None])
    assert (state == expected[:, 0]).all()


def test_nothing_is_scored_while_warming_up() -> None:
    _, scores = run(noise(21))
    assert (scores[:20] == 0).all()
    assert scores[20] != 0


def test_scores_of_plain_noise_spread_by_a_little_less_than_one_never_more() -> None:
    scores = np.concatenate([run(noise(300, seed))[1][50:] for seed in range(20)])
    assert 0.7 < np.sqrt((scores**2).mean()) < 1.0


def test_a_shift_of_two_deviations_is_found_and_explained() -> None:
    shifted = noise(140)
    shifted[120:] -= 4.0
    state, scores = run(shifted)
    assert scores[120:].max() > 5
    told = zscore.explain(state, PARAM, float(shifted[-1]))
    assert told["direction"] == -1.0
    assert told["level"] < told["baseline"] < 500.5
    assert told["zscore"] == pytest.approx(-scores[-1], rel=0.1)
    assert told["deviation"] == pytest.approx(2.0, rel=0.3)


@pytest.mark.parametrize("size", [20.0, -2e3, 1e12])
@pytest.mark.parametrize("seed", range(5))
def test_one_wild_reading_is_not_over_the_threshold_for_five_samples(
    size: float, seed: int
) -> None:
    wild = noise(160, seed)
    wild[120] += size
    assert (run(wild)[1][120:] >= 4.5).sum() < 5


def test_a_wild_sample_moves_the_baseline_by_the_clip_at_most() -> None:
    values = noise(120)
    calm, _ = run(values)
    hit, _ = run(np.append(values, 1e9))
    assert abs(hit[zscore.BASELINE] - calm[zscore.BASELINE]) < 3 * 3.0 / 100


def test_a_constant_sensor_with_a_flicker_in_the_last_digit_stays_calm() -> None:
    param = PARAM.copy()
    param[zscore.PARAMS.index("scale_floor")] = 0.01
    values = np.full(200, 21.61)
    values[150:] = 21.60
    assert run(values, param)[1].max() < 4.5
    assert run(np.full(200, 14.62))[1].max() == 0


def test_confidence_grows_with_the_score_and_with_agreement_and_stays_a_probability() -> None:
    assert zscore.score_confidence([]) == 0
    assert zscore.score_confidence([1.0] * 21) == 0
    assert zscore.confidence(6.0, 5) == pytest.approx(1 - 4 / (9 * 36))
    lonely = zscore.score_confidence([6.0, *[0.0] * 20])
    assert lonely < zscore.score_confidence([6.0, 6.0, *[0.0] * 19])


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.floats(-1e6, 1e6), max_size=30))
def test_confidence_is_between_0_and_1(scores: list[float]) -> None:
    assert 0 <= zscore.score_confidence(scores) <= 1
