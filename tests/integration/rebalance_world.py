"""Workers that join, leave and die under a steady trickle, and how long each partition stood.

`python -m tests.integration.rebalance_world [ROUNDS]` prints the table of
infra/adr/0010-rebalances.md; the tests use the same parts and assert what was lost: nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from infra.local.stack import Stack
from pipeline.core.telemetry import Sample, pack
from pipeline.ops.topics import create
from pipeline.settings import Settings
from pipeline.topology import DEDUPLICATED, READINGS, topics
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from pipeline.wire.records import decode_deduplicated, encode_batch
from tests.waiting import until

DEADLINE_S = 180.0
EVERY_S = 0.05
STEADY_S = 2.0
_FRESH_S = 0.5
_NEAR = 20
_DEVICES = 50


@dataclass
class Trickle:
    """One message per partition every EVERY_S, and what came out: (offset, when) in order."""

    settings: Settings
    sent: dict[int, int] = field(default_factory=dict)
    """Last acknowledged input offset by partition."""
    out: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Trickle]:
        """Write and read; at the end wait until all that was written has come out."""
        stop = asyncio.Event()
        self._tasks = [
            asyncio.create_task(self._write(stop)),
            asyncio.create_task(self._read()),
        ]
        try:
            yield self
            stop.set()
            await self._tasks[0]
            await until(
                lambda: not any(self.missing().values()), lambda: f"never came: {self.missing()}"
            )
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def missing(self) -> dict[int, list[int]]:
        """Input offsets by partition of which no output has come, the first few."""
        return {
            p: sorted(set(range(last + 1)) - {o for o, _ in self.out.get(p, ())})[:_NEAR]
            for p, last in self.sent.items()
        }

    def in_order(self) -> bool:
        """Whether each partition's outputs, repeats left out, are in the order of its inputs."""
        firsts = [list(dict.fromkeys(o for o, _ in rows)) for rows in self.out.values()]
        return all(offsets == sorted(offsets) for offsets in firsts)

    def repeats(self) -> int:
        """Outputs that came more than once."""
        return sum(len(rows) - len({o for o, _ in rows}) for rows in self.out.values())

    def flows(self) -> bool:
        """Whether every partition's output is close behind its input."""
        for task in self._tasks:
            if task.done():
                task.result()
        now = time.monotonic()
        return len(self.out) == self.settings.partitions and all(
            now - rows[-1][1] < _FRESH_S and rows[-1][0] + _NEAR > self.sent[p]
            for p, rows in self.out.items()
        )

    async def flowing(self, steady_s: float = STEADY_S) -> None:
        """Until every partition flows, and has for a while."""
        since = time.monotonic()
        deadline = since + DEADLINE_S
        while time.monotonic() - since < steady_s:
            assert time.monotonic() < deadline, f"behind: {self.missing()}"
            if not self.flows():
                since = time.monotonic()
            await asyncio.sleep(0.05)

    def gaps(self, since: float) -> dict[int, float]:
        """Longest time without output by partition, seconds, from `since` (monotonic) on."""
        found = {}
        for partition, rows in sorted(self.out.items()):
            times = [at for _, at in rows]
            first = max((at for at in times if at < since), default=since)
            later = [first, *(at for at in times if at >= since), time.monotonic()]
            found[partition] = max(b - a for a, b in pairwise(later))
        return found

    async def _write(self, stop: asyncio.Event) -> None:
        producer: AIOKafkaProducer = kafka.producer(self.settings)
        await producer.start()
        codec = Codec()
        # Numbers rise from test to test too: a repeated one would be a duplicate.
        number = int(time.time() * 1000)
        try:
            while not stop.is_set():
                number += 1
                for partition in range(self.settings.partitions):
                    device = f"t/d{partition}-{number % _DEVICES}"
                    sample = Sample(
                        device_id=device,
                        session=1,
                        sequence=number,
                        time_ms=number,
                        received_ms=number,
                        readings=(("m", float(number % 7)),),
                    )
                    done = await producer.send_and_wait(
                        READINGS,
                        encode_batch(codec, pack([sample])),
                        key=device.encode(),
                        partition=partition,
                    )
                    self.sent[partition] = done.offset
                await asyncio.sleep(EVERY_S)
        finally:
            await producer.stop()

    async def _read(self) -> None:
        consumer = kafka.consumer(self.settings)
        await consumer.start()
        codec = Codec()
        try:
            consumer.assign(await kafka.topic_partitions(consumer, [DEDUPLICATED]))
            while True:
                got = await consumer.getmany(timeout_ms=50)
                now = time.monotonic()
                for tp, messages in got.items():
                    rows = self.out.setdefault(tp.partition, [])
                    for message in messages:
                        source = decode_deduplicated(codec, message.value)
                        assert source.source_partition == tp.partition
                        rows.append((source.source_offset, now))
        finally:
            await consumer.stop()


