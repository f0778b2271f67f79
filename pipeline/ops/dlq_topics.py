"""Reading a topic through once, up to its end as it is now, with word on how far it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from pipeline.settings import Settings
from pipeline.wire import kafka

Progress = Callable[[str, int, int], None]
"""Called with the topic, the messages read so far, and how many there are in all."""


async def read_through(
    settings: Settings, topic: str, *, since_ms: int | None = None, progress: Progress | None = None
) -> AsyncIterator[Any]:
    """Every message of `topic`, in order within a partition, holding one fetch at a time.

    From `since_ms` (Unix epoch, UTC) by the messages' own time stamps where it is given.
    LookupError where there is no such topic; KafkaError as the client raises it.
    """
    consumer = kafka.consumer(settings)
    try:
        await consumer.start()
        partitions = await kafka.topic_partitions(consumer, [topic])
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        at = await consumer.beginning_offsets(partitions)
        if since_ms is not None:
            found = await consumer.offsets_for_times(dict.fromkeys(partitions, max(0, since_ms)))
            at = {tp: found[tp].offset if found.get(tp) else ends[tp] for tp in partitions}
        for tp in partitions:
            consumer.seek(tp, at[tp])
        starts, total = dict(at), sum(ends[tp] - at[tp] for tp in partitions)
        while any(at[tp] < ends[tp] for tp in partitions):
            if progress is not None:
                progress(topic, sum(at[tp] - starts[tp] for tp in partitions), total)
            for tp, messages in (await consumer.getmany(timeout_ms=200)).items():
                for message in messages:
                    if message.offset < ends[tp]:
                        yield message
            # Transaction markers have offsets and are no messages: the position counts.
            at = {tp: await consumer.position(tp) for tp in partitions}
        if progress is not None:
            progress(topic, total, total)
    finally:
        await consumer.stop()
