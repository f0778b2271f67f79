"""What a run showed, for a person and as JSON."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.crash.checker import Finding, Flaw
from tests.crash.pauses import GOALS_S, pauses_s
from tests.crash.plan import Kind
from tests.crash.runner import Outcome

SHOWN: Final = 12
"""Findings told in full on the screen; the JSON has more."""
KEPT: Final = 1_000
OUTSIDE: Final = "before, after or unknown"


def kinds(outcome: Outcome) -> list[dict[str, Any]]:
    """One row per kind of fault, then what is about no round, then the total.

    A finding belongs to the round in which its message was sent. `pause_s` takes the worst
    partition of each round whose pause is its own.
    """
    flaws: dict[str, Counter[Flaw]] = {}
    for finding in outcome.findings:
        flaws.setdefault(_kind_of(outcome, finding), Counter())[finding.flaw] += finding.count
    rows = []
    for kind in Kind:
        rounds = [r for r in outcome.rounds if r.fault.kind is kind]
        if rounds:
            row = _row(kind, len(rounds), flaws.get(kind, Counter()))
            rows.append(row | _pause(outcome, kind) | {"goal_s": GOALS_S.get(kind)})
    if OUTSIDE in flaws:
        rows.append(_row(OUTSIDE, 0, flaws[OUTSIDE]))
    total: Counter[Flaw] = sum(flaws.values(), Counter())
    return [*rows, _row("all", len(outcome.rounds), total)]


def _row(kind: str, rounds: int, flaws: Counter[Flaw]) -> dict[str, Any]:
    counts = {flaw.value.replace(" ", "_"): flaws[flaw] for flaw in Flaw}
    return {"kind": str(kind), "rounds": rounds, **counts}


def _kind_of(outcome: Outcome, finding: Finding) -> str:
    sent_ms = outcome.logged_ms.get(finding.place) if finding.place else None
    if sent_ms is not None:
        begun = [r for r in outcome.rounds if r.begun_ms <= sent_ms]
        if begun:
            return str(begun[-1].fault.kind)
    return OUTSIDE


def _pause(outcome: Outcome, kind: Kind) -> dict[str, Any]:
    measured = [
        max(pauses_s(r, outcome.fresh_ms).values(), default=0.0)
        for r in outcome.rounds
        if r.fault.kind is kind and r.flows and outcome.plan.measured(r.fault.number)
    ]
    if not measured:
        return {"measured": 0, "median_s": None, "worst_s": None}
    return {
        "measured": len(measured),
        "median_s": round(statistics.median(measured), 2),
        "worst_s": round(max(measured), 2),
    }


def show(outcome: Outcome, console: Console) -> None:
    """The table, what it rests on, and the first findings."""
    table = Table(title=f"Crash suite, seed {outcome.plan.seed}", title_justify="left")
    table.add_column("kind of fault")
    for name in ("rounds", *(flaw.value for flaw in Flaw), "median s", "worst s", "goal s"):
        table.add_column(name, justify="right")
    for row in kinds(outcome):
        table.add_row(*_cells(row), end_section=row["kind"] in {OUTSIDE, Kind.LOST_STATE.value})
    console.print(table)
    verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in outcome.verdicts.items())
    console.print(
        f"{outcome.samples:,} samples acknowledged in {outcome.messages:,} messages ({verdicts}); "
        f"{outcome.events:,} events; {outcome.sent_again:,} messages sent again, "
        f"{outcome.repeated:,} outputs repeated after crashes; {outcome.commits:,} commits looked "
        f"at; {outcome.seconds:.0f} s."
    )
    for why, count in outcome.restarts.most_common():
        console.print(f"Workers restarted {count} times: {why}.", markup=False)
    for finding in outcome.findings[:SHOWN]:
        console.print(f"{finding.flaw}: {_told(finding)}", markup=False, style="red")
    if more := len(outcome.findings) - SHOWN:
        console.print(f"and {more} more" if more > 0 else "", style="red")
    for text in (*outcome.stalled, *outcome.unproven):
        console.print(text, markup=False, style="red")


def _cells(row: dict[str, Any]) -> Iterable[str]:
    yield row["kind"]
    yield str(row["rounds"]) if row["rounds"] else ""
    for flaw in Flaw:
        count = row[flaw.value.replace(" ", "_")]
        yield f"[bold red]{count:,}[/]" if count else "0"
    goal = row.get("goal_s")
    for name in ("median_s", "worst_s"):
        seconds = row.get(name)
        missed = goal is not None and seconds is not None and seconds > goal
        yield "" if seconds is None else f"[yellow]{seconds:.1f}[/]" if missed else f"{seconds:.1f}"
    yield "" if goal is None else f"{goal:.0f}"


def _told(finding: Finding) -> str:
    where = f" (readings {finding.place[0]}/{finding.place[1]})" if finding.place else ""
    return f"{finding.count}{where} {finding.text}"


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The same as data. `pauses_s` is by partition; `measured` says whether it counts."""
    return {
        "ok": outcome.ok,
        "seed": outcome.plan.seed,
        "seconds": round(outcome.seconds, 1),
        "kinds": kinds(outcome),
        "rounds": [
            {
                "number": r.fault.number,
                "kind": r.fault.kind.value,
                "worker": r.fault.worker,
                "lasted_s": (r.ended_ms - r.struck_ms) / 1000,
                "wait": r.fault.wait.value,
                "flows": r.flows,
                "measured": outcome.plan.measured(r.fault.number),
                "struck_ms": r.struck_ms,
                "pauses_s": {
                    str(p): round(s, 3) for p, s in sorted(pauses_s(r, outcome.fresh_ms).items())
                },
            }
            for r in outcome.rounds
        ],
        "samples": outcome.samples,
        "messages": outcome.messages,
        "verdicts": {verdict.value: n for verdict, n in outcome.verdicts.items()},
        "events": outcome.events,
        "sent_again": outcome.sent_again,
        "outputs_repeated": outcome.repeated,
        "commits": outcome.commits,
        "restarts": dict(outcome.restarts),
        "stalled": outcome.stalled,
        "unproven": outcome.unproven,
        "findings": [f"{f.flaw}: {_told(f)}" for f in outcome.findings[:KEPT]],
    }


def save(outcome: Outcome, path: Path) -> None:
    """Write the JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_json(outcome), indent=2) + "\n", encoding="utf-8")
