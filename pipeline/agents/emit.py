"""Many records to Kafka at little cost: whole batches, built here and sent as they are.

Faust's and aiokafka's `send` cost tens of microseconds a record, mostly for a future each.
Here the records of one round go into batches per partition with one future a batch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from pipeline.settings import Settings
from pipeline.wire import kafka

TIMEOUT_MS = 60_000
"""A record that is not in Kafka after a minute ends the worker: the supervisor starts anew."""


class Record(NamedTuple):
    """One record to send."""

    key: bytes
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class Sent(NamedTuple):
    """One batch on its way: `future` gives its RecordMetadata, `records` is how many."""

    future: asyncio.Future[object]
    records: int


class Emitter:
    """An idempotent producer (acks=all) of our own: order within a partition is kept."""

    def __init__(self, settings: Settings, *, name: str) -> None:
        self._settings = settings
        self._name = name
        self._producer: AIOKafkaProducer | None = None

    async def emit(self, topic: str, partition: int, records: Iterable[Record]) -> list[Sent]:
        """Hand records over, in order; they are in Kafka when the futures are done.

        Raises what the producer raises when Kafka is away for longer than TIMEOUT_MS.
        """
        producer = self._producer or await self._start()
        await producer.partitions_for(topic)  # aiokafka's batches want the topic known
        now_ms = int(time.time() * 1000)
        out: list[Sent] = []
        builder = producer.create_batch()
        for key, value, headers in records:
            if (
                builder.append(timestamp=now_ms, key=key, value=value, headers=list(headers))
                is None
            ):
                out.append(await self._send(producer, builder, topic, partition))
                builder = producer.create_batch()
                builder.append(timestamp=now_ms, key=key, value=value, headers=list(headers))
        if builder.record_count():
            out.append(await self._send(producer, builder, topic, partition))
        return out

    @staticmethod
    async def _send(
        producer: AIOKafkaProducer,
        builder: object,
        topic: str,
        partition: int,
    ) -> Sent:
        count: int = builder.record_count()  # type: ignore[attr-defined]  # aiokafka has no types
        future = await producer.send_batch(builder, topic, partition=partition)
        return Sent(future, count)

    async def _start(self) -> AIOKafkaProducer:
        producer = kafka.producer(self._settings, client_id=self._name, timeout_ms=TIMEOUT_MS)
        await producer.start()
        self._producer = producer
        return producer

    async def stop(self) -> None:
        """Close the producer; what is on its way is sent first."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()


async def settled(sent: Iterable[Sent]) -> int:
    """Wait until all is in Kafka; the greatest offset written, -1 where nothing was sent."""
    last = -1
    for future, count in sent:
        last = max(last, (await future).offset + count - 1)  # type: ignore[attr-defined]  # RecordMetadata
    return last
