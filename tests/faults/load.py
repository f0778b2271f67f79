"""Events at a steady rate, straight into the sinks' topics, with a journal on disk."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

from aiokafka.errors import KafkaError

from pipeline.core.events import BusinessEvent, Severity, Source, episode_id, tenant_of
from pipeline.settings import Settings
from pipeline.topology import READINGS, sink_topic
from pipeline.wire.avro import Codec
from pipeline.wire.cloudevents import headers
from pipeline.wire.records import encode_event
from tests.crash.producer import Renewed
from tests.faults.checker import Sent

BURST: Final = 0.3
"""How often the next event is of the device of the one before: order matters there most."""
AWAY_S: Final = 0.3


class Load:
    """Sends until it is stopped. Which device comes next depends on the seed.

    One event is in flight at a time, so a device's log is in the journal's order; one whose
    answer does not come is sent again, as fan-out would. `sent` is the journal in memory.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        sinks: Sequence[str],
        devices: Sequence[str],
        per_s: float,
        seed: int,
        journal: Path,
    ) -> None:
        self.sent: list[Sent] = []
        self._settings = settings
        self._sinks = tuple(sinks)
        self._devices = tuple(devices)
        self._per_s = per_s
        self._rng = random.Random(seed)  # noqa: S311 - a load that can be played again, no secret
        self._run = f"{seed}-{time.time_ns()}"
        self._journal = journal
        self._codec = Codec()
        self._producer = Renewed(settings, client_id="faults-load")
        self._number = 0
        self._next: list[str] = []
        self._poison: list[str] = []
        self._flows = asyncio.Event()
        self._flows.set()
        self._idle = asyncio.Event()

    async def run(self) -> None:
        """Send `per_s` events a second until cancelled; what an outage delays is not made up."""
        device = self._devices[0]
        with self._journal.open("w", encoding="utf-8", buffering=1) as journal:
            try:
                while True:
                    if not self._flows.is_set():
                        self._idle.set()
                        await self._flows.wait()
                    self._idle.clear()
                    begun = time.monotonic()
                    if self._poison:
                        sent = await self._bytes(self._poison.pop())
                    else:
                        device = self._choose(device)
                        sent = await self._event(device)
                    self.sent.append(sent)
                    journal.write(json.dumps(asdict(sent) | {"payload": sent.payload.hex()}) + "\n")
                    await asyncio.sleep(max(0.0, begun + 1 / self._per_s - time.monotonic()))
            finally:
                await self._producer.drop()

    async def hold(self) -> None:
        """Stop the flow; returns when all that was sent is acknowledged."""
        self._idle.clear()
        self._flows.clear()
        await self._idle.wait()

    def next(self, *devices: str) -> None:
        """Events of these devices come next, in this order."""
        self._next += devices

    def unreadable(self, device: str) -> None:
        """Bytes that are no event come next, under that device's key."""
        self._poison.append(device)
        self.next(device)

    def _choose(self, last: str) -> str:
        if self._next:
            return self._next.pop(0)
        return last if self._rng.random() < BURST else self._rng.choice(self._devices)

    async def _event(self, device: str) -> Sent:
        self._number += 1
        now_ms = int(time.time() * 1000)
        event = BusinessEvent(
            id=episode_id(
                device_id=device,
                session=self._run,
                metric="T30",
                detector="limit",
                sequence=self._number,
            ),
            type="fieldline.limit.exceeded",
            tenant=tenant_of(device),
            device_id=device,
            # None: an event told without an asset goes to the one the registry has now.
            asset_id=None,
            customer_id=None,
            severity=Severity.WARNING,
            confidence=1.0,
            summary=f"Fault suite, event {self._number}",
            detector="limit",
            metric="T30",
            rule="faults",
            correlation_id=f"faults-{self._number}",
            occurred_at_ms=now_ms,
            observed_at_ms=now_ms,
            source=Source(
                topic=READINGS,
                partition=0,
                offset=self._number,
                index=0,
                session=1,
                sequence=self._number,
            ),
            snapshot=(),
        )
        value = encode_event(self._codec, event)
        await self._send(device, value, list(headers(event).items()), self._sinks)
        return Sent(number=self._number, event_id=event.id, device=device, at_ms=now_ms)

    async def _bytes(self, device: str) -> Sent:
        """Only to the first sink: the others are there to be left alone."""
        self._number += 1
        value = b"no event, number %d of %s" % (self._number, self._run.encode())
        now_ms = int(time.time() * 1000)
        await self._send(device, value, [], self._sinks[:1])
        return Sent(number=self._number, event_id="", device=device, at_ms=now_ms, payload=value)

    async def _send(
        self, device: str, value: bytes, given: list[tuple[str, bytes]], sinks: Sequence[str]
    ) -> None:
        """Until every sink's topic has it."""
        left = list(sinks)
        while left:
            with suppress(KafkaError, OSError):
                client = await self._producer.get()
                for sink in tuple(left):
                    await client.send_and_wait(
                        sink_topic(sink), key=device.encode(), value=value, headers=given
                    )
                    left.remove(sink)
                return
            await self._producer.drop()
            await asyncio.sleep(AWAY_S)
