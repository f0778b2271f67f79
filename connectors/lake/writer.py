"""Feeds a topic's partitions to the lake, range by range: every row once.

Delivery guarantee: a row is in the lake before `flush` calls its offset safe to commit, and
no row is there twice, however often the process dies, the topic is read again from an
older offset, or another writer works on the same partition.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from connectors.lake import base, mapping
from connectors.lake.commit import Commit, File, Prepared
from pipeline.core import archive
from pipeline.core.archive import Arrival, Claim, Decision, Part
from pipeline.core.lake_columns import TELEMETRY, Dataset
from pipeline.core.lake_evolve import plan
from pipeline.core.lake_records import Record, Shape, record_arrival, record_tables, wanted
from pipeline.core.lake_rows import batch_arrival, telemetry_tables
from pipeline.core.lake_size import message_size
from pipeline.core.lake_sum import row_sum
from pipeline.core.telemetry import DeduplicatedBatch

Message = DeduplicatedBatch | Record

INLINE_ROWS = 4_096
INLINE_DATES = 16
"""Up to here building files on the event loop is quicker than handing it to a thread."""
FILE_BYTES = 16_384
"""What a file takes of memory beside its rows: its footer, as bytes and read."""


@dataclass(eq=False, slots=True, kw_only=True)
class _Partition:
    topic: str
    buffer: archive.RangeBuffer[Message]
    commit: Commit
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    prepared: Prepared | None = None

    @property
    def size(self) -> int:
        """Messages, and the files that are made of them or will be: reserved from the start."""
        files = self.buffer.size + self.buffer.dates * FILE_BYTES
        return self.buffer.size + max(files, 0 if self.prepared is None else self.prepared.size)


class LakeWriter:
    """One dataset, fed from one topic, on one event loop.

    A range is due at `flush_rows` rows, `flush_bytes` in memory, archive.Limits.dates event
    dates or `flush_s` seconds, whichever is first. What waits is kept in memory: `held` says
    how much, and the caller offers no more when that is too much.
    """

    def __init__(
        self,
        store: base.ObjectStore,
        *,
        dataset: Dataset,
        flush_rows: int,
        flush_s: float,
        flush_bytes: int = 2**62,
        table: base.Table | None = None,
        press: asyncio.Semaphore | None = None,
    ) -> None:
        """`press` bounds how many ranges are made into files at once, over all who share it."""
        self._dataset = dataset
        self._store = store
        self._table = table
        self._shape: Shape | None = None
        self._store_is_fit = False
        self._press = press or asyncio.Semaphore(1)
        self._limits = archive.Limits(
            rows=flush_rows, age_ms=round(flush_s * 1000), size=flush_bytes
        )
        self._partitions: dict[int, _Partition] = {}
        self._leaving: list[_Partition] = []
        self.counters = base.Counters()

    async def open(
        self, topic: str, partition: int, *, end_offset: int | None = None
    ) -> archive.Resume | base.Retry | base.Halt:
        """Ask the lake where a topic-partition stands and start an empty buffer there.

        The first time it also makes sure that the store honours conditional writes.
        `end_offset` is Kafka's (the offset it will give next): where the lake is ahead of it,
        the topic was made anew, and its messages would be taken for old ones.
        """
        commit = Commit(self._store, self._dataset, self._table)
        trouble = None if self._store_is_fit else await commit.probe()
        self._store_is_fit = trouble is None
        trouble = trouble or await self._open_table()
        answer = trouble or await commit.resume(topic, partition)
        if isinstance(answer, archive.Resume) and end_offset is not None:
            reached = answer.next_offset if answer.redo is None else answer.redo.last + 1
            if reached > end_offset:
                answer = base.Halt(
                    reason=f"The lake holds {topic}/{partition} up to offset {reached - 1} but the "
                    f"topic ends before {end_offset}, so it was made anew: use another bucket, or "
                    f"move the objects below {self._dataset}/ out of this one."
                )
        if isinstance(answer, archive.Resume):
            self._partitions[partition] = _Partition(
                topic=topic,
                buffer=archive.RangeBuffer(answer, self._limits),
                commit=commit,
            )
        self.counters.calls += commit.calls
        self._count(answer)
        return answer

    def offer(
        self, partition: int, offset: int, message: Message, *, replay: bool = False
    ) -> Decision | None:
        """Buffer one message of an open partition; None where it is not open.

        A flush makes the offsets up to the highest offered count as being in the lake, so
        after `open` the caller must begin with the first message that is not committed:
        messages still in hand from before a rebalance must not be offered. `replay` marks an
        event that an operator sent again from a DLQ.
        """
        state = self._partitions.get(partition)
        if state is None:
            return None
        arrival = replace(self._arrival(message, replay=replay), size=message_size(message))
        decision = state.buffer.add(offset, message, arrival)
        if decision is Decision.SKIP_REPEATED:
            self.counters.skipped_repeated += 1
        elif decision is Decision.SKIP_ALREADY_IN_LAKE:
            self.counters.skipped_already_in_lake += 1
        return decision

    def due(self, partition: int, now_s: float) -> bool:
        """Whether to flush at `now_s`, seconds of any clock that does not go back.

        Age counts from the first call after a message came, so ask often.
        """
        state = self._partitions.get(partition)
        return state is not None and state.buffer.cut(int(now_s * 1000)) is not archive.Cut.NOT_YET

    def awaits(self, partition: int) -> bool:
        """Whether a partition cannot be flushed before more is offered: another claimed further."""
        state = self._partitions.get(partition)
        return state is not None and state.buffer.awaits

    def size(self, partition: int) -> int:
        """Bytes that one open partition holds.

        Messages that wait, and as much again and FILE_BYTES a date for the files made of them.
        """
        state = self._partitions.get(partition)
        return 0 if state is None else state.size

    @property
    def held(self) -> int:
        """Bytes that all hold, dropped partitions whose flush is still under way included."""
        return sum(state.size for state in (*self._partitions.values(), *self._leaving))

    def drop(self, partition: int) -> None:
        """Forget a partition that was revoked; a flush still under way does no harm."""
        state = self._partitions.pop(partition, None)
        if state is not None and state.lock.locked():
            self._leaving.append(state)

    async def flush(self, partition: int) -> base.FlushResult:
        """Bring the next range to the lake. May be abandoned, and called again, at any point."""
        state = self._partitions.get(partition)
        if state is None:
            return base.Retry(reason=f"Partition {partition} is not open: open it first.")
        async with state.lock:
            before = state.commit.calls
            try:
                prepared = await self._claimed_range(state, partition)
                result = await self._bring(state, prepared, before)
            finally:
                self.counters.calls += state.commit.calls - before
                if state in self._leaving:
                    self._leaving.remove(state)
        self._count(result)
        return result

    def _arrival(self, message: Message, *, replay: bool) -> Arrival:
        if isinstance(message, Record):
            return record_arrival(self._dataset, message, replay=replay)
        return batch_arrival(message)

    async def _open_table(self) -> base.Retry | base.Halt | None:
        if self._table is None or self._shape is not None:
            return None
        answer = await self._table.open()
        if isinstance(answer, Shape):
            self._shape = answer
            return None
        return answer

    async def _fitting(
        self, selection: archive.Selection[Message]
    ) -> Shape | base.Retry | base.Halt:
        """Columns that have room for the range; the table is given it where it has none."""
        columns = (
            TELEMETRY
            if self._dataset is Dataset.TELEMETRY
            else wanted([one for one in selection.messages if isinstance(one, Record)])
        )
        shape = self._shape or Shape(columns=())
        needed = plan(shape.columns, columns)
        if not needed.changed:
            return shape
        if self._table is None:
            self._shape = Shape(columns=needed.columns)
            return self._shape
        answer = await self._table.evolve(columns)
        if isinstance(answer, Shape):
            self._shape = answer
        return answer

    async def _claimed_range(
        self, state: _Partition, partition: int
    ) -> Prepared | base.FlushResult:
        """The next range, built exactly as its claim says; claimed here where it was not yet."""
        buffer = state.buffer
        while True:
            selection = buffer.selection()
            if isinstance(selection, archive.Awaiting):
                return base.Wait(until=selection.offset)
            if isinstance(selection, archive.Nothing):
                buffer.settle()
                return base.Flushed(last_offset=selection.last)
            shape = await self._fitting(selection)
            if not isinstance(shape, Shape):
                return shape
            prepared = await self._prepare(state, partition, selection, shape)
            if isinstance(prepared, base.Halt):
                return prepared
            if buffer.claimed is not None:
                differing = prepared.claim.differs_from(buffer.claimed)
                return _contradiction(prepared.claim, differing) if differing else prepared
            claim = await state.commit.claim(prepared.claim)
            if not isinstance(claim, Claim):
                return claim
            # From here the range is fixed, whatever is offered while its files go up.
            buffer.adopt(claim)
            self.counters.claims_lost += claim != prepared.claim

    async def _bring(
        self, state: _Partition, prepared: Prepared | base.FlushResult, before: int
    ) -> base.FlushResult:
        if not isinstance(prepared, Prepared):
            return prepared
        trouble = await state.commit.files(prepared) or await state.commit.register(prepared)
        if trouble is not None:
            return trouble
        state.buffer.advance(prepared.claim)
        state.prepared = None
        ours = [file for file in prepared.files if file.key not in prepared.found]
        return base.Flushed(
            last_offset=prepared.claim.last,
            rows=sum(file.part.rows for file in ours),
            files=len(ours),
            size=sum(len(file.data) for file in ours),
            calls=state.commit.calls - before,
        )

    async def _prepare(
        self,
        state: _Partition,
        partition: int,
        selection: archive.Selection[Message],
        shape: Shape,
    ) -> Prepared | base.Halt:
        """The range's objects; built once, however often the store has to be asked."""
        known = state.prepared
        if known and (known.claim.first, known.claim.last, known.claim.messages) == (
            selection.first,
            selection.last,
            len(selection.messages),
        ):
            return known
        arguments = (self._dataset, state.topic, partition, selection, shape)
        try:
            if state.buffer.rows <= INLINE_ROWS and state.buffer.dates <= INLINE_DATES:
                state.prepared = prepare(*arguments)
            else:
                async with self._press:
                    state.prepared = await asyncio.to_thread(prepare, *arguments)
        except (pa.ArrowException, ValueError, OverflowError) as error:
            return base.Halt(
                reason=f"Offsets {selection.first} to {selection.last} of "
                f"{state.topic}/{partition} cannot be made into Parquet "
                f"({type(error).__name__}: {error}): report it as a bug with those messages."
            )
        return state.prepared

    def _count(self, result: archive.Resume | base.FlushResult) -> None:
        counters = self.counters
        if isinstance(result, base.Flushed):
            counters.ranges += result.calls > 0
            counters.rows += result.rows
            counters.files += result.files
            counters.size += result.size
        elif isinstance(result, base.Retry):
            counters.retries += 1
        elif isinstance(result, base.Halt):
            counters.halts += 1


