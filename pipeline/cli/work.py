"""Commands that run until stopped: worker and bridge."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import faust
import typer
import uvloop

from pipeline import logs
from pipeline.bridge import service
from pipeline.settings import load
from pipeline.state.local_copy import check_local_copy
from pipeline.state.worker_folder import held, worker_folder
from pipeline.workers import make_worker


class _Worker(faust.Worker):
    async def _sentinel_task(self) -> None:
        """Faust sleeps a second here, after everything has ended."""


def register(app: typer.Typer) -> None:
    """Put the commands into the program."""
    app.command("worker")(worker)
    app.command("bridge")(run_bridge)


def worker(
    role: Annotated[str, typer.Argument(help="detect, fanout, archive or deliver-SINK.")],
    *,
    instance: Annotated[int, typer.Option(min=0, help="Number of this worker in its role.")] = 0,
) -> None:
    """Run one Faust worker. Start more instances of a role to share its partitions."""
    settings = load()
    logs.configure()
    # Faust's consumer thread makes a loop of its own: the policy serves both.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    app = make_worker(settings, role=role, instance=instance).app
    with held(worker_folder(settings, role, instance)):
        for table in app.tables.values():
            folder = Path(app.conf.tabledir)
            asyncio.run(check_local_copy(settings, folder, table.changelog_topic_name))
        _Worker(
            app, loglevel="INFO", override_logging=False, redirect_stdouts=False, quiet=True
        ).execute_from_commandline()


def run_bridge(
    *,
    instance: Annotated[int, typer.Option(min=0, help="Number of this bridge.")] = 0,
    shared: Annotated[
        bool,
        typer.Option(help="Share the subscription. Alone, --no-shared survives more: see README."),
    ] = True,
) -> None:
    """Run the MQTT-to-Kafka bridge. Start more instances to share the load."""
    settings = load()
    logs.configure()

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, stop.set)
        await service.run(settings, instance=f"bridge-{instance}", stop=stop, shared=shared)

    uvloop.run(main())
