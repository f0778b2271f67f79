"""The whole pipeline on real parts for the tests: play a sample, disturb it, read the far ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from rich.console import Console

from infra.local.facts import read_orders
from infra.local.job import Job, Plan, start_workers
from infra.local.report import RunReport
from infra.local.stack import Stack
from infra.local.supervisor import Supervisor
from pipeline.core.detect import At, Detection
from pipeline.ops import identity
from pipeline.ops.identity_import import When
from pipeline.settings import Settings, load
from pipeline.simulate.player import Knobs
from pipeline.state import rules_file
from pipeline.state.registry import load_registry
from pipeline.topology import EVENTS, READINGS
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from pipeline.wire.records import decode_batch, decode_event
from tests.waiting import until

SAMPLE = Knobs(engines=30, speed=250.0)
"""About 6,000 messages and 125,000 readings in 25 s: long enough for an outage in the middle."""
MOMENT_S = 60.0


class Rig:
    """Stack and workers in one folder, for the length of a test session."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._console = Console(file=(root / "rig.log").open("a"), width=120)
        self.stack = Stack(root, say=self._console.print)
        self.supervisor: Supervisor
        self.settings: Settings

    def start(self) -> None:
        """Bring everything up."""
        # A copy of the registry, so that a test can mend it while the workers run.
        self._devices = self._root / "devices.csv"
        shutil.copy("infra/config/devices.csv", self._devices)
        env = self.stack.start() | {"FIELDLINE_DEVICES_FILE": str(self._devices)}
        self._before = {name: os.environ.get(name) for name in env}
        os.environ.update(env)
        load.cache_clear()
        self.settings = load()
        self.supervisor = Supervisor(self._root, env, say=self._console.print)
        start_workers(self.supervisor, self.settings)

    def stop(self) -> None:
        """Leave no process."""
        if hasattr(self, "supervisor"):
            self.supervisor.stop_all()
        self.stack.stop()
        # The stack's settings must not reach the tests that come after it.
        for name, value in getattr(self, "_before", {}).items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        load.cache_clear()

    async def play(
        self,
        knobs: Knobs = SAMPLE,
        disturb: Callable[[Moments], Coroutine[None, None, None]] | None = None,
    ) -> RunReport:
        """Play a sample; `disturb` runs beside it and chooses its moments."""
        job = Job(Plan(root=self._root, knobs=knobs), self.settings, self.supervisor, self._console)
        trouble = asyncio.create_task(disturb(Moments(job))) if disturb else None
        report = await job.run(started=time.monotonic())
        if trouble is not None:
            await trouble
        return report

    async def events_by_the_log(self) -> set[str]:
        """Ids that the pure core makes of telemetry.readings, all of it, in one go."""
        rules, registry = (
            rules_file.load(self.settings.rules_file),
            load_registry(self.settings.devices_file),
        )
        partitions: dict[int, Detection] = {}
        ids: set[str] = set()
        for message in await kafka.read_all(self.settings, READINGS):
            detection = partitions.setdefault(
                message.partition,
                Detection(rules, registry, window=self.settings.dedup_window),
            )
            at = At(topic=READINGS, partition=message.partition, offset=message.offset)
            [decision] = detection.apply([(at, decode_batch(Codec(), message.value))])
            ids |= {event.id for event in decision.events}
        return ids

    async def events_in_kafka(self) -> set[str]:
        """Ids in events.business."""
        return {
            decode_event(Codec(), m.value).id for m in await kafka.read_all(self.settings, EVENTS)
        }

    async def orders(self) -> list[str]:
        """Keys of all our orders in the ERP; a doubled one is there twice."""
        return [order.key for order in await read_orders()]

    async def mend_registry(self, wrong: str, right: str) -> None:
        """Correct the device registry and import it, as a person would; the workers see it."""
        text = self._devices.read_text(encoding="utf-8")
        assert wrong in text
        self._devices.write_text(text.replace(wrong, right), encoding="utf-8")
        when = When(now_ms=identity.now_ms(), who="rig")
        done = await identity.import_file(self.settings, self._devices, when)
        assert done.changed
        assert not done.wrong

    async def outage(self, part: str, seconds: float) -> None:
        """Stop a part, leave it away for so long, and start it again."""
        await asyncio.to_thread(self.stack.stop_part, part)
        # The length of the outage is what is tested: nothing is waited for here.
        await asyncio.to_thread(threading.Event().wait, seconds)
        await asyncio.to_thread(self.stack.start_part, part)


class Moments:
    """Waits for points in a run."""

    def __init__(self, job: Job) -> None:
        self._job = job

    async def sent(self, share: float) -> None:
        """Until the devices have sent this share of the sample."""
        watch = self._job.watch
        await until(
            lambda: watch.total and watch.sent >= share * watch.total,
            lambda: f"{watch.sent} of {watch.total} sent",
            within_s=MOMENT_S,
        )
