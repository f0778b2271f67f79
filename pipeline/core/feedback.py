"""What service orders say of our events moves thresholds, within bounds, and can be taken back.

    factor = (1 + step) ^ (false alarms - confirmed),  kept in [least, most]

counted per (detector, metric) over the outcomes that stand: of each event the last one told,
and none of those withdrawn. The enter and leave thresholds of that detector's lanes are
multiplied by the factor. It is a count and not a walk, so neither the order of outcomes nor a
repetition matters, and an outcome taken back leaves exactly the factors there were without it.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipeline.core.rules import FeedbackRule, MetricRule, Rules

    Factors = Mapping[tuple[str, str], float]
    """By (detector, metric); one that is not there is 1."""


class Verdict(StrEnum):
    """What came of an event."""

    CONFIRMED = "confirmed"
    FALSE_ALARM = "false_alarm"
    WITHDRAWN = "withdrawn"
    """What was told before about the event does not stand any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What somebody told about one event; `detector`, `metric` and `tenant` are the event's."""

    event_id: str
    detector: str
    metric: str
    tenant: str
    outcome: Verdict
    who: str
    why: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An outcome and its place in the log of all outcomes."""

    offset: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Span:
    """Places in the log from `start` up to and without `end`."""

    start: int
    end: int

    def __contains__(self, offset: int) -> bool:
        return self.start <= offset < self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One factor that moved, and the counts that moved it."""

    detector: str
    metric: str
    before: float
    after: float
    confirmed: int
    false_alarms: int


def counted(log: Iterable[Told], set_aside: Sequence[Span] = ()) -> list[Outcome]:
    """Outcomes in the order of the log, without those in spans that were set aside.

    A revert of the rules sets aside what was told since the version it goes back to.
    """
    return [
        told.outcome
        for told in sorted(log, key=lambda told: told.offset)
        if not any(told.offset in span for span in set_aside)
    ]


def standing(outcomes: Iterable[Outcome]) -> dict[str, Outcome]:
    """The outcome that stands, by event id: the last one told, if that is not a withdrawal."""
    last = {outcome.event_id: outcome for outcome in outcomes}
    return {
        event_id: outcome
        for event_id, outcome in last.items()
        if outcome.outcome is not Verdict.WITHDRAWN
    }


def learn(
    factors: Factors, outcomes: Iterable[Outcome], rule: FeedbackRule | None
) -> tuple[dict[tuple[str, str], float], tuple[Change, ...]]:
    """Factors by `outcomes` (all there are, oldest first), and what differs from `factors`.

    Factors of 1 are left out. Without a `rule` all are 1.
    """
    tally: Counter[tuple[str, str, Verdict]] = Counter(
        (told.detector, told.metric, told.outcome) for told in standing(outcomes).values()
    )

    def counts(pair: tuple[str, str]) -> tuple[int, int]:
        return tally[*pair, Verdict.CONFIRMED], tally[*pair, Verdict.FALSE_ALARM]

    pairs = sorted({(detector, metric) for detector, metric, _ in tally} | factors.keys())
    new = {
        pair: factor
        for pair in pairs
        if rule is not None and (factor := _factor(*counts(pair), rule)) != 1.0
    }
    changes = []
    for pair in pairs:
        before, after = factors.get(pair, 1.0), new.get(pair, 1.0)
        if before != after:
            confirmed, false_alarms = counts(pair)
            changes.append(
                Change(
                    detector=pair[0],
                    metric=pair[1],
                    before=before,
                    after=after,
                    confirmed=confirmed,
                    false_alarms=false_alarms,
                )
            )
    return new, tuple(changes)


def _factor(confirmed: int, false_alarms: int, rule: FeedbackRule) -> float:
    # No power is taken beyond what reaches a bound: it could overflow.
    furthest = max(math.log(rule.most), -math.log(rule.least)) / math.log1p(rule.step)
    steps = math.ceil(furthest) + 1
    power = min(max(false_alarms - confirmed, -steps), steps)
    return min(max((1.0 + rule.step) ** power, rule.least), rule.most)


def movable(rules: Rules, detector: str, metric: str) -> bool:
    """Whether a factor could move anything.

    A detector that has no lanes (silent, geofence) has no thresholds, and one whose lanes all
    enter at 0 alarms by its parameters: a limit that a person set is that person's to change.
    """

    def moves(metric_rule: MetricRule) -> bool:
        rule = metric_rule.of(detector)
        return rule is not None and any(lane.enter for lane in rule.lanes)

    return moves(rules.of(metric)) or any(
        moves(override.rule) for override in rules.overrides if fnmatchcase(metric, override.metric)
    )
