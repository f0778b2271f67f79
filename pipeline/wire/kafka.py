"""Kafka clients as this pipeline uses them: one place for their settings.

Private parts of aiokafka are touched here only: in `topic_partitions` and `abandon`, with tests
that fail if they change.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.codec import has_lz4, has_zstd
from aiokafka.errors import KafkaTimeoutError

from pipeline.settings import Settings, SettingsError

REQUEST_TIMEOUT_MS = 10_000
"""How long one request to a broker may take."""
BATCH_BYTES = 524_288
"""Most bytes of a partition in one request: half of the broker's usual message.max.bytes."""
FETCH_BYTES = 4 * 1024 * 1024
"""Most bytes of a partition in one answer."""
CLIENT = "fieldline"
KNOWN_S = 15.0
"""Longest wait until the brokers know a topic."""
STILL_S = 60.0
"""Longest time in which reading a topic to its end may give nothing."""
_CLOSE_S = 1.0

Progress = Callable[[str, int, int], None]
"""Called with a topic, the messages read so far, and how many there are in all."""


def compression() -> str | None:
    """The best codec this installation can do: lz4, zstd, or None."""
    return "lz4" if has_lz4() else "zstd" if has_zstd() else None


def tls(settings: Settings) -> ssl.SSLContext | None:
    """Verifying TLS where the settings ask for it, else None; SettingsError for a bad file."""
    if not settings.kafka_security.endswith("SSL"):
        return None
    try:
        return ssl.create_default_context(cafile=settings.kafka_ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"KAFKA_CA_FILE {settings.kafka_ca_file} cannot be used ({error}): "
            "give certificates in PEM, or unset it for the system's."
        ) from error


def login(settings: Settings) -> tuple[str, str] | None:
    """User and password where the settings ask for SASL, else None."""
    if not settings.kafka_security.startswith("SASL"):
        return None
    if settings.kafka_username is None or settings.kafka_password is None:
        raise SettingsError(
            f"KAFKA_SECURITY_PROTOCOL is {settings.kafka_security}, which needs KAFKA_USERNAME "
            "and KAFKA_PASSWORD: set both."
        )
    return settings.kafka_username, settings.kafka_password.get_secret_value()


def connection(settings: Settings) -> dict[str, Any]:
    """Arguments of every aiokafka client: where the brokers are and how we get in.

    They hold the password: never log them.
    """
    found: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap,
        "security_protocol": settings.kafka_security,
        "ssl_context": tls(settings),
    }
    if (user := login(settings)) is not None:
        found |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": user[0],
            "sasl_plain_password": user[1],
        }
    return found


def admin(settings: Settings) -> AIOKafkaAdminClient:
    """An admin client, not yet started."""
    return AIOKafkaAdminClient(**connection(settings), request_timeout_ms=REQUEST_TIMEOUT_MS)