def prepare(
    dataset: Dataset,
    topic: str,
    partition: int,
    selection: archive.Selection[Message],
    shape: Shape,
) -> Prepared:
    """The objects of one range: its claim and its files. Pure."""
    tables = _tables(dataset, selection.messages, shape)
    claim = Claim(
        topic=topic,
        partition=partition,
        first=selection.first,
        last=selection.last,
        seen_before=selection.seen_before,
        seen=selection.seen,
        messages=len(selection.messages),
        files=tuple(Part(date, table.num_rows, row_sum(dataset, table)) for date, table in tables),
    )
    note = mapping.range_note(claim)
    files = (
        File(
            mapping.file_key(dataset, claim, part.date),
            part,
            mapping.parquet(dataset, table, note),
        )
        for part, (_, table) in zip(claim.files, tables, strict=True)
    )
    return Prepared(claim=claim, files=tuple(files))


def _tables(
    dataset: Dataset, messages: Sequence[Message], shape: Shape
) -> tuple[tuple[str, pa.Table], ...]:
    batches = [one for one in messages if isinstance(one, DeduplicatedBatch)]
    if dataset is Dataset.TELEMETRY:
        return telemetry_tables(batches, shape.schema())
    return record_tables(dataset, [one for one in messages if isinstance(one, Record)], shape)


def _contradiction(ours: Claim, differing: tuple[str, ...]) -> base.Halt:
    return base.Halt(
        reason=f"Offsets {ours.first} to {ours.last} of {ours.topic}/{ours.partition} are claimed "
        f"with other {', '.join(differing)} than the topic gives now: reset the consumer group to "
        f"offset {ours.first}, or, if the topic no longer holds them, mend the range as "
        "infra/adr/0005-lake-commit.md says."
    )
