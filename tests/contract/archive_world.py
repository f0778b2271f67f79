"""An archive worker without Kafka: the real agent, writer and rounds; the topics are lists.

What Kafka does is small here: it gives each partition's messages in order from where it was
told to, as many as the agent takes, and forgets nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from faust.types import TP

from connectors.lake import base
from connectors.lake.local_store import LocalStore
from connectors.lake.writer import LakeWriter
from pipeline.agents.app import Worker
from pipeline.agents.archive import ROUND_EVENTS, Archiver, Memory
from pipeline.agents.rounds import Message, Offer, Rounds
from pipeline.agents.unreadable import Quarantine
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_times import DAY_MS
from pipeline.core.quarantine import Reason
from pipeline.core.telemetry import DeduplicatedBatch, TelemetryBatch
from pipeline.settings import Settings
from pipeline.topology import DEDUPLICATED
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.records import decode_deduplicated, encode_deduplicated

FIRST_DAY = 20_000
AT_MS = 1_790_000_000_000
"""Kafka's time of each partition's first message."""
CODEC = Codec()


def batch(partition: int, offset: int, days: Sequence[int], readings: int) -> DeduplicatedBatch:
    """So many readings on each of these days since FIRST_DAY; every value is there once."""
    count = len(days) * readings
    at = np.arange(count, dtype=np.int64)
    times = (FIRST_DAY + np.repeat(np.array(days, dtype=np.int64), readings)) * DAY_MS + at
    return DeduplicatedBatch(
        source_topic="telemetry.readings",
        source_partition=partition,
        source_offset=offset,
        batch=TelemetryBatch(
            devices=tuple(f"acme/pump-{partition}-{i}" for i in range(10)),
            metrics=("temperature",),
            sample_device=(at % 10).astype(np.int32),
            sample_session=np.ones(count, dtype=np.int64),
            sample_seq=offset * count + at,
            sample_time_ms=times,
            sample_received_ms=times + 40,
            sample_readings=np.ones(count, dtype=np.int32),
            reading_metric=np.zeros(count, dtype=np.int32),
            reading_value=(partition * 10_000_000 + offset * count + at).astype(np.float64),
        ),
        late=np.zeros(count, dtype=np.bool_),
        duplicates=0,
    )


def value(of: DeduplicatedBatch) -> bytes:
    """The message as Kafka holds it."""
    return encode_deduplicated(CODEC, of)


class Watched(LocalStore):
    """The real store in a folder; `away` makes it answer nothing, `gate` holds what is put."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting: list[str] = []
        self.refused = 0
        self.looks: list[Any] = []

    async def put_new(self, key: str, data: bytes) -> base.Created | base.Exists | base.Unavailable:
        """As the folder does, once the gate is open."""
        for look in self.looks:
            look()
        self.waiting.append(key)
        await self.gate.wait()
        self.waiting.remove(key)
        if self.away:
            self.refused += 1
            return base.Unavailable(reason="The folder is away.")
        return await super().put_new(key, data)


class Sent:
    """A worker's topic that keeps what it is sent, and Kafka's answer to it."""

    def __init__(self) -> None:
        self.values: list[bytes] = []

    def target(self, _topic: str) -> Sent:
        """It is every topic."""
        return self

    async def send(self, *, key: bytes, value: bytes) -> asyncio.Future[bytes]:
        """Done at once."""
        self.values.append(value)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        answer.set_result(key)
        return answer


class Consumer:
    """What the agent asks of Faust's consumer: where a partition ends.

    `gone` are partitions that were taken away while nobody was told yet.
    """

    def __init__(self, topics: dict[int, list[bytes]]) -> None:
        self._topics = topics
        self.gone: set[int] = set()
        self.asked = 0

    def highwater(self, tp: TP) -> int:
        """Offset of the next message."""
        self.asked += 1
        assert tp.partition not in self.gone, "as aiokafka asks it"
        return len(self._topics[tp.partition])


