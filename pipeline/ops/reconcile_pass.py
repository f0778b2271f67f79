"""One comparison with the targets, and what it says written to operations.review."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import redis.asyncio as redis
from aiokafka import AIOKafkaProducer

from connectors.registry import make_connector
from pipeline.core.reconcile import State, hour_seed
from pipeline.core.routing import sinks_of
from pipeline.ops.reconcile_follow import Follower
from pipeline.ops.reconcile_store import Store
from pipeline.ops.reconcile_target import Look, Target
from pipeline.settings import Settings
from pipeline.state.ledger import Ledger
from pipeline.state.routes_file import load_routes
from pipeline.state.sinks_file import load_sinks, policy_of
from pipeline.topology import LAKE


@asynccontextmanager
async def target_of(settings: Settings, sink: str) -> AsyncIterator[Target]:
    """A sink's target, ready to be asked; SettingsError where it cannot be used."""
    policy = policy_of(load_sinks(settings.sinks_file), sink, settings)
    connector = make_connector(sink)
    client = redis.from_url(settings.redis_url.get_secret_value())
    try:
        async with httpx.AsyncClient(follow_redirects=False) as http:
            yield Target(
                sink=sink,
                connector=connector,
                client=http,
                ledger=Ledger(client),
                request_s=policy.retry.request_s,
            )
    finally:
        await client.aclose()


async def compare(
    settings: Settings,
    store: Store,
    follower: Follower,
    producer: AIOKafkaProducer,
    *,
    sink: str,
    sample: int | None,
) -> Look:
    """Look at one target and write what changed. The follower is polled by somebody else.

    `sample` None looks up every delivered event. Raises SettingsError and what Kafka does;
    a target or a ledger that is away is a trouble of the look.
    """
    now_ms = int(time.time() * 1000)
    reviews = follower.reviews

    async def caught_up() -> None:
        await follower.reach(await follower.mark())

    async with target_of(settings, sink) as target:
        look = await target.look(
            store,
            [i.finding for i in reviews.items.values() if i.state is State.OPEN],
            sample=sample,
            seed=hour_seed(now_ms),
            now_ms=now_ms,
            caught_up=caught_up,
        )
    look.findings = await reviews.report(producer, look.findings, looked=look.looked, now_ms=now_ms)
    # After the items: what was listed is not listed again, so its mismatches must be written.
    store.commit()
    return look


def compared(settings: Settings) -> tuple[str, ...]:
    """The sinks that have a target to ask. The lake has none: the run's report reads its rows."""
    return tuple(s for s in sinks_of(load_routes(settings.routes_file)) if s != LAKE)
