"""Fills the topics before the clock starts: the same readings for us and for the peers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt
import orjson
from aiokafka import AIOKafkaProducer

from pipeline.core.partition import partition_for
from pipeline.core.telemetry import TelemetryBatch
from pipeline.settings import Settings
from pipeline.topology import PARTITIONS, READINGS
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from pipeline.wire.records import encode_batch
from tests.bench.shapes import BATCH_READINGS, Shape
from tests.bench.signals import FLEET, SESSION, Block, device_name, join, play, step_ms

_WINDOW = 256
"""Sends under way."""
_UPLINK_MS = 40
"""From measuring to the bridge."""


@dataclass(slots=True, kw_only=True)
class Loaded:
    """What telemetry.readings holds. `edges[p][n]` are the readings in n messages of p."""

    shape: Shape
    readings: int = 0
    first: int = 0
    """Readings that were not sent before: what must be in telemetry.deduplicated, once."""
    edges: dict[int, list[int]] = field(default_factory=lambda: {p: [0] for p in range(PARTITIONS)})

    @property
    def ends(self) -> dict[int, int]:
        """Messages by partition."""
        return {p: len(edge) - 1 for p, edge in self.edges.items()}

    @property
    def messages(self) -> int:
        """Messages of all partitions."""
        return sum(self.ends.values())

    def follow(self, later: Loaded) -> None:
        """Put what was written afterwards behind this."""
        self.readings += later.readings
        self.first += later.first
        for partition, edge in later.edges.items():
            mine = self.edges[partition]
            before = mine[-1]
            mine.extend(before + readings for readings in edge[1:])

    def upto(self, messages: Mapping[int, int]) -> int:
        """Readings in the first so many messages of each partition."""
        return sum(self.edges[p][min(n, len(self.edges[p]) - 1)] for p, n in messages.items())


@dataclass(slots=True, kw_only=True)
class LoadedJson:
    """A topic of single readings as JSON, keyed by device."""

    topic: str
    readings: int = 0
    first: int = 0


async def load(
    settings: Settings,
    shape: Shape,
    readings: int,
    *,
    seed: int = 1,
    later: int = 0,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Loaded:
    """Write about so many readings to telemetry.readings, as the bridge does.

    `later` ticks come before the first: for readings that follow others.
    """
    done = Loaded(shape=shape)
    packers = {p: Packer(shape, later) for p in range(PARTITIONS)}
    home = homes(shape)
    async with _Sender(settings) as sender:
        for block in play(shape, readings, seed=seed):
            done.first += int((~block.again).sum()) * shape.per_sample
            for partition, packer in packers.items():
                for batch in packer.add(block.take(home[block.device] == partition)):
                    await sender.send(READINGS, batch, partition)
                    done.edges[partition].append(done.edges[partition][-1] + batch.readings)
                    done.readings += batch.readings
            on_progress(done.readings)
        for partition, packer in packers.items():
            for batch in packer.rest():
                await sender.send(READINGS, batch, partition)
                done.edges[partition].append(done.edges[partition][-1] + batch.readings)
                done.readings += batch.readings
    return done


def homes(shape: Shape) -> npt.NDArray[np.int64]:
    """Partition of each device."""
    return np.array(
        [partition_for(device_name(d).encode(), PARTITIONS) for d in range(shape.devices)]
    )


class Packer:
    """Cuts the samples of one partition into messages of BATCH_READINGS."""

    def __init__(self, shape: Shape, later: int) -> None:
        self._shape = shape
        self._later = later
        self._size = BATCH_READINGS // shape.per_sample
        self._names = [device_name(d) for d in range(shape.devices)]
        self._held: list[Block] = []

    def add(self, block: Block) -> list[TelemetryBatch]:
        """Full messages."""
        self._held.append(block)
        held = join(self._held)
        whole = len(held) // self._size * self._size
        self._held = [held.take(np.arange(whole, len(held)))]
        return [
            self._batch(held.take(np.arange(at, at + self._size)))
            for at in range(0, whole, self._size)
        ]

    def rest(self) -> list[TelemetryBatch]:
        """The last message, where there is something left for it."""
        held, self._held = self._held, []
        return [self._batch(block) for block in held if len(block)]

    def _batch(self, block: Block) -> TelemetryBatch:
        per_sample = self._shape.per_sample
        metric = (block.metric[:, None] + np.arange(per_sample)).ravel()
        device, device_index = _dictionary(block.device)
        metrics, metric_index = _dictionary(metric)
        tick = block.tick + self._later
        time_ms = SESSION * 1000 + tick * step_ms(self._shape)
        return TelemetryBatch(
            devices=tuple(self._names[d] for d in device.tolist()),
            metrics=tuple(FLEET[m].name for m in metrics.tolist()),
            sample_device=device_index,
            sample_session=np.full(len(block), SESSION, dtype=np.int64),
            sample_seq=tick + 1,
            sample_time_ms=time_ms,
            sample_received_ms=np.full(len(block), time_ms.max() + _UPLINK_MS, dtype=np.int64),
            sample_readings=np.full(len(block), per_sample, dtype=np.int32),
            reading_metric=metric_index,
            reading_value=np.ascontiguousarray(block.value).ravel(),
        )


def _dictionary(
    ids: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Distinct ids in order of first use, and each entry's place among them."""
    distinct, first, place = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return distinct[order], rank[place]


