"""Two workers' gates over one board: one opens, all stay away, one probes, all come back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import httpx

from connectors.exchange import Exchange
from connectors.gate import Evidence, Gate
from connectors.jobs import Run
from connectors.throttle import Throttle
from connectors.timing import Timing
from pipeline.core.breaker import Breaker, BreakerPolicy, Phase, Shared
from pipeline.core.sinks import SinkPolicy
from tests.unit.driver_world import Time, job

POLICY = BreakerPolicy(failures=2, open_s=4, cap_s=20)
DOWN = Evidence(up=False, reason="down")


@dataclass
class Board:
    """What pipeline.state.sink_board does in Redis (tested there), in memory."""

    time: Time
    shared: Shared = field(default_factory=Shared)
    until_s: float = 0.0
    prober: object = None
    paused_until_s: float = 0.0

    async def read(self) -> Shared:
        now_s = self.time.now
        return Shared(
            serial=self.shared.serial,
            is_open=self.shared.is_open,
            openings=self.shared.openings,
            for_s=max(0.0, self.until_s - now_s),
            pause_s=max(0.0, self.paused_until_s - now_s),
        )

    async def opened(self, for_s: float, openings: int, reason: str) -> int:
        assert reason
        self.until_s, self.prober = self.time.now + for_s, None
        self.shared = Shared(serial=self.shared.serial + 1, is_open=True, openings=openings)
        return self.shared.serial

    async def closed(self, serial: int) -> bool:
        self.prober = None
        if serial != self.shared.serial:
            return False
        self.shared = Shared(serial=serial)
        return True

    async def probe(self, for_s: float) -> bool:
        assert for_s > 0
        if self.until_s > self.time.now or self.prober is not None:
            return False
        self.prober = True
        return True

    async def no_probe(self) -> bool:
        self.prober = None
        return True

    async def pause(self, for_s: float) -> bool:
        self.paused_until_s = self.time.now + for_s
        return True


def timing(time: Time) -> Timing:
    return Timing(clock=time.clock, sleep=time.sleep, jitter=lambda: 0.5, on_wait=lambda *_: None)


def gate(time: Time, board: Board | None) -> Gate:
    return Gate(
        Breaker(policy=POLICY),
        board=board,
        timing=timing(time),
    )


async def trouble(one: Gate, times: int = 2) -> None:
    for _ in range(times):
        await one.leave(probe=await one.enter(), evidence=DOWN)


async def test_an_opening_of_one_worker_keeps_the_other_away_and_one_probe_closes_both() -> None:
    time = Time()
    mover = asyncio.create_task(time.run())
    board = Board(time)
    mine, theirs = gate(time, board), gate(time, board)
    await trouble(mine)
    began_s = time.now
    probes = [asyncio.create_task(one.enter()) for one in (mine, theirs)]
    done, waiting = await asyncio.wait(probes, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == [True]
    assert time.now - began_s >= POLICY.open_s
    assert len(waiting) == 1, "one probe of all workers"
    prober = (mine, theirs)[probes.index(next(iter(done)))]
    await prober.leave(probe=True, evidence=Evidence(up=True))
    assert await waiting.pop() is False, "it closes for all"
    assert {mine.breaker.phase, theirs.breaker.phase} == {Phase.CLOSED}
    mover.cancel()


async def test_a_target_that_asks_to_be_left_alone_is_left_alone_by_all_workers() -> None:
    time = Time()
    mover = asyncio.create_task(time.run())
    board = Board(time)
    mine, theirs = gate(time, board), gate(time, board)
    asked = Evidence(up=False, stay_away_s=30.0, reason="http.429")
    await mine.leave(probe=await mine.enter(), evidence=asked)
    began_s = time.now
    assert [await theirs.enter(), await mine.enter()] == [False, False]
    assert time.now - began_s >= 30.0
    mover.cancel()


async def test_without_a_board_each_worker_is_by_itself() -> None:
    time = Time()
    mover = asyncio.create_task(time.run())
    mine, theirs = gate(time, None), gate(time, None)
    await trouble(mine)
    began_s = time.now
    assert await theirs.enter() is False
    assert time.now == began_s
    assert await mine.enter() is True
    assert time.now - began_s >= POLICY.open_s
    mover.cancel()


def throttle(time: Time, policy: SinkPolicy) -> Throttle:
    return Throttle(policy, tokens=None, timing=timing(time))


async def test_a_rate_lets_each_tenant_go_as_fast_as_it_may() -> None:
    time = Time()
    limits = throttle(time, SinkPolicy(tenant_rate_per_s=2.0, burst_s=0.5))
    runs = [Run.of(job(f"d{n}", n), 0) for n in range(4)]
    assert await limits.admit(runs) == {"acme": 0.0}
    waits = await limits.admit(runs)
    assert 1.0 < waits["acme"] <= 2.0, "four at two a second are paid for in two seconds"


async def test_what_a_target_says_of_its_limit_is_kept() -> None:
    time = Time()
    mover = asyncio.create_task(time.run())
    limits = throttle(time, SinkPolicy())
    headers = httpx.Headers({"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0"})
    headers["X-RateLimit-Reset"] = "7"
    limits.answered(Exchange(result=None, calls=1, wrote=True, status=200, headers=headers))
    began_s = time.now
    await limits.request()
    assert 6.9 <= time.now - began_s <= 7.5
    mover.cancel()


async def test_a_congested_target_gets_fewer_conversations_at_once() -> None:
    limits = throttle(Time(), SinkPolicy(lanes=4))
    limits.answered(Exchange(result=None, calls=1, wrote=True, status=503))
    await limits.slot()
    await limits.slot()
    third = asyncio.create_task(limits.slot())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not third.done()
    limits.free()
    await third
