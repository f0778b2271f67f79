"""The bridge's one connection to MQTT and Kafka: take, decode, batch, send, acknowledge."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.bridge.batcher import Batch, Batcher, Held
from pipeline.bridge.decoders import Bad, decode, device_of
from pipeline.bridge.mqtt import Address, Inbox, Message
from pipeline.core.partition import partition_for
from pipeline.core.quarantine import Reason
from pipeline.core.telemetry import Sample, pack
from pipeline.settings import Settings
from pipeline.topology import QUARANTINE, READINGS
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from pipeline.wire.records import encode_batch, encode_quarantined

ALONE = "telemetry/+/+"
SHARED = f"$share/fieldline/{ALONE}"
"""A shared subscription: several bridges divide the messages among them."""
SESSION_EXPIRY_S = 7 * 86_400
"""How long the broker keeps messages for a bridge that is away."""
RECEIVE_MAXIMUM = 2_000
"""Messages in memory without an acknowledgement: MQTT's own flow control keeps to it."""
HELD_READINGS = 200_000
"""Decoded readings in memory above which decoding waits; one message may go beyond it."""
STALL_S = 30.0
"""A record that Kafka has not acknowledged for so long means recovery."""
RECORD_BYTES = 1_000_000
"""Greatest record; Kafka's usual message.max.bytes is 1,048,588."""
_LOOK_S = 0.25
_PROGRESS_S = 10.0
_RECEIVE = 256

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Counters:
    """What one bridge has done since it started."""

    messages: int = 0
    readings: int = 0
    quarantined: int = 0
    records: int = 0
    acknowledged: int = 0
    recoveries: int = 0


class StalledError(KafkaError):  # type: ignore[misc] # aiokafka ships no types
    """Kafka has not acknowledged a record in time."""


@dataclass(slots=True)
class _Flight:
    """Records on their way together; when all are safe, their messages lose a part."""

    origins: Sequence[Held[Message]]
    since_s: float
    records: int = 0