@dataclass
class World:
    """One worker with one archiver. `topics` are values by partition; `at` is where it reads."""

    worker: Worker
    consumer: Consumer
    writer: LakeWriter
    memory: Memory
    archiver: Archiver
    topics: dict[int, list[bytes]]
    refused: Sent
    at: dict[int, int] = field(default_factory=dict)
    peak: int = 0
    taken: int = 0

    def committed(self) -> dict[int, int]:
        """Offset that may be committed, of every partition that has one."""
        acks = self.worker.holdings.acks
        for tp in acks.pending():
            self._committed[tp.partition] = acks.take(tp) or 0
        return dict(self._committed)

    _committed: dict[int, int] = field(default_factory=dict)

    def done(self) -> bool:
        """Whether all of the topics may be committed."""
        ends = {partition: len(values) for partition, values in self.topics.items() if values}
        return self.committed() == ends

    def look(self) -> None:
        """Keep the most that was held."""
        self.peak = max(self.peak, self.memory.held)

    def rebalance(self) -> None:
        """Everything in hand is lost, and read again from what is committed."""
        self.committed()
        self.worker.holdings.lose()
        self.at = {p: self._committed.get(p, 0) for p in self.topics}
        self.worker.holdings.order.start({TP(DEDUPLICATED, p): self.at[p] for p in self.topics})

    async def feed(self, rounds: Rounds) -> None:
        """Offer what the topics have, partitions in turn, for ever."""
        while True:
            moved = False
            for partition, values in self.topics.items():
                at = self.at[partition]
                if at >= len(values):
                    continue
                record = SimpleNamespace(
                    offset=at, key=b"k", value=values[at], headers=(), timestamp=AT_MS + at
                )
                if rounds.offer(Message(TP(DEDUPLICATED, partition), record)) is Offer.DONE:
                    self.at[partition] = at + 1
                    moved = True
            await asyncio.sleep(0 if moved else 0.01)

    async def work(self, rounds: Rounds) -> None:
        """The agent's loop."""
        while True:
            hand = await rounds.next()
            await self.archiver.round(hand)
            self.taken += len(hand.events)
            self.look()

    async def tick(self) -> None:
        """Faust's timer, quicker."""
        while True:
            await self.archiver.tick()
            await asyncio.sleep(0.05)


def made(
    folder: Path,
    topics: dict[int, list[bytes]],
    store: base.ObjectStore,
    *,
    most: int,
    flush_s: float,
    flush_rows: int = 1_000_000,
) -> World:
    """A worker over these topics that has read nothing yet."""
    worker = Worker(
        Settings(data_dir=folder / "state"), role="archive", instance=0, sinks=("lake",)
    )
    consumer = Consumer(topics)
    worker.app.consumer = cast("Any", consumer)
    writer = LakeWriter(store, dataset=Dataset.TELEMETRY, flush_rows=flush_rows, flush_s=flush_s)
    memory = Memory(most)
    refused = Sent()
    quarantine = Quarantine(cast("Worker", refused), CODEC)

    async def refuse(message: Any, error: UnreadableError) -> Any:  # noqa: ANN401 - Faust has no types
        return await quarantine.send(message, error, reason=Reason.UNREADABLE_BATCH)

    archiver = Archiver(
        worker,
        topic=DEDUPLICATED,
        writer=writer,
        memory=memory,
        decode=lambda _topic, _partition, _offset, told: decode_deduplicated(CODEC, told),
        refuse=refuse,
    )
    worker.holdings.on_loss(archiver.forget)
    world = World(
        worker=worker,
        consumer=consumer,
        writer=writer,
        memory=memory,
        archiver=archiver,
        topics=topics,
        refused=refused,
        at=dict.fromkeys(topics, 0),
    )
    worker.holdings.order.start({TP(DEDUPLICATED, p): 0 for p in topics})
    return world


@asynccontextmanager
async def running(world: World) -> AsyncIterator[World]:
    """The worker at work; nothing of it is left at the end."""
    rounds = Rounds(world.worker.holdings, limit=ROUND_EVENTS)
    loops = [
        asyncio.create_task(world.feed(rounds)),
        asyncio.create_task(world.work(rounds)),
        asyncio.create_task(world.tick()),
    ]
    try:
        yield world
        for loop in loops:
            assert not loop.done(), loop.result()
    finally:
        flushes = list(world.archiver._tasks)  # noqa: SLF001 - or they outlive the test
        for task in (*loops, *flushes):
            task.cancel()
        await asyncio.gather(*loops, *flushes, return_exceptions=True)
