"""The reconciler on real parts: killed at any point, and with an ERP changed behind our back."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis.asyncio as redis

from connectors.settings import make
from connectors.tryton import OrderSeen, TrytonSettings
from infra.local.facts import read_orders
from pipeline.core.balance import Line
from pipeline.core.ledger import Claim, Ending, Send
from pipeline.core.ledger import State as LedgerState
from pipeline.core.reconcile import STUCK_MS, Item, Kind, State
from pipeline.core.routing import sinks_of
from pipeline.ops import reconcile_reviews as reviews
from pipeline.ops import reconciler
from pipeline.ops.books import BookKeeper, Books, committed_offsets, worker_groups
from pipeline.ops.reconcile_lines import is_total, read_lines, shown
from pipeline.ops.reconcile_once import once
from pipeline.settings import Settings
from pipeline.simulate.player import Knobs
from pipeline.state.ledger import Ledger
from pipeline.state.routes_file import load_routes
from pipeline.topology import LAKE
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from tests.integration.rig import Moments, Rig
from tests.waiting import until

pytestmark = [pytest.mark.parts, pytest.mark.timeout(400)]

NAME = "reconciler"
SMALL = Knobs(engines=30, speed=600.0)


async def audit(settings: Settings) -> dict[str, Line]:
    """The lines as counted from the topics, those of events only."""
    routes = load_routes(settings.routes_file)
    keeper = BookKeeper(settings, Books(codec=Codec(), routes=routes))
    admin = kafka.admin(settings)
    try:
        await admin.start()
        await keeper.start()
        committed = await committed_offsets(admin, worker_groups(routes))
        await keeper.catch_up()
    finally:
        await keeper.stop()
        await admin.close()
    return {line.name: line for line in keeper.books.lines(committed)[1:]}


async def agreed(settings: Settings) -> dict[str, Line] | None:
    """The reconciler's totals, once they are fresh and say the same as the audit."""
    told = await read_lines(settings, Codec())
    kept = {line.name: line for line in map(shown, filter(is_total, told.lines))}
    return kept if told.alive and kept == await audit(settings) else None


async def test_a_reconciler_killed_again_and_again_says_what_the_audit_says(rig: Rig) -> None:
    dice = random.Random(7)  # noqa: S311 - moments of a test
    moments = sorted(dice.uniform(0.05, 0.95) for _ in range(6))

    async def kill_it(at: Moments) -> None:
        for moment in moments:
            await at.sent(moment)
            await asyncio.to_thread(rig.supervisor.kill, NAME)

    before = rig.supervisor.restarts[NAME]
    report = await rig.play(SMALL, disturb=kill_it)
    assert rig.supervisor.restarts[NAME] > before
    lines = await until(lambda: agreed(rig.settings))
    sinks = sinks_of(load_routes(rig.settings.routes_file))
    assert len(lines) == 2 * len(sinks)
    assert all(line.closes and not line.places["waiting"] for line in lines.values())
    assert lines["sink.tryton"].places["delivered"] >= report.sinks["tryton"]["delivered"] > 0
    # The lines of the tenants and ranges of keys add up to the totals.
    told = await read_lines(rig.settings, Codec())
    for total in filter(is_total, told.lines):
        ranges = [li for li in told.lines if li.sink == total.sink and li.partition >= 0]
        assert total.accepted == sum(line.accepted for line in ranges)
        assert total.delivered == sum(line.delivered for line in ranges)
    assert not [i for i in (await items(rig.settings)).values() if i.state is State.OPEN]


async def items(settings: Settings) -> dict[str, Item]:
    return await reviews.read(settings, Codec())


async def opened(settings: Settings, kind: Kind, state: State = State.OPEN) -> Item | None:
    found = [i for i in (await items(settings)).values() if i.finding.kind is kind]
    return found[-1] if found and found[-1].state is state else None


class Administrator:
    """Changes the ERP as a person with all rights would, past the connector."""

    def __init__(self, root: Path) -> None:
        [file] = root.rglob("admin.password")
        self._auth = ("admin", file.read_text(encoding="utf-8").strip())
        self._url = str(make(TrytonSettings).rpc_url)
        self._client = httpx.AsyncClient(trust_env=False)
        self.company = 0

    async def enter(self) -> None:
        """Into every company, as its rules ask of whoever changes its records."""
        companies = await self.call("search", [], model="company.company")
        self.company = companies[0]
        values = {"companies": [["add", companies]], "company": self.company}
        await self.call("write", [1], values, model="res.user")

    async def call(self, method: str, *params: object, model: str = "project.work") -> Any:  # noqa: ANN401 - JSON
        call = {"id": 1, "method": f"model.{model}.{method}", "params": [*params, {}]}
        answer = (await self._client.post(self._url, json=call, auth=self._auth)).json()
        assert "error" not in answer, answer
        return answer["result"]

    async def close(self) -> None:
        await self._client.aclose()


