from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers.aiokafka import Consumer as AiokafkaConsumer
from faust.types import TP

from pipeline.agents.rounds import (
    IN_TURN,
    Holdings,
    Message,
    Offer,
    Rounds,
    TrackedConsumer,
    hand_over,
    hand_over_all,
    tracked,
)

P = TP("t", 0)


def messages(offsets: range) -> list[Message]:
    return [Message(P, record(offset)) for offset in offsets]


def record(offset: int) -> SimpleNamespace:
    return SimpleNamespace(offset=offset, key=b"k", value=b"v", headers=(), timestamp=1_000)


def give(rounds: Rounds, offsets: range) -> None:
    assert [rounds.offer(m) for m in messages(offsets)] == [Offer.DONE] * len(offsets)


async def test_what_has_come_is_one_round_up_to_the_limit() -> None:
    holdings = Holdings()
    holdings.order.start({P: 0})
    rounds = Rounds(holdings, limit=4)
    give(rounds, range(6))
    first, second = await rounds.next(), await rounds.next()
    assert [e.offset for e in first.events] == [0, 1, 2, 3]
    assert [e.offset for e in second.events] == [4, 5]
    second.acknowledge()
    assert holdings.acks.take(P) is None, "the first round is still in hand"
    first.acknowledge()
    assert holdings.acks.take(P) == 6


async def test_a_lost_round_acknowledges_nothing_and_stale_events_make_no_round() -> None:
    holdings = Holdings()
    holdings.order.start({P: 0})
    rounds = Rounds(holdings, limit=2)
    give(rounds, range(4))
    hand = await rounds.next()
    lost: list[str] = []
    holdings.on_loss(lambda: lost.append("told"))
    assert not hand.lost
    holdings.lose()
    assert hand.lost
    assert lost == ["told"]
    hand.acknowledge()
    assert holdings.acks.take(P) is None
    # Events 2 and 3 were queued before the rebalance; only what came after makes a round.
    holdings.order.start({P: 0})
    give(rounds, range(1))
    after = await asyncio.wait_for(rounds.next(), 5)
    assert [e.offset for e in after.events] == [0]
    after.acknowledge()
    assert holdings.acks.take(P) == 1


def test_the_consumer_commits_what_the_tracker_says_and_ignores_fausts_own_acks() -> None:
    holdings = Holdings()
    made = tracked(holdings)
    assert issubclass(made, TrackedConsumer)
    consumer: Any = made.__new__(made)
    message = object()
    consumer._unacked_messages = {message}  # noqa: SLF001 - Faust's own
    holdings.acks.hand(P, 3)
    assert consumer.ack(message) is False
    assert not consumer._unacked_messages  # noqa: SLF001
    assert list(consumer._filter_tps_with_pending_acks()) == []  # noqa: SLF001
    holdings.acks.finish(P, 3)
    assert list(consumer._filter_tps_with_pending_acks()) == [P]  # noqa: SLF001
    assert list(consumer._filter_tps_with_pending_acks({"other"})) == []  # noqa: SLF001
    assert consumer._new_offset(P) == 4  # noqa: SLF001
    assert consumer._new_offset(P) is None  # noqa: SLF001


async def test_a_full_queue_takes_nothing_until_a_round_was_taken() -> None:
    holdings = Holdings()
    holdings.order.start({P: 0})
    rounds = Rounds(holdings, limit=2)
    give(rounds, range(4))
    [fifth] = messages(range(4, 5))
    assert rounds.offer(fifth) is Offer.FULL
    waits = asyncio.create_task(rounds.room())
    await asyncio.sleep(0)
    assert not waits.done()
    await rounds.next()
    await waits
    assert rounds.offer(fifth) is Offer.DONE


class Consumer:
    """What hand_over needs of Faust's consumer."""

    def __init__(self, holdings: Holdings) -> None:
        self.holdings = holdings
        self.flow_active = True
        self.suspend_flow = asyncio.Event()
        self.app = SimpleNamespace(consumer_generation_id=1)
        self.sought: list[int] = []

    async def seek(self, tp: TP, offset: int) -> None:
        assert tp == P
        self.sought.append(offset)

    async def wait_first(self, *waits: Awaitable[object]) -> None:
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


