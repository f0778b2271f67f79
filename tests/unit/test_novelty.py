import math
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.detectors import MAX_VALUE, novelty

F64 = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating]

MINUTE = 60_000.0
START = 1_790_000_000_000.0
PARAM = np.array(list(novelty.DEFAULTS.values()))

seeds = st.integers(0, 2**32 - 1)
lengths = st.integers(190, 500)


def scores(values: Floats | list[float], times: Floats | None = None) -> F64:
    state = np.zeros(novelty.FIELDS)
    when = START + MINUTE * np.arange(len(values)) if times is None else times
    return np.array(
        [
            novelty.step(state, PARAM, float(value), float(time))
            for value, time in zip(values, when, strict=True)
        ]
    )


def walk(seed: int, length: int) -> F64:
    random = np.random.default_rng(seed)
    noise = random.standard_t(3, length)
    return cast("F64", np.cumsum(noise) if seed % 2 else noise)


def alarms(score: F64) -> int:
    """Episodes by the rule in the kernel."""
    count, inside, quiet = 0, False, 0
    for reached in score.tolist():
        if inside:
            quiet = 0 if reached > novelty.LEAVE else quiet + 1
            inside = quiet < novelty.COOL_DOWN
        elif reached >= novelty.ENTER:
            count, inside, quiet = count + 1, True, 0
    return count


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(-MAX_VALUE, MAX_VALUE),
            st.integers(-100_000, 10**9),
        ),
        min_size=1,
        max_size=200,
    ),
    st.integers(0, 4 * 10**12),
)
def test_a_score_is_finite_and_never_below_zero(
    readings: list[tuple[float, int]], start: int
) -> None:
    times = np.cumsum([float(start), *(float(gap) for _, gap in readings[1:])])
    found = scores([value for value, _ in readings * 2], np.concatenate([times, times]))
    assert np.isfinite(found).all()
    assert (found >= 0.0).all()


@settings(deadline=None)
@given(seeds, lengths, st.sampled_from([2.0**-30, 0.5, 1024.0, 2.0**60, -1.0, -8.0]))
def test_the_unit_of_the_readings_does_not_matter(seed: int, length: int, unit: float) -> None:
    values = walk(seed, length)
    np.testing.assert_array_equal(scores(values * unit), scores(values))


@settings(deadline=None, derandomize=True)
@given(seeds, lengths, st.floats(-1000.0, 1000.0))
def test_an_offset_of_the_readings_does_not_matter(seed: int, length: int, offset: float) -> None:
    values = walk(seed, length)
    np.testing.assert_allclose(scores(values + offset), scores(values), atol=1e-6)


@settings(deadline=None)
@given(st.floats(-MAX_VALUE, MAX_VALUE), lengths)
def test_a_constant_series_scores_nothing(value: float, length: int) -> None:
    assert not scores([value] * length).any()


@settings(deadline=None)
@given(seeds, lengths)
def test_nothing_scores_before_the_warm_up_is_over(seed: int, length: int) -> None:
    assert not scores(walk(seed, length))[:180].any()


@settings(deadline=None)
@given(seeds, st.integers(190, 2000), st.floats(30.0, 1e6), st.sampled_from([-1, 1]))
def test_a_jump_of_the_level_alarms_at_its_first_reading(
    seed: int, length: int, jump: float, sign: int
) -> None:
    values = np.random.default_rng(seed).normal(size=length + 1)
    values[-1] += sign * jump
    assert scores(values)[-1] >= novelty.ENTER


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), lengths, st.floats(1e-3, 1e9), st.sampled_from([-1, 1]))
def test_a_constant_series_that_moves_alarms_at_once(
    value: float, length: int, jump: float, sign: int
) -> None:
    assert scores([value] * length + [value + sign * jump])[-1] >= novelty.ENTER


@pytest.mark.parametrize("seed", range(5))
def test_the_same_spike_every_night_is_soon_no_news(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=20 * 288)
    nights = 288 * np.arange(2, 20)
    values[nights] += 40.0
    found = scores(values, START + 5 * MINUTE * np.arange(len(values)))[nights]
    assert found[0] >= novelty.ENTER
    assert np.count_nonzero(found >= novelty.ENTER) <= 4


