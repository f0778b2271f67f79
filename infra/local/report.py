"""The report of a run: what happened, checked at the far ends, for a person and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Column, Table

from pipeline.cli.look import balance_table, line_json
from pipeline.core.balance import Line
from pipeline.topology import LAKE

ERP = "tryton"
"""The sink whose latency the report names first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One service order as the ERP shows it. `key` is our event id."""

    key: str
    number: str
    name: str
    equipment: str
    customer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeFacts:
    """What DuckDB says of this run's part of the lake."""

    files: int
    rows: int
    """All telemetry rows of the run, late ones included."""
    distinct_readings: int
    event_rows: int
    distinct_events: int
    query: str
    columns: tuple[str, ...]
    answer: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """Everything a run's report says. Counts are of this run only."""

    readings: Mapping[str, int]
    severities: Mapping[str, int]
    sinks: Mapping[str, Mapping[str, int]]
    lake: LakeFacts
    orders: Sequence[Order]
    lines: Sequence[Line]
    latencies_ms: Mapping[str, Sequence[int]]
    """Device publish to confirmation, by sink."""
    dead_letters: Sequence[tuple[str, str, str]]
    """(event id, device, why) of this run's dead letters."""
    restarts: Mapping[str, int]
    sample_s: float
    seconds: float

    @property
    def closes(self) -> bool:
        """Whether every line of the balance closes."""
        return all(line.closes for line in self.lines)

    def latency(self, sink: str = ERP) -> dict[str, int | None]:
        """Median and 99th percentile, device publish to confirmed by a sink, milliseconds."""
        taken = self.latencies_ms.get(sink)
        if not taken:
            return {"p50": None, "p99": None}
        p50, p99 = np.percentile(np.array(taken), [50, 99])
        return {"p50": round(float(p50)), "p99": round(float(p99))}

    def as_json(self) -> dict[str, Any]:
        """The report for machines; keys as documented in the README."""
        return {
            "readings": dict(self.readings),
            "events": sum(self.severities.values()),
            "events_by_severity": dict(self.severities),
            "sinks": {name: dict(counts) for name, counts in self.sinks.items()},
            "lake": {"files": self.lake.files, "rows": self.lake.rows},
            "balance": {
                "closes": self.closes,
                "lines": [line_json(line) for line in self.lines],
            },
            "latency_ms": self.latency(),
            "latency_ms_by_sink": {sink: self.latency(sink) for sink in self.latencies_ms},
            "orders": [order.number for order in self.orders],
            "restarts": dict(self.restarts),
            "sample_seconds": round(self.sample_s, 1),
            "seconds": round(self.seconds, 1),
        }


def show(report: RunReport, console: Console) -> None:
    """Print the report."""
    console.rule("[bold]Fieldline: the run")
    console.print(_stages(report))
    if report.orders:
        console.print(_orders(report))
    if report.dead_letters:
        console.print(_dead(report))
    console.print(_lake(report))
    console.print(balance_table(list(report.lines)))
    latency = report.latency()
    verdict = (
        "[bold green]The balance closes.[/]"
        if report.closes
        else "[bold red]The balance does not close.[/]"
    )
    p50, p99 = latency["p50"], latency["p99"]
    timing = (
        f"Device publish to service order confirmed: p50 {p50:,} ms, p99 {p99:,} ms.  "
        if p50 is not None and p99 is not None
        else ""
    )
    console.print(
        Panel(
            f"{verdict}  {timing}The sample took {report.sample_s:.0f} s, "
            f"all of it {report.seconds:.0f} s.",
            border_style="green" if report.closes else "red",
            expand=False,
        )
    )


def _stages(report: RunReport) -> Table:
    readings, sinks = report.readings, report.sinks
    table = Table(box=box.SIMPLE_HEAD, show_header=False, title_justify="left")
    table.add_row("[bold]devices[/]", f"{readings['published']:,} readings published")
    table.add_row(
        "[bold]detect[/]",
        f"{readings['accepted']:,} accepted, {readings['duplicates']:,} duplicates removed, "
        f"{readings['too_late']:,} too late (archived with a flag), "
        f"{readings['quarantined']:,} quarantined",
    )
    severities = ", ".join(f"{n} {name}" for name, n in report.severities.items())
    table.add_row("[bold]events[/]", f"{sum(report.severities.values()):,} ({severities})")
    for name, counts in sinks.items():
        places = {place: n for place, n in counts.items() if n and place != "changes"}
        said = ", ".join(f"{n:,} {place.replace('_', ' ')}" for place, n in places.items())
        if name != LAKE and (changes := counts.get("changes")):
            said += f" ({changes:,} of the delivered close or change an order)"
        if (p50 := report.latency(name)["p50"]) is not None:
            said += f"; half of it {p50:,} ms after the device sent it"
        label = "lake, events" if name == LAKE else name
        table.add_row(f"[bold]{label}[/]", said or "nothing")
    table.add_row(
        "[bold]lake, telemetry[/]", f"{report.lake.rows:,} rows in {report.lake.files:,} files"
    )
    restarted = ", ".join(f"{name} {n}" for name, n in report.restarts.items() if n)
    if restarted:
        table.add_row("[bold]restarts[/]", restarted)
    return table


def _orders(report: RunReport) -> Table:
    table = Table(
        Column("order", no_wrap=True),
        Column("what", no_wrap=True, ratio=1),
        Column("equipment", no_wrap=True),
        Column("customer", no_wrap=True),
        title=f"Service orders in Tryton: {len(report.orders)}, the last of them",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        expand=True,
    )
    for order in report.orders[-8:]:
        equipment = order.equipment.partition(" · ")[0]
        table.add_row(order.number, _after_key(order.name), equipment, order.customer)
    return table


def _after_key(name: str) -> str:
    return name.partition(" · ")[2] or name


def _dead(report: RunReport) -> Table:
    table = Table(
        "events",
        Column("why", ratio=1),
        "devices",
        title=f"Dead letters: {len(report.dead_letters)} (fieldline dlq list)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        expand=True,
    )
    reasons: dict[str, list[str]] = {}
    for _, device, reason in report.dead_letters:
        reasons.setdefault(reason, []).append(device)
    for reason, devices in reasons.items():
        table.add_row(str(len(devices)), reason, "\n".join(dict.fromkeys(devices)))
    return table


def _lake(report: RunReport) -> Table:
    table = Table(
        *report.lake.columns,
        title=f"DuckDB over the lake: {report.lake.query}",
        title_justify="left",
        min_width=76,
        box=box.SIMPLE_HEAD,
    )
    for row in report.lake.answer:
        table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row))
    return table
