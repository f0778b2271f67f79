from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.core.remaining_life import (
    FIELDS,
    SAMPLES,
    UNKNOWN,
    Model,
    fit,
    follow,
    prepare,
    step,
)

F64 = npt.NDArray[np.float64]
METRICS = ("wear", "idle", "heat")


def run(seed: int) -> F64:
    """One machine to its failure: two metrics that show its wear, one that never moves."""
    random = np.random.default_rng(seed)
    life = int(random.integers(120, 260))
    left = np.arange(life)[::-1]
    wear = np.exp(-left / 40.0)
    return np.stack(
        [
            10.0 + 5.0 * wear + random.normal(0, 0.3, life),
            np.full(life, 7.0),
            80.0 - 9.0 * wear + random.normal(0, 0.5, life),
        ],
        axis=1,
    )


RUNS = [run(seed) for seed in range(40)]
MODEL = fit(RUNS, METRICS)


def moving(values: F64) -> F64:
    return values[:, [0, 2]]


def test_unseen_machines_are_told_their_remaining_life_within_the_stated_error() -> None:
    errors, stated = [], []
    for seed in range(100, 130):
        values = run(seed)
        predicted = follow(MODEL, moving(values))[8:]
        left = np.minimum(np.arange(len(values))[::-1], 125.0)[8:]
        errors.append(predicted - left)
        stated.append([MODEL.error(p) for p in predicted.tolist()])
    rmse = np.sqrt((np.concatenate(errors) ** 2).mean())
    assert rmse < 15.0
    assert rmse == pytest.approx(np.sqrt((np.concatenate(stated) ** 2).mean()), rel=0.25)


def test_a_metric_that_never_moves_is_left_out() -> None:
    assert MODEL.metrics == ("wear", "heat")


def test_a_prediction_is_the_formula_of_the_docstring() -> None:
    values = moving(run(7))
    z = np.clip((values - MODEL.mean) / MODEL.scale, -6, 6)
    ages = np.arange(len(z))[::-1]
    total = 0.0
    for loadings, span in ((MODEL.fast, MODEL.fast_samples), (MODEL.slow, MODEL.slow_samples)):
        weights = (1 - 1 / span) ** ages
        total += float((z @ np.array(loadings) * weights).sum() / weights.sum())
    h = (total + MODEL.intercept) / MODEL.most
    share = sum(c * h**n for n, c in enumerate(MODEL.curve))
    assert follow(MODEL, values)[-1] == pytest.approx(np.clip(share, 0, 1) * 125.0, abs=1e-9)


def test_too_few_samples_are_no_prediction() -> None:
    predicted = follow(MODEL, moving(run(7)))
    assert (predicted[:7] == UNKNOWN).all()
    assert (predicted[7:] >= 0.0).all()
    assert predicted.max() <= 125.0


def test_a_sample_with_a_reading_missing_is_left_out_and_the_prediction_stays() -> None:
    values, state, ready = moving(run(7)), np.zeros(FIELDS), prepare(MODEL)
    for row in values:
        last = step(state, ready, row)
    kept = state.copy()
    for missing in (np.nan, np.inf, -np.inf):
        assert step(state, ready, np.array([10.0, missing])) == last
    assert (state == kept).all()
    assert state[SAMPLES] == len(values)


def test_one_wild_reading_moves_a_prediction_by_little() -> None:
    values = moving(run(7))[:60]
    wild = np.vstack([values, [[1e150, values[-1, 1]]]])
    assert abs(follow(MODEL, wild)[-1] - follow(MODEL, values)[-1]) < 60.0
    later = np.vstack([wild, *[values[-1:]] * 40])
    calm = np.vstack([values, *[values[-1:]] * 41])
    assert abs(follow(MODEL, later)[-1] - follow(MODEL, calm)[-1]) < 5.0


def test_another_unit_of_a_metric_changes_no_prediction() -> None:
    factor = np.array([1.8, 1.0, 0.001])
    other = fit([values * factor for values in RUNS], METRICS)
    values = run(200)
    assert follow(other, moving(values * factor)) == pytest.approx(
        follow(MODEL, moving(values)), abs=1e-6
    )


def test_the_chance_of_failure_within_a_horizon_grows_with_it() -> None:
    chances = [MODEL.chance_within(40.0, horizon) for horizon in (0.0, 20.0, 40.0, 80.0)]
    assert chances == sorted(chances)
    assert chances[2] == 0.5
    assert chances[0] < 0.05
    assert chances[3] > 0.95


def test_a_model_survives_a_file() -> None:
    assert Model.from_dict(json.loads(json.dumps(MODEL.as_dict()))) == MODEL


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        Model.from_dict({})
    with pytest.raises(ValueError, match="per metric"):
        replace(MODEL, mean=())
    with pytest.raises(ValueError, match="finite"):
        replace(MODEL, intercept=float("nan"))
    with pytest.raises(ValueError, match="4 numbers"):
        replace(MODEL, curve=(1.0,))
    with pytest.raises(ValueError, match="1 sample or more"):
        replace(MODEL, fast_samples=0.0)


def test_too_few_runs_or_runs_without_movement_teach_nothing() -> None:
    with pytest.raises(ValueError, match="give 10 or more"):
        fit(RUNS[:9], METRICS)
    with pytest.raises(ValueError, match="moves"):
        fit([np.ones((50, 3))] * 10, METRICS)
    broken = RUNS[0].copy()
    broken[3, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        fit([broken, *RUNS[1:]], METRICS)