def begun() -> tuple[Holdings, Rounds, Consumer]:
    holdings = Holdings()
    holdings.order.start({P: 0})
    return holdings, Rounds(holdings, limit=2), Consumer(holdings)


async def test_more_than_the_queue_holds_waits_and_comes_in_order() -> None:
    _, rounds, consumer = begun()
    handing = asyncio.create_task(hand_over(consumer, rounds, P, map(record, range(9))))
    seen: list[int] = []
    while len(seen) < 9:
        seen += [m.offset for m in (await rounds.next()).events]
    await handing
    assert seen == list(range(9))


async def test_a_rebalance_frees_what_waits_for_room_and_the_rest_is_dropped() -> None:
    holdings, rounds, consumer = begun()
    handing = asyncio.create_task(hand_over(consumer, rounds, P, map(record, range(9))))
    await asyncio.sleep(0)
    consumer.flow_active = False
    consumer.suspend_flow.set()
    await asyncio.wait_for(handing, 30)
    assert holdings.acks.in_hand(P) == 4


async def test_a_hole_is_read_again_and_what_came_twice_is_taken_once() -> None:
    holdings, rounds, consumer = begun()
    await hand_over(consumer, rounds, P, map(record, (0, 2, 3)))
    assert (consumer.sought, holdings.acks.in_hand(P)) == ([1], 1)
    await hand_over(consumer, rounds, P, map(record, (0, 1, 2)))
    assert [m.offset for m in (await rounds.next()).events] == [0, 1]
    assert [m.offset for m in (await rounds.next()).events] == [2]


async def test_a_partition_without_a_commit_begins_at_its_first_offset_after_a_rebalance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holdings, rounds, _ = begun()
    holdings.lose()
    holdings.rounds["t"] = rounds
    other, done = TP("t", 1), TP("changelog", 0)
    made = tracked(holdings)
    consumer: Any = made.__new__(made)
    sought: dict[TP, int] = {}

    async def as_faust(self: Any) -> None:  # noqa: ANN401 - Faust has no types
        self._read_offset = {P: None, other: 7, done: None}

    async def earliest(*tps: TP) -> dict[TP, int]:
        assert tps == (P,)
        return {P: 3}

    async def seek_wait(places: dict[TP, int]) -> None:
        sought.update(places)

    monkeypatch.setattr(AiokafkaConsumer, "perform_seek", as_faust)
    consumer.assignment = lambda: {P, other, done}
    consumer.earliest_offsets, consumer.seek_wait = earliest, seek_wait
    await consumer.perform_seek()
    assert sought == {P: 3}, "its position was past what had been in hand"
    assert (holdings.order.next_of(P), holdings.order.next_of(other)) == (3, 7)


async def test_partitions_are_handed_over_in_turn_and_one_with_a_hole_drops_out() -> None:
    holdings, _, consumer = begun()
    other = TP("t", 1)
    holdings.order.start({P: 0, other: 0})
    rounds = Rounds(holdings, limit=1_000)
    holdings.rounds["t"] = rounds
    holed = [record(n) for n in (*range(IN_TURN), *range(IN_TURN + 5, 3 * IN_TURN))]
    whole = [record(n) for n in range(2 * IN_TURN + 3)]
    await hand_over_all(consumer, {P: holed, other: whole})
    came = [(m.partition, m.offset) for m in (await rounds.next()).events]
    first = [(0, n) for n in range(IN_TURN)] + [(1, n) for n in range(IN_TURN)]
    assert came == first + [(1, n) for n in range(IN_TURN, 2 * IN_TURN + 3)]
    assert consumer.sought == [IN_TURN]


async def test_a_rebalance_ends_the_handing_of_all_partitions() -> None:
    holdings, rounds, consumer = begun()
    holdings.rounds["t"] = rounds
    fetched = {P: [record(n) for n in range(200)], TP("t", 1): [record(n) for n in range(200)]}
    handing = asyncio.create_task(hand_over_all(consumer, fetched))
    await asyncio.sleep(0)
    consumer.app.consumer_generation_id = 2
    consumer.suspend_flow.set()
    await asyncio.wait_for(handing, 30)
    assert (holdings.acks.in_hand(P), holdings.acks.in_hand(TP("t", 1))) == (4, 0)
