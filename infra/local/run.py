"""`make run`: everything up, the sample through it, the report, then stay until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from connectors.settings import make
from connectors.tryton import TrytonSettings
from infra.local.job import Job, Plan, save, start_workers
from infra.local.part import StackError
from infra.local.report import show
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

    def say(line: str) -> None:
        console.print(f"[dim]{line}[/]", highlight=False, soft_wrap=True)

    stack = Stack(root, say=say)
    console.print("[bold]Fieldline[/]: starting Kafka, Mosquitto, Redis, S3 and the Tryton ERP.")
    env = stack.start()
    supervisor = Supervisor(root, env, say=say)
    try:
        settings = _settings(env)
        workers = start_workers(supervisor, settings)
        say(f"Workers: {', '.join(workers)}. Logs: {os.path.relpath(settings.log_dir)}.")
        plan = Plan(root=root, knobs=knobs or Knobs(speed=SPEED))
        job = Job(plan, settings, supervisor, console)
        return asyncio.run(_run(job, stack, console, root, once=once, started=started))
    except KeyboardInterrupt:
        console.print("Ending everything.")
        raise
    except (SettingsError, SimulatorError) as error:
        raise StackError(str(error)) from error
    finally:
        supervisor.stop_all()
        stack.stop()


async def _run(
    job: Job, stack: Stack, console: Console, root: Path, *, once: bool, started: float
) -> int:
    keeper = asyncio.create_task(_keep_parts(stack, console))
    try:
        report = await job.run(started=started)
        show(report, console)
        console.print(f"Written to {save(report, root)}.", highlight=False)
        if not once:
            _say_what_to_look_at(console)
            await asyncio.Event().wait()  # until Ctrl-C
        return 0 if report.closes else 1
    finally:
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper


async def _keep_parts(stack: Stack, console: Console) -> None:
    """Bring back a part that dies, as a supervisor in production would."""
    while True:
        await asyncio.sleep(_WATCH_S)
        for name, code in stack.dead().items():
            console.print(f"{name} ended with code {code}; starting it again.")
            try:
                await asyncio.to_thread(stack.start_part, name)
            except StackError as error:
                console.print(f"[red]{error}[/]")


def _settings(env: dict[str, str]) -> Settings:
    """The settings that the workers have too: what the stack says goes before the file."""
    os.environ.update(env)
    load.cache_clear()
    return load()


def _say_what_to_look_at(console: Console) -> None:
    console.print(
        "\nEverything stays up; Ctrl-C ends it. In another terminal:\n"
        "  [bold].venv/bin/fieldline status[/]        who is how far\n"
        "  [bold].venv/bin/fieldline balance[/]       everything accounted for\n"
        "  [bold].venv/bin/fieldline dlq list[/]      what a person must decide\n"
        f"Tryton's API is at {make(TrytonSettings).url}.",
        highlight=False,
    )