@pytest.fixture
async def administrator(rig: Rig) -> AsyncIterator[Administrator]:
    one = Administrator(rig.settings.log_dir.parent)
    await one.enter()
    yield one
    await one.close()


@pytest.fixture
async def service(rig: Rig, tmp_path: Path) -> AsyncIterator[Settings]:
    """A reconciler in this process that compares everything each second."""
    changed = {"data_dir": tmp_path, "reconcile_s": 1.0, "reconcile_sample": 10_000}
    settings = rig.settings.model_copy(update=changed)
    stop = asyncio.Event()
    task = asyncio.create_task(reconciler.run(settings, stop))
    yield settings
    stop.set()
    await task


async def some_orders(rig: Rig) -> Sequence[OrderSeen]:
    """What the ERP has of us; a sample is played where that is nothing."""
    orders = await read_orders()
    if not orders:
        await rig.play(SMALL)
        orders = await read_orders()
    return orders


async def test_an_order_deleted_behind_our_back_is_found_and_resolved(
    rig: Rig, administrator: Administrator, service: Settings
) -> None:
    # One that was cleared would be missed twice: the record, and its clear.
    order = next(one for one in await some_orders(rig) if one.status == "Open")
    await administrator.call("delete", [order.id])
    item = await until(lambda: opened(service, Kind.MISSING_AT_TARGET))
    assert item.finding.event_id == order.key
    assert item.finding.target_id == str(order.id)
    assert str(order.id) in item.finding.detail
    gone = await reviews.resolve(service, Codec(), item, why="a person deleted it on purpose")
    # It is looked for again and again, is not there, and nobody is told again.
    seen = len(await kafka.read_all(service, "operations.review"))
    await until(lambda: looked_again(service, gone))
    assert len(await kafka.read_all(service, "operations.review")) == seen
    assert await opened(service, Kind.MISSING_AT_TARGET) is None


async def looked_again(settings: Settings, item: Item) -> bool | None:
    """A comparison from nothing, which must not tell of it."""
    assert item.finding.id not in {finding.id for finding in await compare(settings)}
    return True


async def compare(settings: Settings) -> list[Any]:
    folder = settings.data_dir / f"once-{time.monotonic_ns()}"
    sinks = [s for s in sinks_of(load_routes(settings.routes_file)) if s != LAKE]
    outcome = await once(
        settings, folder, sinks=sinks, sample=None, on_progress=lambda _done, _total: None
    )
    assert not [trouble for look in outcome.looks for trouble in look.troubles]
    return list(outcome.findings)


async def test_an_order_with_our_mark_that_we_did_not_make_is_found_and_goes(
    rig: Rig, administrator: Administrator, service: Settings
) -> None:
    orders = await some_orders(rig)
    [equipment] = {
        row["parent"] for row in await administrator.call("read", [orders[0].id], ["parent"])
    }
    values = {"type": "task", "parent": equipment, "company": administrator.company}
    [strange] = await administrator.call(
        "create", [{**values, "name": "FL-nobodyknowsthiskey000001 · critical · a trick"}]
    )
    item = await until(lambda: opened(service, Kind.UNKNOWN_AT_LEDGER))
    assert item.finding.target_id == str(strange)
    [second] = await administrator.call("create", [{**values, "name": orders[0].name}])
    item = await until(lambda: opened(service, Kind.DOUBLED_AT_TARGET))
    assert (item.finding.target_id, item.finding.event_id) == (str(second), orders[0].key)
    assert str(orders[0].id) in item.finding.detail
    # Once they are away, the items go by themselves.
    await administrator.call("delete", [strange, second])
    await until(lambda: opened(service, Kind.UNKNOWN_AT_LEDGER, State.GONE))
    await until(lambda: opened(service, Kind.DOUBLED_AT_TARGET, State.GONE))


async def test_a_ledger_row_that_nobody_ends_is_found_until_it_is_ended(
    rig: Rig, service: Settings
) -> None:
    client = redis.from_url(rig.settings.redis_url.get_secret_value())
    try:
        ledger, claim = (
            Ledger(client),
            Claim(key="nobodyendsthiskey00000001", payload_hash="0" * 64),
        )
        long_ago_ms = int(time.time() * 1000) - 2 * STUCK_MS
        [begun] = await ledger.begin("tryton", [claim], "deliver-tryton/7", long_ago_ms)
        assert isinstance(begun, Send)
        item = await until(lambda: opened(service, Kind.STUCK_IN_FLIGHT))
        assert item.finding.event_id == claim.key
        assert "deliver-tryton/7" in item.finding.detail
        end = Ending(key=claim.key, fence=begun.fence, state=LedgerState.SUCCEEDED)
        await ledger.finish("tryton", [end], int(time.time() * 1000))
        await until(lambda: opened(service, Kind.STUCK_IN_FLIGHT, State.GONE))
    finally:
        await client.aclose()
