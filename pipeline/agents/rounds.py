"""Rounds: the agent's loop, with acknowledgement and rebalances under our own control.

What a fetch brings goes straight into a queue; a task takes what has come and gives it to the
agent's `step` as one `Round`. So small loads have no waiting time and large ones are batched,
and a message waits in our hands, not in Faust's (faust-rules 1 to 5). Faust's own way through
conductor, channel and stream costs tens of microseconds a message and hands over one at each
turn of the loop (measured: 15 % of a deliver worker's time, and batches a tenth as large).

On a rebalance everything in hand becomes *lost*: it will come again, to us or to another
worker. A step asks `round.lost` after each wait and gives up; a lost round acknowledges
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import structlog
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP

from pipeline.core.acks import AckTracker
from pipeline.core.continuity import Arrival, Continuity

log = structlog.get_logger(__name__)


IN_TURN = 32
"""Messages of one partition that are handed over before the next partition's."""


class Message:
    """A record from Kafka. It is its own event, as Faust calls what wraps a message."""

    __slots__ = ("headers", "key", "offset", "partition", "timestamp_ms", "topic", "tp", "value")

    def __init__(self, tp: TP, record: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        self.tp, self.topic, self.partition = tp, tp.topic, tp.partition
        self.offset, self.key, self.value = record.offset, record.key, record.value
        self.headers = record.headers
        self.timestamp_ms = record.timestamp

    @property
    def message(self) -> Message:
        """Itself."""
        return self


class Holdings:
    """What a worker holds, over all its agents. One epoch lasts from rebalance to rebalance."""

    def __init__(self) -> None:
        self.epoch = 0
        self.rounds: dict[str, Rounds] = {}
        """Who takes the messages of a topic."""
        self.acks: AckTracker[TP] = AckTracker()
        self.order: Continuity[TP] = Continuity()
        self.begins: dict[TP, int | None] = {}
        """What the group had acknowledged of each partition when it was given to us."""
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


class Offer(Enum):
    """What became of a message that was offered."""

    DONE = "done"
    FULL = "full"
    """Nothing: offer it again when there is room."""
    SEEK = "seek"
    """Messages before it are missing: read again."""


class Rounds:
    """One agent's queue and loop. A round has at most `limit` events."""

    def __init__(self, holdings: Holdings, *, limit: int) -> None:
        self._holdings = holdings
        self._limit = limit
        self._queue: asyncio.Queue[tuple[int, Message]] = asyncio.Queue(2 * limit)
        self._taken = asyncio.Event()

    def offer(self, message: Message) -> Offer:
        """Take a message on, in order and once; acknowledge none."""
        if self._queue.full():
            return Offer.FULL
        arrival = self._holdings.order.arrive(message.tp, message.offset)
        if arrival is Arrival.SEEK:
            return Offer.SEEK
        if arrival is Arrival.TAKE:
            self._holdings.acks.hand(message.tp, message.offset)
            self._queue.put_nowait((self._holdings.epoch, message))
        return Offer.DONE

    async def room(self) -> None:
        """Wait until the queue is not full."""
        while self._queue.full():
            self._taken.clear()
            await self._taken.wait()

    async def next(self) -> Round:
        """The next round: at least one event, and what else has come, up to the limit."""
        while True:
            taken = [await self._queue.get()]
            while len(taken) < self._limit and not self._queue.empty():
                taken.append(self._queue.get_nowait())
            self._taken.set()
            epoch = self._holdings.epoch
            if current := [event for stamp, event in taken if stamp == epoch]:
                return Round(self._holdings, epoch, current)


async def hand_over_all(consumer: Any, fetched: Mapping[TP, Sequence[Any]]) -> None:  # noqa: ANN401 - Faust's
    """Hand over what a fetch brought, partitions in turn, or drop it where a rebalance comes.

    What is dropped is read again. In turn, so that a round has all partitions: what it puts
    out then goes to all of them at once, where a producer sends one batch of each at a time.
    """
    generation = consumer.app.consumer_generation_id
    left = dict(fetched)
    start = 0
    while left:
        for tp, records in tuple(left.items()):
            rounds = consumer.holdings.rounds[tp.topic]
            part = records[start : start + IN_TURN]
            if not part or not await hand_over(consumer, rounds, tp, part):
                del left[tp]
            if not consumer.flow_active or consumer.app.consumer_generation_id != generation:
                return
        start += IN_TURN


async def hand_over(consumer: Any, rounds: Rounds, tp: TP, records: Iterable[Any]) -> bool:  # noqa: ANN401 - Faust's
    """Hand records of one partition over; False where the ones after them must not follow."""
    order, generation = consumer.holdings.order, consumer.app.consumer_generation_id
    for record in records:
        message = Message(tp, record)
        while (offer := rounds.offer(message)) is Offer.FULL:
            await consumer.wait_first(rounds.room(), consumer.suspend_flow.wait())
            if not consumer.flow_active or consumer.app.consumer_generation_id != generation:
                return False
        if offer is Offer.SEEK:
            due = order.next_of(tp)
            log.warning("messages were skipped, reading them again", tp=tp, due=due)
            await consumer.seek(tp, due)
            return False
    return True


class TrackedConsumer(Consumer):
    """Faust's consumer, committing what our tracker says and nothing else.

    The class is made per app by `tracked`, which gives it `holdings`.
    """

    holdings: Holdings

    def ack(self, message: Any) -> bool:  # noqa: ANN401
        """Faust acknowledges also what it skips; only `Round.acknowledge` counts."""
        self._unacked_messages.discard(message)
        return False

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Mapping[TP, Any]:  # noqa: ASYNC109 - Faust's own
        """Hand over the messages of our agents; what is left is Faust's (changelogs)."""
        fetched: Mapping[TP, Any] = await super()._getmany(active_partitions, timeout)
        if not self.flow_active:
            return fetched  # Faust seeks back, then
        rest = {tp: r for tp, r in fetched.items() if tp.topic not in self.holdings.rounds}
        await hand_over_all(self, {TP(*tp): r for tp, r in fetched.items() if tp not in rest})
        return rest

    async def perform_seek(self) -> None:
        """Go back to what is committed: from there on every offset must come.

        Where nothing is committed yet, Faust leaves the position where it is, which may be past
        what was in hand when the rebalance came: that is read from the log's beginning.
        """
        await super().perform_seek()
        ours = {tp for tp in self.assignment() if tp.topic in self.holdings.rounds}
        begins: dict[TP, int | None] = {tp: self._read_offset[tp] for tp in ours}
        self.holdings.begins = dict(begins)
        if fresh := {tp for tp, offset in begins.items() if offset is None}:
            earliest = await self.earliest_offsets(*fresh)
            first = {tp: earliest.get(tp) or 0 for tp in fresh}
            await self.seek_wait(first)
            begins.update(first)
        self.holdings.order.start(begins)

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
