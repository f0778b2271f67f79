"""The identity map in memory, as it is now: for detect workers, which ask at every event.

They need no index: who follows the topic has all of it. What they ask is what holds now (rules
go by a device's class today); the owner at the time of an event is the deliver workers' matter.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog
from aiokafka.errors import KafkaError

from pipeline.core.identity import Entry, Kind, at, identity_of, key_of
from pipeline.core.registry import DeviceRecord
from pipeline.settings import Settings
from pipeline.state.identities_index import Placed
from pipeline.state.identities_topic import Tail
from pipeline.wire.avro import Codec

CHECK_S: Final = 1.0
"""How soon a change that was planned for an instant is noticed."""
AGAIN_S: Final = 5.0
"""How often a topic that is not there is looked for, and pause after an error, seconds."""

log = structlog.get_logger(__name__)


class LiveIdentities:
    """Every device as it is now. Belongs to one event loop; empty where there is no topic."""

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._codec = codec
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._told: dict[str, DeviceRecord | None] = {}
        self._stale_s = 0.0
        self._task: asyncio.Task[None] | None = None

    def get(self, device_id: str) -> DeviceRecord | None:
        """The device's row now, or None where it is not registered."""
        now_s = self._clock()
        if now_s >= self._stale_s:
            self._told.clear()
            self._stale_s = now_s + CHECK_S
        if device_id not in self._told:
            device = self._entries.get(key_of(Kind.DEVICE, device_id))
            identity = None if device is None else identity_of(device, self._entries)
            told = None if identity is None else at(identity, int(now_s * 1000))
            self._told[device_id] = told
        return self._told[device_id]

    def take(self, records: Iterable[Placed]) -> None:
        """Go on with these records."""
        for placed in records:
            if placed.entry is not None:
                self._entries[placed.entry.key] = placed.entry
                self._told.clear()

    async def start(self) -> None:
        """Read all that is there, then follow. A broker that is away is waited for."""
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._follow(ready))
        await ready.wait()
        log.info("identity map read", entries=len(self._entries))

    async def stop(self) -> None:
        """Stop following; `get` still answers. May be called again."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _follow(self, ready: asyncio.Event) -> None:
        at_offset = 0
        while True:
            tail = Tail(self._settings, self._codec)
            try:
                await tail.start()
                end = await tail.end()
                if at_offset > end:
                    self._entries.clear()  # the topic was made anew
                    self._told.clear()
                    at_offset = 0
                tail.seek(at_offset)
                while True:
                    if at_offset >= end:
                        ready.set()
                    records, at_offset = await tail.take()
                    self.take(records)
            except LookupError:
                log.warning("there is no identity map yet: run `fieldline topics create`")
                ready.set()
            except KafkaError as error:
                log.warning("identity map not readable, what is known stays", detail=repr(error))
            finally:
                await tail.stop()
            await asyncio.sleep(AGAIN_S)
