"""What the lake is fed in the crash suite: all four topics, by themselves, with their troubles.

Upstream workers are left out: what they would do after a crash (send the same messages again)
and what devices do (clocks far ahead and back, NaN) is done here, by a seed.
"""

from __future__ import annotations

import asyncio
import base64
import math
import random
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from aiokafka.errors import KafkaError

from pipeline.core.events import BusinessEvent, Severity, SnapshotEntry, Source
from pipeline.core.telemetry import DeduplicatedBatch, Sample, pack
from pipeline.settings import Settings
from pipeline.topology import DEDUPLICATED, LAKE, QUARANTINE, READINGS, RESULTS, sink_topic
from pipeline.wire.avro import Codec
from pipeline.wire.cloudevents import REPLAY
from pipeline.wire.records import encode_deduplicated, encode_event
from tests.crash.producer import Renewed

TICK_S: Final = 0.15
"""One message to each partition of each topic in so many seconds."""
DAY_MS: Final = 86_400_000
EVENTS: Final = sink_topic(LAKE)
TOPICS: Final = (DEDUPLICATED, EVENTS, RESULTS, QUARANTINE)
JUMPS_MS: Final = (
    400 * DAY_MS,
    -800 * DAY_MS,
    2 * DAY_MS,
    -3 * DAY_MS,
    63_000 * DAY_MS,
    -25_000 * DAY_MS,
    4_000_000 * DAY_MS,
)
"""Where device clocks jump to: ahead and back by days and years, past 2190, before 1970, past
9999."""
_DEVICES: Final = 6
_METRICS: Final = ("temperature", "vibration", "pressure")
_ODD: Final = (math.nan, math.inf, -math.inf, -0.0, 0.0)
_AGAIN: Final = 0.06
"""Share of ticks in which a partition's last messages come once more, as after a crash."""
_GARBAGE: Final = 0.01
_RECENT: Final = 5
_AWAY_S: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Out:
    """One message on its way."""

    topic: str
    partition: int
    value: bytes
    replay: bytes | None = None


class Feed:
    """Makes the next messages of one partition number in all topics. Pure but for its rng."""

    def __init__(self, seed: int, partition: int, now_ms: int) -> None:
        self._rng = random.Random(f"{seed}/{partition}")  # noqa: S311 - can be played again
        self._partition = partition
        self._codec = Codec()
        self._now_ms = now_ms
        self._jump_ms = 0
        self._position = 0
        self._sequence = [0] * _DEVICES
        self._recent: dict[str, deque[Out]] = {t: deque(maxlen=_RECENT) for t in TOPICS}
        self._replays: list[Out] = []
        self.made: Counter[str] = Counter()
        """Messages by what is odd about them."""

    def jump(self, by_ms: int) -> None:
        """Set the device clocks of this partition apart from the time of arrival by so much."""
        self._jump_ms = by_ms

    def next(self, now_ms: int, *, plain: bool = False) -> list[Out]:
        """One tick; `plain` has something new for every topic and nothing odd."""
        self._now_ms = now_ms
        rng = self._rng
        out = [self._readings()]
        if plain or rng.random() < 0.6:
            out += self._events()
        if plain or rng.random() < 0.6:
            out.append(self._result())
        if self._partition == 0 and (plain or rng.random() < 0.3):
            out.append(self._refused())
        for one in out:
            self._recent[one.topic].append(one)
        return out if plain else [*out, *self._troubles()]

    def _troubles(self) -> list[Out]:
        rng = self._rng
        out: list[Out] = []
        topics = [t for t in TOPICS if t != QUARANTINE or self._partition == 0]
        if rng.random() < _AGAIN:
            self.made["sent again, as after a crash"] += 1
            out += self._recent[rng.choice(topics)]
        if rng.random() < _GARBAGE:
            self.made["unreadable"] += 1
            garbage = b"\x00" + rng.randbytes(rng.randint(0, 40))
            out.append(Out(topic=rng.choice(topics), partition=self._partition, value=garbage))
        if rng.random() < _AGAIN:
            self.made["replayed by an operator"] += 1
            old = self._event(max(0, self._position - 50), 9)
            self._replays.append(
                Out(
                    topic=EVENTS,
                    partition=self._partition,
                    value=encode_event(self._codec, old),
                    replay=rng.randbytes(4).hex().encode(),
                )
            )
            out.append(self._replays[-1])
        if self._replays and rng.random() < _AGAIN:
            self.made["replayed twice"] += 1
            out.append(rng.choice(self._replays[-_RECENT:]))
        return out

    def _time_ms(self, device: int) -> int:
        # A device may be a day behind, so that a range has files of several dates.
        return self._now_ms + self._jump_ms - DAY_MS * (device % 3)

    def _readings(self) -> Out:
        rng = self._rng
        samples = []
        for _ in range(rng.randint(1, 12)):
            device = rng.randrange(_DEVICES)
            self._sequence[device] += 1
            samples.append(
                Sample(
                    device_id=f"crash/p{self._partition}-{device}",
                    session=1,
                    sequence=self._sequence[device],
                    time_ms=self._time_ms(device) + rng.randint(-900, 900),
                    received_ms=self._now_ms,
                    readings=tuple(
                        (metric, self._value())
                        for metric in rng.sample(_METRICS, rng.randint(1, len(_METRICS)))
                    ),
                )
            )
        self._position += rng.randint(1, 3)
        batch = DeduplicatedBatch(
            source_topic=READINGS,
            source_partition=self._partition,
            source_offset=self._position,
            batch=pack(samples),
            late=np.array([rng.random() < 0.1 for _ in samples], dtype=np.bool_),
            duplicates=rng.randint(0, 3),
        )
        value = encode_deduplicated(self._codec, batch)
        return Out(topic=DEDUPLICATED, partition=self._partition, value=value)

    def _value(self) -> float:
        rng = self._rng
        return rng.choice(_ODD) if rng.random() < 0.02 else round(rng.gauss(50.0, 9.0), 3)

    def _events(self) -> list[Out]:
        return [
            Out(
                topic=EVENTS,
                partition=self._partition,
                value=encode_event(self._codec, self._event(self._position, index)),
            )
            for index in range(self._rng.randint(1, 3))
        ]

    def _event(self, offset: int, index: int) -> BusinessEvent:
        rng = self._rng
        device = rng.randrange(_DEVICES)
        event_id = base64.b32encode(rng.randbytes(15)).decode().lower()
        return BusinessEvent(
            id=event_id,
            type="fieldline.limit.exceeded",
            tenant="crash",
            device_id=f"crash/p{self._partition}-{device}",
            asset_id=None,
            customer_id=None,
            severity=rng.choice(list(Severity)),
            confidence=round(rng.random(), 3),
            summary="x" * rng.randint(0, 200),
            detector="limit",
            metric=rng.choice(_METRICS),
            rule="hot@1",
            correlation_id=event_id,
            occurred_at_ms=self._time_ms(device),
            observed_at_ms=self._now_ms,
            source=Source(
                topic=READINGS,
                partition=self._partition,
                offset=offset,
                index=index,
                session=1,
                sequence=self._sequence[device],
            ),
            snapshot=(
                SnapshotEntry(metric="temperature", value=self._value(), baseline=50.0, score=None),
            ),
        )

    def _result(self) -> Out:
        rng = self._rng
        device = rng.randrange(_DEVICES)
        record: dict[str, Any] = {
            "event_id": base64.b32encode(rng.randbytes(15)).decode().lower(),
            "sink": rng.choice(("tryton", "webhook")),
            "tenant": "crash",
            "device_id": f"crash/p{self._partition}-{device}",
            "outcome": rng.choice(("delivered", "rejected", "dead_lettered")),
            "action": "raise",
            "entity_id": "",
            "code": "",
            "message": "",
            "target_id": rng.choice((None, "4711")),
            "cause_class": "",
            "attempts": rng.randint(1, 9),
            "latency_ms": rng.randint(1, 9_000),
            "at_ms": self._time_ms(device),
            "payload_hash": rng.randbytes(32).hex(),
            "request_hash": None,
            "replay": None,
        }
        value = self._codec.encode("delivery_result.v2", record)
        return Out(topic=RESULTS, partition=self._partition, value=value)

    def _refused(self) -> Out:
        payload = self._rng.randbytes(self._rng.randint(0, 300))
        record = {
            "reason": "unreadable_payload",
            "detail": "It is no JSON.",
            "mqtt_topic": f"crash/p{self._partition}/telemetry",
            "device_id": None,
            "payload": payload,
            "payload_size": len(payload),
            "readings": 1,
            "received_ms": self._now_ms,
        }
        value = self._codec.encode("quarantined.v1", record)
        return Out(topic=QUARANTINE, partition=0, value=value)


