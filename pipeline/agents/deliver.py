"""Deliver agent: sink.<name> → the system, by its connector and the ledger.

The driver returns when each event's fate is known. Then, in this order: the result and any
dead letter are in Kafka, the ledger is settled, the input is acknowledged. A crash between
two of these repeats a result or a dead letter under the same event id; nothing is lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import structlog

from connectors.base import Delivery
from connectors.driver import Driver, Finished, Job
from pipeline.agents.app import Worker
from pipeline.agents.deadletter import Cause, DeadLetters, unreadable
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
"""Events per round: few, so that a result is known soon; lanes run inside a round."""


class Deliverer:
    """What the agent does with one round of messages."""

    def __init__(self, worker: Worker, *, sink: str, driver: Driver, codec: Codec) -> None:
        self.channel = worker.source(sink_topic(sink))
        self._sink = sink
        self._driver = driver
        self._codec = codec
        self._results = worker.target(RESULTS)
        self._dead = DeadLetters(worker, sink=sink, codec=codec)

    async def round(self, hand: Round) -> None:
        """Deliver messages, in order per device.

        A lost round is delivered to its end all the same: the ledger knows it, and the next
        owner finds it there.
        """
        jobs: list[Job] = []
        messages: dict[int, Any] = {}
        sent: list[Any] = []
        for event in hand.events:
            message = event.message
            try:
                decoded = decode_event(self._codec, message.value)
            except UnreadableError as error:
                sent.append(await self._dead.send(message, unreadable(error)))
                continue
            job = Job(
                delivery=Delivery(event=decoded, key=decoded.id),
                payload_hash=fingerprint(decoded),
                replay=REPLAY in dict(message.headers or {}),
            )
            jobs.append(job)
            messages[id(job)] = message
        done: list[Finished] = []
        async with aclosing(self._driver.deliver(jobs)) as ends:
            async for finished in ends:
                # At once, so that a slow or waiting neighbour does not hold this result back.
                sent.extend(await self._report(messages[id(finished.job)], finished))
                done.append(finished)
        await asyncio.gather(*sent)
        await self._driver.settle(*done)
        hand.acknowledge()

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

    worker.agent(deliverer.channel, deliverer.round, name=name, limit=ROUND_EVENTS)
