from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.events import Severity
from pipeline.core.remaining_life import fit
from pipeline.simulate.cmapss import SENSORS, load_fleet
from tests.bench.quality.cmapss import (
    RULES,
    moments,
    nasa_score,
    predict,
    rmse,
    same,
    stored,
    warnings,
)

FLEET = load_fleet().engines


@pytest.mark.parametrize(
    ("error", "score"), [(0.0, 0.0), (10.0, np.e - 1), (-13.0, np.e - 1), (20.0, np.e**2 - 1)]
)
def test_a_late_prediction_costs_more_than_an_early_one(error: float, score: float) -> None:
    assert nasa_score(np.array([error])) == pytest.approx(score)
    assert nasa_score(np.array([error, error])) == pytest.approx(2 * score)


def test_the_stored_model_is_what_the_training_engines_teach() -> None:
    assert same(fit(FLEET, SENSORS), stored())


def test_predictions_near_failure_are_near_and_new_engines_are_far_from_it() -> None:
    errors = np.array([predict(stored(), values)[-20] - 19.0 for values in FLEET])
    assert rmse(errors) < 12.0
    assert min(predict(stored(), values)[30] for values in FLEET) > 60.0


def test_the_default_rules_warn_of_an_engines_failure_in_time_and_once_per_severity() -> None:
    told = [severity for _, severity in moments(FLEET[0], "engine-001", RULES)]
    assert told.count(Severity.WARNING) == 1
    found = warnings(FLEET[:5], RULES)
    assert found.in_time == 1.0
    assert found.first_half == 0.0
