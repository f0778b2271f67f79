"""What a worker does before it lets partitions go; with a stand-in for Faust's consumer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from faust.types import TP

from pipeline.agents import ending
from pipeline.agents.ending import Ending
from pipeline.agents.rounds import Holdings, Round, Rounds
from tests.unit.test_rounds import give

P = TP("t", 0)


@dataclass
class App:
    """Faust's app and consumer as far as Ending uses them; `done` is what was called."""

    holdings: Holdings
    done: list[str] = field(default_factory=list)

    @property
    def consumer(self) -> App:
        return self

    @property
    def flow_control(self) -> App:
        return self

    def stop_flow(self) -> None:
        self.done.append("no more")

    def suspend(self) -> None: ...

    def clear(self) -> None: ...

    def assignment(self) -> set[TP]:
        return {P}

    def pause_partitions(self, _: set[TP]) -> None: ...

    async def maybe_wait_for_commit_to_finish(self) -> bool:
        return False

    async def commit(self) -> None:
        self.done.append(f"commit {self.holdings.acks.take(P)}")


@dataclass
class Group:
    member: bool = True
    leaves: bool = False

    def holds(self) -> bool:
        return self.member

    def leave_when_stopped(self) -> None:
        self.leaves = True


def made(*, member: bool = True) -> tuple[Any, Any, Ending]:
    app: Any = App(Holdings())
    app.holdings.order.start({P: 0})
    group: Any = Group(member)
    return app, group, Ending(app, app.holdings, group)


async def test_a_rebalance_calls_back_then_commits_and_only_then_loses_what_is_in_hand() -> None:
    app, _, end = made()
    app.holdings.acks.hand(P, 7)

    async def store() -> None:
        app.done.append("store")
        app.holdings.acks.finish(P, 7)

    app.holdings.on_loss(lambda: app.done.append("lost"))
    end.before_loss.append(store)
    await end.revoke()
    assert app.done == ["store", "commit 8", "lost"]


async def test_a_worker_that_was_put_out_stores_nothing_over_its_successor() -> None:
    app, _, end = made(member=False)

    async def store() -> None:
        app.done.append("store")

    end.before_loss.append(store)
    end.before_stop.append(store)
    await end.revoke()
    assert app.holdings.epoch == 1
    await end.stop()
    assert app.done == []


async def test_a_rebalance_waits_no_longer_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "REVOKE_S", 0.01)
    app, _, end = made()
    end.before_loss.append(asyncio.Event().wait)
    await asyncio.wait_for(end.revoke(), 30)
    assert app.holdings.epoch == 1
    assert app.done == []


async def test_what_a_callback_raises_does_not_stop_the_rebalance() -> None:
    app, _, end = made()

    async def fails() -> None:
        raise RuntimeError("no")

    end.before_loss.append(fails)
    await end.revoke()
    assert app.holdings.epoch == 1


async def test_a_stop_lets_the_round_in_hand_end_and_begins_no_other() -> None:
    app, group, end = made()
    began, go = asyncio.Event(), asyncio.Event()

    async def step(hand: Round) -> None:
        began.set()
        await go.wait()
        hand.acknowledge()

    async def store() -> None:
        app.done.append("store")

    end.before_stop.append(store)
    rounds = Rounds(app.holdings, limit=2)
    give(rounds, range(4))
    loop = asyncio.create_task(end.run(rounds, step))
    idle = asyncio.create_task(end.run(Rounds(app.holdings, limit=2), step))
    await asyncio.wait_for(began.wait(), 30)
    stop = asyncio.create_task(end.stop())
    await asyncio.sleep(0)
    go.set()
    await asyncio.wait_for(stop, 30)
    assert app.done == ["no more", "store", "commit 2"]
    assert app.holdings.acks.in_hand(P) == 2, "the second round was never begun"
    assert loop.done()
    assert idle.cancelled()
    assert group.leaves


async def test_a_step_that_waits_for_its_target_is_broken_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "GRACE_S", 0.01)
    app, _, end = made()
    began = asyncio.Event()

    async def step(_: Round) -> None:
        began.set()
        await asyncio.Event().wait()

    rounds = Rounds(app.holdings, limit=2)
    give(rounds, range(1))
    loop = asyncio.create_task(end.run(rounds, step))
    await asyncio.wait_for(began.wait(), 30)
    await asyncio.wait_for(end.stop(), 30)
    assert loop.cancelled()
    assert app.done == ["no more", "commit None"]
