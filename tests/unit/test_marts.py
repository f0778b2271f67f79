"""The marts over tables made by hand: every expected number was worked out on paper."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.core.detectors.table import DETECTORS
from pipeline.core.feedback import Verdict
from pipeline.core.lake_columns import Flag
from pipeline.core.moments import DRIFT
from pipeline.core.release import STORM
from pipeline.ops import marts
from tests.unit.marts_world import (
    at,
    delivery,
    event,
    mart,
    parameters,
    reading,
    refused,
    told,
)

MINUTE = 60.0


def down(*events: Any, **more: Any) -> dict[str, tuple[float, float, int]]:  # noqa: ANN401 - rows
    """Of each asset: downtime and its open part in minutes, and periods."""
    return {
        row["asset"]: (row["downtime_s"] / MINUTE, row["open_s"] / MINUTE, row["periods"])
        for row in mart("downtime_by_asset", events=events, **more)
    }


def test_an_alarm_from_raise_to_clear_is_downtime() -> None:
    assert down(event("a", 0), event("a", 25, "clear")) == {"A-1": (25, 0, 1)}


def test_overlapping_alarms_of_an_asset_count_once_and_a_gap_makes_two_periods() -> None:
    # 0-30 and 20-50 overlap, 50-60 touches: one period of 60. 70-75 is another.
    events = [
        *(event("a", 0), event("a", 30, "clear")),
        *(event("b", 20), event("b", 50, "clear")),
        *(event("c", 50), event("c", 60, "clear")),
        *(event("d", 70), event("d", 75, "clear")),
    ]
    assert down(*events) == {"A-1": (65, 0, 2)}


def test_an_alarm_within_a_longer_one_adds_nothing() -> None:
    events = [
        *(event("a", 0), event("a", 100, "clear")),
        *(event("b", 10), event("b", 20, "clear")),
        *(event("c", 90), event("c", 95, "clear")),
    ]
    assert down(*events) == {"A-1": (100, 0, 1)}


def test_an_open_alarm_lasts_until_now_and_its_part_is_told_apart() -> None:
    # 0-30 closed, open from 20: 40 minutes in all at minute 40, 20 of them open.
    asked = parameters(as_of=at(40), to_time=at(40))
    events = [event("a", 0), event("a", 30, "clear"), event("b", 20)]
    assert down(*events, asked=asked) == {"A-1": (40, 20, 1)}
    [row] = mart("downtime_by_asset", events=events, asked=asked)
    assert (row["alarms"], row["open_alarms"], row["longest_s"]) == (2, 1, 40 * MINUTE)
    assert (row["first_down_at"], row["last_down_at"]) == (at(0), at(0))


def test_an_open_alarm_from_after_now_is_no_downtime() -> None:
    asked = parameters(as_of=at(40), to_time=at(90))
    assert down(event("a", 60), asked=asked) == {"A-1": (0, 0, 1)}


def test_a_clear_before_its_raise_by_the_clocks_is_no_negative_downtime() -> None:
    assert down(event("a", 10), event("a", 5, "clear")) == {"A-1": (0, 0, 1)}


def test_a_clear_without_a_raise_is_no_downtime() -> None:
    assert down(event("a", 10, "clear")) == {}


def test_two_raises_and_two_clears_of_one_alarm_are_one() -> None:
    events = [
        *(event("a", 0), event("a", 0)),
        *(event("a", 30, "clear"), event("a", 45, "clear")),
    ]
    assert down(*events) == {"A-1": (30, 0, 1)}
    [row] = mart("alarms_by_rule", events=events)
    assert (row["raised"], row["cleared"]) == (1, 1)


def test_downtime_begins_when_a_warning_is_made_critical() -> None:
    events = [
        event("a", 0, severity="warning"),
        event("a", 10, "update"),
        event("a", 30, "clear", severity="warning"),
    ]
    assert down(*events) == {"A-1": (20, 0, 1)}


def test_a_warning_alone_an_unsure_alarm_and_a_false_one_are_no_downtime() -> None:
    events = [
        event("a", 0, severity="warning"),
        event("b", 0, disposition="review"),
        event("c", 0),
        event("d", 0, detector=STORM, metric="asset"),
        event("e", 0, detector=DRIFT),
    ]
    assert down(*events, outcomes=[told("c", Verdict.FALSE_ALARM)]) == {}


def test_an_alarm_held_back_in_a_storm_is_downtime() -> None:
    events = [
        event("a", 0, disposition="suppressed"),
        event("a", 5, "clear", disposition="suppressed"),
    ]
    assert down(*events) == {"A-1": (5, 0, 1)}


def test_downtime_over_midnight_is_one_period() -> None:
    # T0 is noon: 700 to 760 minutes later is 23:40 to 00:40.
    assert down(event("a", 700), event("a", 760, "clear")) == {"A-1": (60, 0, 1)}


def test_downtime_is_cut_at_both_ends_of_the_window() -> None:
    asked = parameters(from_time=at(10), to_time=at(50))
    events = [
        *(event("a", 0), event("a", 20, "clear")),
        *(event("b", 40), event("b", 90, "clear")),
        *(event("c", 0), event("c", 10, "clear")),
        event("d", 50),
    ]
    assert down(*events, asked=asked) == {"A-1": (20, 0, 2)}


def test_a_device_that_is_not_registered_is_its_own_asset() -> None:
    events = [event("a", 0, asset_id=None), event("a", 10, "clear", asset_id="A-9")]
    assert down(*events) == {"acme/press-1": (10, 0, 1)}


def test_a_time_to_be_doubted_gives_way_to_the_arrival() -> None:
    # A clock in 1970 would make the asset down for 56 years.
    events = [
        event("a", 0, occurred_at=marts.BEGINNING, flag=Flag.PAST.value),
        event("a", 30, "clear"),
    ]
    assert down(*events) == {"A-1": (30, 0, 1)}
    [row] = mart("alarms", events=events)
    assert (row["detect_ms"], row["resolve_ms"]) == (None, None)
    [row] = mart("response_times", events=events)[:1]
    assert row["measure"] == "acknowledge"


def test_a_clear_with_a_time_to_be_doubted_ends_at_its_arrival_and_measures_nothing() -> None:
    events = [
        event("a", 0),
        event("a", 90_000, "clear", observed_at=at(30), flag=Flag.FUTURE.value),
    ]
    assert down(*events) == {"A-1": (30, 0, 1)}
    [row] = mart("alarms", events=events)
    assert (row["cleared_at"], row["resolve_ms"]) == (at(30), None)


def test_a_row_flagged_for_another_reason_keeps_its_time() -> None:
    events = [
        event("a", 0, observed_at=at(3), flag=Flag.UNKNOWN_WORD.value),
        event("a", 30, "clear"),
    ]
    assert down(*events) == {"A-1": (30, 0, 1)}


def test_assets_of_the_same_name_and_events_of_the_same_id_stay_with_their_tenant() -> None:
    events = [
        *(event("a", 0), event("a", 10, "clear")),
        event("a", 5, tenant="bolt", device_id="bolt/press-1"),
    ]
    rows = mart("downtime_by_asset", events=events, asked=parameters(as_of=at(8), to_time=at(99)))
    assert [(r["tenant"], r["downtime_s"], r["open_alarms"]) for r in rows] == [
        ("acme", 10 * MINUTE, 0),
        ("bolt", 3 * MINUTE, 1),
    ]


@pytest.mark.parametrize("model", [model.name for model in marts.models()])
def test_one_tenant_asked_for_sees_only_its_own(model: str) -> None:
    both: dict[str, Any] = {"events": [], "deliveries": [], "telemetry": [], "quarantine": []}
    for tenant in ("acme", "bolt"):
        own = {"tenant": tenant, "device_id": f"{tenant}/press-1"}
        both["events"] += [event(tenant, 0, **own), event(tenant, 5, "clear", **own)]
        both["deliveries"].append(delivery(tenant, 1, **own))
        both["telemetry"].append(reading(0, **own))
        both["quarantine"].append(refused(0, "not_json", device_id=own["device_id"]))
    every = mart(model, **both)
    assert {row["tenant"] for row in every} == {"acme", "bolt"}
    mine = mart(model, asked=parameters(tenant="bolt"), **both)
    assert mine == [row for row in every if row["tenant"] == "bolt"]


@pytest.mark.parametrize("model", [model.name for model in marts.models()])
def test_a_lake_with_no_data_has_no_rows(model: str) -> None:
    assert mart(model) == []


def test_every_alarm_has_one_outcome_and_shares_are_of_those_that_people_judged() -> None:
    events = [
        *(event("a", 0), event("a", 5, "update"), event("a", 9, "clear")),
        event("b", 1),
        *(event("c", 2, disposition="suppressed"), event("c", 3, "clear")),
        event("d", 3, disposition="review"),
        event("e", 4, disposition="postponed"),
        event("f", 5, "clear"),
        event("g", 6, metric="P2", severity="info"),
    ]
    outcomes = [
        told("a", Verdict.CONFIRMED),
        told("b", Verdict.FALSE_ALARM),
        told("c", Verdict.CONFIRMED),
        told("g", Verdict.FALSE_ALARM, tenant="bolt"),
    ]
    other, limit = mart("alarms_by_rule", events=events, outcomes=outcomes)
    assert limit == {
        "tenant": "acme",
        "rule": "default@3",
        "detector": "limit",
        "metric": "T50",
        "raised": 5,
        "critical": 5,
        "updated": 1,
        "cleared": 1,
        "still_open": 1,
        "suppressed": 1,
        "in_review": 1,
        "other": 1,
        "confirmed": 2,
        "false_alarms": 1,
        "false_alarm_share": pytest.approx(1 / 3),
    }
    # Another tenant's verdict of the same id says nothing here: unknown is null, not 0.
    assert (other["metric"], other["critical"], other["confirmed"]) == ("P2", 0, 0)
    assert other["false_alarm_share"] is None


def test_alarms_count_where_they_were_raised_at_the_window_s_start_but_not_its_end() -> None:
    events = [event("a", 9.99), event("b", 10), event("c", 20)]
    [row] = mart(
        "alarms_by_rule", events=events, asked=parameters(from_time=at(10), to_time=at(20))
    )
    assert row["raised"] == 1


def test_times_are_from_event_to_arrival_to_record_to_clear() -> None:
    events = [
        event("a", 0, observed_at=at(1)),
        event("a", 61, "clear"),
    ]
    deliveries = [
        delivery("a", 3, sink="salesforce"),
        delivery("a", 5),
        delivery("a", 2, "rejected", sink="webhook"),
        delivery("a", 2, tenant="bolt"),
    ]
    times = {r["measure"]: r for r in mart("response_times", events=events, deliveries=deliveries)}
    assert {name: row["mean_s"] for name, row in times.items()} == {
        "detect": 60,
        "acknowledge": 120,
        "resolve": 61 * 60,
    }
    assert all(row["alarms"] == 1 and row["unknown"] == 0 for row in times.values())


def test_mean_median_and_p90_by_nearest_rank() -> None:
    # 1, 2, …, 10 minutes and one still open: median is the 5th, p90 the 9th value.
    events = [event("open", 0)]
    for n in range(1, 11):
        events += [event(f"a{n}", 0), event(f"a{n}", n, "clear")]
    rows = {row["measure"]: row for row in mart("response_times", events=events)}
    resolve = rows["resolve"]
    assert (resolve["alarms"], resolve["unknown"]) == (10, 1)
    assert resolve["mean_s"] == pytest.approx(5.5 * 60)
    assert (resolve["median_s"], resolve["p90_s"], resolve["longest_s"]) == (300, 540, 600)
    nothing = rows["acknowledge"]
    assert (nothing["alarms"], nothing["unknown"], nothing["median_s"]) == (0, 11, None)


def test_times_that_a_clock_contradicts_are_unknown() -> None:
    events = [
        event("a", 10, observed_at=at(8)),
        event("a", 5, "clear"),
    ]
    rows = mart("response_times", events=events, deliveries=[delivery("a", 7)])
    assert [(row["measure"], row["alarms"], row["unknown"]) for row in rows] == [
        ("acknowledge", 0, 1),
        ("detect", 0, 1),
        ("resolve", 0, 1),
    ]


def fixed(*events: Any, **more: Any) -> tuple[int, int, int, float | None]:  # noqa: ANN401 - rows
    """Held, came back, undecided, share."""
    [row] = mart("first_time_fix", events=events, **more)
    assert row["cleared"] == row["held"] + row["came_back"] + row["undecided"]
    return row["held"], row["came_back"], row["undecided"], row["first_time_fix_share"]


DAY = 24 * 60


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        (11, (0, 1, 0, 0.0)),
        (10 + 7 * DAY, (0, 1, 0, 0.0)),
        (10 + 7 * DAY + 0.01, (1, 0, 0, 1.0)),
        (10, (1, 0, 0, 1.0)),
        (5, (1, 0, 0, 1.0)),
    ],
    ids=["after it", "on the last moment", "too late to count", "at the clear", "before it"],
)
def test_a_clear_came_back_where_the_same_is_raised_within_seven_days_after_it(
    again: float, expected: tuple[int, int, int, float]
) -> None:
    assert fixed(event("a", 0), event("a", 10, "clear"), event("b", again)) == expected


def test_until_the_days_are_over_a_clear_is_undecided_unless_it_came_back() -> None:
    early = parameters(as_of=at(10 + 7 * DAY - 1))
    events = [event("a", 0), event("a", 10, "clear")]
    assert fixed(*events, asked=early) == (0, 0, 1, None)
    assert fixed(*events, event("b", 20), asked=early) == (0, 1, 0, 0.0)
    assert fixed(*events, asked=parameters(as_of=at(10 + 7 * DAY))) == (1, 0, 0, 1.0)
    assert fixed(*events, asked=parameters(as_of=at(10 + 2 * DAY), fix_days=2)) == (1, 0, 0, 1.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"asset_id": "A-2"},
        {"metric": "P2"},
        {"detector": "zscore"},
        {"tenant": "bolt"},
        {"disposition": "review"},
    ],
)
def test_a_raise_of_something_else_is_no_return(changes: dict[str, str]) -> None:
    assert fixed(event("a", 0), event("a", 10, "clear"), event("b", 20, **changes))[0] == 1


def test_a_raise_called_false_is_no_return_and_one_of_other_rules_version_is() -> None:
    events = [event("a", 0), event("a", 10, "clear"), event("b", 20, rule="default@4")]
    assert fixed(*events)[1] == 1
    assert fixed(*events, outcomes=[told("b", Verdict.FALSE_ALARM)])[0] == 1


def test_a_clear_before_its_own_raise_did_not_come_back_by_that_raise() -> None:
    assert fixed(event("a", 10), event("a", 5, "clear"))[0] == 1


def test_an_info_that_is_over_is_no_repair() -> None:
    events = [event("a", 0, severity="info"), event("a", 10, "clear", severity="info")]
    assert mart("first_time_fix", events=events) == []


def test_alarms_told_by_a_detector_about_others_are_these() -> None:
    """The SQL names them: a detector that is renamed or new is to be thought about here."""
    sql = next(model.sql for model in marts.models() if model.name == "alarms")
    assert f"IN ('{STORM}', '{DRIFT}')" in sql
    assert not {STORM, DRIFT} & {detector.name for detector in DETECTORS}


def test_a_view_follows_the_lake_and_a_table_does_not() -> None:
    from tests.unit.marts_world import lake  # noqa: PLC0415 - used once

    connection = lake(events=[event("a", 0)])
    marts.install(connection, parameters())
    connection.execute("DELETE FROM events")
    assert marts.rows(connection, "alarms") == []
    kept = lake(events=[event("a", 0)])
    heard: list[str] = []
    marts.install(kept, parameters(), tables=True, progress=heard.append)
    kept.execute("DELETE FROM events")
    assert len(marts.rows(kept, "alarms")) == 1
    assert heard == [model.name for model in marts.models()]
