"""fieldline simulate: devices that play recorded engines over MQTT."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline import logs
from pipeline.settings import SettingsError, load
from pipeline.simulate import player
from pipeline.simulate.player import Knobs, Played

_DEFAULTS = Knobs()
Fraction = Annotated[float, typer.Option(min=0.0, max=1.0)]


def register(app: typer.Typer) -> None:
    """Put the command into the program."""
    app.command("simulate")(simulate)


def simulate(
    *,
    speed: Annotated[float, typer.Option(min=0.0, help="Messages a second; 0 = all out.")] = 600.0,
    engines: Annotated[int, typer.Option(min=1, max=100, help="How many devices.")] = 100,
    duplicates: Fraction = _DEFAULTS.duplicates,
    reordered: Fraction = _DEFAULTS.reordered,
    late: Fraction = _DEFAULTS.late,
    malformed: Fraction = _DEFAULTS.malformed,
    skewed: Fraction = _DEFAULTS.skewed,
    bursts: Annotated[int, typer.Option(min=0)] = _DEFAULTS.bursts,
    seed: int = _DEFAULTS.seed,
    session: Annotated[
        int, typer.Option(min=0, help="Number of the run, above all before; 0 = the clock.")
    ] = 0,
    journal: Annotated[Path, typer.Option(help="Parquet file of what was sent and when.")] = Path(
        ".local/journal/simulate.parquet"
    ),
) -> None:
    """Play NASA's C-MAPSS engines as devices, with the faults that devices have."""
    settings = load()
    logs.quiet()
    number = session or int(time.time())
    knobs = Knobs(
        speed=speed,
        engines=engines,
        duplicates=duplicates,
        reordered=reordered,
        late=late,
        malformed=malformed,
        skewed=skewed,
        bursts=min(bursts, engines),
        seed=seed,
    )

    async def run() -> Played:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
        bar = Progress(
            TextColumn("devices"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("messages, {task.fields[readings]:,} readings"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        with bar:
            task = bar.add_task("play", total=None, readings=0)
            return await player.play(
                settings,
                knobs,
                session=number,
                start_ms=int(time.time() * 1000),
                journal=journal,
                on_progress=lambda p: bar.update(
                    task, completed=p.sent, total=p.total, readings=p.readings
                ),
                stop=stop,
            )

    try:
        played = asyncio.run(run())
    except player.SimulatorError as error:
        raise SettingsError(str(error)) from error
    expected = played.expected
    typer.echo(
        f"session {number}: {expected.published:,} readings published in "
        f"{played.seconds:.1f} s: {expected.unique_readings:,} new, "
        f"{expected.duplicates:,} duplicates, {expected.too_late:,} too late, "
        f"{expected.quarantined:,} malformed"
    )
