"""Compares the lake with the topics it is made from, as far as Kafka still has them.

Every claim whose messages are all still there is made again from them, by the writer's own rules,
and must come out the same: messages, rows, dates and sums.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import TopicPartition

from connectors.lake import claims
from connectors.lake.config import LakeConfig
from connectors.lake.live import Progress, opened, quiet
from connectors.lake.verify import Report
from connectors.lake.writer import Message, prepare
from pipeline.core import archive
from pipeline.core.archive import Arrival, Claim, Resume
from pipeline.core.lake_accounts import Finding, Wrong
from pipeline.core.lake_columns import TELEMETRY, Dataset
from pipeline.core.lake_evolve import plan
from pipeline.core.lake_keep import Span
from pipeline.core.lake_records import Record, Shape, record_arrival, wanted
from pipeline.core.lake_rows import batch_arrival
from pipeline.ops.books import committed_offsets, group_of
from pipeline.settings import Settings
from pipeline.topology import DEDUPLICATED, LAKE, QUARANTINE, RESULTS, sink_topic
from pipeline.wire import kafka
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.cloudevents import REPLAY
from pipeline.wire.lake import RecordReader
from pipeline.wire.records import decode_deduplicated

TOPICS: Final = {
    Dataset.TELEMETRY: DEDUPLICATED,
    Dataset.EVENTS: sink_topic(LAKE),
    Dataset.DELIVERIES: RESULTS,
    Dataset.QUARANTINE: QUARANTINE,
}
NO_LIMITS: Final = archive.Limits(rows=2**62, age_ms=2**62)
POLL_MS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One partition: Kafka's first and next offset, what the group committed (-1: nothing).

    `reached` is the offset after the lake's last claim.
    """

    partition: int
    begin: int
    end: int
    committed: int
    reached: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What Kafka says of one dataset: `claims` were made again from `messages`."""

    dataset: Dataset
    standings: tuple[Standing, ...]
    claims: int
    messages: int
    rows: int
    findings: tuple[Finding, ...]


Decode = Callable[[str, int, int, bytes | None], Message]


async def compare(
    settings: Settings, codec: Codec, report: Report, progress: Progress = quiet
) -> Compared:
    """Compare one dataset with its topic. LookupError where there is no such topic."""
    topic = TOPICS[report.dataset]
    async with opened(LakeConfig.from_settings(settings), report.dataset) as live:
        books = await claims.read_books(live)
    async with kafka.administered(settings) as admin:
        group = group_of(LAKE)
        committed = (await committed_offsets(admin, (group,)))[group]
    async with _consumer(settings) as consumer:
        partitions = await kafka.topic_partitions(consumer, [topic])
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        standings = tuple(
            Standing(
                partition=tp.partition,
                begin=begins[tp],
                end=ends[tp],
                committed=committed.get((topic, tp.partition), -1),
                reached=report.reached.get((topic, tp.partition), 0),
            )
            for tp in partitions
        )
        replayer = _Replayer(consumer, _decoder(codec, report.dataset), report.dataset)
        findings: list[Finding] = []
        chains = {s.partition: _chain(books, topic, s) for s in standings}
        total = sum(claim.last - claim.first + 1 for chain in chains.values() for claim in chain)
        done = made = 0
        for at in standings:
            findings += _misplaced(topic, at)
            for claim in chains[at.partition]:
                findings += await replayer.check(claim)
                made += 1
                done += claim.last - claim.first + 1
                progress(f"{report.dataset}: from Kafka", done, total)
            findings += await replayer.check_rest(topic, at, _newest(books, topic, at))
    return Compared(
        dataset=report.dataset,
        standings=standings,
        claims=made,
        messages=replayer.messages,
        rows=replayer.rows,
        findings=tuple(findings),
    )


def _chain(books: claims.Books, topic: str, at: Standing) -> list[Claim]:
    """The claims whose messages Kafka has, all of them, by offset."""
    return sorted(
        (
            claim
            for claim in books.claims.values()
            if (claim.topic, claim.partition) == (topic, at.partition)
            and at.begin <= claim.first
            and claim.last < at.end
        ),
        key=lambda claim: claim.first,
    )


def _newest(books: claims.Books, topic: str, at: Standing) -> Claim | None:
    return next(
        (
            claim
            for claim in books.claims.values()
            if (claim.topic, claim.partition, claim.last + 1) == (topic, at.partition, at.reached)
        ),
        None,
    )


def _misplaced(topic: str, at: Standing) -> list[Finding]:
    """Offsets that cannot be."""
    out = []
    safe = max(at.reached, at.committed)
    if at.begin > safe:
        lost = Span(topic, at.partition, safe, at.begin - 1)
        out.append(Finding(wrong=Wrong.BEHIND_KAFKA, offsets=str(lost)))
    for what, offset in (("the lake", at.reached), ("the committed offset", at.committed)):
        if offset > at.end:
            beyond = Span(topic, at.partition, at.end, offset - 1)
            note = f"{what} is beyond the topic's end: the topic was made anew"
            out.append(Finding(wrong=Wrong.AHEAD_OF_KAFKA, offsets=str(beyond), note=note))
    return out


class _Replayer:
    """Makes ranges again from the topic; counts what it read."""

    def __init__(self, consumer: Any, decode: Decode, dataset: Dataset) -> None:  # noqa: ANN401 - aiokafka has no types
        self._consumer = consumer
        self._decode = decode
        self._dataset = dataset
        self._at: tuple[TopicPartition, int] | None = None
        self._ahead: list[Any] = []
        self.messages = 0
        self.rows = 0

    async def check(self, claim: Claim) -> list[Finding]:
        """What is wrong with one claim."""
        made = await self._made(claim)
        if isinstance(made, Claim):
            self.messages += made.messages
            self.rows += made.rows
            differing = claim.differs_from(made)
            if not differing:
                return []
            rows = (claim.rows, made.rows)
            note = f"other {', '.join(differing)}"
        else:
            rows, note = (claim.rows, 0), "the topic no longer gives its last message"
        span = Span(claim.topic, claim.partition, claim.first, claim.last)
        return [Finding(wrong=Wrong.OTHER_THAN_KAFKA, offsets=str(span), rows=rows, note=note)]

    async def check_rest(self, topic: str, at: Standing, newest: Claim | None) -> list[Finding]:
        """What was committed beyond the last claim must need no row."""
        if at.committed <= at.reached or (newest is None and at.reached > 0):
            return []
        first = max(at.reached, at.begin)
        start = archive.resume(newest, complete=True)
        buffer: archive.RangeBuffer[Message] = archive.RangeBuffer(start, NO_LIMITS)
        await self._fill(buffer, TopicPartition(topic, at.partition), first, at.committed - 1)
        selection = buffer.selection()
        if not isinstance(selection, archive.Selection):
            return []
        span = Span(topic, at.partition, first, at.committed - 1)
        return [
            Finding(
                wrong=Wrong.MISSING,
                offsets=str(span),
                note=f"committed, but {len(selection.messages)} messages with rows are unclaimed",
            )
        ]

    async def _made(self, claim: Claim) -> Claim | None:
        resume = Resume(next_offset=claim.first, redo=claim, seen=claim.seen_before)
        buffer: archive.RangeBuffer[Message] = archive.RangeBuffer(resume, NO_LIMITS)
        tp = TopicPartition(claim.topic, claim.partition)
        await self._fill(buffer, tp, claim.first, claim.last)
        selection = buffer.selection()
        if not isinstance(selection, archive.Selection):
            return None
        shape = _shape(self._dataset, selection.messages)
        prepared = await asyncio.to_thread(
            prepare, self._dataset, claim.topic, claim.partition, selection, shape
        )
        return prepared.claim

    async def _fill(
        self,
        buffer: archive.RangeBuffer[Message],
        tp: TopicPartition,
        first: int,
        last: int,
    ) -> None:
        if self._at != (tp, first):
            self._consumer.assign([tp])
            self._consumer.seek(tp, first)
            self._ahead = []
        while True:
            for message in self._ahead:
                if message.offset <= last:
                    self._offer(buffer, message)
            self._ahead = [message for message in self._ahead if message.offset > last]
            # Transaction markers have offsets and are no messages: the position counts.
            if self._ahead or await self._consumer.position(tp) > last:
                break
            fetched = await self._consumer.getmany(tp, timeout_ms=POLL_MS)
            self._ahead = fetched.get(tp, [])
        self._at = (tp, last + 1)

    def _offer(self, buffer: archive.RangeBuffer[Message], message: Any) -> None:  # noqa: ANN401 - the same
        try:
            read = self._decode(message.topic, message.partition, message.offset, message.value)
        except UnreadableError:
            return  # it went to the quarantine or the dead letters instead
        replay = REPLAY in dict(message.headers or ())
        buffer.add(message.offset, read, _arrival(self._dataset, read, replay=replay))


def _arrival(dataset: Dataset, message: Message, *, replay: bool) -> Arrival:
    if isinstance(message, Record):
        return record_arrival(dataset, message, replay=replay)
    return batch_arrival(message)


def _shape(dataset: Dataset, messages: Sequence[Message]) -> Shape:
    if dataset is Dataset.TELEMETRY:
        return Shape(columns=TELEMETRY)
    records = [one for one in messages if isinstance(one, Record)]
    return Shape(columns=plan((), wanted(records)).columns)


def _decoder(codec: Codec, dataset: Dataset) -> Decode:
    if dataset is Dataset.TELEMETRY:
        return lambda _topic, _partition, _offset, value: decode_deduplicated(codec, value)
    return RecordReader(codec, dataset).read


@asynccontextmanager
async def _consumer(settings: Settings) -> AsyncIterator[Any]:
    consumer = kafka.consumer(settings)
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()
