"""The ledger in a real Redis, started here, killed here."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from connectors.driver import Driver, Final
from pipeline.core.ledger import (
    AlreadyDone,
    IllegalTransitionError,
    KeyConflict,
    LookUpFirst,
    Send,
    State,
)
from pipeline.core.retry import RetryPolicy
from pipeline.state.ledger import DAY_MS, Ledger, LedgerUnavailable
from tests.unit.driver_world import FarEnd, ModelLedger, Scripted, drain, finals, job

pytestmark = [
    pytest.mark.parts,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is missing"),
]
DEADLINE_S = 10.0


class Server:
    """A redis-server with a log that is on disk before it answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        options = {
            "--port": str(self.port),
            "--dir": str(self.folder),
            "--bind": "127.0.0.1",
            "--save": "",
            "--appendonly": "yes",
            "--appendfsync": "always",
        }
        flat = [word for option in options.items() for word in option]
        process = subprocess.Popen(["redis-server", *flat], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                with SyncRedis(port=self.port) as client:
                    client.ping()
            except RedisError:
                assert time.monotonic() < deadline, "redis-server did not start"
                time.sleep(0.01)
            else:
                return process

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.process = self._start()

    def client(self) -> Redis:
        return Redis(port=self.port, retry=Retry(NoBackoff(), 0))

    @asynccontextmanager
    async def ledger(self) -> AsyncIterator[Ledger]:
        async with self.client() as client:
            yield Ledger(client)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.kill()


async def test_concurrent_begins_on_one_key_give_one_sender(server: Server) -> None:
    async def worker(number: int) -> object:
        async with server.ledger() as ledger:
            return (await ledger.begin("erp", [("k", "h", False)], f"w{number}", 1))[0]

    decisions = await asyncio.gather(*(worker(n) for n in range(20)))
    assert sum(isinstance(decision, Send) for decision in decisions) == 1
    assert sum(isinstance(decision, LookUpFirst) for decision in decisions) == 19


async def test_a_stale_fence_writes_nothing(server: Server) -> None:
    async with server.ledger() as ledger:
        (first,) = await ledger.begin("erp", [("k", "h", False)], "a", 1)
        (second,) = await ledger.begin("erp", [("k", "h", False)], "b", 2)
        assert isinstance(first, Send)
        assert second == LookUpFirst(fence=2, attempt=1, since_ms=1)
        late = await ledger.finish("erp", [("k", first.fence, State.RETRYABLE, None, "x")], 3)
        ours = await ledger.finish("erp", [("k", second.fence, State.SUCCEEDED, "T", "")], 4)
        again = await ledger.finish("erp", [("k", second.fence, State.SUCCEEDED, "T", "")], 5)
        assert (late, ours, again) == ([False], [True], [True])
        with pytest.raises(IllegalTransitionError, match="from succeeded to retryable"):
            await ledger.finish("erp", [("k", second.fence, State.RETRYABLE, None, "x")], 6)
        done, conflict = await ledger.begin("erp", [("k", "h", True), ("k", "other", True)], "c", 7)
        assert (done, conflict) == (AlreadyDone(target_id="T", attempt=1), KeyConflict())


async def test_killing_redis_keeps_the_rows_in_flight(server: Server) -> None:
    keys = [f"k{n}" for n in range(100)]
    async with server.ledger() as ledger:
        await ledger.begin("erp", [(key, "h", False) for key in keys], "a", 1)
        server.kill()
        with pytest.raises(LedgerUnavailable, match="deliveries wait"):
            await ledger.begin("erp", [("k0", "h", False)], "a", 2)
        with pytest.raises(LedgerUnavailable):
            await ledger.states("erp", keys)
        with pytest.raises(LedgerUnavailable):
            await ledger.check()
        server.restart()
        rows = await ledger.states("erp", keys)
        assert {row.state for row in rows if row is not None} == {State.IN_FLIGHT}
        assert None not in rows
        found = await ledger.begin("erp", [(key, "h", False) for key in keys], "b", 3)
        assert {type(decision) for decision in found} == {LookUpFirst}


async def test_finished_rows_expire_and_unfinished_ones_stay(server: Server) -> None:
    name = "fieldline:ledger:erp:k"
    async with server.client() as client:
        ledger = Ledger(client)
        await ledger.begin("erp", [("k", "h", False)], "a", 1)
        assert await client.pttl(name) == -1
        await ledger.finish("erp", [("k", 1, State.DEAD_LETTERED, None, "refused")], 2)
        assert 0 < await client.pttl(name) <= 30 * DAY_MS
        (replayed,) = await ledger.begin("erp", [("k", "h", True)], "a", 3)
        assert isinstance(replayed, LookUpFirst)
        assert await client.pttl(name) == -1


async def test_many_keys_cost_one_round_trip_even_after_the_scripts_were_flushed(
    server: Server,
) -> None:
    async with server.client() as client:
        ledger = Ledger(client)

        async def trips(keys: list[str]) -> int:
            before = (await client.info("stats"))["total_reads_processed"]
            await ledger.begin("erp", [(key, "h", False) for key in keys], "a", 1)
            after = (await client.info("stats"))["total_reads_processed"]
            return int(after - before - 1)

        await trips(["warm"])
        assert await trips([f"k{n}" for n in range(50)]) == 1
        await client.script_flush()
        assert await trips([f"j{n}" for n in range(50)]) == 3
        assert await trips([f"i{n}" for n in range(50)]) == 1


async def test_check_warns_where_redis_could_forget(server: Server) -> None:
    async with server.client() as client:
        ledger = Ledger(client)
        assert await ledger.check() is None
        await client.config_set("maxmemory-policy", "allkeys-lru")
        assert "noeviction" in (await ledger.check() or "")
        await client.config_set("appendfsync", "everysec")
        assert "appendfsync always" in (await ledger.check() or "")
        await client.config_set("appendonly", "no")
        assert "memory only" in (await ledger.check() or "")
        await client.acl_setuser(
            "plain",
            enabled=True,
            nopass=True,
            keys=["*"],
            categories=["+@all"],
            commands=["-config"],
        )
        async with Redis(port=server.port, username="plain", password="x") as plain:
            assert await Ledger(plain).check() is None


steps = st.one_of(
    st.tuples(st.just("begin"), st.sampled_from(["h", "h", "h", "other"]), st.booleans()),
    st.tuples(
        st.just("finish"), st.sampled_from(sorted(set(State) - {State.PENDING})), st.integers(0, 1)
    ),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(script=st.lists(steps, max_size=25))
def test_redis_and_the_core_agree_on_every_step(
    server: Server, script: list[tuple[str, str, int]]
) -> None:
    async def play() -> None:
        model = ModelLedger()
        async with server.client() as client:
            await client.flushall()
            real = Ledger(client)
            for now, (what, argument, extra) in enumerate(script):
                if what == "begin":
                    claim = [("k", argument, bool(extra))]
                    assert await real.begin("s", claim, "a", now) == await model.begin(
                        "s", claim, "a", now
                    )
                else:
                    row = model.rows.get("k")
                    fence = (row.fence if row else 0) - extra
                    ending = [("k", fence, State(argument), "T", "code")]
                    try:
                        expected: object = await model.finish("s", ending, now)
                    except IllegalTransitionError as error:
                        expected = str(error)
                    try:
                        came: object = await real.finish("s", ending, now)
                    except IllegalTransitionError as error:
                        came = str(error)
                    assert came == expected
                assert await real.states("s", ["k"]) == [model.rows.get("k")]

    asyncio.run(play())


async def test_redis_killed_in_the_middle_of_deliveries_costs_no_effect_and_doubles_none(
    server: Server,
) -> None:
    policy = RetryPolicy(base_s=0.01, cap_s=0.05, request_s=0.05, settle_s=0.1)
    far = FarEnd(ModelLedger())
    answered = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        if len(far.effects) >= 20 and not answered.is_set():
            answered.set()
            server.kill()
        return await far(request)

    jobs = [job(f"d{n}", i) for n in range(20) for i in range(5)]
    async with (
        server.ledger() as ledger,
        httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client,
    ):
        waits: list[str] = []
        driver = Driver(
            Scripted(), ledger, client, policy, on_wait=lambda why, _: waits.append(why)
        )
        task = asyncio.create_task(drain(driver, jobs))
        await answered.wait()
        deadline = time.monotonic() + DEADLINE_S
        while waits.count("ledger") < 40:  # by then every lane has come to the ledger
            assert time.monotonic() < deadline, "the driver did not notice"
            await asyncio.sleep(0.01)
        sent = len(far.effects)
        await asyncio.sleep(0.05)
        assert len(far.effects) == sent, "something was sent while Redis was away"
        server.restart()
        results = await task
        rows = await ledger.states("scripted", [j.delivery.key for j in jobs])
    assert set(finals(results).values()) == {Final.DELIVERED}
    assert sorted(far.effects) == sorted(j.delivery.key for j in jobs)
    assert {row.state for row in rows if row is not None} == {State.SUCCEEDED}
    for n in range(20):
        mine = [key for key in far.effects if key.startswith(f"d{n}-")]
        assert mine == sorted(mine)
