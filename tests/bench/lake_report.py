"""Results of the lake's bench: the table, the goals, and what .local/bench/lake.json holds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.lake_engines import OURS, PYARROW, Run
from tests.bench.lake_queries import QUERIES
from tests.bench.report import host, warn_cores

GOAL_PER_S = 1_000_000
GOAL_SHARE = 0.5
PUBLISHED = {
    "Kafka Connect S3, 16 tasks": "250,000",
    "Iceberg sinks": "47,000 - 85,000",
}
"""Readings/s as their makers tell them, for machines of their own."""
SAYS = {
    OURS: "Kafka → S3 and Iceberg table, one worker, sorted, 12 columns",
    PYARROW: "memory → S3, no Kafka, no claims, sorted, 12 columns",
    "quix": "Kafka → local folder, as it comes, 7 columns",
}


def by_engine(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by engine, in order of appearance."""
    out: dict[str, list[Run]] = {}
    for run in runs:
        out.setdefault(run.engine, []).append(run)
    return out


def results(
    runs: Sequence[Run], queries: Mapping[str, Mapping[str, float]], *, quick: bool
) -> dict[str, Any]:
    """What the file holds."""
    found = by_engine(runs)
    rates = {name: round(_median(some, "readings_per_s")) for name, some in found.items()}
    return {
        "quick": quick,
        "host": host(),
        "readings_per_s": rates,
        "readings_per_s_whole": {
            name: round(_median(some, "readings_per_s_whole")) for name, some in found.items()
        },
        "share_of_pyarrow": _share(rates),
        "bytes_per_reading": {
            name: round(_median(some, "bytes_per_reading"), 2) for name, some in found.items()
        },
        "peak_rss_mb": {
            name: round(max(run.peak_rss_mb for run in some), 1) for name, some in found.items()
        },
        "query_ms": {layout: dict(times) for layout, times in queries.items()},
        "goals": {"readings_per_s": GOAL_PER_S, "share_of_pyarrow": GOAL_SHARE},
        "published": PUBLISHED,
        "runs": [run.as_json() for run in runs],
    }


def _share(rates: Mapping[str, int]) -> float | None:
    return round(rates[OURS] / rates[PYARROW], 3) if {OURS, PYARROW} <= set(rates) else None


def _median(runs: Sequence[Run], name: str) -> float:
    return statistics.median(float(getattr(run, name)) for run in runs)


def show(console: Console, runs: Sequence[Run], *, quick: bool) -> None:
    """The engines side by side, and how we stand to the goals."""
    found = by_engine(runs)
    table = Table(
        title="Readings to Parquet" + (" (quick: small sizes, one run each)" if quick else ""),
        title_justify="left",
        caption="readings/s: from the first rows that readers see on; whole: until they see all. "
        "bytes and CPU ns: for each reading",
        caption_justify="left",
    )
    table.add_column("engine")
    for name in ("readings/s", "min - max", "whole", "bytes", "CPU ns", "peak MB", "readings"):
        table.add_column(name, justify="right")
    table.add_column("what it does")
    for engine, some in found.items():
        each = [run.readings_per_s for run in some]
        table.add_row(
            engine,
            f"{statistics.median(each):,.0f}",
            f"{min(each):,.0f} - {max(each):,.0f}",
            f"{_median(some, 'readings_per_s_whole'):,.0f}",
            f"{_median(some, 'bytes_per_reading'):.2f}",
            f"{_median(some, 'cpu_ns_per_reading'):,.0f}",
            f"{max(run.peak_rss_mb for run in some):,.0f}",
            f"{some[0].readings:,}",
            SAYS[engine],
        )
    console.print(table)
    for line in verdicts({name: _median(some, "readings_per_s") for name, some in found.items()}):
        console.print(line)
    warn_cores(console, max((run.others_cores for run in runs), default=0.0))


def verdicts(rates: Mapping[str, float]) -> list[str]:
    """A sentence for each goal, reached or not, and what others publish."""
    if OURS not in rates:
        return []
    ours = rates[OURS]
    lines = [f"{_met(ours >= GOAL_PER_S)}: {GOAL_PER_S:,} readings/s per worker ({ours:,.0f})."]
    if PYARROW in rates:
        share = ours / rates[PYARROW]
        met = _met(share >= GOAL_SHARE)
        lines.append(f"{met}: at least {GOAL_SHARE:.0%} of pyarrow alone ({share:.0%}).")
    told = "; ".join(f"{name} {rate}" for name, rate in PUBLISHED.items())
    return [*lines, f"Published by others, readings/s: {told}."]


def _met(met: bool) -> str:  # noqa: FBT001 - the one thing it says
    return "Goal reached" if met else "Goal missed"


def show_queries(console: Console, queries: Mapping[str, Mapping[str, float]]) -> None:
    """Milliseconds of each question, layout by layout."""
    if not queries:
        return
    table = Table(
        title="DuckDB over S3, ms (median)",
        title_justify="left",
        caption="the same rows each; 'compacted' is after `fieldline lake compact`",
        caption_justify="left",
    )
    table.add_column("layout")
    for name in (*QUERIES, "files"):
        table.add_column(name.replace("_", " "), justify="right")
    for layout, times in queries.items():
        table.add_row(layout, *(f"{times[name]:,.0f}" for name in (*QUERIES, "files")))
    console.print(table)
