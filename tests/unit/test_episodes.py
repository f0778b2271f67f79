from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.episodes import (
    LANES_OF_GROUP,
    Episodes,
    Score,
    fresh,
    hysteresis,
    lane_scores,
    lanes_to_raise,
    limit_summary,
    opened,
    score_summary,
)
from pipeline.core.rules import GROUPS, LANES
from pipeline.state.rules_file import load

if TYPE_CHECKING:
    from collections.abc import Iterable

RULES = load(Path("infra/config/rules.yaml"))
METRICS = ("a", "b", "c", "d")
COLUMNS = RULES.columns(METRICS)
INFO, WARNING, CRITICAL = range(3)


def feed(now: Episodes, zscores: Iterable[list[float]], limits: float = -np.inf) -> list[list[int]]:
    """Lanes raised at each sample; they are noted as open under an id of their own."""
    raised = []
    for z in zscores:
        scores = lane_scores(np.array(z), np.full(len(z), limits))
        now.streak, now.active = hysteresis(now.streak, now.active, scores, COLUMNS)
        lanes = lanes_to_raise(now, warm=4, agree=RULES.agree, cool_down=RULES.cool_down)
        for lane in lanes:
            opened(now, lane, f"event-{LANES[lane].severity.value}")
        raised.append(lanes)
    return raised


def flat(raised: list[list[int]]) -> list[int]:
    return [lane for lanes in raised for lane in lanes]


def test_a_metric_enters_only_after_enough_samples_in_a_row() -> None:
    over, under = [9.0, 0, 0, 0], [0.0] * 4
    now = fresh(4)
    assert flat(feed(now, [over, over, over, over, under] * 5)) == []
    assert feed(now, [over] * 5) == [[], [], [], [], [INFO]]


def test_three_agreeing_metrics_raise_the_warning_and_others_join_silently() -> None:
    now = fresh(4)
    assert flat(feed(now, [[9.0, 0, 0, 0]] * 10)) == [INFO]
    assert flat(feed(now, [[9.0, -9, 9, 0]] * 10)) == [WARNING]
    assert flat(feed(now, [[9.0, 9, 9, 9]] * 50)) == []


def test_a_clear_start_raises_only_the_graver_event() -> None:
    assert flat(feed(fresh(4), [[9.0] * 4] * 50)) == [WARNING]


def test_a_score_between_the_thresholds_keeps_the_episode_and_starts_none() -> None:
    between = [4.0] * 4
    assert flat(feed(fresh(4), [between] * 50)) == []
    now = fresh(4)
    feed(now, [[9.0] * 4] * 10)
    feed(now, [between] * 500)
    assert now.level[GROUPS.index("zscore")] == 2


def test_an_episode_ends_after_the_cool_down_and_what_comes_sooner_belongs_to_it() -> None:
    over, under = [9.0] * 4, [0.0] * 4
    now = fresh(4)
    feed(now, [over] * 10)
    assert flat(feed(now, [under] * 40 + [over] * 10)) == []
    assert now.correlation_id == "event-warning"
    feed(now, [under] * (RULES.cool_down + 20))
    assert (now.level, now.correlation_id) == ([0, 0], "")
    assert flat(feed(now, [over] * 10)) == [WARNING]


def test_a_limit_breach_is_an_episode_of_its_own_with_the_same_correlation() -> None:
    now = fresh(4)
    feed(now, [[9.0] * 4] * 10)
    assert flat(feed(now, [[9.0] * 4] * 10, limits=0.5)) == [CRITICAL]
    assert now.correlation_id == "event-warning"


def test_a_device_with_few_metrics_needs_all_of_them() -> None:
    now = fresh(2)
    columns = RULES.columns(METRICS[:2])
    raised = []
    for z in [[9.0, 0]] * 10 + [[9.0, 9.0]] * 10:
        scores = lane_scores(np.array(z), np.full(2, -np.inf))
        now.streak, now.active = hysteresis(now.streak, now.active, scores, columns)
        lanes = lanes_to_raise(now, warm=2, agree=RULES.agree, cool_down=RULES.cool_down)
        for lane in lanes:
            opened(now, lane, "id")
        raised += lanes
    assert raised == [INFO, WARNING]


def test_a_lane_that_is_off_is_never_entered() -> None:
    defaults = replace(RULES.defaults, info=replace(RULES.defaults.info, enter=np.inf))
    columns = replace(RULES, defaults=defaults, metrics={}).columns(METRICS)
    scores = lane_scores(np.full(4, 1e9), np.full(4, -np.inf))
    now = fresh(4)
    for _ in range(20):
        now.streak, now.active = hysteresis(now.streak, now.active, scores, columns)
    assert not now.active[INFO].any()
    assert now.active[WARNING].all()


def test_idle_means_that_nothing_is_open_or_under_way() -> None:
    now = fresh(4)
    feed(now, [[9.0, 0, 0, 0]])
    now.settle()
    assert not now.idle
    feed(now, [[0.0] * 4])
    now.settle()
    assert now.idle


def test_growing_keeps_what_is_known() -> None:
    now = fresh(4)
    feed(now, [[9.0, 0, 0, 0]] * 7)
    copy = now.copy()
    assert copy == now
    now.grow(6)
    assert now.streak.shape == now.active.shape == (len(LANES), 6)
    assert (now.active[:, :4] == copy.active).all()
    assert copy != now


def test_every_lane_is_in_one_group_and_severities_rise_within_it() -> None:
    assert sorted(lane for lanes in LANES_OF_GROUP for lane in lanes) == list(range(len(LANES)))
    order = ["info", "warning", "critical"]
    for lanes in LANES_OF_GROUP:
        ranks = [order.index(LANES[lane].severity.value) for lane in lanes]
        assert ranks == sorted(set(ranks))


def test_summaries_are_one_line_for_a_person() -> None:
    score = Score(baseline=1586.9, level=1604.2, zscore=8.1)
    assert score_summary("T30", RULES.of("T30"), score) == (
        "HPC outlet temperature T30 8.1 deviations above its baseline (1604.2, baseline 1586.9 °R)"
    )
    assert limit_summary("P30", RULES.of("P30"), 551.2) == (
        "HPC outlet pressure P30 at or below its limit of 551.7 psia (551.2)"
    )
    nasty = score_summary("x\r\ny\x1b[31m" + "z" * 500, RULES.defaults, score)
    assert nasty.isprintable()
    assert len(nasty) < 200
