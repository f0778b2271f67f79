from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from connectors.driver import Final, Finished, Job
from pipeline.agents import deliver
from pipeline.agents.deliver import Deliverer
from pipeline.agents.rounds import Holdings, Round
from pipeline.core.outcome import Delivered, Rejected
from pipeline.core.retry import Cause
from pipeline.wire.avro import Codec
from pipeline.wire.records import encode_event
from tests.unit.examples import event

P = TP("sink.erp", 0)


class Topic:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def send(self, *, value: bytes, **_: object) -> asyncio.Future[None]:
        self.sent.append(value)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


class Driver:
    """Ends each event when the test says so; devices in order, as the real one does."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.settled: list[str] = []
        self.gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.refuse: set[str] = set()
        self.changed = asyncio.Event()

    async def deliver(self, jobs: Sequence[Job]) -> AsyncGenerator[Finished, None]:
        out: asyncio.Queue[Finished] = asyncio.Queue()
        lanes: dict[str, list[Job]] = {}
        for job in jobs:
            lanes.setdefault(job.delivery.event.device_id, []).append(job)

        async def lane(mine: list[Job]) -> None:
            for job in mine:
                self.begun.append(job.delivery.key)
                await self.gates[job.delivery.key].wait()
                out.put_nowait(self._end(job))

        running = [asyncio.create_task(lane(mine)) for mine in lanes.values()]
        for _ in jobs:
            yield await out.get()
        await asyncio.gather(*running)

    def _end(self, job: Job) -> Finished:
        if job.delivery.key in self.refuse:
            refusal = Rejected(code="no", message="No.")
            return Finished(
                job=job,
                final=Final.DEAD_LETTERED,
                outcome=refusal,
                attempts=1,
                cause=Cause.REJECTED,
            )
        taken = Delivered(target_id="1", created=True)
        return Finished(job=job, final=Final.DELIVERED, outcome=taken, attempts=1)

    async def settle(self, finished: Finished) -> None:
        self.settled.append(finished.job.delivery.key)
        self.changed.set()


class World:
    def __init__(self) -> None:
        self.driver = Driver()
        self.holdings = Holdings()
        self.topics: defaultdict[str, Topic] = defaultdict(Topic)
        worker: Any = SimpleNamespace(
            source=self.topics.__getitem__, target=self.topics.__getitem__
        )
        driver: Any = self.driver
        self.agent = Deliverer(worker, sink="erp", driver=driver, codec=Codec())
        self.holdings.on_loss(self.agent.forget)
        self._offset = 0

    async def round(self, *events: tuple[str, str] | bytes) -> Round:
        """A round of (event id, device); bytes stand for a message that is no event."""
        hand = Round(self.holdings, self.holdings.epoch, [self._event(e) for e in events])
        await asyncio.wait_for(self.agent.round(hand), 5)
        return hand

    def _event(self, given: tuple[str, str] | bytes) -> Any:  # noqa: ANN401 - as Faust's
        if isinstance(given, bytes):
            value, key = given, b"?"
        else:
            value = encode_event(Codec(), event(id=given[0], device_id=given[1]))
            key = given[1].encode()
        message = SimpleNamespace(
            tp=P, topic=P.topic, partition=0, offset=self._offset, key=key, value=value, headers={}
        )
        self.holdings.acks.hand(P, self._offset)
        self._offset += 1
        return SimpleNamespace(message=message)

    async def until(self, *settled: str) -> None:
        async with asyncio.timeout(5):
            while not set(settled) <= set(self.driver.settled):
                self.driver.changed.clear()
                await self.driver.changed.wait()
        await asyncio.sleep(0)  # settled is followed by the acknowledgement without a wait


async def test_a_waiting_event_holds_back_its_own_device_and_no_other() -> None:
    world = World()
    await world.round(("a1", "t/a"), ("b1", "t/b"))
    await world.round(("a2", "t/a"), ("b2", "t/b"), ("c1", "t/c"))
    for key in ("b1", "b2", "c1"):
        world.driver.gates[key].set()
    await world.until("b1", "b2", "c1")
    assert "a2" not in world.driver.begun
    # Nothing is committed past a1, which is the first in hand.
    assert world.holdings.acks.take(P) is None
    for key in ("a1", "a2"):
        world.driver.gates[key].set()
    await world.until("a1", "a2")
    assert world.driver.begun.index("a1") < world.driver.begun.index("a2")
    assert world.holdings.acks.take(P) == 5


async def test_result_and_dead_letter_are_in_kafka_before_settle_and_acknowledge() -> None:
    world = World()
    world.driver.refuse.add("a1")
    world.driver.gates["a1"].set()
    await world.round(("a1", "t/a"), b"no event")
    await world.until("a1")
    [result] = world.topics["delivery.results"].sent
    assert Codec().decode("delivery_result.v1", result)["outcome"] == "dead_lettered"
    causes = {
        Codec().decode("dead_letter.v1", sent)["cause_class"]
        for sent in world.topics["sink.erp.dlq"].sent
    }
    assert causes == {"rejected", "unreadable"}
    assert world.holdings.acks.take(P) == 2


async def test_a_rebalance_drops_what_is_queued_and_acknowledges_nothing_lost() -> None:
    world = World()
    await world.round(("a1", "t/a"))
    await world.round(("a2", "t/a"))
    world.holdings.lose()
    world.driver.gates["a1"].set()
    await world.until("a1")
    assert world.driver.begun == ["a1"]
    assert world.holdings.acks.take(P) is None


async def test_no_more_than_the_bound_is_in_hand(monkeypatch: Any) -> None:  # noqa: ANN401
    monkeypatch.setattr(deliver, "IN_HAND", 2)
    world = World()
    await world.round(("a1", "t/a"))
    full = asyncio.create_task(world.round(("b1", "t/b")))
    await asyncio.sleep(0.01)
    assert not full.done(), "two are unfinished: the next round has to wait"
    world.driver.gates["a1"].set()
    await asyncio.wait_for(full, 5)
    world.driver.gates["b1"].set()
    await world.until("b1")
