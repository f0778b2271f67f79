"""fieldline backtest: the detection rules over history, so that a person can tune them."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from pipeline.cli.words import moment
from pipeline.core.registry import Registry
from pipeline.settings import SettingsError, load
from pipeline.state.registry import load_registry

if TYPE_CHECKING:
    from pipeline.core.backtest import Backtest, History
    from pipeline.core.rules import Rules

SHOWN = 10
"""Alarms that are printed; the file has them all."""


def register(app: typer.Typer) -> None:
    """Put the command into the program."""
    app.command("backtest")(backtest)


def backtest(
    *,
    csv: Annotated[
        Path,
        typer.Option(
            "--csv",
            help="History (CSV, may be .gz): columns timestamp, value and, where there are "
            "several series, device_id, metric.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="CSV that is written: what the rules say to each row.")],
    rules: Annotated[
        Path | None, typer.Option(help="Rules (YAML); those of the settings when left out.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Picture of series, scores and episodes: .png, .svg or .pdf."),
    ] = None,
) -> None:
    """Run the detection rules over history, by the same code that judges live readings.

    OUT has each row as it came, in its order, with anomaly_score (1 is the threshold), flagged
    (1 where an event is raised: one per episode) and detector. A timestamp is ISO 8601, UTC
    where it names no zone, or seconds or milliseconds since 1970.
    """
    settings = load()
    # Numba and Arrow come with these: other commands should not wait for them.
    from pipeline.core.backtest import backtest as run  # noqa: PLC0415 - see above
    from pipeline.ops import history  # noqa: PLC0415 - the same
    from pipeline.ops import plot as drawing  # noqa: PLC0415 - the same
    from pipeline.state import rules_file  # noqa: PLC0415 - the same

    if plot is not None:
        drawing.check(plot)
    _check_apart(csv, out, plot)
    chosen = rules_file.load(rules or settings.rules_file)
    devices = settings.devices_file
    registry = load_registry(devices) if devices.exists() else Registry()
    table = history.read(csv)
    rows = len(table.history.value)
    errors = Console(stderr=True)
    with Progress(
        TextColumn("readings"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
    ) as bar:
        task = bar.add_task("backtest", total=rows)
        run(_first(table.history), chosen, registry)  # compiles, or loads what is compiled
        begun = time.perf_counter()
        found = run(
            table.history,
            chosen,
            registry,
            progress=lambda done: bar.update(task, completed=done),
        )
        seconds = time.perf_counter() - begun
    history.write(out, table, found)
    if plot is not None:
        drawing.draw(plot, table.history, found, chosen)
    # Results may go to the standard output: the table is for the person.
    console = errors if out == Path("/dev/stdout") else Console()
    _tell(console, table.history, found, chosen, seconds)
    written = f"{out}" if plot is None else f"{out} and {plot}"
    console.print(f"Written: {written}", markup=False, highlight=False, soft_wrap=True)


def _first(whole: History) -> History:
    return type(whole)(
        device=whole.device[:1],
        metric=whole.metric[:1],
        time_ms=whole.time_ms[:1],
        value=whole.value[:1],
    )


def _check_apart(csv: Path, out: Path, plot: Path | None) -> None:
    """No file may be written over another one of the call."""
    named = [path.resolve() for path in (csv, out, plot) if path is not None]
    if len(set(named)) < len(named):
        raise SettingsError("--csv, --out and --plot name the same file: give each its own.")


def _tell(
    console: Console, history: History, found: Backtest, rules: Rules, seconds: float
) -> None:
    rows, flags = len(history.value), int(found.flagged.sum())
    series = len(set(zip(history.device, history.metric, strict=True)))
    console.print(
        f"{rows:,} readings of {series:,} series by rules {rules.label}: {flags:,} flagged, "
        f"in {seconds:.1f} s ({rows / max(seconds, 1e-9):,.0f} readings/s).",
        markup=False,
        highlight=False,
    )
    if not found.events:
        return
    told = Counter(event.detector for event in found.events)
    devices = {name: {e.device_id for e in found.events if e.detector == name} for name in told}
    table = Table("detector", Column("events", justify="right"), Column("devices", justify="right"))
    table.box = box.SIMPLE_HEAD
    for detector, count in told.most_common():
        table.add_row(detector, f"{count:,}", f"{len(devices[detector]):,}")
    console.print(table)
    several = series > 1
    table = Table("time (UTC)", *(["device"] if several else []), "detector", "severity", "what")
    table.box = box.SIMPLE_HEAD
    for event in found.events[:SHOWN]:
        cells = [moment(event.occurred_at_ms), event.device_id, event.detector]
        if not several:
            del cells[1]
        table.add_row(*map(escape, cells), str(event.severity), escape(event.summary))
    console.print(table)
    if len(found.events) > SHOWN:
        console.print(f"The first {SHOWN} of {len(found.events):,}; {flags:,} rows are flagged.")
