"""The delivery bench's tables and its results file, .local/bench/delivery.json."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from tests.bench.broker import ROOT
from tests.bench.delivery_world import MODES
from tests.bench.report import OURS, merge, warn_cores

if TYPE_CHECKING:
    from tests.bench.delivery import Found

FILE = ROOT / "delivery.json"
BARE = "httpx"


def medians(runs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By mode: median rate of both, our share of httpx's, and what an event costs us."""
    out: dict[str, dict[str, Any]] = {}
    for name, mode in MODES.items():
        ours = [r for r in runs if r["mode"] == name and r["engine"] == OURS]
        bare = [r for r in runs if r["mode"] == name and r["engine"] == BARE]
        if not ours or not bare:
            continue
        rate, ceiling = _median(ours, "events_per_s"), _median(bare, "events_per_s")
        out[name] = {
            "events_per_s": round(rate),
            "httpx_events_per_s": round(ceiling),
            "share": round(rate / ceiling, 3),
            "goal": mode.goal,
            "batch": mode.batch,
            "lanes": mode.lanes,
            "published_per_s": mode.published,
            "cpu_us_per_event": round(_median(ours, "cpu_us_per_event"), 1),
            "redis_commands_per_event": round(_median(ours, "redis_commands_per_event"), 4),
            "redis_round_trips_per_event": round(_median(ours, "redis_round_trips_per_event"), 4),
            "peak_rss_mb": round(max(r["peak_rss_mb"] for r in ours), 1),
        }
    return out


def keep(found: Mapping[str, Any], *, quick: bool) -> None:
    """Write the results file; a mode that was not run keeps what it had."""
    merge(
        {
            **medians(found["runs"]),
            "latency": _rounded(found["latency"]),
            "waiting": _rounded(found["waiting"]),
            "runs": [{k: _round(v) for k, v in run.items()} for run in found["runs"]],
            "quick": quick,
        },
        FILE,
    )


def show(console: Console, found: Found) -> None:
    """The tables, of whatever was measured."""
    runs = [asdict(run) for run in found.runs]
    table = Table(
        title="delivery: events/s from a full topic to their results",
        caption="(events a request x requests at once); round trips: Redis reads per event; "
        "p50, p99: observed → result, at half the rate",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("mode")
    columns = ("events/s", "httpx alone", "share", "goal", "Redpanda", "CPU µs", "round trips")
    for column in (*columns, "p50 ms", "p99 ms", "peak MB"):
        table.add_column(column, justify="right")
    for name, row in medians(runs).items():
        late = found.latency.get(name, {})
        table.add_row(
            f"{name} ({row['batch']} x {row['lanes']})",
            f"{row['events_per_s']:,}",
            f"{row['httpx_events_per_s']:,}",
            f"{row['share']:.0%} {'✔' if row['share'] >= row['goal'] else '✘'}",
            f"{row['goal']:.0%}",
            f"{row['published_per_s']:,}",
            f"{row['cpu_us_per_event']:,.0f}",
            f"{row['redis_round_trips_per_event']:.3f}",
            f"{late.get('p50_ms', 0):,.0f}",
            f"{late.get('p99_ms', 0):,.0f}",
            f"{row['peak_rss_mb']:,.0f}",
        )
    console.print(table)
    if found.waiting:
        waits = Table(title="events that wait", title_justify="left")
        for column in ("why", "events", "MB at the first try", "peak MB"):
            waits.add_column(column, justify="right")
        says = {"down": "the receiver is down (503)", "parked": "each for its device (parked)"}
        for name, row in found.waiting.items():
            waits.add_row(
                says[name],
                f"{row['events']:,.0f}",
                f"{row['mb_at_first']:,.0f}",
                f"{row['peak_mb']:,.0f}",
            )
        console.print(waits)
        if parked := found.waiting.get("parked"):
            rate = parked["events"] / max(parked["seconds"], 0.1)
            console.print(
                f"Parked at {rate:,.0f} events/s; the table takes {parked['local_mb']:,.0f} MB."
            )
    warn_cores(console, max((run["others_cores"] for run in runs), default=0.0))


def _median(runs: list[dict[str, Any]], name: str) -> float:
    return statistics.median(float(run[name]) for run in runs)


def _round(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


def _rounded(groups: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, object]]:
    return {name: {k: _round(v) for k, v in row.items()} for name, row in groups.items()}
