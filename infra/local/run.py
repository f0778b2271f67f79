"""`make run`: everything up, the sample through it, the report, then stay until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from rich.console import Console

from infra.local.job import Job, Plan, save, start_workers
from infra.local.part import StackError
from infra.local.report import RunReport, show
from infra.local.stack import Stack
from infra.local.supervisor import Supervisor
from pipeline.settings import Settings, SettingsError, load
from pipeline.simulate.player import Knobs, SimulatorError

SPEED = 600.0
"""Messages a second that the devices send together: the sample then takes about 40 s."""
_WATCH_S = 0.5


def run(root: Path, *, once: bool, knobs: Knobs | None = None) -> int:
    """Exit code: 0, or 1 where the balance does not close. StackError as a Stack gives."""
    started = time.monotonic()
    console = Console()
    stack = Stack(root, say=lambda line: console.print(f"[dim]{line}[/]", highlight=False))
    console.print("[bold]Fieldline[/]: starting Kafka, Mosquitto, Redis, S3 and the Tryton ERP.")
    env = stack.start()
    supervisor = Supervisor(
        root, env, say=lambda line: console.print(f"[dim]{line}[/]", highlight=False)
    )
    try:
        settings = _settings(env)
        workers = start_workers(supervisor, settings)
        console.print(f"Workers: {', '.join(workers)}. Logs are in {settings.log_dir}.")
        plan = Plan(root=root, knobs=knobs or Knobs(speed=SPEED))
        report = asyncio.run(_job(Job(plan, settings, supervisor, console), started))
        show(report, console)
        path = save(report, root)
        console.print(f"Written to {path}.")
        if not once:
            _stay(stack, console, settings)
    except (SettingsError, SimulatorError) as error:
        raise StackError(str(error)) from error
    finally:
        supervisor.stop_all()
        stack.stop()
    return 0 if report.closes else 1


async def _job(job: Job, started: float) -> RunReport:
    return await job.run(started=started)


def _settings(env: dict[str, str]) -> Settings:
    """The settings that the workers have too: what the stack says goes before the file."""
    os.environ.update(env)
    load.cache_clear()
    return load()


def _stay(stack: Stack, console: Console, settings: Settings) -> None:
    """Keep everything up, and bring back a part that dies, until Ctrl-C."""
    console.print(
        f"\nEverything stays up. Look: [bold].venv/bin/fieldline status[/], [bold]balance[/], "
        f"[bold]dlq list[/]; Tryton at {settings.tryton_url.rpartition('/')[0]}. "
        "Ctrl-C ends it."
    )
    try:
        while True:
            time.sleep(_WATCH_S)
            for name, code in stack.dead().items():
                console.print(f"{name} ended with code {code}; starting it again.")
                stack.start_part(name)
    except KeyboardInterrupt:
        console.print("Ending everything.")
