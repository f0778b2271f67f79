"""What a run showed, for a person and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.bench.report import host
from tests.faults.checker import Finding, Flaw
from tests.faults.plan import Kind
from tests.faults.runner import Outcome
from tests.faults.world import SINKS

SHOWN: Final = 12
"""Findings told in full on the screen; the JSON has more."""
KEPT: Final = 1_000
NONE: Final = "before the first fault"


def rows(outcome: Outcome) -> list[dict[str, Any]]:
    """One row per kind of fault, and what comes of none; flaws of all sinks together."""
    flaws: dict[Kind | None, Counter[Flaw]] = {}
    for finding in _all(outcome):
        flaws.setdefault(finding.kind, Counter())[finding.flaw] += 1
    struck = Counter(one.kind for one in outcome.struck)
    hits: Counter[Kind] = Counter()
    for one in outcome.struck:
        hits[one.kind] += one.hits
    out = []
    for kind in (*Kind, None):
        delays = outcome.delays_s.get(kind, [])
        if kind is None and None not in flaws and not delays:
            continue
        if kind is not None and not struck[kind]:
            continue
        out.append(
            {
                "kind": str(kind or NONE),
                "injected": 0 if kind is None else struck[kind],
                "hits": 0 if kind is None else hits[kind],
                **_counts(flaws.get(kind, Counter())),
                "longest_s": round(max(delays), 1) if delays else None,
            }
        )
    return out


def _all(outcome: Outcome) -> list[Finding]:
    return [finding for sink in SINKS for finding in outcome.findings.get(sink, ())]


def _counts(flaws: Counter[Flaw]) -> dict[str, int]:
    return {flaw.value.replace(" ", "_"): flaws[flaw] for flaw in Flaw}


def show(outcome: Outcome, console: Console) -> None:
    """The table, what it rests on, and the first findings."""
    plan = outcome.plan
    table = Table(title=f"Fault suite, seed {plan.seed}", title_justify="left")
    table.add_column("kind of fault")
    for name in ("injected", "requests", *(flaw.value for flaw in Flaw), "longest delay s"):
        table.add_column(name, justify="right")
    for row in rows(outcome):
        counts = [row[flaw.value.replace(" ", "_")] for flaw in Flaw]
        table.add_row(
            row["kind"],
            str(row["injected"] or ""),
            str(row["hits"] or ""),
            *(f"[bold red]{count:,}[/]" if count else "0" for count in counts),
            "" if row["longest_s"] is None else f"{row['longest_s']:.1f}",
        )
    total = Counter(finding.flaw for finding in _all(outcome))
    table.add_section()
    table.add_row(
        "all",
        str(len(outcome.struck)),
        str(outcome.hits),
        *(f"[bold red]{total[flaw]:,}[/]" if total[flaw] else "0" for flaw in Flaw),
    )
    console.print(table)
    for sink in SINKS:
        told = ", ".join(f"{n:,} {o}" for o, n in outcome.outcomes.get(sink, {}).items())
        console.print(f"{sink}: {told}", highlight=False)
    before, during = (outcome.other_p99_ms.get(w, (None, 0)) for w in ("before", "during"))
    console.print(
        f"{outcome.events:,} events in {outcome.seconds:.0f} s. After the outage "
        f"{outcome.catch_up_per_s} events/s; the other sink's p99 {before[0]} ms before it "
        f"({before[1]} events), {during[0]} ms during it ({during[1]} events)."
    )
    for why, count in outcome.restarts.most_common():
        console.print(f"Workers restarted {count} times: {why}.", markup=False)
    for finding in _all(outcome)[:SHOWN]:
        console.print(f"{finding.flaw}: {finding.text}", markup=False, style="red")
    if (more := len(_all(outcome)) - SHOWN) > 0:
        console.print(f"and {more} more", style="red")
    for text in (*outcome.stalled, *outcome.unproven):
        console.print(text, markup=False, style="red")
    for text in outcome.missed:
        console.print(f"Nobody walked into {text}", markup=False, style="yellow")


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The same as data."""
    found = _all(outcome)
    total = Counter(finding.flaw for finding in found)
    return {
        "ok": outcome.ok,
        "seed": outcome.plan.seed,
        "short": outcome.plan.short,
        "injected": len(outcome.struck),
        "requests_hit": outcome.hits,
        **_counts(total),
        "by_fault": {row.pop("kind"): row for row in rows(outcome)},
        "events": outcome.events,
        "outcomes": outcome.outcomes,
        "catch_up_per_s": outcome.catch_up_per_s,
        "other_sink_p99_ms": {when: p99 for when, (p99, _) in outcome.other_p99_ms.items()},
        "other_sink_events": {when: n for when, (_, n) in outcome.other_p99_ms.items()},
        "restarts": dict(outcome.restarts),
        "stalled": outcome.stalled,
        "unproven": outcome.unproven,
        "missed": outcome.missed,
        "findings": [
            {"flaw": f.flaw.value, "kind": f.kind and f.kind.value, "text": f.text}
            for f in found[:KEPT]
        ],
        "host": host(),
        "seconds": round(outcome.seconds, 1),
    }


def save(outcome: Outcome, path: Path) -> None:
    """Write the JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_json(outcome), indent=2) + "\n", encoding="utf-8")
