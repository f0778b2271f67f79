"""The ledger in a real Redis, started here, killed here."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError

from connectors.driver import Driver
from connectors.jobs import Final
from pipeline.core.ledger import (
    Begin,
    Claim,
    Ending,
    Fenced,
    Gone,
    Held,
    Hold,
    KeyConflict,
    LookUpFirst,
    Mode,
    Place,
    Send,
    State,
    Superseded,
)
from pipeline.core.retry import RetryPolicy
from pipeline.core.sinks import SinkPolicy
from pipeline.state.ledger import DAY_MS, Ledger, LedgerUnavailable
from pipeline.state.ledger_scripts import mark_name, newest_name, row_name
from tests.integration.redis_server import DEADLINE_S, Server, free_port
from tests.unit.driver_world import FarEnd, ModelLedger, Scripted, drain, finals, job
from tests.waiting import until

pytestmark = [
    pytest.mark.parts,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is missing"),
]
CLAIM = Claim(key="k", payload_hash="h")
REPLAY = replace(CLAIM, mode=Mode.REPLAY)
DONE = Ending(key="k", fence=1, state=State.SUCCEEDED, target_id="T")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.kill()


# -- what only a real Redis can show


async def test_concurrent_begins_on_one_key_give_one_sender(server: Server) -> None:
    async def worker(number: int) -> Begin:
        async with server.ledger() as ledger:
            return (await ledger.begin("erp", [CLAIM], f"w{number}", 1))[0]

    decisions = await asyncio.gather(*(worker(n) for n in range(20)))
    assert sum(isinstance(decision, Send) for decision in decisions) == 1
    assert sum(isinstance(decision, LookUpFirst) for decision in decisions) == 19


async def test_killing_redis_keeps_the_rows_in_flight(server: Server) -> None:
    keys = [f"k{n}" for n in range(100)]
    claims = [replace(CLAIM, key=key) for key in keys]
    async with server.ledger() as ledger:
        await ledger.begin("erp", claims, "a", 1)
        server.kill()
        place = {0: Place(committed=0, end=1)}
        for call in (
            lambda: ledger.begin("erp", [CLAIM], "a", 2),
            lambda: ledger.finish("erp", [DONE], 2),
            lambda: ledger.hold("erp", place, "a", 2),
            lambda: ledger.states("erp", keys),
            lambda: anext(ledger.scan("erp", 9, [State.IN_FLIGHT])),
            ledger.check,
        ):
            with pytest.raises(LedgerUnavailable, match="deliveries wait"):
                await call()
        server.restart()
        rows = await ledger.states("erp", keys)
        assert {row.state for row in rows if row is not None} == {State.IN_FLIGHT}
        assert None not in rows
        found = await ledger.begin("erp", claims, "b", 3)
        assert {type(decision) for decision in found} == {LookUpFirst}


async def test_a_redis_that_is_busy_read_only_or_holds_rubbish_is_unavailable(
    server: Server,
) -> None:
    async with server.client() as client, server.client() as other, server.ledger() as ledger:
        await client.set(row_name("erp", "k"), "no hash")
        with pytest.raises(LedgerUnavailable, match="ResponseError"):
            await ledger.begin("erp", [CLAIM], "a", 1)
        await client.delete(row_name("erp", "k"))
        await client.hset(row_name("erp", "k"), mapping={"state": "nonsense", "payload": "h"})
        with pytest.raises(LedgerUnavailable):
            await ledger.begin("erp", [CLAIM], "a", 1)
        with pytest.raises(LedgerUnavailable, match="ValueError"):
            await ledger.states("erp", ["k"])
        await client.delete(row_name("erp", "k"))
        await client.config_set("busy-reply-threshold", "1")
        hog: asyncio.Future[object] = asyncio.ensure_future(other.eval("while true do end", 0))
        deadline = time.monotonic() + DEADLINE_S
        while True:
            assert time.monotonic() < deadline, "Redis never became busy"
            try:
                await ledger.begin("erp", [CLAIM], "a", 1)
            except LedgerUnavailable:
                break
        await client.script_kill()
        with pytest.raises(RedisError):
            await hog
        await client.replicaof("127.0.0.1", "1")
        with pytest.raises(LedgerUnavailable, match="ReadOnlyError"):
            await ledger.begin("erp", [CLAIM], "a", 2)
        await client.replicaof("NO", "ONE")


async def test_ended_rows_and_versions_expire_and_open_rows_and_markers_stay(
    server: Server,
) -> None:
    name, version = row_name("erp", "k"), newest_name("erp", "e")
    async with server.client() as client:
        ledger = Ledger(client)
        holds = await ledger.hold("erp", {3: Place(committed=0, end=0)}, "a", 1)
        claim = replace(CLAIM, partition=3, token=holds[3].token, entity="e", version="5")
        await ledger.begin("erp", [claim], "a", 1)
        assert await client.pttl(name) == -1
        dead = replace(DONE, state=State.DEAD_LETTERED, target_id=None, code="refused")
        await ledger.finish("erp", [dead], 2)
        assert 0 < await client.pttl(name) <= 30 * DAY_MS
        [replayed] = await ledger.begin("erp", [REPLAY], "a", 3)
        assert replayed == LookUpFirst(fence=2, attempt=1, since_ms=2)
        assert await client.pttl(name) == -1
        done = replace(DONE, fence=2, entity="e", version="5")
        await ledger.finish("erp", [done], 4)
        assert 0 < await client.pttl(name) <= 30 * DAY_MS
        assert 0 < await client.pttl(version) <= 30 * DAY_MS
        stale = replace(CLAIM, key="old", entity="e", version="4")
        assert await ledger.begin("erp", [stale], "a", 5) == [Superseded(version="5")]
        assert 0 < await client.pttl(row_name("erp", "old")) <= 30 * DAY_MS
        assert await client.pttl(mark_name("erp", 3)) == -1


async def test_any_number_of_keys_and_partitions_costs_one_round_trip(server: Server) -> None:
    async with server.client() as client:
        ledger = Ledger(client)

        async def trips() -> int:
            return int((await client.info("stats"))["total_reads_processed"])

        async def cost(prefix: str) -> list[int]:
            marks = [await trips()]
            places = {p: Place(committed=0, end=9) for p in range(4)}
            holds = await ledger.hold("erp", places, "a", 1)
            marks.append(await trips())
            claims = [
                Claim(key=f"{prefix}{n}", payload_hash="h", partition=p, token=holds[p].token)
                for n, p in enumerate([0, 1, 2, 3] * 12)  # less than one read of the server's
            ]
            begins = await ledger.begin("erp", claims, "a", 1)
            assert {type(begin) for begin in begins} == {Send}
            marks.append(await trips())
            endings = [
                replace(DONE, key=c.key, partition=c.partition, token=c.token) for c in claims
            ]
            assert set(await ledger.finish("erp", endings, 2)) == {Held.OURS}
            marks.append(await trips())
            return [after - before - 1 for before, after in itertools.pairwise(marks)]

        await cost("warm")
        assert await cost("a") == [1, 1, 1]
        await client.script_flush()
        assert await cost("b") == [2, 2, 2]
        assert await ledger.begin("erp", [], "a", 1) == []
        assert await ledger.finish("erp", [], 1) == []


async def test_a_batch_longer_than_one_script_call_keeps_its_order(server: Server) -> None:
    async with server.ledger() as ledger:
        claims = [replace(CLAIM, key=f"k{n}") for n in range(2_300)]
        claims[1_500] = replace(claims[0], payload_hash="other")
        begins = await ledger.begin("erp", claims, "a", 1)
        assert [n for n, begin in enumerate(begins) if begin != Send(fence=1, attempt=1)] == [1_500]
        assert begins[1_500] == KeyConflict()


async def test_a_redis_cluster_takes_the_scripts(tmp_path: Path) -> None:
    server = Server(tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    try:
        async with server.client() as client:
            with pytest.raises(LedgerUnavailable):
                await Ledger(client).begin("erp", [CLAIM], "a", 1)
            await client.cluster("ADDSLOTSRANGE", "0", "16383")

            async def up() -> bool:
                return bool((await client.cluster("INFO"))["cluster_state"] == "ok")

            await until(up, "the cluster did not come up")
        async with RedisCluster(host="127.0.0.1", port=server.port) as cluster:
            ledger = Ledger(cluster)
            places = {p: Place(committed=0, end=9) for p in range(3)}
            holds = await ledger.hold("erp", places, "a", 1)
            claims = [
                Claim(
                    key=f"k{p}",
                    payload_hash="h",
                    partition=p,
                    token=hold.token,
                    entity=f"e{p}",
                    version="1",
                )
                for p, hold in holds.items()
            ]
            begins = await ledger.begin("erp", claims, "a", 1)
            assert begins == [Send(fence=1, attempt=1)] * 3
            scanned = {key async for key, _ in ledger.scan("erp", 9, [State.IN_FLIGHT])}
            assert scanned == {"k0", "k1", "k2"}
    finally:
        server.kill()


async def test_a_scan_finds_what_has_been_open_for_long_of_this_sink_only(server: Server) -> None:
    async with server.ledger() as ledger:
        old = [replace(CLAIM, key=f"old:{n}") for n in range(1_200)]
        await ledger.begin("erp", old, "a", 1)
        await ledger.begin("erp", [replace(CLAIM, key="new")], "a", 50)
        await ledger.begin("erp2", [replace(CLAIM, key="foreign")], "a", 1)
        await ledger.finish("erp", [replace(DONE, key="old:7")], 2)
        found = dict([pair async for pair in ledger.scan("erp", 50, [State.IN_FLIGHT])])
        assert set(found) == {claim.key for claim in old} - {"old:7"}
        assert {row.owner for row in found.values()} == {"a"}


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


# -- partitions


async def test_who_lost_the_partition_can_neither_begin_nor_end(server: Server) -> None:
    async with server.ledger() as first, server.ledger() as second:
        place = {0: Place(committed=0, end=9)}
        old = (await first.hold("erp", place, "a", 1))[0]
        mine = replace(CLAIM, token=old.token)
        assert await first.begin("erp", [mine], "a", 1) == [Send(fence=1, attempt=1)]
        new = (await second.hold("erp", place, "b", 2))[0]
        assert new == Hold(token=old.token + 1, doubt_below=0)
        done = replace(DONE, token=old.token)
        assert await first.finish("erp", [done], 3) == [Held.FENCED]
        assert await first.begin("erp", [mine, CLAIM], "a", 3) == [
            Fenced(),
            LookUpFirst(fence=2, attempt=1, since_ms=1),
        ]
        late = replace(DONE, token=new.token)
        assert await second.finish("erp", [late], 4) == [Held.TAKEN]


async def test_an_emptied_redis_is_noticed_and_what_it_knew_is_looked_up(server: Server) -> None:
    async with server.client() as client, server.ledger() as fresh:
        ledger = Ledger(client)
        place = {0: Place(committed=0, end=9), 1: Place(committed=0, end=9)}
        token = (await ledger.hold("erp", place, "a", 1_000))[0].token
        claim = replace(CLAIM, token=token)
        await ledger.begin("erp", [claim], "a", 1_000)
        await client.flushall()
        assert await ledger.begin("erp", [claim], "a", 2_000) == [Gone()]
        assert await ledger.finish("erp", [replace(DONE, token=token)], 2_000) == [Held.GONE]
        assert await ledger.states("erp", ["k"]) == [None]
        # The worker that held it knows of the loss though its group has committed nothing.
        assert await ledger.hold("erp", {0: place[0]}, "a", 3_000) == {
            0: Hold(token=3_000, doubt_below=9)
        }
        assert await fresh.hold("erp", {1: place[1]}, "b", 3_000) == {
            1: Hold(token=3_000, doubt_below=0)
        }
        await client.flushall()
        later = {1: Place(committed=4, end=12)}
        assert await fresh.hold("erp", later, "b", 4_000) == {1: Hold(token=4_000, doubt_below=12)}
        doubtful = replace(CLAIM, mode=Mode.DOUBT, partition=1, token=4_000)
        assert await fresh.begin("erp", [doubtful], "b", 5_000) == [
            LookUpFirst(fence=1, attempt=0, since_ms=5_000)
        ]


# -- with the driver


async def test_redis_killed_in_the_middle_of_deliveries_costs_no_effect_and_doubles_none(
    server: Server,
) -> None:
    policy = SinkPolicy(
        retry=RetryPolicy(base_s=0.01, cap_s=0.05, request_s=0.05, settle_s=0.1),
        in_hand=1_000,
        retry_floor_per_s=1_000.0,
    )
    far = FarEnd(ModelLedger())
    answered = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        if len(far.effects) >= 20 and not answered.is_set():
            answered.set()
            server.kill()
        return await far(request)

    async def places(partitions: Collection[int]) -> dict[int, Place]:
        return {partition: Place(committed=0, end=100) for partition in partitions}

    jobs = [job(f"d{n}", i) for n in range(20) for i in range(5)]
    async with (
        server.ledger() as ledger,
        httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client,
    ):
        waits: list[str] = []
        driver = Driver(
            Scripted(),
            ledger,
            client,
            policy,
            places=places,
            on_wait=lambda why, _: waits.append(why),
        )
        task = asyncio.create_task(drain(driver, jobs))
        await answered.wait()
        await until(lambda: waits.count("ledger") >= 4, "the driver did not notice")
        sent, waited = len(far.effects), waits.count("ledger")
        await until(lambda: waits.count("ledger") >= waited + 2, "the driver stopped trying")
        assert len(far.effects) == sent, "something was sent while Redis was away"
        server.restart()
        results = await task
        rows = await ledger.states("scripted", [j.delivery.key for j in jobs])
        await driver.close()
    assert set(finals(results).values()) == {Final.DELIVERED}
    assert sorted(far.effects) == sorted(j.delivery.key for j in jobs)
    assert {row.state for row in rows if row is not None} == {State.SUCCEEDED}
    for n in range(20):
        mine = [key for key in far.effects if key.startswith(f"d{n}-")]
        assert mine == sorted(mine)
