"""Changes of the identity map, one writer at a time.

A change is decided by what the index says, written to the topic in one transaction, then applied
to the index. What makes "no one can take the same id" hold is Kafka's fencing: whoever begins
takes the transactional id, so whoever began before cannot commit any more; then the topic is
read to its end. So at a commit nobody has written since the look, without a lock that could
outlive its owner (a claim in Redis with a time limit would let a writer that was frozen for
longer write over its successor: Kafka cannot compare before it appends).

A crash before the commit leaves nothing: the next writer's start aborts it. One after the commit
leaves an index that lacks the change; every deliver worker, and the next command, brings it up to
the topic. A lost answer leaves it open whether it was written: the command may be repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced
from redis.asyncio import Redis

from pipeline.core.identity import Entry
from pipeline.core.identity_commands import AnyCommand, Book, Decided, Refused, wanted
from pipeline.core.identity_decide import decide
from pipeline.settings import Settings, SettingsError
from pipeline.state import identities_record
from pipeline.state.identities import unusable
from pipeline.state.identities_index import Found, IdentitiesUnavailable, Index, Placed
from pipeline.state.identities_topic import Tail, catch_up, cluster_id
from pipeline.topology import IDENTITY
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from pipeline.wire.codecs import make_codec

WRITER: Final = "fieldline-identity"
"""Transactional id of all who change the map; a locked broker must allow it to them."""
MAX_COMMANDS: Final = 500
"""Commands of one transaction."""
_TRANSACTION_MS: Final = 10_000
_COMMIT_S: Final = 30.0
_TRIES: Final = 8


class Desk:
    """Where changes are made. `settled` is the offset up to which the index was seen complete."""

    def __init__(self, settings: Settings, index: Index, tail: Tail, codec: Codec) -> None:
        self.index = index
        self._settings = settings
        self._tail = tail
        self._codec = codec
        self._producer: AIOKafkaProducer | None = None
        self._settled = 0
        self._mine = asyncio.Lock()

    async def read(self, keys: Sequence[str], *, depth: int = 2) -> dict[str, Entry]:
        """Entries as they are now, with what they name."""
        async with self._mine:
            self._settled = await catch_up(self.index, self._tail)
            return (await self._look(keys, depth=depth)).entries

    async def _look(
        self, keys: Collection[str], fields: Collection[str] = (), *, depth: int = 0
    ) -> Found:
        """What the index says, which must be complete up to where it was seen to be."""
        found = await self.index.read(keys, fields, depth=depth)
        if found.at < self._settled:
            raise IdentitiesUnavailable("The identity map's index in Redis was lost just now.")
        return found

    async def owners(self, fields: Sequence[str]) -> dict[str, str | None]:
        """Keys of the entries that hold fields (identity.id_field), as of now."""
        async with self._mine:
            self._settled = await catch_up(self.index, self._tail)
            return (await self._look([], fields)).owners

    async def settle(self) -> int:
        """Bring the index up to the topic; the offset."""
        async with self._mine:
            self._settled = await catch_up(self.index, self._tail)
            return self._settled

    async def rehearse(
        self, commands: Sequence[AnyCommand], now_ms: int, book: Book | None = None
    ) -> list[Decided | Refused]:
        """What the commands would come to, in order; nothing is written.

        `book` has what earlier commands would have written, and takes what these would.
        """
        async with self._mine:
            self._settled = await catch_up(self.index, self._tail)
            return (await self._decide(commands, now_ms, book or Book()))[0]

    async def run(
        self, commands: Sequence[AnyCommand], now_ms: int, *, together: bool = False
    ) -> list[Decided | Refused]:
        """Do the commands, at most MAX_COMMANDS, in order: those that may be, in one transaction.

        `together`: where one is refused, none is done.
        SettingsError where somebody else always comes first, or it is not known whether Kafka
        took it; KafkaError; IdentitiesUnavailable.
        """
        async with self._mine:
            for tries_left in reversed(range(_TRIES)):
                try:
                    # However a try ends before its end, its transaction is given up.
                    async with contextlib.AsyncExitStack() as undo:
                        undo.push_async_callback(self._give_up)
                        outcomes = await self._try(commands, now_ms, together=together)
                        undo.pop_all()
                        return outcomes
                except ProducerFenced:
                    if tries_left:
                        # Two who begin at once must not fence each other again and again.
                        await asyncio.sleep(random.uniform(0.02, 0.3))  # noqa: S311 - no secret
            raise SettingsError(
                "Others change the identity map all the time, and nothing of this was written: "
                "try again."
            )

    async def _try(
        self, commands: Sequence[AnyCommand], now_ms: int, *, together: bool
    ) -> list[Decided | Refused]:
        if self._producer is None:
            await self._begin()
        elif await self.index.at() < self._settled:
            self._settled = await catch_up(self.index, self._tail)
        outcomes, changed = await self._decide(commands, now_ms, Book())
        if changed and not (together and any(isinstance(o, Refused) for o in outcomes)):
            await self._write(changed)
        return outcomes

    async def _begin(self) -> None:
        """Put out whoever wrote before, then know all that they wrote."""
        self._producer = AIOKafkaProducer(
            **kafka.connection(self._settings),
            client_id=WRITER,
            transactional_id=WRITER,
            transaction_timeout_ms=_TRANSACTION_MS,
            compression_type=kafka.compression(),
            request_timeout_ms=kafka.REQUEST_TIMEOUT_MS,
        )
        await self._producer.start()
        self._settled = await catch_up(self.index, self._tail)

    async def _decide(
        self, commands: Sequence[AnyCommand], now_ms: int, book: Book
    ) -> tuple[list[Decided | Refused], list[Entry]]:
        while True:
            keys: set[str] = set()
            fields: set[str] = set()
            for command in commands:
                more, held = wanted(command, book)
                keys |= more
                fields |= held
            if not keys and not fields:
                break
            found = await self._look(keys, fields)
            book.entries |= {key: found.entries.get(key) for key in keys}
            book.owners |= found.owners
            remembered = {key for key in found.owners.values() if key} - book.entries.keys()
            if remembered:
                known = (await self._look(remembered)).entries
                book.entries |= {key: known.get(key) for key in remembered}
        outcomes: list[Decided | Refused] = []
        changed: dict[str, Entry] = {}
        for command in commands:
            outcome = decide(command, book, now_ms)
            if isinstance(outcome, Decided):
                for entry in outcome.entries:
                    book.put(entry)
                    changed[entry.key] = entry
            outcomes.append(outcome)
        return outcomes, list(changed.values())

    async def _write(self, changed: Sequence[Entry]) -> None:
        producer = self._producer
        if producer is None:
            raise AssertionError
        try:
            async with asyncio.timeout(_COMMIT_S), producer.transaction():
                sent = [
                    await producer.send(
                        IDENTITY,
                        key=entry.key.encode(),
                        value=identities_record.encode(self._codec, entry),
                        partition=0,
                    )
                    for entry in changed
                ]
                where = await asyncio.gather(*sent)
        except TimeoutError as error:
            raise SettingsError(
                f"Kafka did not answer within {_COMMIT_S:g} s, so it is not known whether the "
                "change was written: do the same again, it takes effect once."
            ) from error
        placed = [Placed(one.offset, entry) for one, entry in zip(where, changed, strict=True)]
        self._settled, before = placed[-1].offset + 1, self._settled
        # It is written, whatever comes of this: workers bring the index up to it, and so does
        # our next look.
        with contextlib.suppress(IdentitiesUnavailable):
            await self.index.apply(before, self._settled, placed)

    async def _give_up(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await kafka.abandon(producer)

    async def close(self) -> None:
        """Let go of Kafka."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(producer.stop(), _COMMIT_S)
            await kafka.abandon(producer)


@asynccontextmanager
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    """A desk; LookupError where the topic is not there, KafkaError where no broker answers."""
    codec = make_codec(settings)
    redis = Redis.from_url(settings.redis_url.get_secret_value())
    tail = Tail(settings, codec)
    try:
        await tail.start()
        made = Desk(settings, Index(redis, codec, await cluster_id(settings)), tail, codec)
        try:
            yield made
        finally:
            await made.close()
    except IdentitiesUnavailable as error:
        raise unusable(error) from error
    finally:
        await tail.stop()
        await redis.aclose()
