"""Rounds: the agent's loop, with acknowledgement and rebalances under our own control.

A Faust stream feeds events one by one into a queue; a task takes what has come and gives it
to the agent's `step` as one `Round`. So small loads have no waiting time and large ones are
batched, and an event waits in our hands, not in Faust's (faust-rules 1 to 5).

On a rebalance everything in hand becomes *lost*: it will come again, to us or to another
worker. A step asks `round.lost` after each wait and gives up; a lost round acknowledges
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import structlog
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP

from pipeline.core.acks import AckTracker
from pipeline.core.continuity import Arrival, Continuity

log = structlog.get_logger(__name__)


class Holdings:
    """What a worker holds, over all its agents. One epoch lasts from rebalance to rebalance."""

    def __init__(self) -> None:
        self.epoch = 0
        self.acks: AckTracker[TP] = AckTracker()
        self.order: Continuity[TP] = Continuity()
        self._on_loss: list[Callable[[], None]] = []

    def on_loss(self, callback: Callable[[], None]) -> None:
        """Call when everything in hand is lost: caches of partition state go then."""
        self._on_loss.append(callback)

    def lose(self) -> None:
        """A rebalance has begun."""
        self.epoch += 1
        self.acks.reset()
        self.order.reset()
        for callback in self._on_loss:
            callback()


class Round:
    """Events to process together. `events` are Faust events in offset order per partition."""

    def __init__(self, holdings: Holdings, epoch: int, events: Sequence[Any]) -> None:
        self._holdings = holdings
        self._epoch = epoch
        self.events = events

    @property
    def lost(self) -> bool:
        """Whether a rebalance took these events away: stop, store nothing."""
        return self._holdings.epoch != self._epoch

    def acknowledge(self, events: Iterable[Any] | None = None) -> None:
        """These events (all, when not given) are done with; nothing happens when lost."""
        if self.lost:
            return
        for event in self.events if events is None else events:
            self._holdings.acks.finish(event.message.tp, event.message.offset)


Step = Callable[[Round], Awaitable[object]]


class Rounds:
    """One agent's queue and loop. A round has at most `limit` events."""

    def __init__(self, holdings: Holdings, *, limit: int) -> None:
        self._holdings = holdings
        self._limit = limit
        self._queue: asyncio.Queue[tuple[int, Any]] = asyncio.Queue(2 * limit)

    async def feed(self, stream: Any) -> None:  # noqa: ANN401 - Faust has no types
        """Body of a Faust agent: hand every event over once and in order, acknowledge none."""
        async for event in stream.noack().events():
            message = event.message
            epoch = self._holdings.epoch
            arrival = self._holdings.order.arrive(message.tp, message.offset)
            if arrival is Arrival.SEEK:
                due = self._holdings.order.next_of(message.tp)
                log.warning("messages were skipped, reading them again", tp=message.tp, due=due)
                await event.app.consumer.seek(message.tp, due)
            if arrival is not Arrival.TAKE:
                continue
            self._holdings.acks.hand(message.tp, message.offset)
            await self._queue.put((epoch, event))

    async def next(self) -> Round:
        """The next round: at least one event, and what else has come, up to the limit."""
        while True:
            taken = [await self._queue.get()]
            while len(taken) < self._limit and not self._queue.empty():
                taken.append(self._queue.get_nowait())
            epoch = self._holdings.epoch
            if current := [event for stamp, event in taken if stamp == epoch]:
                return Round(self._holdings, epoch, current)


class TrackedConsumer(Consumer):
    """Faust's consumer, committing what our tracker says and nothing else.

    The class is made per app by `tracked`, which gives it `holdings`.
    """

    holdings: Holdings

    def ack(self, message: Any) -> bool:  # noqa: ANN401
        """Faust acknowledges also what it skips; only `Round.acknowledge` counts."""
        self._unacked_messages.discard(message)
        return False

    async def perform_seek(self) -> None:
        """Faust goes back to what is committed: from there on every offset must come."""
        await super().perform_seek()
        self.holdings.order.start({tp: self._read_offset[tp] for tp in self.assignment()})

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Any:  # noqa: ANN401
        return (
            tp
            for tp in self.holdings.acks.pending()
            if topics is None or tp in topics or tp.topic in topics
        )

    def _new_offset(self, tp: TP) -> int | None:
        return self.holdings.acks.take(tp)


def tracked(holdings: Holdings) -> type[TrackedConsumer]:
    """A consumer class for one app."""
    return type("TrackedConsumer", (TrackedConsumer,), {"holdings": holdings})