class Workers:
    """Detect workers as processes of ours."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self._env = env
        self._folder = folder
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def command(self, *arguments: str) -> list[str]:
        """The fieldline command of this checkout."""
        return [sys.executable, "-c", "from pipeline.cli.main import run; run()", *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        """The environment that points at this Kafka and this data folder."""
        return {**os.environ, **self._env, **more}

    def start(self, instance: int, **more: str) -> None:
        """Start a worker; `more` is added to its environment."""
        with self._log(instance).open("ab") as output:
            self._running[instance] = subprocess.Popen(
                self.command("worker", "detect", "--instance", str(instance)),
                env=self.environment(**more),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    async def join(self, instance: int) -> None:
        """Start a worker and wait until it has its partitions."""
        seen = self.said(instance, "Worker ready")
        self.start(instance)
        await until(
            lambda: self.said(instance, "Worker ready") > seen,
            lambda: f"worker {instance} does not come: see {self._log(instance)}",
        )

    def send(self, instance: int, number: signal.Signals) -> None:
        """Send a signal."""
        self._running[instance].send_signal(number)

    async def end(self, instance: int, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.send(instance, number)
        return await self.ended(instance)

    async def ended(self, instance: int) -> int:
        """Wait for the end; the exit code."""
        code = await asyncio.to_thread(self._running[instance].wait, DEADLINE_S)
        del self._running[instance]
        return code

    def said(self, instance: int, text: str) -> int:
        """How often it has said this."""
        log = self._log(instance)
        return log.read_text(encoding="utf-8").count(text) if log.exists() else 0

    def stop(self) -> None:
        """Kill what still runs."""
        for process in self._running.values():
            process.kill()
            process.wait()
        self._running.clear()

    def _log(self, instance: int) -> Path:
        return self._folder / f"detect-{instance}.log"


@dataclass
class World:
    """Kafka with the topics, and workers to start."""

    stack: Stack
    settings: Settings
    workers: Workers


@contextlib.contextmanager
def world(root: Path) -> Iterator[World]:
    """A world in a folder; no process is left at the end."""
    stack = Stack(root, say=lambda _: None, only={"kafka"})
    env = stack.start()
    workers = Workers(env, root / "log")
    try:
        settings = Settings(
            kafka_bootstrap=env["KAFKA_BOOTSTRAP"], data_dir=Path(env["FIELDLINE_DATA_DIR"])
        )
        asyncio.run(_make_topics(settings))
        yield World(stack, settings, workers)
    finally:
        workers.stop()
        stack.stop()


async def _make_topics(settings: Settings) -> None:
    admin: AIOKafkaAdminClient = kafka.admin(settings)
    await admin.start()
    try:
        await create(admin, topics(("lake",)), settings)
    finally:
        await admin.close()


async def _measure(made: World, rounds: int) -> None:
    workers = made.workers
    async with Trickle(made.settings).running() as trickle:
        await workers.join(0)
        await trickle.flowing()

        @contextlib.asynccontextmanager
        async def timed(name: str) -> AsyncIterator[None]:
            began = time.monotonic()
            yield
            await trickle.flowing()
            gaps = trickle.gaps(began)
            shown = " ".join(f"{gap:5.1f}" for gap in gaps.values())
            print(f"{name:34}{shown}   longest {max(gaps.values()):5.1f} s", flush=True)  # noqa: T201

        for _ in range(rounds):
            async with timed("one alone: SIGTERM, started again"):
                await workers.end(0)
                await workers.join(0)
            async with timed("one alone: kill -9, started again"):
                await workers.end(0, signal.SIGKILL)
                await workers.join(0)
            async with timed("second joins"):
                await workers.join(1)
            async with timed("second: SIGTERM, started again"):
                await workers.end(1)
                await workers.join(1)
            async with timed("second: kill -9, started again"):
                await workers.end(1, signal.SIGKILL)
                await workers.join(1)
            async with timed("second: kill -9"):
                await workers.end(1, signal.SIGKILL)
            await workers.join(1)
            await trickle.flowing()
            async with timed("second leaves (SIGTERM)"):
                await workers.end(1)
    print(f"in order: {trickle.in_order()}, repeats: {trickle.repeats()}")  # noqa: T201


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="rebalance-") as folder, world(Path(folder)) as found:
        asyncio.run(_measure(found, int(sys.argv[1]) if len(sys.argv) > 1 else 1))
