"""What the reconciler shows to a scraper: totals by sink, and by tenant for the greatest ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.core.balance import OUTCOMES
from pipeline.core.fates import ALL, EVERY_PARTITION, StageLine
from pipeline.core.reconcile import Kind
from pipeline.ops.metrics import Metric, Sample
from pipeline.ops.reconcile_fold import is_fanout, sink_of
from pipeline.ops.reconcile_lines import is_total

TENANTS_SHOWN = 50
"""Tenants of a sink with series of their own, those with most events first."""
_PLACES = ("accepted", *OUTCOMES, "waiting")


@dataclass(slots=True)
class Figures:
    """The newest figures. Times are Unix seconds; `behind` is None until the first look."""

    lines: Sequence[StageLine] = ()
    oldest_s: Mapping[str, float | None] = field(default_factory=dict)
    reconciled_s: dict[str, float | None] = field(default_factory=dict)
    mismatches: Mapping[tuple[str, Kind], int] = field(default_factory=dict)
    behind: int | None = None
    unreadable: int = 0

    def metrics(self, now_s: float) -> list[Metric]:
        """All of them, as they are now."""
        totals = [line for line in self.lines if is_total(line)]
        sinks = [line for line in totals if not is_fanout(line.sink)]
        tenants = [line for name in sinks for line in _greatest(self.lines, name.sink)]
        return [
            _gauge(
                "fieldline_balance",
                "Events of a sink by where they are.",
                (
                    (getattr(line, place), {"sink": line.sink, "place": place})
                    for line in sinks
                    for place in _PLACES
                ),
            ),
            _gauge(
                "fieldline_balance_tenant",
                f"The same by tenant, for the {TENANTS_SHOWN} greatest of each sink.",
                (
                    (
                        getattr(line, place),
                        {"sink": line.sink, "tenant": line.tenant, "place": place},
                    )
                    for line in tenants
                    for place in _PLACES
                ),
            ),
            _gauge(
                "fieldline_balance_missing",
                "Accepted minus all places: 0 when the balance closes.",
                ((line.missing, _of(line)) for line in totals),
            ),
            _gauge(
                "fieldline_parked",
                "Of the waiting: in the worker's table.",
                ((line.parked, {"sink": line.sink}) for line in sinks),
            ),
            _gauge(
                "fieldline_dead_letters_open",
                "Events that a person must decide about.",
                ((line.dead_lettered, {"sink": line.sink}) for line in sinks),
            ),
            _gauge(
                "fieldline_oldest_waiting_seconds",
                "Age of the event that waits longest; 0 where none waits.",
                (
                    (0.0 if at is None else max(0.0, now_s - at), {"sink": sink})
                    for sink, at in self.oldest_s.items()
                ),
            ),
            _gauge(
                "fieldline_reconcile_age_seconds",
                "Since the last whole comparison with the target; +Inf where there was none.",
                (
                    (float("inf") if at is None else max(0.0, now_s - at), {"sink": sink})
                    for sink, at in self.reconciled_s.items()
                ),
            ),
            _gauge(
                "fieldline_mismatches",
                "Open mismatches by kind: fieldline review list.",
                (
                    (self.mismatches.get((line.sink, kind), 0), {**_of(line), "kind": kind.value})
                    for line in totals
                    for kind in Kind
                    if kind is Kind.BALANCE or not is_fanout(line.sink)
                ),
            ),
            _gauge(
                "fieldline_books_behind",
                "Messages that the books have not read, about; -1 before the first look.",
                [(-1 if self.behind is None else self.behind, {})],
            ),
            Metric(
                "fieldline_books_unreadable_total",
                "counter",
                "Messages that the books could not read, since the start.",
                [Sample(self.unreadable)],
            ),
        ]


def _gauge(name: str, about: str, values: Iterable[tuple[float, Mapping[str, str]]]) -> Metric:
    return Metric(name, "gauge", about, [Sample(value, labels) for value, labels in values])


def _greatest(lines: Sequence[StageLine], sink: str) -> list[StageLine]:
    found = [
        line
        for line in lines
        if line.sink == sink and line.tenant != ALL and line.partition == EVERY_PARTITION
    ]
    return sorted(found, key=lambda line: (-line.accepted, line.tenant))[:TENANTS_SHOWN]


def _of(line: StageLine) -> dict[str, str]:
    stage = "fanout" if is_fanout(line.sink) else "deliver"
    return {"sink": sink_of(line.sink), "stage": stage}
