"""Deliver agent: sink.<name> → the system, by its connector and the ledger.

Events go to the driver as they come, and come back as each one's fate is known. Then, in this
order: the result and any dead letter are in Kafka, the ledger is settled, the input is
acknowledged. A crash between two of these repeats a result or a dead letter under the same
event id; nothing is lost.

What waits longer than the driver keeps it (its device's later events with it) is parked in a
table, changelog first, and acknowledged: so offsets move on, and memory is bounded by the
policy's `in_hand`. What is parked is acknowledged by deleting its row.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import structlog
from faust.types import TP

from connectors.base import Delivery
from connectors.driver import Driver
from connectors.jobs import Finished, Job, Postponed, Waiting
from pipeline.agents.app import Worker
from pipeline.agents.deadletter import Cause, DeadLetters, unreadable
from pipeline.agents.emit import Emitter, Record, Sent, settled
from pipeline.agents.halt import guarded
from pipeline.agents.parked import ParkedDevices
from pipeline.agents.results import result_record
from pipeline.agents.rounds import Round
from pipeline.agents.tickets import Letter, Ticket, parked, replay_of, waiting_of
from pipeline.core.events import BusinessEvent, fingerprint
from pipeline.core.ledger import Mode, Place
from pipeline.core.outcome import Delivered, Rejected
from pipeline.core.registry import DeviceRecord, Owners
from pipeline.settings import Settings
from pipeline.state.identities_index import IdentitiesUnavailable
from pipeline.state.ledger import Ledger, LedgerUnavailable
from pipeline.state.parking import Parked, Parking
from pipeline.state.table import Rows, RowTable
from pipeline.topology import RESULTS, parked_topic, sink_topic
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.cloudevents import EDITED, REPLAY
from pipeline.wire.records import decode_event

log = structlog.get_logger(__name__)

ROUND_EVENTS = 256
"""Events taken from Kafka at once."""
WAKE_EVENTS = 32
"""Parked events that may go on at once however many others are in hand."""
LOOK_S = 0.2
"""How soon what is due in the table is noticed."""
QUIET_S = 1.5
"""Conversations under way have so long to end when partitions are given back."""


class Deliverer:
    """What the agent does with messages, ends and what is parked."""

    def __init__(
        self,
        worker: Worker,
        settings: Settings,
        *,
        sink: str,
        codec: Codec,
        ledger: Ledger,
        owners: Owners,
        make_driver: Callable[[Callable[..., Any]], Driver],
    ) -> None:
        self.channel = worker.source(sink_topic(sink))
        self._worker = worker
        self._app = worker.app
        self._holdings = worker.holdings
        self._sink = sink
        self._codec = codec
        self._ledger = ledger
        self._owners = owners
        self._driver = make_driver(self.places)
        self._emitter = Emitter(settings, name=f"fieldline-deliver-{sink}")
        self._table = RowTable(worker.app, "parked", append=self._append)
        self._parked = ParkedDevices(Parking(self._table, codec))
        worker.target(RESULTS)
        self._dead = DeadLetters(worker, sink=sink, codec=codec)
        self._epoch = -1
        self._busy = False

    # -- in

    async def round(self, hand: Round) -> None:
        """Take messages on, in order per device."""
        self._open()
        epoch = self._epoch
        refused: list[tuple[Any, Awaitable[Any]]] = []
        read: list[tuple[Any, Ticket, BusinessEvent]] = []
        for event in hand.events:
            message = event.message
            ticket = Ticket(message.value, dict(message.headers or {}), hand, event)
            try:
                read.append((message, ticket, decode_event(self._codec, message.value)))
            except UnreadableError as error:
                refused.append((event, await self._dead.send(message, unreadable(error))))
        records = await self._whose([one for _, _, one in read], lambda: not hand.lost)
        if records is None:
            return
        jobs: list[Job] = []
        behind: list[Job] = []
        for (message, ticket, decoded), record in zip(read, records, strict=True):
            job = _job(decoded, record, (message.partition, message.offset), ticket)
            (behind if job.device in self._parked else jobs).append(job)
        self._driver.submit(jobs)
        if refused:
            await asyncio.gather(*(sent for _, sent in refused))
            hand.acknowledge([event for event, _ in refused])
        if behind:
            waits = [Postponed(job=job, delay_s=0.0, waiting=Waiting()) for job in behind]
            await self._store(waits, [], epoch)
        await self._driver.room()

    async def _whose(
        self, events: Sequence[BusinessEvent], ours: Callable[[], bool]
    ) -> list[DeviceRecord | None] | None:
        """Each device's row as it was when the event occurred, as soon as that can be said.

        None where the events are not `ours` any more. An event cannot have occurred after it was
        observed: a device whose clock is ahead must not reach a planned owner.
        """
        asks = [(one.device_id, min(one.occurred_at_ms, one.observed_at_ms)) for one in events]
        told = False
        while ours():
            try:
                records = await self._owners.resolve(asks)
            except IdentitiesUnavailable as error:
                if not told:
                    log.warning("events wait for the identity map", detail=str(error))
                told = True
                await asyncio.sleep(LOOK_S)
            else:
                return records if ours() else None
        return None

    # -- out

    async def ends(self) -> None:
        """Wait for ends, and see them through."""
        ends = await self._driver.ends()
        self._busy, epoch = True, self._holdings.epoch
        try:
            finished = [end for end in ends if isinstance(end, Finished)]
            postponed = [end for end in ends if isinstance(end, Postponed)]
            if finished:
                await self._report(finished)
                await self._driver.settle(finished)
            await self._store(postponed, finished, epoch)
            self._acknowledge(finished)
            await self.wake()
        finally:
            self._busy = False

    async def _report(self, finished: Sequence[Finished]) -> None:
        """Results and dead letters, until they are in Kafka."""
        now_ms = int(time.time() * 1000)
        records: dict[int, list[Record]] = defaultdict(list)
        for end in finished:
            record = result_record(self._sink, end, now_ms=now_ms, replay=replay_of(end))
            value = self._codec.encode("delivery_result.v2", record)
            records[end.job.partition].append(Record(end.job.device.encode(), value))
        sent: list[Sent] = []
        for partition, batch in records.items():
            sent += await self._emitter.emit(RESULTS, partition, batch)
        dead = [end for end in finished if end.cause is not None]
        letters = await self._dead_letters(dead) if dead else []
        await settled(sent)
        await asyncio.gather(*letters)

    async def _dead_letters(self, dead: Sequence[Finished]) -> list[Any]:
        keys = [end.job.delivery.key for end in dead]
        try:
            rows = await self._ledger.states(self._sink, keys)
        except LedgerUnavailable:
            rows = [None] * len(keys)  # the history is a help, not a condition
        letters = []
        for end, row in zip(dead, rows, strict=True):
            event, outcome = end.job.delivery.event, end.outcome
            code, text = (
                ("", "") if isinstance(outcome, Delivered) else (outcome.code, outcome.message)
            )
            cause = Cause(
                cause_class=end.cause.value if end.cause else "",
                code=code,
                message=text,
                answer=outcome.answer if isinstance(outcome, Rejected) else None,
                attempts=end.attempts,
                event_id=event.id,
                tenant=event.tenant,
                history=row.history if row is not None else (),
            )
            letters.append(await self._dead.send(Letter.of(self._sink, end.job), cause))
        return letters

    async def _store(
        self, postponed: Sequence[Postponed], finished: Sequence[Finished], epoch: int
    ) -> None:
        """Park what waits, delete what was parked and is done, acknowledge what is parked."""
        now_ms = int(time.time() * 1000)
        put: dict[int, list[Parked]] = defaultdict(list)
        done: dict[int, list[tuple[str, int]]] = defaultdict(list)
        for wait in postponed:
            put[wait.job.partition].append(parked(wait, now_ms))
        for end in finished:
            if end.job.ticket.hand is None:
                done[end.job.partition].append((end.job.device, end.job.offset))

        def ours() -> bool:
            return self._holdings.epoch == epoch

        for partition in {*put, *done}:
            await self._worker.leased()
            if ours():
                await self._parked.store(
                    partition, put=put[partition], done=done[partition], ours=ours
                )
        if ours():
            self._acknowledge(postponed)

    @staticmethod
    def _acknowledge(ends: Sequence[Finished | Postponed]) -> None:
        for end in ends:
            ticket: Ticket = end.job.ticket
            if ticket.hand is not None:
                ticket.hand.acknowledge([ticket.event])

    # -- parked

    async def wake(self) -> None:
        """Send on what is due in the table, once."""
        if self._app.rebalancing or not self._worker.membership.holds():
            return
        self._open()
        epoch = self._epoch
        taken = self._parked.take(int(time.time() * 1000), max(self._driver.free, WAKE_EVENTS))
        if not taken:
            return
        events = [decode_event(self._codec, row.payload) for _, row in taken]
        records = await self._whose(events, lambda: self._holdings.epoch == epoch)
        if records is None:
            return
        jobs = [
            _job(
                event,
                record,
                (partition, row.offset),
                Ticket(row.payload, row.headers),
                waiting_of(row),
            )
            for (partition, row), event, record in zip(taken, events, records, strict=True)
        ]
        self._driver.submit(jobs, back=True)

    def _open(self) -> None:
        """After a rebalance: begin with the partitions that are ours now."""
        if self._epoch == self._holdings.epoch:
            return
        self._epoch = self._holdings.epoch
        topic = parked_topic(self._sink)
        ours = [tp.partition for tp in self._app.assignor.assigned_actives() if tp.topic == topic]
        self._parked.open(ours)
        self._driver.go_on()

    # -- partitions come and go

    async def places(self, partitions: Collection[int]) -> dict[int, Place]:
        """Where our group stands in partitions of the topic, once they are surely ours."""
        await self._worker.leased()
        consumer: Any = self._app.consumer
        tps = {partition: TP(sink_topic(self._sink), partition) for partition in partitions}
        ends = await consumer.highwaters(*tps.values())
        committed = consumer._committed_offset  # noqa: SLF001 - Faust shows it nowhere else
        return {
            partition: Place(committed=committed.get(tp) or 0, end=ends.get(tp) or 0)
            for partition, tp in tps.items()
        }

    def forget(self) -> None:
        """Drop everything: it will come again, to us or to another worker."""
        self._driver.forget()
        self._parked.forget()

    async def finish(self) -> None:
        """Let conversations under way end, and see their ends through."""
        try:
            async with asyncio.timeout(QUIET_S):
                await self._driver.quiesce()
                while self._busy or self._driver.has_ends:  # noqa: ASYNC110 - only at an end
                    await asyncio.sleep(0.01)
        except TimeoutError:
            log.info("conversations are broken off", sink=self._sink)

    async def stop(self) -> None:
        """Finish, then let go of the target and of Kafka."""
        await self.finish()
        await self._driver.close()
        await self._emitter.stop()

    async def _append(self, topic: str, partition: int, rows: Rows) -> int:
        records = (Record(key.encode(), row) for key, row in rows.items())
        return await settled(await self._emitter.emit(topic, partition, records))


def _job(
    event: BusinessEvent,
    record: DeviceRecord | None,
    place: tuple[int, int],
    ticket: Ticket,
    waiting: Waiting | None = None,
) -> Job:
    """An event on its way, with its partition and offset."""
    mode = Mode.FIRST
    if REPLAY in ticket.headers:
        mode = Mode.EDITED if EDITED in ticket.headers else Mode.REPLAY
    return Job(
        delivery=Delivery(event=event, key=event.id, record=record),
        payload_hash=fingerprint(event),
        mode=mode,
        partition=place[0],
        offset=place[1],
        ticket=ticket,
        waiting=waiting or Waiting(),
    )


def register(
    worker: Worker,
    deliverer: Deliverer,
    *,
    name: str,
    check: Callable[[], Awaitable[str | None]],
    keep: Callable[[], Awaitable[None]],
) -> None:
    """Put the agent into the app.

    `check` says what is weak about the ledger, once at start; `keep` keeps the index of the
    identity map, for ever.
    """

    @worker.app.task  # type: ignore[untyped-decorator]  # Faust has no types
    async def check_ledger() -> None:
        try:
            weakness = await check()
        except LedgerUnavailable as error:
            weakness = f"The ledger could not be checked: {error}."
        if weakness:
            log.warning("ledger is weak", detail=weakness)

    @worker.app.task  # type: ignore[untyped-decorator]  # Faust has no types
    async def identities() -> None:
        await guarded(lambda _: keep(), None)

    @worker.app.task  # type: ignore[untyped-decorator]  # Faust has no types
    async def ends() -> None:
        while True:
            await guarded(lambda _: deliverer.ends(), None)

    @worker.app.task  # type: ignore[untyped-decorator]  # Faust has no types
    async def wake() -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await guarded(lambda _: deliverer.wake(), None)

    worker.agent(deliverer.channel, deliverer.round, name=name, limit=ROUND_EVENTS)
    worker.holdings.on_loss(deliverer.forget)
    worker.on_stop(deliverer.stop)
    worker.on_revoke(deliverer.finish)
