"""What a run of the lake's crash suite showed, for a person and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.crash.lake_check import Finding, Flaw, total
from tests.crash.lake_plan import Kind
from tests.crash.lake_runner import Outcome

SHOWN: Final = 12
"""Findings told in full on the screen; the JSON has more."""
KEPT: Final = 1_000
OUTSIDE: Final = "of no round"
_ROWS: Final = (Flaw.LOST, Flaw.DOUBLED, Flaw.WRONG)


def kinds(outcome: Outcome) -> list[dict[str, Any]]:
    """One row for each kind of fault, then what is about no round, then the total.

    A finding belongs to the round in which its message was sent.
    """
    flaws: dict[str, Counter[Flaw]] = {}
    for finding in outcome.findings:
        flaws.setdefault(_kind_of(outcome, finding), Counter())[finding.flaw] += finding.count
    out = []
    for kind in Kind:
        rounds = [r for r in outcome.rounds if r.fault.kind is kind]
        if rounds:
            worst = max(r.back_s for r in rounds)
            out.append(_row(kind.value, len(rounds), flaws.get(kind.value)) | {"worst_s": worst})
    if OUTSIDE in flaws:
        out.append(_row(OUTSIDE, 0, flaws[OUTSIDE]))
    return [*out, _row("all", len(outcome.rounds), Counter(total(outcome.findings)))]


def _row(kind: str, rounds: int, flaws: Counter[Flaw] | None) -> dict[str, Any]:
    counts = {flaw.value: (flaws or Counter())[flaw] for flaw in Flaw}
    return {"kind": kind, "rounds": rounds, "worst_s": None, **counts}


def _kind_of(outcome: Outcome, finding: Finding) -> str:
    sent_ms = outcome.sent_at_ms.get(finding.place) if finding.place else None
    if sent_ms is not None:
        begun = [r for r in outcome.rounds if r.begun_ms <= sent_ms]
        if begun:
            return begun[-1].fault.kind.value
    return OUTSIDE


def show(outcome: Outcome, console: Console) -> None:
    """Faults by kind with what they broke, rows by dataset and reader, and the first findings."""
    faults = Table(title=f"Lake crash suite, seed {outcome.plan.seed}", title_justify="left")
    faults.add_column("kind of fault")
    for name in ("rounds", *(flaw.value for flaw in Flaw), "worst s"):
        faults.add_column(name, justify="right")
    for row in kinds(outcome):
        numbers = [f"[bold red]{row[f.value]:,}[/]" if row[f.value] else "0" for f in Flaw]
        worst = "" if row["worst_s"] is None else f"{row['worst_s']:.1f}"
        faults.add_row(row["kind"], str(row["rounds"] or ""), *numbers, worst)
    console.print(faults)
    rows = Table(title="Rows, by who counts them", title_justify="left")
    rows.add_column("dataset")
    names = list(dict.fromkeys(name for counts in outcome.rows.values() for name in counts))
    for name in (*names, *next(iter(outcome.counts.values()), {})):
        rows.add_column(name, justify="right")
    for dataset, counts in outcome.rows.items():
        numbers = [f"{n:,}" for n in (*counts.values(), *outcome.counts[dataset].values())]
        rows.add_row(dataset, *numbers)
    console.print(rows)
    struck = ", ".join(f"{n:,} {how}" for how, n in outcome.struck.items())
    made = ", ".join(f"{n:,} times {what}" for what, n in outcome.made.items())
    console.print(f"Requests spoilt: {struck or 'none'}.", markup=False)
    console.print(f"{outcome.sent:,} messages; {made}; {outcome.seconds:.0f} s.", markup=False)
    if outcome.sabotage:
        console.print(f"Spoilt by hand and looked at again: {', '.join(outcome.sabotage)}.")
    for why, count in outcome.restarts.most_common():
        console.print(f"Workers restarted {count} times: {why}.", markup=False)
    for finding in outcome.findings[:SHOWN]:
        console.print(_told(finding), markup=False, style="red")
    if (more := len(outcome.findings) - SHOWN) > 0:
        console.print(f"and {more} more", style="red")
    for text in (*outcome.stalled, *outcome.unproven):
        console.print(text, markup=False, style="red")


def _told(finding: Finding) -> str:
    where = "{}/{}/{}".format(*finding.place) if finding.place else ""
    return (
        f"{finding.flaw}: {finding.count} {finding.dataset} by {finding.by} {where} {finding.text}"
    )


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The same as data."""
    return {
        "ok": outcome.ok,
        "seed": outcome.plan.seed,
        "seconds": round(outcome.seconds, 1),
        "kinds": kinds(outcome),
        "flaws": {flaw.value: total(outcome.findings).get(flaw, 0) for flaw in Flaw},
        "rounds": [
            {
                "number": r.fault.number,
                "kind": r.fault.kind.value,
                "worker": r.fault.worker,
                "step": [str(part) for part in r.fault.step or ()],
                "hit": r.hit,
                "struck_s": round(r.struck_s, 2),
                "back_s": round(r.back_s, 2),
                "flows": r.flows,
            }
            for r in outcome.rounds
        ],
        "rows": outcome.rows,
        "counts": outcome.counts,
        "struck": outcome.struck,
        "made": outcome.made,
        "sabotage": outcome.sabotage,
        "restarts": dict(outcome.restarts),
        "stalled": outcome.stalled,
        "unproven": outcome.unproven,
        "findings": [_told(finding) for finding in outcome.findings[:KEPT]],
    }


def save(outcome: Outcome, path: Path) -> None:
    """Write the JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_json(outcome), indent=2) + "\n", encoding="utf-8")