@contextlib.asynccontextmanager
async def administered(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client for topics and groups, started, and closed at the end of the block."""
    client = admin(settings)
    try:
        await client.start()
        yield client
    finally:
        await client.close()


def producer(
    settings: Settings, *, client_id: str = CLIENT, timeout_ms: int = REQUEST_TIMEOUT_MS
) -> AIOKafkaProducer:
    """A producer, not yet started, that loses and repeats nothing by itself.

    A record that is not in Kafka after `timeout_ms` has failed.

    acks=all and idempotent: retries keep the order within a partition. Must be made inside
    a running event loop.
    """
    return AIOKafkaProducer(
        **connection(settings),
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        compression_type=compression(),
        max_batch_size=BATCH_BYTES,
        request_timeout_ms=timeout_ms,
    )


def consumer(
    settings: Settings, *topics: str, client_id: str = CLIENT, group: str | None = None
) -> AIOKafkaConsumer:
    """A consumer, not yet started, that reads from the start where it has no offset.

    Offsets are never committed behind the caller's back: commit after the effect. Without a
    `group` it takes part in nothing and may read whatever it may see.
    """
    return AIOKafkaConsumer(
        *topics,
        **connection(settings),
        client_id=client_id,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=FETCH_BYTES,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )


async def partitions_of(client: AIOKafkaProducer, topic: str) -> int:
    """Partition count of `topic` as the brokers tell it; KafkaError where there is none."""
    return len(await client.partitions_for(topic))


async def topic_partitions(
    consumer: AIOKafkaConsumer, names: Iterable[str]
) -> list[TopicPartition]:
    """All partitions of the topics, refreshing the consumer's metadata until it knows them.

    LookupError with a topic's name where the brokers do not have it.
    """
    deadline = asyncio.get_running_loop().time() + KNOWN_S
    out: list[TopicPartition] = []
    for name in names:
        while not (found := consumer.partitions_for_topic(name)):
            if asyncio.get_running_loop().time() > deadline:
                raise LookupError(name)
            await consumer._client.force_metadata_update()  # noqa: SLF001 - no public call
            await asyncio.sleep(0.1)
        out.extend(TopicPartition(name, partition) for partition in sorted(found))
    return out


async def read_through(
    settings: Settings, topic: str, *, since_ms: int | None = None, progress: Progress | None = None
) -> AsyncIterator[Any]:
    """Every message of `topic`, in order within a partition, holding one fetch at a time.

    From `since_ms` (Unix epoch, UTC) by the messages' own time stamps where it is given.
    LookupError where there is no such topic; KafkaError as the client raises it, and where
    nothing came for STILL_S though the end is not reached.
    """
    reader, clock = consumer(settings), asyncio.get_running_loop().time
    try:
        await reader.start()
        partitions = await topic_partitions(reader, [topic])
        reader.assign(partitions)
        ends = await reader.end_offsets(partitions)
        at = await _begins(reader, ends, since_ms)
        for tp in partitions:
            reader.seek(tp, at[tp])
        starts, total = dict(at), sum(ends[tp] - at[tp] for tp in partitions)
        moved_s = clock()
        while any(at[tp] < ends[tp] for tp in partitions):
            if progress is not None:
                progress(topic, sum(at[tp] - starts[tp] for tp in partitions), total)
            for tp, messages in (await reader.getmany(timeout_ms=200)).items():
                for message in messages:
                    if message.offset < ends[tp]:
                        yield message
            # Transaction markers have offsets and are no messages: the position counts.
            before, at = at, {tp: await reader.position(tp) for tp in partitions}
            if at != before:
                moved_s = clock()
            elif clock() - moved_s > STILL_S:
                behind = next(tp for tp in partitions if at[tp] < ends[tp])
                raise KafkaTimeoutError(
                    f"{topic} partition {behind.partition} gave nothing for {STILL_S:.0f} s at "
                    f"offset {at[behind]} of {ends[behind]}"
                )
        if progress is not None:
            progress(topic, total, total)
    finally:
        await reader.stop()


async def _begins(
    reader: AIOKafkaConsumer, ends: dict[TopicPartition, int], since_ms: int | None
) -> dict[TopicPartition, int]:
    if since_ms is None:
        begins: dict[TopicPartition, int] = await reader.beginning_offsets(list(ends))
        return begins
    found = await reader.offsets_for_times(dict.fromkeys(ends, max(0, since_ms)))
    return {tp: found[tp].offset if found.get(tp) else end for tp, end in ends.items()}


async def read_all(settings: Settings, topic: str) -> list[Any]:
    """The same as a list: for topics that fit into memory."""
    return [message async for message in read_through(settings, topic)]


async def abandon(client: AIOKafkaProducer) -> None:
    """Stop a producer at once: what it has not sent is dropped, never sent later.

    Its own stop() first flushes, and waits for ever for a broker that is away. Records that
    wait for an answer get no result. Never raises; takes a few seconds at most.
    """
    client._closed = True  # noqa: SLF001 - its stop(), were it called, must not flush after this
    task: Any = client._sender.sender_task  # noqa: SLF001 - no public stop without a flush
    if task is not None:
        task.cancel()
    with contextlib.suppress(Exception):  # it is thrown away: how it closes changes nothing
        await asyncio.wait_for(client.client.close(), _CLOSE_S)
    if task is not None:
        # Once cancelled, the sender waits for its requests; the second time it does not.
        await asyncio.wait({task}, timeout=_CLOSE_S)
        task.cancel()
        await asyncio.wait({task}, timeout=_CLOSE_S)
