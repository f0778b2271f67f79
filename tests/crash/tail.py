"""Follows one topic through broker restarts; takes part in nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Never

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.settings import Settings
from pipeline.wire import kafka

AWAY_S: Final = 0.3
_POLL_MS: Final = 100

Take = Callable[[Any], object]
"""Given each message once, in order per partition."""


async def tail(settings: Settings, topic: str, take: Take, *, client_id: str) -> Never:
    """Follow from the beginning until cancelled; a broker that is away is waited for."""
    places: dict[TopicPartition, int] = {}
    while True:
        reader = kafka.consumer(settings, client_id=client_id)
        try:
            await reader.start()
            await _read(reader, topic, take, places)
        except (KafkaError, OSError, LookupError):
            await asyncio.sleep(AWAY_S)
        finally:
            await reader.stop()


async def _read(
    reader: AIOKafkaConsumer, topic: str, take: Take, places: dict[TopicPartition, int]
) -> Never:
    partitions = await kafka.topic_partitions(reader, [topic])
    reader.assign(partitions)
    for tp in partitions:
        reader.seek(tp, places.get(tp, 0))
    while True:
        for tp, messages in (await reader.getmany(timeout_ms=_POLL_MS)).items():
            for message in messages:
                take(message)
                places[tp] = message.offset + 1
