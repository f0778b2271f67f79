"""The board in a real Redis: one breaker, one probe and one rate for all workers of a sink."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipeline.core.breaker import Breaker, Phase, Shared
from pipeline.core.ratelimit import Limits, Rate
from pipeline.state.sink_board import SinkBoard
from tests.integration.redis_server import DEADLINE_S, Server

pytestmark = pytest.mark.parts


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.kill()


@asynccontextmanager
async def boards(server: Server) -> AsyncIterator[tuple[SinkBoard, SinkBoard]]:
    async with server.client() as one, server.client() as two:
        yield SinkBoard(one, "erp", "w1"), SinkBoard(two, "erp", "w2")


async def shared(board: SinkBoard) -> Shared:
    found = await board.read()
    assert found is not None
    return found


async def test_an_opening_is_seen_by_all_and_only_the_newest_can_be_closed(
    server: Server,
) -> None:
    async with boards(server) as (one, two):
        assert await two.read() == Shared()
        first = await one.opened(30, 1, "http.503")
        seen = await shared(two)
        assert (seen.serial, seen.is_open, seen.openings) == (first, True, 1)
        assert (seen.owner, seen.reason) == ("w1", "http.503")
        assert 29 < seen.for_s <= 30
        second = await two.opened(5, 3, "no answer")
        both = await shared(one)
        assert first is not None
        assert second is not None
        assert second > first
        assert (both.serial, both.openings) == (second, 3)
        assert 29 < both.for_s <= 30, "the longer of two openings counts"
        assert await one.closed(first) is False
        assert (await shared(two)).is_open
        assert await two.closed(second) is True
        after = await shared(one)
        assert (after.is_open, after.serial) == (False, second)


async def test_of_all_workers_one_probes_and_none_before_its_time(server: Server) -> None:
    async with boards(server) as (one, two):
        await one.opened(30, 1, "x")
        assert await one.probe(60) is False
        serial = await one.opened(0, 1, "x")
        assert serial is not None
        await one.closed(serial)
        assert (await one.probe(60), await two.probe(60)) == (True, False)
        assert await one.probe(60) is True, "a repeated question has the same answer"
        assert await two.no_probe() is False, "it is not theirs to end"
        assert await one.no_probe() is True
        assert await two.probe(60) is True
        await two.opened(0, 1, "x")
        assert await one.probe(0.02) is True
        deadline = time.monotonic() + DEADLINE_S
        while not await two.probe(60):  # the other worker died: its probe ends by itself
            assert time.monotonic() < deadline


async def test_a_target_that_asks_to_be_left_alone_is_left_alone_by_all(
    server: Server,
) -> None:
    async with boards(server) as (one, two):
        assert await one.pause(30) is True
        assert await two.pause(1) is False, "the longer wish counts"
        assert 29 < (await shared(two)).pause_s <= 30
        waits = await two.tokens({"acme": 1}, Limits())
        assert waits is not None
        assert 29 < waits["acme"] <= 30


async def test_one_rate_holds_over_all_workers(server: Server) -> None:
    per_s, burst, spell_s = 200.0, 10.0, 0.5
    limits = Limits.of(Rate(per_s=per_s, burst=burst), None)

    async def worker(board: SinkBoard, tenant: str, end: float) -> int:
        went = 0
        while time.monotonic() < end:
            waits = await board.tokens({tenant: 3}, limits)
            assert waits is not None
            went += 0 if waits[tenant] else 3
            await asyncio.sleep(waits[tenant])
        return went

    async with boards(server) as both:
        await asyncio.gather(*(board.tokens({}, limits) for board in both))
        start = time.monotonic()
        went = await asyncio.gather(
            *(worker(board, f"t{n}", start + spell_s) for n, board in enumerate(both))
        )
        took_s = time.monotonic() - start
    assert sum(went) <= per_s * took_s + burst + 2
    assert min(went) > 0, "nobody is passed over"


async def test_a_tenant_at_its_limit_holds_no_other_tenant(server: Server) -> None:
    limits = Limits.of(Rate(per_s=1, burst=3), Rate(per_s=0.5, burst=1))
    async with boards(server) as (one, two):
        assert await one.tokens({"a": 1}, limits) == {"a": 0}
        waits = await two.tokens({"a": 1, "b": 1, "c": 1, "d": 1}, limits)
        assert waits is not None
        assert (waits["b"], waits["c"]) == (0, 0)
        assert 1.5 < waits["a"] <= 2
        assert 0.5 < waits["d"] <= 1, "the sink's own limit"


async def test_redis_restarted_knows_it_still_and_redis_emptied_starts_anew(
    server: Server,
) -> None:
    async with boards(server) as (one, two):
        first = await one.opened(60, 2, "x")
        await one.tokens({"a": 100}, Limits.of(Rate(per_s=1), None))
        server.kill()
        started = time.monotonic()
        assert await two.read() is None
        assert await two.opened(1, 1, "x") is None
        assert await two.closed(1) is None
        assert await two.probe(1) is None
        assert await two.no_probe() is None
        assert await two.pause(1) is None
        assert await two.tokens({"a": 1}, Limits()) is None
        assert time.monotonic() - started < DEADLINE_S
        server.restart()
        again = await shared(two)
        assert (again.serial, again.is_open, again.openings) == (first, True, 2)
        waits = await two.tokens({"a": 1}, Limits.of(Rate(per_s=1), None))
        assert waits is not None
        assert waits["a"] > 80
        breaker = Breaker().adopt(again, 0)
        async with server.client() as client:
            await client.flushall()
        assert breaker.adopt(await two.read(), 1) == breaker, "what we knew still holds"
        later = await two.opened(60, 1, "x")
        assert first is not None
        assert later is not None
        assert later > first


async def test_an_answer_that_does_not_come_is_no_answer(server: Server) -> None:
    async with server.client() as client, server.client() as other:
        board = SinkBoard(client, "erp", "w1")
        await other.client_pause(3_000)
        assert await board.read() is None
        await other.client_unpause()
        assert await board.read() == Shared()


async def test_two_workers_breakers_open_probe_and_close_together(server: Server) -> None:
    async with boards(server) as (one, two):
        mine, theirs, now = Breaker(), Breaker(), 100.0
        while mine.phase is Phase.CLOSED:
            mine = mine.bad(now, probe=False)
        serial = await one.opened(0, mine.openings, "http.503")
        assert serial is not None
        mine = mine.posted(serial)
        theirs = theirs.adopt(await two.read(), now)
        assert theirs.phase is Phase.OPEN
        now = mine.until_s
        mine, theirs = mine.admit(now)[0], theirs.admit(now)[0]
        assert await one.probe(60)
        assert not await two.probe(60)
        theirs = theirs.beaten(now, 1)
        mine = mine.good(probe=True)
        assert await one.closed(mine.serial)
        theirs = theirs.adopt(await two.read(), now)
        assert (mine.phase, theirs.phase) == (Phase.CLOSED, Phase.CLOSED)


@pytest.mark.parametrize("owner", ["", "ü" * 500, "a b\n{x}"])
async def test_odd_names_are_taken_as_they_are(server: Server, owner: str) -> None:
    async with server.client() as client:
        board = SinkBoard(client, "erp", owner)
        assert await board.opened(1e12, 10**6, owner * 10) is not None
        seen = await board.read()
        assert seen is not None
        assert seen.owner == owner[:200]
        assert seen.for_s <= 86_400
        assert await board.tokens({owner: 10**12}, Limits.of(None, Rate(per_s=1e6))) == {owner: 0}
