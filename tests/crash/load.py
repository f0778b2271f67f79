"""The load: batches as the bridge writes them, and the journal of what Kafka acknowledged."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from aiokafka.errors import KafkaError

from pipeline.core.telemetry import Sample, pack
from pipeline.settings import Settings
from pipeline.topology import READINGS
from pipeline.wire.avro import Codec
from pipeline.wire.records import encode_batch
from tests.crash.devices import BUSY, Device, fleet
from tests.crash.producer import Renewed

TICK_S: Final = 0.06
"""One message to each partition in so many seconds: the grain of every measured pause."""
ARRIVAL_MS: Final = 4_000
"""Time of arrival at the bridges from one tick to the next. It runs ahead of the clock on the
wall, so that a quarter of an hour without a word fits into a short run, and it stands still
while the broker is away, so that an outage is nobody's silence."""
_TURNS: Final = (1, 16)
"""Turns of devices in one message, least and most."""
_SECOND_BRIDGE: Final = 0.1
"""Share of messages that another bridge sends once more, cut differently."""
_RECENT: Final = 60
"""Samples a second bridge is behind at most."""
_AWAY_S: Final = 0.2
"""Between attempts while the broker is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One acknowledged message. `value` is its bytes, `at_ms` when it was acknowledged."""

    partition: int
    offset: int
    at_ms: int
    value: bytes


@dataclass(slots=True)
class Journal:
    """What Kafka acknowledged, in order per partition."""

    messages: list[Sent] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)
    """Greatest acknowledged offset by partition."""
    samples: int = 0
    again: int = 0
    """Messages sent a second time because the broker's answer did not come."""

    def add(self, sent: Sent, samples: int) -> None:
        """Write down one message."""
        self.messages.append(sent)
        self.ends[sent.partition] = sent.offset
        self.samples += samples

    def save(self, path: Path) -> None:
        """As Parquet: partition, offset, at_ms, value (the Avro message)."""
        columns = ("partition", "offset", "at_ms", "value")
        table = pa.table({name: [getattr(m, name) for m in self.messages] for name in columns})
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, compression="zstd")


class Bridges:
    """Two bridges over one fleet: makes the next message of a partition. Pure but for its rng."""

    def __init__(self, seed: int, partitions: int, start_ms: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - a load that can be played again
        self._fleet = fleet(seed, partitions, start_ms)
        self._recent: list[deque[Sample]] = [deque(maxlen=_RECENT) for _ in self._fleet]

    def next(self, partition: int, now_ms: int) -> list[Sample]:
        """Samples of the next message to `partition`; never none."""
        recent = self._recent[partition]
        if recent and self._rng.random() < _SECOND_BRIDGE:
            return self._second(recent, now_ms)
        devices = self._fleet[partition]
        out: list[Sample] = []
        while not out:
            for _ in range(self._rng.randint(*_TURNS)):
                out += self._some(devices).turn(now_ms)
        recent.extend(out)
        return out

    def finale(self, partition: int, now_ms: int) -> list[list[Sample]]:
        """Last messages: what every device sent last, once more, and then something new.

        A state that was lost or set back on the way takes the old for new.
        """
        devices = self._fleet[partition]
        return [
            message
            for device in devices
            for message in (
                [replace(s, received_ms=now_ms) for s in list(device.sent)[-40:]],
                [sample for _ in range(3) for sample in device.turn(now_ms)],
            )
            if message
        ]

    def _some(self, devices: list[Device]) -> Device:
        if self._rng.random() < 0.5:
            return devices[self._rng.randrange(BUSY)]
        return devices[self._rng.randrange(BUSY, len(devices))]

    def _second(self, recent: deque[Sample], now_ms: int) -> list[Sample]:
        """What the other bridge saw: some of the same samples, their metrics in any order."""
        first = self._rng.randrange(len(recent))
        seen = list(recent)[first : first + self._rng.randint(1, 25)]
        return [
            replace(
                sample,
                received_ms=now_ms,
                readings=tuple(self._rng.sample(sample.readings, len(sample.readings))),
            )
            for sample in seen
        ]


class Load:
    """Sends until stopped. What it sends depends on the seed and the second it began in.

    One message of a partition is in flight at a time, so its log is in the order in which
    the bridges made it; one whose answer does not come is sent again.
    """

    def __init__(self, settings: Settings, seed: int) -> None:
        self._settings = settings
        self._codec = Codec()
        self._now_ms = int(time.time()) * 1000
        self._bridges = Bridges(seed, settings.partitions, self._now_ms)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._idle = asyncio.Event()
        self._producer = Renewed(settings, client_id="crash-load")
        self.journal = Journal()

    async def run(self) -> None:
        """Send one message to each partition every TICK_S, until cancelled."""
        try:
            while True:
                if not self._flowing.is_set():
                    self._idle.set()
                    await self._flowing.wait()
                self._idle.clear()
                begun = time.monotonic()
                self._now_ms += ARRIVAL_MS
                partitions = range(self._settings.partitions)
                await self._send({p: self._bridges.next(p, self._now_ms) for p in partitions})
                await asyncio.sleep(max(0.0, begun + TICK_S - time.monotonic()))
        finally:
            await self._producer.drop()

    async def hold(self) -> None:
        """Stop the flow; returns when all that was sent is acknowledged."""
        self._idle.clear()
        self._flowing.clear()
        await self._idle.wait()

    def go_on(self) -> None:
        """Let it flow again."""
        self._idle.clear()
        self._flowing.set()

    async def finale(self) -> None:
        """Send the last messages, while the flow is held."""
        self._now_ms += ARRIVAL_MS
        for partition in range(self._settings.partitions):
            for samples in self._bridges.finale(partition, self._now_ms):
                await self._send({partition: samples})

    async def _send(self, messages: dict[int, list[Sample]]) -> None:
        """Send one message a partition and write down what was acknowledged, come what may."""
        left = {p: (encode_batch(self._codec, pack(s)), s) for p, s in messages.items()}
        while True:
            try:
                client = await self._producer.get()
                futures = {
                    p: await client.send(
                        READINGS, key=samples[0].device_id.encode(), value=value, partition=p
                    )
                    for p, (value, samples) in left.items()
                }
            except (KafkaError, OSError):
                futures = {}
            for partition, future in futures.items():
                try:
                    record = await future
                except (KafkaError, OSError):
                    continue
                value, samples = left.pop(partition)
                at_ms = int(time.time() * 1000)
                sent = Sent(partition=partition, offset=record.offset, at_ms=at_ms, value=value)
                self.journal.add(sent, len(samples))
            if not left:
                return
            # What is left may be in the log or not: as a bridge does, send it once more.
            self.journal.again += len(left)
            await self._producer.drop()
            await asyncio.sleep(_AWAY_S)