def test_another_spike_than_the_nightly_one_alarms() -> None:
    values = np.random.default_rng(1).normal(size=20 * 288)
    values[288 * np.arange(2, 20)] += 40.0
    values[-100] += 80.0
    assert scores(values)[-100] >= novelty.ENTER


def test_a_day_without_its_usual_rise_alarms() -> None:
    at = np.arange(12 * 288)
    values = 50.0 - 30.0 * np.cos(2.0 * np.pi * at / 288)
    values += np.random.default_rng(2).normal(size=len(values))
    times = START + 5 * MINUTE * at
    that_day = slice(10 * 288, 11 * 288)
    assert scores(values, times)[that_day].max() < novelty.ENTER
    values[that_day] = 20.0 + np.random.default_rng(5).normal(size=288)
    assert scores(values, times)[that_day].max() >= novelty.ENTER


def test_alarms_on_plain_noise_grow_rarer_with_age() -> None:
    found = scores(np.random.default_rng(3).normal(size=50_000))
    assert alarms(found[25_000:]) < alarms(found[:25_000]) <= 15


@pytest.mark.parametrize("times", [[START] * 300, START - MINUTE * np.arange(300)])
def test_time_may_stand_still_or_go_back(times: list[float] | F64) -> None:
    values = np.random.default_rng(4).normal(size=300)
    values[-1] = 1000.0
    assert scores(values, np.asarray(times))[-1] >= novelty.ENTER


def healthy(seed: int, rows: int, apart_s: float) -> tuple[F64, F64]:
    """AR(1) noise of size 1 on a daily wave of size 3."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=rows)
    for row in range(1, rows):
        noise[row] = 0.9 * noise[row - 1] + math.sqrt(1.0 - 0.9**2) * noise[row]
    times = START + random.random() * 86_400_000.0 + 1000.0 * apart_s * np.arange(float(rows))
    wave: F64 = 3.0 * np.sin(times * (2.0 * math.pi / 86_400_000.0))
    return noise + wave, times


def test_a_healthy_series_with_a_reading_a_second_alarms_less_than_once_a_week() -> None:
    # 100 series of 3,000 s are half a week.
    assert sum(alarms(scores(*healthy(seed, 3000, 1.0))) for seed in range(100)) == 0


@pytest.mark.parametrize("apart_s", [1.0, 10.0, 60.0, 300.0])
def test_a_spike_far_outside_alarms_however_often_a_device_sends(apart_s: float) -> None:
    values, times = healthy(7, 3000, apart_s)
    values[-1] += 20.0
    assert scores(values, times)[-1] >= novelty.ENTER


def test_readings_as_far_apart_as_apart_s_are_all_judged_by_the_threshold() -> None:
    values = walk(0, 2000)
    times = START + 5 * MINUTE * np.arange(2000)
    slower = START + 20 * MINUTE * np.arange(2000)
    shares = [alarms(scores(values, when)) for when in (times, slower)]
    assert shares[0] > 0
    assert abs(shares[0] - shares[1]) <= 2
    assert alarms(scores(values, START + 1000.0 * np.arange(2000))) < shares[0]


def test_an_alarm_is_explained_by_what_was_expected() -> None:
    state = np.zeros(novelty.FIELDS)
    for row in range(1000):
        novelty.step(state, PARAM, 20.0 + (-1.0) ** row, START + 5 * MINUTE * row)
    novelty.step(state, PARAM, 90.0, START + 5 * MINUTE * 1000)
    explained = novelty.explain(state, PARAM, 90.0)
    assert explained["expected"] == pytest.approx(20.0, abs=5.0)
    assert 0.5 < explained["usual_distance"] < 2.0


@given(st.floats(0.0, 1e300), st.floats(0.0, 1e300))
def test_confidence_lies_between_0_and_1_and_grows_with_the_score(one: float, two: float) -> None:
    less, more = sorted((one, two))
    assert 0.0 <= novelty.confidence(less) <= novelty.confidence(more) <= 1.0


def test_confidence_is_continuous_at_the_threshold() -> None:
    assert novelty.confidence(math.nextafter(1.0, 0.0)) == pytest.approx(novelty.confidence(1.0))


def test_state_and_parameters_are_as_many_as_declared() -> None:
    assert tuple(novelty.DEFAULTS) == novelty.PARAMS
    assert novelty.FIELDS <= 40
