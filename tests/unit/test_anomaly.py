from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.anomaly import (
    BASELINE,
    COUNT,
    MAX_VALUE,
    fresh,
    limit_confidence,
    limit_score,
    score_confidence,
    update,
)
from pipeline.core.rules import Columns
from pipeline.state.rules_file import load

if TYPE_CHECKING:
    import numpy.typing as npt

RULES = load(Path("infra/config/rules.yaml"))


def run(
    values: npt.NDArray[np.float64], metric: str = "unlisted"
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """State after, and scores of each sample, of one series."""
    state, scores, rule = fresh(1), [], RULES.columns((metric,))
    for value in values:
        state, score = update(state, np.array([value]), rule)
        scores.append(float(score[0]))
    return state, np.array(scores)


def noise(samples: int, seed: int = 1) -> npt.NDArray[np.float64]:
    return 500.0 + np.random.default_rng(seed).normal(0.0, 2.0, samples)


def test_nothing_is_scored_while_warming_up() -> None:
    _, scores = run(noise(21))
    assert (scores[:20] == 0).all()
    assert scores[20] != 0


def test_scores_of_plain_noise_spread_by_a_little_less_than_one_never_more() -> None:
    scores = np.concatenate([run(noise(300, seed))[1][50:] for seed in range(20)])
    assert 0.7 < scores.std() < 1.0


def test_a_shift_of_two_deviations_is_found() -> None:
    shifted = noise(160)
    shifted[120:] += 4.0
    assert np.abs(run(shifted)[1][120:150]).max() > 5


@pytest.mark.parametrize("size", [20.0, -2e3, 1e12])
@pytest.mark.parametrize("seed", range(10))
def test_one_wild_reading_is_not_over_the_threshold_for_long_enough_to_alarm(
    size: float, seed: int
) -> None:
    wild = noise(160, seed)
    wild[120] += size
    over = np.abs(run(wild)[1][120:]) >= RULES.defaults.warning.enter
    assert over.sum() < RULES.defaults.warning.enter_samples


def test_a_wild_sample_moves_the_baseline_by_the_clip_at_most() -> None:
    values = noise(120)
    calm, _ = run(values)
    hit, _ = run(np.append(values, 1e9))
    assert abs(hit[BASELINE, 0] - calm[BASELINE, 0]) < 3 * 3.0 / 100


def test_a_constant_sensor_with_a_flicker_in_the_last_digit_stays_calm() -> None:
    values = np.full(200, 21.61)
    values[150:] = 21.60
    assert np.abs(run(values, "P15")[1]).max() < 4.5
    assert np.abs(run(np.full(200, 14.62))[1]).max() == 0


@given(st.lists(st.floats(-MAX_VALUE, MAX_VALUE), min_size=1, max_size=60))
def test_any_readings_leave_a_finite_state(values: list[float]) -> None:
    state, scores = run(np.array(values))
    assert np.isfinite(state).all()
    assert np.isfinite(scores).all()
    assert state[COUNT, 0] == len(values)


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_a_series_gets_the_same_score_whatever_else_is_in_the_array(seed: int, many: int) -> None:
    values = np.random.default_rng(seed).normal(100, 3, (30, many))
    rule, state, alone = RULES.columns(("x",) * many), fresh(many), fresh(1)
    column = many // 2
    for row in values:
        state, scores = update(state, row, rule)
        alone, score = update(alone, row[[column]], RULES.columns(("x",)))
        assert scores[column] == score[0]
    assert (state[:, [column]] == alone).all()


def test_arrays_of_more_dimensions_work_alike() -> None:
    values = np.random.default_rng(3).normal(100, 3, (25, 4, 3))
    flat, deep = fresh(12), fresh(12).reshape(-1, 4, 3)
    one, many = RULES.columns(("T24", "T30", "T50")), RULES.columns(("T24", "T30", "T50") * 4)
    for row in values:
        flat, scores = update(flat, row.reshape(12), many)
        deep, deep_scores = update(deep, row, one)
        assert (scores == deep_scores.reshape(12)).all()
    assert (flat == deep.reshape(-1, 12)).all()


def test_arguments_are_not_changed() -> None:
    state = fresh(2)
    update(state, np.array([1.0, 2.0]), RULES.columns(("a", "b")))
    assert (state == 0).all()


def test_limit_scores_count_hystereses_beyond_the_limit() -> None:
    rule = RULES.columns(("T30", "P30", "unlisted"))
    scores = limit_score(np.array([1607.0, 551.7, 1e9]), rule)
    assert scores.tolist() == [1.0, 0.0, -np.inf]


def test_confidence_grows_with_the_score_and_with_agreement_and_stays_a_probability() -> None:
    assert score_confidence([]) == 0
    assert score_confidence([1.0] * 21) == 0
    assert score_confidence([6.0]) == pytest.approx(1 - 4 / (9 * 36))
    assert score_confidence([6.0, *[0.0] * 20]) < score_confidence([6.0, 6.0, *[0.0] * 19])
    assert limit_confidence(3) == 0.875


@given(st.lists(st.floats(-1e6, 1e6), max_size=30))
def test_confidence_is_between_0_and_1(scores: list[float]) -> None:
    assert 0 <= score_confidence(scores) <= 1


def test_every_column_has_one_entry_per_metric() -> None:
    columns = RULES.columns(("T24", "T30"))
    assert {getattr(columns, f.name).shape[-1] for f in fields(Columns)} == {2}
