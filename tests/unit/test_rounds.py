from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from pipeline.agents.rounds import Holdings, Rounds, TrackedConsumer, tracked

P = TP("t", 0)


@dataclass
class Event:
    offset: int
    message: Any = field(init=False)

    def __post_init__(self) -> None:
        self.message = SimpleNamespace(tp=P, offset=self.offset)


class Stream:
    """What a Faust agent is given, as far as Rounds uses it."""

    def __init__(self, offsets: range) -> None:
        self._offsets = offsets
        self.acks_by_faust = True

    def noack(self) -> Stream:
        self.acks_by_faust = False
        return self

    async def events(self) -> AsyncIterator[Event]:
        for offset in self._offsets:
            yield Event(offset)


async def test_what_has_come_is_one_round_up_to_the_limit() -> None:
    holdings = Holdings()
    holdings.order.start({P: 0})
    rounds = Rounds(holdings, limit=4)
    stream = Stream(range(6))
    await rounds.feed(stream)
    assert not stream.acks_by_faust
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
    await rounds.feed(Stream(range(4)))
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
    await rounds.feed(Stream(range(1)))
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
