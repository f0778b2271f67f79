"""Downtime and first-time-fix against plain Python that looks at every minute and every pair."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.marts_world import at, event, mart, parameters

LAST = 60
"""Examples lie in minutes 0 to LAST."""


@dataclass(frozen=True)
class Told:
    """An alarm as the oracle sees it; `clear` None is open."""

    id: str
    tenant: str
    asset: str
    metric: str
    severity: str
    disposition: str
    raised: int
    graver: int | None
    clear: int | None

    @property
    def critical(self) -> int | None:
        return self.raised if self.severity == "critical" else self.graver

    def rows(self) -> list[Any]:
        own = {
            "tenant": self.tenant,
            "device_id": f"{self.tenant}/d",
            "asset_id": self.asset,
            "metric": self.metric,
            "disposition": self.disposition,
        }
        out = [event(self.id, self.raised, severity=self.severity, **own)]
        if self.graver is not None:
            out.append(event(self.id, self.graver, "update", **own))
        if self.clear is not None:
            out.append(event(self.id, self.clear, "clear", severity=self.severity, **own))
        return out


MINUTES = st.integers(0, LAST)


@st.composite
def alarms(draw: st.DrawFn) -> list[Told]:
    return [
        Told(
            id=f"e{n}",
            tenant=draw(st.sampled_from(["acme", "bolt"])),
            asset=draw(st.sampled_from(["A-1", "A-2"])),
            metric=draw(st.sampled_from(["T50", "P2"])),
            severity=draw(st.sampled_from(["critical", "critical", "warning", "info"])),
            disposition=draw(st.sampled_from(["deliver", "deliver", "suppressed", "review"])),
            raised=draw(MINUTES),
            graver=draw(st.none() | MINUTES),
            clear=draw(st.none() | MINUTES),
        )
        for n in range(draw(st.integers(0, 8)))
    ]


@given(alarms(), MINUTES, st.tuples(MINUTES, MINUTES).map(sorted), st.randoms())
@settings(max_examples=60, deadline=None)
def test_downtime_is_the_minutes_in_which_any_alarm_is_on(
    told: list[Told], now: int, window: list[int], random: Random
) -> None:
    since, until = window
    down: dict[tuple[str, str], set[int]] = {}
    still: dict[tuple[str, str], set[int]] = {}
    for one in told:
        if one.disposition == "review" or one.critical is None:
            continue
        end = now if one.clear is None else one.clear
        minutes = set(range(max(one.critical, since), min(end, until)))
        down.setdefault((one.tenant, one.asset), set()).update(minutes)
        if one.clear is None:
            still.setdefault((one.tenant, one.asset), set()).update(minutes)
    events = [row for one in told for row in one.rows()]
    random.shuffle(events)
    asked = parameters(as_of=at(now), from_time=at(since), to_time=at(until))
    rows = mart("downtime_by_asset", events=events, asked=asked)
    found = {(row["tenant"], row["asset"]): row["downtime_s"] / 60 for row in rows}
    assert {key: value for key, value in found.items() if value} == {
        key: len(minutes) for key, minutes in down.items() if minutes
    }
    opened = {(row["tenant"], row["asset"]): row["open_s"] / 60 for row in rows}
    assert {key: value for key, value in opened.items() if value} == {
        key: len(minutes) for key, minutes in still.items() if minutes
    }


@given(alarms(), st.integers(0, LAST), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_clear_held_where_no_pair_of_it_and_a_raise_lies_within_the_days(
    told: list[Told], as_of: int, fix_days: int
) -> None:
    # A minute of the examples is a quarter of a day here.
    quarter = 6 * 60
    verdicts: Counter[tuple[str, ...]] = Counter()
    real = [one for one in told if one.disposition != "review"]
    for one in real:
        if one.clear is None or one.severity == "info":
            continue
        fixed = max(one.clear, one.raised)
        again = any(
            (other.tenant, other.asset, other.metric) == (one.tenant, one.asset, one.metric)
            and fixed < other.raised <= fixed + 4 * fix_days
            for other in real
        )
        early = as_of < fixed + 4 * fix_days
        verdict = "came_back" if again else "undecided" if early else "held"
        verdicts[one.tenant, one.asset, one.metric, verdict] += 1
    events = [
        row | {"occurred_at": scaled, "observed_at": scaled}
        for one in told
        for row in one.rows()
        for scaled in [at((row["occurred_at"] - at(0)).total_seconds() / 60 * quarter)]
    ]
    asked = parameters(
        as_of=at(as_of * quarter), to_time=at((LAST + 1) * quarter), fix_days=fix_days
    )
    found = Counter({
        (row["tenant"], row["asset"], row["metric"], verdict): row[verdict]
        for row in mart("first_time_fix", events=events, asked=asked)
        for verdict in ("held", "came_back", "undecided")
    })  # fmt: skip
    assert +found == verdicts