class _Sender:
    """The bridge's own producer, with a bound on what is under way."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._codec = Codec()
        self._producer: AIOKafkaProducer
        self._under_way: list[asyncio.Future[object]] = []

    async def __aenter__(self) -> Self:
        self._producer = kafka.producer(self._settings, client_id="bench-load")
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._settle()
        finally:
            await self._producer.stop()

    async def send(self, topic: str, batch: TelemetryBatch, partition: int) -> None:
        """One message, keyed by its first device."""
        key = batch.devices[batch.sample_device[0]].encode()
        value = encode_batch(self._codec, batch)
        await self._add(await self._producer.send(topic, value, key=key, partition=partition))

    async def send_json(self, topic: str, partition: int, pairs: list[tuple[bytes, bytes]]) -> None:
        """Single messages of one partition, in order, packed into Kafka's own batches."""
        builder = self._producer.create_batch()
        for key, value in pairs:
            while builder.append(key=key, value=value, timestamp=None) is None:
                await self._send_builder(builder, topic, partition)
                builder = self._producer.create_batch()
        if builder.record_count():
            await self._send_builder(builder, topic, partition)

    async def _send_builder(self, builder: object, topic: str, partition: int) -> None:
        await self._add(await self._producer.send_batch(builder, topic, partition=partition))

    async def _add(self, future: asyncio.Future[object]) -> None:
        self._under_way.append(future)
        if len(self._under_way) >= _WINDOW:
            await self._settle()

    async def _settle(self) -> None:
        await asyncio.gather(*self._under_way)
        self._under_way.clear()


async def load_json(
    settings: Settings, shape: Shape, of: int, topics: Mapping[str, int], *, seed: int = 1
) -> dict[str, LoadedJson]:
    """The first readings of load(settings, shape, of) as single messages.

    `topics` says how many readings each topic gets; they must be there.
    """
    out = {topic: LoadedJson(topic=topic) for topic in topics}
    home = homes(shape)
    async with _Sender(settings) as sender:
        for block in play(shape, of, seed=seed):
            for topic, wanted in topics.items():
                done = out[topic]
                part = block.take(np.arange(min(len(block), wanted - done.readings)))
                done.readings += len(part)
                done.first += int((~part.again).sum())
                for partition in range(PARTITIONS):
                    here = part.take(home[part.device] == partition)
                    await sender.send_json(topic, partition, singles(shape, here))
            if all(out[topic].readings >= wanted for topic, wanted in topics.items()):
                break
    return out


def singles(shape: Shape, block: Block) -> list[tuple[bytes, bytes]]:
    """Key and value of single readings; the shape has one reading a sample."""
    step = step_ms(shape)
    rows = zip(
        block.device.tolist(),
        block.tick.tolist(),
        block.metric.tolist(),
        block.value[:, 0].tolist(),
        strict=True,
    )
    out = []
    for device, tick, metric, value in rows:
        name = device_name(device)
        reading = {
            "device": name,
            "session": SESSION,
            "seq": tick + 1,
            "ts": SESSION * 1000 + tick * step,
            "metric": FLEET[metric].name,
            "value": value,
        }
        out.append((name.encode(), orjson.dumps(reading)))
    return out
