"""Makes the topics of pipeline/topology.py on a broker, and says where it differs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from pipeline.settings import Settings, SettingsError
from pipeline.topology import Cleanup, Topic

KNOWN_S = 15.0
"""Longest wait until the brokers know a topic that was created."""
_LOOK_S = 0.1
_MAX_MESSAGE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """What `create` did with one topic."""

    name: str
    partitions: int
    made: bool


async def create(
    admin: AIOKafkaAdminClient, topics: Sequence[Topic], settings: Settings
) -> list[Created]:
    """Create what is missing; a topic that is there with another partition count is an error.

    Partition counts must agree across the device-keyed topics: detect writes its output to
    the partition that its input came from, and order per device rests on that.
    """
    there = set(await admin.list_topics())
    missing = [t for t in topics if t.name not in there]
    if missing:
        await _make(admin, missing, settings)
    out: list[Created] = []
    for name, found in (await _partitions(admin, [t.name for t in topics])).items():
        wanted = next(t for t in topics if t.name == name).partitions(settings.partitions)
        if found != wanted:
            raise SettingsError(
                f"Topic {name} has {found} partitions and should have {wanted}: set "
                f"FIELDLINE_PARTITIONS to what the device-keyed topics have, or re-create it."
            )
        out.append(Created(name=name, partitions=found, made=name not in there))
    return sorted(out, key=lambda c: [t.name for t in topics].index(c.name))


async def _partitions(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    """Partition count by topic, once the brokers know all of them.

    A topic that was created just now may be described without partitions for a moment.
    """
    deadline = time.monotonic() + KNOWN_S
    while True:
        answer = await admin.describe_topics(list(names))
        found = {topic["topic"]: len(topic["partitions"]) for topic in answer}
        if all(found.get(name) for name in names) or time.monotonic() > deadline:
            return {name: found.get(name, 0) for name in names}
        await asyncio.sleep(_LOOK_S)


async def _make(admin: AIOKafkaAdminClient, topics: Sequence[Topic], settings: Settings) -> None:
    answer = await admin.create_topics(
        [
            NewTopic(
                name=topic.name,
                num_partitions=topic.partitions(settings.partitions),
                replication_factor=settings.replication,
                topic_configs={
                    "cleanup.policy": topic.cleanup.value,
                    "max.message.bytes": str(_MAX_MESSAGE_BYTES),
                    **_kept(topic),
                },
            )
            for topic in topics
        ]
    )
    for name, code, *detail in answer.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise SettingsError(
                f"Topic {name} could not be created ({error.__name__}"
                f"{': ' + str(detail[0]) if detail and detail[0] else ''}): "
                "check the broker's rights and FIELDLINE_REPLICATION."
            )


def _kept(topic: Topic) -> dict[str, str]:
    if topic.cleanup is Cleanup.COMPACT:
        # Small segments, so that a state changelog shrinks soon and recovery stays short.
        return {"segment.bytes": str(64 * 1024 * 1024), "min.cleanable.dirty.ratio": "0.3"}
    return {"retention.ms": str(topic.retention_ms)}
