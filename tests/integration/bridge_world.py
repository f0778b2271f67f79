"""Kafka, Mosquitto and a bridge for the bridge's tests: real ones, on free ports."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from infra.local.kafka import Kafka
from infra.local.mosquitto import Mosquitto
from infra.local.part import Part
from infra.local.ports import choose
from pipeline.bridge.service import run
from pipeline.core.telemetry import TelemetryBatch
from pipeline.ops.topics import create
from pipeline.settings import Settings
from pipeline.topology import QUARANTINE, READINGS, topics
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from pipeline.wire.records import decode_batch
from tests.waiting import blocking_until

DEADLINE_S = 90.0


@dataclass
class Server:
    """One part as a process, which a test may kill and start again."""

    part: Part
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = self.part.command()
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command.argv,
                cwd=command.cwd,
                env={**os.environ, **command.env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        blocking_until(self.part.ready, f"{self.part.name} did not start: see {self.log}")

    def stop(self, signal_number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(signal_number)
            self.process.wait(30)
            self.process = None


@dataclass
class World:
    settings: Settings
    kafka: Server
    mosquitto: Server
    folder: Path

    async def make_topics(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.kafka_bootstrap)
        await admin.start()
        try:
            await create(
                admin, [t for t in topics(()) if not t.name.endswith("changelog")], self.settings
            )
        finally:
            await admin.close()

    @contextlib.asynccontextmanager
    async def bridge(self, *, shared: bool = True) -> AsyncIterator[asyncio.Task[None]]:
        """A bridge in this process; stopped in good order at the end."""
        stop = asyncio.Event()
        task = asyncio.create_task(run(self.settings, stop=stop, shared=shared))
        try:
            yield task
        finally:
            stop.set()
            await asyncio.wait_for(task, DEADLINE_S)

    def bridge_process(self) -> subprocess.Popen[bytes]:
        """A bridge in its own process, which a test may kill."""
        with (self.folder / "bridge.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.integration.run_bridge"],
                env={
                    **os.environ,
                    "KAFKA_BOOTSTRAP": self.settings.kafka_bootstrap,
                    "MQTT_URL": self.settings.mqtt_url,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @contextlib.asynccontextmanager
    async def reader(self) -> AsyncIterator[Reader]:
        """Reads what comes to the bridge's two topics from now on."""
        consumer = kafka.consumer(self.settings, client_id="test")
        await consumer.start()
        try:
            partitions = [TopicPartition(READINGS, p) for p in range(self.settings.partitions)]
            partitions.append(TopicPartition(QUARANTINE, 0))
            consumer.assign(partitions)
            await consumer.seek_to_end()
            for partition in partitions:
                await consumer.position(partition)
            yield Reader(consumer)
        finally:
            await consumer.stop()


@dataclass
class Reader:
    """Everything that was read: batches with their partition, in order, and quarantine."""

    consumer: AIOKafkaConsumer
    batches: list[tuple[int, TelemetryBatch]] = field(default_factory=list)
    quarantined: list[dict[str, object]] = field(default_factory=list)
    records: int = 0

    @property
    def readings(self) -> int:
        return sum(batch.readings for _, batch in self.batches)

    @property
    def counted(self) -> int:
        """Readings and what quarantine counts for."""
        return self.readings + sum(int(str(q["readings"])) for q in self.quarantined)

    def samples(self) -> Iterator[tuple[int, str, int, int, int]]:
        """(partition, device, session, sequence, time) of every sample, in order."""
        for partition, b in self.batches:
            for i in range(b.samples):
                yield (
                    partition,
                    b.devices[b.sample_device[i]],
                    int(b.sample_session[i]),
                    int(b.sample_seq[i]),
                    int(b.sample_time_ms[i]),
                )

    async def read(self, enough: Callable[[], bool], otherwise: str) -> None:
        """Read on until `enough`."""
        codec = Codec()
        deadline = time.monotonic() + DEADLINE_S
        while not enough():
            assert time.monotonic() < deadline, otherwise
            for partition, messages in (await self.consumer.getmany(timeout_ms=200)).items():
                for message in messages:
                    self.records += 1
                    if partition.topic == READINGS:
                        batch = decode_batch(codec, message.value)
                        self.batches.append((partition.partition, batch))
                    else:
                        self.quarantined.append(codec.decode("quarantined.v1", message.value))


@contextlib.contextmanager
def fresh_broker(shared: World, folder: Path) -> Iterator[World]:
    """The same Kafka, and a Mosquitto that has never seen a bridge."""
    port = choose(("mosquitto",), {})["mosquitto"]
    part = Mosquitto(port=port, folder=folder / "mosquitto", log_dir=folder)
    server = Server(part, folder / "mosquitto.log")
    server.part.prepare()
    server.start()
    try:
        settings = shared.settings.model_copy(update={"mqtt_url": f"mqtt://127.0.0.1:{port}"})
        yield World(settings, shared.kafka, server, folder)
    finally:
        server.stop()


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    """Kafka with the pipeline's topics, and Mosquitto; both stopped at the end."""
    ports = choose(("kafka", "controller", "mosquitto"), {})
    servers = [
        Server(
            Kafka(
                port=ports["kafka"],
                controller_port=ports["controller"],
                folder=folder / "kafka",
                log_dir=folder,
            ),
            folder / "kafka.log",
        ),
        Server(
            Mosquitto(port=ports["mosquitto"], folder=folder / "mosquitto", log_dir=folder),
            folder / "mosquitto.log",
        ),
    ]
    made = World(
        settings=Settings(
            kafka_bootstrap=f"127.0.0.1:{ports['kafka']}",
            mqtt_url=f"mqtt://127.0.0.1:{ports['mosquitto']}",
        ),
        kafka=servers[0],
        mosquitto=servers[1],
        folder=folder,
    )
    try:
        for server in servers:
            server.part.prepare()
            server.start()
        asyncio.run(made.make_topics())
        yield made
    finally:
        for server in servers:
            server.stop()
