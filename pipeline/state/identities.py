"""Who a device was when: what deliver workers ask, of the index in Redis, kept in step.

The topic identity.map is the truth. Each worker that asks also keeps the index: it follows the
topic and applies each record, as all the others do, which is harmless (identities_index.py). So
a record whose writer died before it came to the index is there within a moment, and an index
that was lost is made again while askers wait: an answer counts only where the index says that
it is complete up to where this process has read the topic.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog
from aiokafka.errors import KafkaError
from redis.asyncio import Redis

from pipeline.core.identity import Identity, Kind, at, identity_of, key_of
from pipeline.core.registry import DeviceRecord
from pipeline.settings import Settings, SettingsError
from pipeline.state.identities_index import IdentitiesUnavailable, Index
from pipeline.state.identities_topic import Tail, catch_up, cluster_id
from pipeline.wire.avro import Codec
from pipeline.wire.codecs import make_codec

FRESH_S: Final = 1.0
"""So long an answer is good without asking again; a change that was heard of ends it sooner."""
CACHED: Final = 4_096
"""Devices whose answers are kept."""
AGAIN_S: Final = 1.0
"""Pause after trouble with Kafka or Redis, seconds."""
_DEEP: Final = 2
"""From a device to its assets, and to their owners."""

log = structlog.get_logger(__name__)


class Identities:
    """Answers for one process. `keep` runs beside it, or `look` once for a command."""

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        codec: Codec,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._redis = redis
        self._codec = codec
        self._clock = clock
        self._index: Index | None = None
        self._known = 0
        """The index must be complete up to here."""
        self._cache: dict[str, tuple[float, Identity | None]] = {}

    async def resolve(self, asks: Sequence[tuple[str, int]]) -> list[DeviceRecord | None]:
        """The rows of devices as they were at instants (ms since 1970), in order, in one trip.

        None where the map knows no asset or no owner for it. IdentitiesUnavailable while that
        cannot be said.
        """
        now = self._clock()
        found: dict[str, Identity | None] = {}
        for device, _ in asks:
            kept = self._cache.get(device)
            if kept is not None and kept[0] > now:
                found[device] = kept[1]
        missing = [device for device in dict.fromkeys(d for d, _ in asks) if device not in found]
        if missing:
            found |= await self._read(missing, now + FRESH_S)
        out = []
        for device, at_ms in asks:
            identity = found[device]
            out.append(None if identity is None else at(identity, at_ms))
        return out

    async def _read(self, devices: Sequence[str], until_s: float) -> dict[str, Identity | None]:
        index = self._index
        if index is None:
            raise IdentitiesUnavailable("The identity map has not been read yet.")
        known = self._known
        keys = {device: key_of(Kind.DEVICE, device) for device in devices}
        read = await index.read(keys.values(), depth=_DEEP)
        if read.at < known:
            raise IdentitiesUnavailable(
                "The identity map's index in Redis is being made again from the topic."
            )
        found: dict[str, Identity | None] = {}
        for device, key in keys.items():
            entry = read.entries.get(key)
            found[device] = None if entry is None else identity_of(entry, read.entries)
        if known == self._known:  # else a change came in meanwhile, and this may be older
            if len(self._cache) + len(found) > CACHED:
                self._cache.clear()
            self._cache |= {
                device: (until_s, identity) for device, identity in list(found.items())[:CACHED]
            }
        return found

    async def look(self) -> None:
        """Bring the index to where the topic ends now; it is then asked without `keep`.

        LookupError where the topic is not there; KafkaError; IdentitiesUnavailable.
        """
        tail = Tail(self._settings, self._codec)
        try:
            await self._open(tail)
        finally:
            await tail.stop()

    async def _open(self, tail: Tail) -> tuple[Index, int]:
        index = Index(self._redis, self._codec, await cluster_id(self._settings))
        await tail.start()
        at_offset = await catch_up(index, tail)
        self._known, self._index = at_offset, index
        return index, at_offset

    async def keep(self) -> None:
        """Follow the topic and keep the index, for ever; what fails is waited out."""
        while True:
            tail = Tail(self._settings, self._codec)
            try:
                index, at_offset = await self._open(tail)
                log.info("identity map read", offset=at_offset)
                while True:
                    at_offset = await self._step(tail, index, at_offset)
            except (KafkaError, IdentitiesUnavailable, LookupError, TimeoutError, OSError) as error:
                log.warning("identity map not readable, trying again", detail=repr(error))
            finally:
                await tail.stop()
            await asyncio.sleep(AGAIN_S)

    async def _step(self, tail: Tail, index: Index, at_offset: int) -> int:
        """Take what has come, if any, to the index, and see whether that is still whole."""
        records, position = await tail.take()
        if records:
            # Before the index has it: from now on an answer must have it too.
            self._known = position
            self._cache.clear()
        if await index.apply(at_offset, position, records) < position:
            log.warning("identity index was lost, making it again from the topic")
            position = await catch_up(index, tail)
        self._known = max(self._known, position)
        return position


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Identities]:
    """For a command: answers as of now. Errors as `look`'s, but SettingsError for Redis."""
    redis = Redis.from_url(settings.redis_url.get_secret_value())
    identities = Identities(settings, redis, make_codec(settings))
    try:
        await identities.look()
        yield identities
    except IdentitiesUnavailable as error:
        raise unusable(error) from error
    finally:
        await redis.aclose()


def unusable(error: Exception) -> SettingsError:
    """The sentence for a person whose command found no index."""
    return SettingsError(
        f"{error} See whether Redis answers (REDIS_URL), then `fieldline identity rebuild`."
    )
