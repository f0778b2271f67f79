"""What the delivery bench runs on: Kafka and Redis of its own, a receiver, a worker, events."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.asyncio as redis

from pipeline.core.events import BusinessEvent, Severity, SnapshotEntry, Source
from pipeline.core.partition import partition_for
from pipeline.ops import topics
from pipeline.topology import PARTITIONS, READINGS, RESULTS, parked_topic, sink_topic
from pipeline.topology import topics as all_topics
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from pipeline.wire.records import encode_event
from tests.bench.broker import BenchError, Broker
from tests.bench.process import Process
from tests.sandbox import Box

SINK = "webhook"
ROLE = f"deliver-{SINK}"
GROUP = f"fieldline-{ROLE}"
TOPIC = sink_topic(SINK)
_WINDOW = 2_000
_COMMITTED_S = 60.0
_LOOK_S = 0.1
_ROUTES = f"version: 1\nroutes:\n  - when: {{}}\n    sinks: [{SINK}]\n"
_SINKS = "version: 1\ndefaults: {{}}\nsinks:\n  {sink}: {{ lanes: {lanes}, in_hand: {in_hand} }}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How events go out: `batch` a request, `lanes` requests at once."""

    name: str
    batch: int
    lanes: int
    in_hand: int
    goal: float
    """Least share of bare httpx's rate, by issue 5."""
    published: int
    """Events/s that Redpanda Connect publishes for Salesforce in this manner."""


SINGLE = Mode(name="single", batch=1, lanes=16, in_hand=500, goal=0.5, published=350)
BATCHED = Mode(name="batched", batch=200, lanes=4, in_hand=2_000, goal=0.7, published=1_066)
MODES = {mode.name: mode for mode in (BATCHED, SINGLE)}


def event(number: int, devices: int, *, now_ms: int | None = None) -> BusinessEvent:
    """The event with that number: one of `devices` in turn, the same each time."""
    time_ms = 1_795_000_000_000 + number if now_ms is None else now_ms
    return BusinessEvent(
        id=f"bench{number:019d}",
        type="fieldline.limit.exceeded",
        tenant="bench",
        device_id=f"bench/engine-{number % devices:06d}",
        asset_id=f"ESN-{700_000 + number % devices}",
        customer_id="C-1",
        severity=Severity.WARNING,
        confidence=0.97,
        summary="HPC outlet temperature 1612.4 K, limit 1600 K",
        detector="limit",
        metric="T30",
        rule="T30@3",
        correlation_id=f"bench{number:019d}",
        occurred_at_ms=time_ms,
        observed_at_ms=time_ms,
        source=Source(
            topic=READINGS,
            partition=0,
            offset=number,
            index=0,
            session=1,
            sequence=number // devices,
        ),
        snapshot=tuple(
            SnapshotEntry(metric=name, value=1_600.0 + n, baseline=1_580.25, score=4.5)
            for n, name in enumerate(("T30", "P30", "Nf", "phi"))
        ),
    )


class World:
    """Everything but the runs themselves."""

    def __init__(self, broker: Broker, box: Box, store: redis.Redis) -> None:
        self.broker = broker
        self.box = box
        self.store = store
        self.codec = Codec()
        self._topics = all_topics((SINK,))

    async def forget(self) -> None:
        """As if nothing had ever been delivered: sink, results and parked topics empty too."""
        await self.broker.rewind(GROUP, TOPIC)  # waits until the last worker has left the group
        await self.broker.drop([TOPIC, RESULTS, parked_topic(SINK)])
        async with self.broker.admin() as admin:
            await topics.create(admin, self._topics, self.broker.settings)
        await self.again()

    async def again(self) -> None:
        """The same, but for the events in the sink's topic: they come once more."""
        await self.broker.rewind(GROUP, TOPIC)
        await self.store.flushall()
        await self.box.clear()
        shutil.rmtree(self.broker.root / "state", ignore_errors=True)

    async def load(self, events: int, devices: int) -> None:
        """Write so many events to the sink's topic, as fan-out does."""
        async with self.producing() as producer:
            under_way = []
            for number in range(events):
                under_way.append(await self.send(producer, event(number, devices)))
                if len(under_way) >= _WINDOW:
                    await asyncio.gather(*under_way)
                    under_way.clear()
            await asyncio.gather(*under_way)

    @asynccontextmanager
    async def producing(self) -> AsyncIterator[Any]:
        """A producer, started."""
        producer = kafka.producer(self.broker.settings, client_id="bench-delivery")
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def send(self, producer: Any, one: BusinessEvent) -> Any:  # noqa: ANN401 - aiokafka has no types
        """One event on its way to its device's partition."""
        key = one.device_id.encode()
        value = encode_event(self.codec, one)
        return await producer.send(TOPIC, value, key=key, partition=partition_for(key, PARTITIONS))

    @contextmanager
    def worker(self, mode: Mode) -> Iterator[Process]:
        """`fieldline worker deliver-webhook`, started."""
        root = self.broker.root
        routes, sinks = root / "routes.yaml", root / "sinks.yaml"
        routes.write_text(_ROUTES, encoding="utf-8")
        sinks.write_text(
            _SINKS.format(sink=SINK, lanes=mode.lanes, in_hand=mode.in_hand), encoding="utf-8"
        )
        env = {
            **self.broker.env,
            **self.box.env,
            "WEBHOOK_BATCH": str(mode.batch),
            "FIELDLINE_ROUTES_FILE": str(routes),
            "FIELDLINE_SINKS_FILE": str(sinks),
        }
        argv = (str(Path(sys.executable).with_name("fieldline")), "worker", ROLE)
        with Process(root, ROLE, argv, env) as process:
            yield process

    async def committed(self, process: Process, within_s: float = _COMMITTED_S) -> None:
        """Wait until the group has no lag on the sink's topic."""
        async with self.broker.watch(TOPIC) as ends:
            wanted = await ends.now()
        deadline = time.monotonic() + within_s
        while lag := await self.broker.lag(GROUP, wanted, TOPIC):
            process.check()
            if time.monotonic() > deadline:
                raise process.stuck(f"has not committed {lag:,} events")
            await asyncio.sleep(_LOOK_S)

    async def check(self, events: int) -> None:
        """Every event at the receiver once and in order, or BenchError: no speed counts then."""
        stats = await self.box.stats()
        names = ("keys", "effects", "out_of_order", "refused", "unsigned")
        found = {name: stats[name] for name in names}
        wanted = dict(zip(names, (events, events, 0, 0, 0), strict=True))
        if found != wanted:
            raise BenchError(f"The receiver has {found} and must have {wanted}: see the log.")

    async def redis_work(self) -> tuple[int, int]:
        """Commands that Redis has done, and how often it read from its clients: round trips."""
        stats: dict[str, Any] = await self.store.info("stats")
        return int(stats["total_commands_processed"]), int(stats["total_reads_processed"])