class LakeLoad:
    """Sends until stopped. What it sends depends on the seed and the second it began in.

    A tick whose answers do not all come is sent again as far as it was not answered.
    """

    def __init__(self, settings: Settings, seed: int) -> None:
        self._now_ms = int(time.time()) * 1000
        self._rng = random.Random(seed)  # noqa: S311 - can be played again
        self._feeds = [Feed(seed, p, self._now_ms) for p in range(settings.partitions)]
        self._producer = Renewed(settings, client_id="crash-lake-load")
        self.sent = 0
        self.again = 0
        self.jumps = 0

    @property
    def made(self) -> Counter[str]:
        """Messages by what is odd about them, over all partitions."""
        total: Counter[str] = sum((feed.made for feed in self._feeds), Counter())
        return total

    def jump(self) -> None:
        """Let the clocks of all devices jump, each partition's to a place of its own."""
        for feed, by_ms in zip(
            self._feeds, self._rng.sample(JUMPS_MS, len(self._feeds)), strict=True
        ):
            feed.jump(by_ms)
            self.jumps += 1

    def settle(self) -> None:
        """Let them tell the time again."""
        for feed in self._feeds:
            feed.jump(0)

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            while True:
                begun = time.monotonic()
                await self._tick(plain=False)
                await asyncio.sleep(max(0.0, begun + TICK_S - time.monotonic()))
        finally:
            await self._producer.drop()

    async def finale(self) -> None:
        """Last messages: something new for each partition of every topic."""
        try:
            await self._tick(plain=True)
        finally:
            await self._producer.drop()

    async def _tick(self, *, plain: bool) -> None:
        self._now_ms += round(TICK_S * 1000)
        left = [one for feed in self._feeds for one in feed.next(self._now_ms, plain=plain)]
        while left:
            left = await self._send(left)
            self.again += len(left)
            if left:
                await self._producer.drop()
                await asyncio.sleep(_AWAY_S)

    async def _send(self, messages: list[Out]) -> list[Out]:
        """Send them; those that were not acknowledged."""
        futures: list[asyncio.Future[Any]] = []
        try:
            client = await self._producer.get()
            for one in messages:
                headers = [] if one.replay is None else [(REPLAY, one.replay)]
                futures.append(
                    await client.send(
                        one.topic, value=one.value, partition=one.partition, headers=headers
                    )
                )
        except (KafkaError, OSError):
            pass  # what was handed over may be acknowledged all the same
        answers = await asyncio.gather(*futures, return_exceptions=True)
        failed = [m for m, a in zip(messages, answers, strict=False) if isinstance(a, Exception)]
        self.sent += len(futures) - len(failed)
        return failed + messages[len(futures) :]
