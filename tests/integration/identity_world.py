"""The identity map on a real Kafka and Redis: topic made, nothing in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from infra.local.stack import Stack
from pipeline.core.registry import DeviceRecord
from pipeline.ops import topics
from pipeline.settings import Settings
from pipeline.state.identities import Identities
from pipeline.state.identities_index import IdentitiesUnavailable
from pipeline.state.identities_writer import Desk, desk
from pipeline.topology import IDENTITY
from pipeline.topology import topics as all_topics
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from tests.waiting import until

NOW = 1_795_000_000_000


@dataclass
class World:
    """Where Kafka and Redis are."""

    settings: Settings
    env: dict[str, str]

    @asynccontextmanager
    async def desk(self) -> AsyncIterator[Desk]:
        """A place to make changes from."""
        async with desk(self.settings) as made:
            yield made

    @asynccontextmanager
    async def redis(self) -> AsyncIterator[Redis]:
        """A client."""
        async with Redis.from_url(self.settings.redis_url.get_secret_value()) as client:
            yield client

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[Asker]:
        """What a deliver worker has: answers, and the index kept meanwhile."""
        async with self.redis() as client:
            asker = Asker(Identities(self.settings, client, Codec()))
            keeping = asyncio.create_task(asker.identities.keep())
            try:
                yield asker
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)

    async def remake(self) -> None:
        """The topic anew, with nothing in it."""
        admin = kafka.admin(self.settings)
        await admin.start()
        try:
            if IDENTITY in await admin.list_topics():
                await admin.delete_topics([IDENTITY])

            async def gone() -> bool:
                return IDENTITY not in await admin.list_topics()

            await until(gone)
            wanted = [one for one in all_topics(("webhook",)) if one.name == IDENTITY]
            await topics.create(admin, wanted, self.settings)
        finally:
            await admin.close()


@dataclass
class Asker:
    """Asks as the deliver agent does: again while it cannot be said."""

    identities: Identities

    async def at(self, device: str, at_ms: int = NOW) -> DeviceRecord | None:
        """The device's row then."""
        found: list[DeviceRecord | None] = []

        async def told() -> bool:
            try:
                found[:] = await self.identities.resolve([(device, at_ms)])
            except IdentitiesUnavailable:
                return False
            return True

        await until(told, within_s=60.0)
        return found[0]

    async def becomes(self, device: str, customer: str | None, at_ms: int = NOW) -> None:
        """Wait until the device is that customer's."""

        async def so() -> bool:
            record = await self.at(device, at_ms)
            return (record.customer_id if record else None) == customer

        await until(so, f"{device} did not become {customer}'s", within_s=30.0)


@contextmanager
def raised(root: Path) -> Iterator[World]:
    """Kafka and Redis in a folder."""
    stack = Stack(root, say=lambda _: None, only={"kafka", "redis"})
    try:
        env = stack.start()
        settings = Settings(kafka_bootstrap=env["KAFKA_BOOTSTRAP"], redis_url=env["REDIS_URL"])
        yield World(settings, env)
    finally:
        stack.stop()
