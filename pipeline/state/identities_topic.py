"""The topic identity.map, the truth about devices: read from any offset, taken to its index."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog
from aiokafka import TopicPartition

from pipeline.settings import Settings
from pipeline.state import identities_record
from pipeline.state.identities_index import IdentitiesUnavailable, Index, Placed
from pipeline.topology import IDENTITY
from pipeline.wire import kafka
from pipeline.wire.avro import Codec, UnreadableError

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

READ_S: Final = 120.0
"""Longest wait until an index is made from nothing: millions of entries take that long."""
_POLL_MS: Final = 200
_PAGE: Final = 500
_TP: Final = TopicPartition(IDENTITY, 0)

log = structlog.get_logger(__name__)


async def cluster_id(settings: Settings) -> str:
    """Kafka's own id of its cluster; KafkaError where no broker answers."""
    async with kafka.administered(settings) as admin:
        return str((await admin.describe_cluster()).get("cluster_id") or "")


class Tail:
    """A reader of the topic. Methods raise KafkaError as the client does."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._settings = settings
        self._codec = codec
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Open it; LookupError with the topic's name where that is not there.

        Stop it in any case, also where this fails or is cancelled.
        """
        self._consumer = kafka.consumer(self._settings, client_id="fieldline-identity")
        await self._consumer.start()
        if IDENTITY not in await self._consumer.topics():
            raise LookupError(IDENTITY)
        await kafka.topic_partitions(self._consumer, [IDENTITY])
        self._consumer.assign([_TP])
        self._consumer.seek(_TP, 0)

    async def stop(self) -> None:
        """Close it; may be called again."""
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            await consumer.stop()

    @property
    def _open(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise RuntimeError("start the tail first")
        return self._consumer

    async def end(self) -> int:
        """The offset after the last record that was committed by now."""
        return int((await self._open.end_offsets([_TP]))[_TP])

    def seek(self, offset: int) -> None:
        """Go on from there."""
        self._open.seek(_TP, offset)

    async def take(self, *, timeout_ms: int = _POLL_MS) -> tuple[list[Placed], int]:
        """The next records, and the offset up to which all are known now."""
        found = await self._open.getmany(_TP, timeout_ms=timeout_ms, max_records=_PAGE)
        out = []
        for message in found.get(_TP, ()):
            try:
                entry = identities_record.decode(self._codec, message.value)
                if message.key != entry.key.encode():
                    raise UnreadableError("its key is another's")  # noqa: TRY301 - as unusable
            except UnreadableError as error:
                log.warning("identity record unusable", offset=message.offset, detail=str(error))
                out.append(Placed(message.offset, None))
            else:
                out.append(Placed(message.offset, entry))
        # Transaction markers have offsets and are no messages: the position counts.
        return out, int(await self._open.position(_TP))


async def catch_up(index: Index, tail: Tail, *, seconds: float = READ_S) -> int:
    """Bring the index to where the topic ends now; that offset. The tail stands there then.

    An index that goes further than the topic is of one that is no more: it is made anew.
    KafkaError; IdentitiesUnavailable, also where it takes longer than `seconds`.
    """
    try:
        async with asyncio.timeout(seconds):
            return await _caught_up(index, tail)
    except TimeoutError as error:
        raise IdentitiesUnavailable(
            f"The identity map's index could not be made within {seconds:g} s."
        ) from error


async def _caught_up(index: Index, tail: Tail) -> int:
    end = await tail.end()
    at = await index.at()
    if at > end:
        log.warning("identity index is of another topic, making it anew", at=at, end=end)
        await index.drop()
        at = 0
    tail.seek(at)
    while at < end:
        records, position = await tail.take()
        stands = await index.apply(at, position, records)
        if stands != position:
            # Lost meanwhile, or another process is faster: go on from where it is.
            tail.seek(stands)
        at = stands
    return at
