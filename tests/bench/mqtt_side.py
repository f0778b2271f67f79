"""The MQTT end of a bench: the bridge as it is run, and programs that publish and subscribe."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench.broker import WAIT_S, BenchError, Broker
from tests.bench.process import Process
from tests.bench.publish import PublishPlan, plan_text

_LOOK_S = 0.05


def bridge(broker: Broker, *, shared: bool = True) -> Process:
    """`fieldline bridge`, started."""
    command = str(Path(sys.executable).with_name("fieldline"))
    argv = (command, "bridge", *(() if shared else ("--no-shared",)))
    return Process(broker.root, "bridge", argv, broker.env)


async def publish(
    broker: Broker, plan: PublishPlan, *, check: Callable[[], None] = lambda: None
) -> Mapping[str, float]:
    """Run the publisher to its end; its answer."""
    path = broker.root / "publish.json"
    path.write_text(plan_text(plan), encoding="utf-8")
    argv = (sys.executable, "-m", "tests.bench.publish", str(path))
    seconds = WAIT_S + (plan.messages / plan.rate if plan.rate else plan.messages / 1_000)
    return await answer(broker, "publish", argv, seconds=seconds, check=check)


async def publish_heard(broker: Broker, plan: PublishPlan) -> None:
    """Publish until somebody subscribes: what nobody hears is thrown away by the broker."""
    deadline = time.monotonic() + WAIT_S
    while (await publish(broker, plan))["unheard"]:
        if time.monotonic() > deadline:
            raise BenchError(f"Nobody subscribed within {WAIT_S:.0f} s: see {broker.root}/log.")


async def answer(
    broker: Broker,
    name: str,
    argv: tuple[str, ...],
    *,
    seconds: float,
    check: Callable[[], None] = lambda: None,
) -> Mapping[str, float]:
    """Run a program whose last line is its answer in JSON. `check` is called meanwhile."""
    deadline = time.monotonic() + seconds
    with Process(broker.root, name, argv) as process:
        while (code := process.wait(0)) is None:
            check()
            if time.monotonic() > deadline:
                raise process.stuck(f"was not done after {seconds:.0f} s")
            await asyncio.sleep(_LOOK_S)
        if code:
            process.check()
        return process.answer()