class Session:
    """One connection to both ends, from its start to the first failure.

    Within a partition records leave in the order of arrival, several under way at a time:
    there is one sender, and the idempotent producer retries in order.
    """

    def __init__(
        self,
        settings: Settings,
        instance: str,
        address: Address,
        counters: Counters,
        *,
        shared: bool,
    ) -> None:
        self._settings = settings
        self._instance = instance
        self._filters = (SHARED, ALONE) if shared else (ALONE, SHARED)
        self._codec = Codec()
        self._counters = counters
        self._inbox = Inbox(
            address,
            client_id=f"fieldline-{instance}",
            receive_maximum=RECEIVE_MAXIMUM,
            session_expiry_s=SESSION_EXPIRY_S,
        )
        self._batcher: Batcher[Message] = Batcher(
            max_readings=settings.bridge_batch_readings,
            linger_s=settings.bridge_linger_ms / 1000,
        )
        self._producer: AIOKafkaProducer
        self._partitions = 0
        self._partition_of: dict[str, int] = {}
        self._flights: deque[_Flight] = deque()
        self._failure: BaseException | None = None
        self._over = False
        self._reported_s = time.monotonic()
        self._held_readings = 0
        self.held_messages = 0
        self.connected = False

    async def run(self, stop: asyncio.Event, down_since: float) -> None:
        """Connect and carry until `stop` is set; raises on the first failure."""
        self._producer = kafka.producer(self._settings, client_id=f"fieldline-{self._instance}")
        try:
            await self._producer.start()
            self._partitions = await kafka.partitions_of(self._producer, READINGS)
            await kafka.partitions_of(self._producer, QUARANTINE)
            async with self._inbox:
                await self._inbox.subscribe(self._filters[0], instead_of=self._filters[1])
                self.connected = True
                log.info(
                    "bridge connected",
                    instance=self._instance,
                    partitions=self._partitions,
                    down_s=round(time.monotonic() - down_since, 1),
                )
                try:
                    while not stop.is_set():
                        await self._step()
                    await self._finish()
                finally:
                    self._over = True
        finally:
            await kafka.abandon(self._producer)

    async def _step(self) -> None:
        """Take what came, send what is full or due, and see whether all is well."""
        now = time.monotonic()
        due = self._batcher.next_due_s()
        wait_s = _LOOK_S if due is None else min(max(due - now, 0.0), _LOOK_S)
        room = _RECEIVE if self._held_readings < HELD_READINGS else 0
        messages = await self._inbox.receive(room, wait_s)
        now, received_ms = time.monotonic(), time.time_ns() // 1_000_000
        for message in messages:
            await self._take(message, received_ms, now)
        for batch in self._batcher.due(time.monotonic()):
            await self._send_batch(batch)
        self._check()
        if now - self._reported_s >= _PROGRESS_S:
            self._reported_s = now
            log.info("bridge progress", instance=self._instance, **asdict(self._counters))

    async def _finish(self) -> None:
        for batch in self._batcher.drain():
            await self._send_batch(batch)
        while self._flights:
            self._check()
            await self._inbox.wait(_LOOK_S)

    def _check(self) -> None:
        while self._flights and not self._flights[0].records:
            self._flights.popleft()
        if self._failure is not None:
            raise self._failure
        if self._flights and time.monotonic() - self._flights[0].since_s > STALL_S:
            raise StalledError(f"no acknowledgement from Kafka for {STALL_S:.0f} s")

    async def _take(self, message: Message, received_ms: int, now_s: float) -> None:
        decoded = decode(
            message.topic, message.payload, received_ms, self._settings.bridge_max_payload
        )
        readings = sum(len(sample.readings) for sample in decoded.samples)
        quarantined = sum(bad.readings for bad in decoded.bad)
        held = Held(message, parts=1, readings=readings + quarantined)
        self.held_messages += 1
        self._held_readings += held.readings
        self._counters.messages += 1
        self._counters.readings += readings
        self._counters.quarantined += quarantined
        if decoded.samples:
            partition = self._partition(decoded.samples[0].device_id)
            for batch in self._batcher.add(held, decoded.samples, partition, now_s):
                await self._send_batch(batch)
        if decoded.bad:
            await self._quarantine(held, decoded.bad, received_ms)
        self._release(held)

    def _partition(self, device_id: str) -> int:
        partition = self._partition_of.get(device_id)
        if partition is None:
            if len(self._partition_of) >= HELD_READINGS:
                self._partition_of.clear()  # ids are input: the memory for them has a bound
            partition = partition_for(device_id.encode(), self._partitions)
            self._partition_of[device_id] = partition
        return partition

    async def _send_batch(self, batch: Batch[Message]) -> None:
        flight = _Flight(batch.origins, time.monotonic())
        self._flights.append(flight)
        await self._send_samples(flight, batch.partition, batch.samples)

    async def _send_samples(
        self,
        flight: _Flight,
        partition: int,
        samples: Sequence[Sample],
    ) -> None:
        value = encode_batch(self._codec, pack(samples))
        if len(value) <= RECORD_BYTES or len(samples) == 1:  # a single one fits: see decode
            await self._send(flight, READINGS, samples[0].device_id.encode(), value, partition)
            return
        half = len(samples) // 2
        flight.records += 1  # the flight must not end between its halves
        await self._send_samples(flight, partition, samples[:half])
        await self._send_samples(flight, partition, samples[half:])
        self._land(flight)

    async def _quarantine(self, held: Held[Message], bads: Sequence[Bad], received_ms: int) -> None:
        """One record per reason: a message of 10,000 bad metrics must not make 10,000."""
        by_reason: dict[Reason, list[Bad]] = {}
        for bad in bads:
            by_reason.setdefault(bad.reason, []).append(bad)
        message = held.message
        flight = _Flight((held,), time.monotonic())
        held.parts += 1
        flight.records += 1  # the flight must not end between its records
        self._flights.append(flight)
        for reason, same in by_reason.items():
            more = f" So are {len(same) - 1} more of this message." if len(same) > 1 else ""
            value = encode_quarantined(
                self._codec,
                reason=reason,
                detail=same[0].detail + more,
                mqtt_topic=message.topic,
                device_id=device_of(message.topic),
                payload=message.payload,
                readings=sum(bad.readings for bad in same),
                received_ms=received_ms,
            )
            await self._send(flight, QUARANTINE, message.topic.encode(), value, None)
        self._land(flight)

    async def _send(
        self, flight: _Flight, topic: str, key: bytes, value: bytes, partition: int | None
    ) -> None:
        """Hand one record to the producer; waits while its buffer is full."""
        flight.records += 1
        self._counters.records += 1
        future = await self._producer.send(topic, value, key=key, partition=partition)
        future.add_done_callback(partial(self._sent, flight))

    def _sent(self, flight: _Flight, future: asyncio.Future[Any]) -> None:
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is None:
            self._land(flight)
        elif self._failure is None:
            self._failure = KafkaError(str(error)) if future.cancelled() else error
            self._inbox.poke()

    def _land(self, flight: _Flight) -> None:
        flight.records -= 1
        if not flight.records:
            for held in flight.origins:
                self._release(held)
            self._inbox.poke()

    def _release(self, held: Held[Message]) -> None:
        held.parts -= 1
        if held.parts or self._over:
            return
        self.held_messages -= 1
        self._held_readings -= held.readings
        self._counters.acknowledged += 1
        self._inbox.acknowledge(held.message)
