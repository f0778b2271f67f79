"""How the pipeline does now: lag per worker, members per group, parts that answer."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio as redis
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from connectors import registry as connectors
from connectors.timeseries import config as timeseries
from pipeline.core.breaker import Shared
from pipeline.core.routing import sinks_of
from pipeline.ops.books import committed_offsets, worker_groups
from pipeline.settings import Settings, SettingsError
from pipeline.state.routes_file import load_routes
from pipeline.state.sink_board import SinkBoard
from pipeline.topology import TIMESERIES
from pipeline.topology import topics as all_topics
from pipeline.wire import kafka

_CONNECT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """One worker group on one topic. `end` and `lag` count messages over all partitions."""

    group: str
    topic: str
    members: int
    end: int
    lag: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartState:
    """Whether one part answers on its port."""

    name: str
    answers: bool
    note: str


async def lags(admin: AIOKafkaAdminClient, settings: Settings) -> list[Lag]:
    """Lag of every worker on every topic it consumes, in the order of the topology."""
    routes = load_routes(settings.routes_file)
    dashboards = timeseries.wanted() is not None
    groups = (*worker_groups(routes), *((f"fieldline-{TIMESERIES}",) if dashboards else ()))
    consumed = [
        (f"fieldline-{worker}", topic.name)
        for topic in all_topics(sinks_of(routes), timeseries=dashboards)
        if not topic.is_changelog
        for worker in topic.consumers
        if f"fieldline-{worker}" in groups
    ]
    consumer = kafka.consumer(settings)
    try:
        await consumer.start()
        ends = await consumer.end_offsets(
            await kafka.topic_partitions(consumer, dict.fromkeys(topic for _, topic in consumed))
        )
    finally:
        await consumer.stop()
    committed = await committed_offsets(admin, groups)
    members = await _members(admin, groups)
    out = []
    for group, topic in consumed:
        end = {tp.partition: offset for tp, offset in ends.items() if tp.topic == topic}
        done = sum(min(committed[group].get((topic, p), 0), e) for p, e in end.items())
        out.append(
            Lag(
                group=group,
                topic=topic,
                members=members.get(group, 0),
                end=sum(end.values()),
                lag=sum(end.values()) - done,
            )
        )
    return out


async def _members(admin: AIOKafkaAdminClient, groups: tuple[str, ...]) -> dict[str, int]:
    out: dict[str, int] = {}
    for name in groups:
        # aiokafka 0.14 reads the version 3 answer as version 2, so that only the first group
        # of an answer is right: one question per group.
        try:
            answers: list[Any] = await admin.describe_consumer_groups([name])
        except GroupCoordinatorNotAvailableError:
            return {}
        out |= {group[1]: len(group[5]) for answer in answers for group in answer.groups}
    return out


async def pauses(settings: Settings) -> dict[str, Shared]:
    """Sinks that are left alone now, and what their workers' board says of it."""
    client = redis.from_url(settings.redis_url.get_secret_value())
    out: dict[str, Shared] = {}
    try:
        for sink in sinks_of(load_routes(settings.routes_file)):
            shared = await SinkBoard(client, sink, "status").read()
            if shared is not None and (shared.is_open or shared.pause_s > 0):
                out[sink] = shared
    finally:
        await client.aclose()
    return out


async def parts(settings: Settings) -> list[PartState]:
    """Whether each part accepts connections now."""
    addresses = {
        "Kafka": "//" + settings.kafka_bootstrap.split(",")[0],
        "MQTT": settings.mqtt_url,
        "Redis": settings.redis_url.get_secret_value(),
        "S3": settings.s3_endpoint or "",
        **_targets(settings),
    }
    return list(await asyncio.gather(*(_part(name, url) for name, url in addresses.items())))


def _targets(settings: Settings) -> dict[str, str]:
    """Addresses of the systems that the routing table sends to, where they are set."""
    found = {}
    for sink in sinks_of(load_routes(settings.routes_file)):
        with suppress(SettingsError):
            title = connectors.system(sink).title
            found[f"{title} ({sink})" if "-" in sink else title] = connectors.settings_of(sink).url
    return found


async def _part(name: str, url: str) -> PartState:
    address = urlsplit(url)
    if not address.hostname:
        return PartState(name=name, answers=True, note="AWS")
    default = {"https": 443, "http": 80, "mqtts": 8883, "mqtt": 1883}.get(address.scheme, 6379)
    port = address.port or default
    try:
        _, writer = await asyncio.wait_for(
            asyncio.open_connection(address.hostname, port), _CONNECT_S
        )
    except (OSError, TimeoutError):
        return PartState(
            name=name, answers=False, note=f"{address.hostname}:{port} does not answer"
        )
    writer.close()
    return PartState(name=name, answers=True, note=f"{address.hostname}:{port}")
