"""Deliver agent: sink.<name> → the system, by its connector and the ledger.

The driver says when an event's fate is known. Then, in this order: the result and any dead
letter are in Kafka, the ledger is settled, the input is acknowledged. A crash between two of
these repeats a result or a dead letter under the same event id; nothing is lost.

Events of one device go one after another, others side by side: an event that waits (for a
retry, or before a look-up) holds back only later events of its own device.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import structlog

from connectors.base import Delivery
from connectors.driver import Driver, Finished, Job
from pipeline.agents.app import Worker
from pipeline.agents.deadletter import Cause, DeadLetters, unreadable
from pipeline.agents.halt import guarded
from pipeline.agents.rounds import Round
from pipeline.core.events import fingerprint
from pipeline.core.outcome import Delivered, Rejected
from pipeline.state.ledger import LedgerUnavailable
from pipeline.topology import RESULTS, sink_topic
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.cloudevents import REPLAY
from pipeline.wire.records import decode_event

log = structlog.get_logger(__name__)

ROUND_EVENTS = 32
"""Events that start together: their heads can share a request."""
IN_HAND = 256
"""Most events begun or queued in a worker; the rest stays in Kafka."""


@dataclass(frozen=True, slots=True)
class _Item:
    hand: Round
    event: Any
    job: Job

    @property
    def device(self) -> str:
        return self.job.delivery.event.device_id


class Deliverer:
    """What the agent does with one round of messages."""

    def __init__(self, worker: Worker, *, sink: str, driver: Driver, codec: Codec) -> None:
        self.channel = worker.source(sink_topic(sink))
        self._sink = sink
        self._driver = driver
        self._codec = codec
        self._results = worker.target(RESULTS)
        self._busy: Counter[str] = Counter()
        self._later: dict[str, list[_Item]] = {}
        self._unfinished = 0
        self._room = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._dead = DeadLetters(worker, sink=sink, codec=codec)

    async def round(self, hand: Round) -> None:
        """Start what can start; later events of a device that waits queue behind it.

        Returns while deliveries still wait: what they hold back is their own device, not the
        sink. Only with IN_HAND events unfinished does it wait for room, and Kafka buffers.
        """
        ready: list[_Item] = []
        for event in hand.events:
            if (item := await self._read(hand, event)) is None:
                continue
            self._unfinished += 1
            if item.device in self._busy:
                self._later.setdefault(item.device, []).append(item)
            else:
                ready.append(item)
        self._start(ready)
        while self._unfinished >= IN_HAND and not hand.lost:
            self._room.clear()
            await self._room.wait()

    def forget(self) -> None:
        """Drop what is queued: after a rebalance it comes again, to us or to another.

        What was begun goes on to its end: the ledger knows it, and the next owner finds it.
        """
        self._unfinished -= sum(len(items) for items in self._later.values())
        self._later.clear()
        self._room.set()

    async def _read(self, hand: Round, event: Any) -> _Item | None:  # noqa: ANN401
        message = event.message
        try:
            decoded = decode_event(self._codec, message.value)
        except UnreadableError as error:
            await (await self._dead.send(message, unreadable(error)))
            hand.acknowledge([event])
            return None
        job = Job(
            delivery=Delivery(event=decoded, key=decoded.id),
            payload_hash=fingerprint(decoded),
            replay=REPLAY in dict(message.headers or {}),
        )
        return _Item(hand, event, job)

    def _start(self, items: list[_Item]) -> None:
        if not items:
            return
        self._busy.update(Counter(item.device for item in items))
        self._spawn(self._deliver, items)

    def _spawn(self, step: Callable[[Any], Awaitable[object]], argument: object) -> None:
        task = asyncio.create_task(guarded(step, argument))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, items: list[_Item]) -> None:
        by_job = {id(item.job): item for item in items}
        async with aclosing(self._driver.deliver([item.job for item in items])) as ends:
            async for finished in ends:
                # Beside the others: a slow answer of Kafka holds back no other delivery.
                self._spawn(self._conclude, (by_job[id(finished.job)], finished))

    async def _conclude(self, ended: tuple[_Item, Finished]) -> None:
        item, finished = ended
        await asyncio.gather(*await self._report(item.event.message, finished))
        await self._driver.settle(finished)
        item.hand.acknowledge([item.event])
        self._unfinished -= 1
        self._room.set()
        self._busy[item.device] -= 1
        if self._busy[item.device] == 0:
            del self._busy[item.device]
            self._start(self._later.pop(item.device, []))

    async def _report(self, message: Any, finished: Finished) -> list[Any]:  # noqa: ANN401
        now_ms = int(time.time() * 1000)
        event = finished.job.delivery.event
        outcome = finished.outcome
        code, text = ("", "") if isinstance(outcome, Delivered) else (outcome.code, outcome.message)
        result = {
            "event_id": event.id,
            "sink": self._sink,
            "tenant": event.tenant,
            "device_id": event.device_id,
            "outcome": finished.final.value,
            "code": code,
            "message": text,
            "target_id": outcome.target_id if isinstance(outcome, Delivered) else None,
            "attempts": finished.attempts,
            "latency_ms": max(0, now_ms - event.observed_at_ms),
            "at_ms": now_ms,
            "request_hash": finished.job.payload_hash,
        }
        sent = [
            await self._results.send(
                key=message.key,
                value=self._codec.encode("delivery_result.v1", result),
                partition=message.partition,
            )
        ]
        if finished.cause is not None:
            cause = Cause(
                cause_class=finished.cause.value,
                code=code,
                message=text,
                answer=outcome.answer if isinstance(outcome, Rejected) else None,
                attempts=finished.attempts,
                event_id=event.id,
                tenant=event.tenant,
            )
            sent.append(await self._dead.send(message, cause))
        return sent


def register(
    worker: Worker,
    deliverer: Deliverer,
    *,
    name: str,
    check: Callable[[], Awaitable[str | None]],
) -> None:
    """Put the agent into the app. `check` says what is weak about the ledger, once at start."""

    @worker.app.task  # type: ignore[untyped-decorator]  # Faust has no types
    async def check_ledger() -> None:
        try:
            weakness = await check()
        except LedgerUnavailable as error:
            weakness = f"The ledger could not be checked: {error}."
        if weakness:
            log.warning("ledger is weak", detail=weakness)

    worker.holdings.on_loss(deliverer.forget)
    worker.agent(deliverer.channel, deliverer.round, name=name, limit=ROUND_EVENTS)
