"""Commands that run until stopped: worker, bridge and reconciler."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer
import uvloop

from pipeline import logs
from pipeline.settings import load


def register(app: typer.Typer) -> None:
    """Put the commands into the program."""
    app.command("worker")(worker)
    app.command("bridge")(run_bridge)
    app.command("reconciler")(run_reconciler)


def worker(
    role: Annotated[str, typer.Argument(help="detect, fanout, archive or deliver-SINK.")],
    *,
    instance: Annotated[int, typer.Option(min=0, help="Number of this worker in its role.")] = 0,
) -> None:
    """Run one Faust worker. Start more instances of a role to share its partitions."""
    # Here, not above: what a worker is made of takes seconds to load, which every other
    # command would pay too.
    from pipeline.cli.run_worker import run  # noqa: PLC0415 - see above

    run(load(), role=role, instance=instance)


def run_bridge(
    *,
    instance: Annotated[int, typer.Option(min=0, help="Number of this bridge.")] = 0,
    shared: Annotated[
        bool,
        typer.Option(help="Share the subscription. Alone, --no-shared survives more: see README."),
    ] = True,
) -> None:
    """Run the MQTT-to-Kafka bridge. Start more instances to share the load."""
    from pipeline.bridge import service  # noqa: PLC0415 - as above

    settings = load()
    logs.configure()

    async def main() -> None:
        await service.run(settings, instance=f"bridge-{instance}", stop=_stop(), shared=shared)

    uvloop.run(main())


def run_reconciler() -> None:
    """Run the reconciler: keeps the balance, and compares it with the targets now and then."""
    from pipeline.ops import reconciler  # noqa: PLC0415 - as above

    settings = load()
    logs.configure()

    async def main() -> None:
        await reconciler.run(settings, _stop())

    asyncio.run(main())


def _stop() -> asyncio.Event:
    """What SIGTERM and SIGINT set from now on; needs a running event loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    return stop
