"""Dashboards' points in a real PostgreSQL: each key once, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from connectors.settings import make as make_settings
from connectors.timeseries.base import Retry, Written
from connectors.timeseries.config import TimeseriesSettings
from connectors.timeseries.writer import TimeseriesWriter, make_store
from tests.contract.timeseries_examples import START_MS, batch, fleet, sample
from tests.integration.postgres_server import PASSWORD, USER, Postgres

pytestmark = pytest.mark.parts


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Postgres]:
    async with Postgres() as one:
        yield one


@pytest.fixture
def table(request: pytest.FixtureRequest) -> str:
    """A table for each test."""
    return str(request.node.name).partition("[")[0][-60:]


def writer(server: Postgres, table: str, **changes: Any) -> TimeseriesWriter:  # noqa: ANN401 - settings
    told = {"url": server.url, "username": USER, "password": PASSWORD, "table": table}
    return TimeseriesWriter(make_store(make_settings(TimeseriesSettings, told | changes)))


async def rows(server: Postgres, table: str, what: str = "*", more: str = "") -> list[Any]:
    sql = f"SELECT {what} FROM {table} {more}"  # noqa: S608 - all of it is a test's own
    return await server.fetch(sql)


async def count(server: Postgres, table: str) -> int:
    return len(await rows(server, table))


@pytest.mark.asyncio(loop_scope="module")
async def test_every_reading_is_one_row_however_often_it_is_written(
    server: Postgres, table: str
) -> None:
    to = writer(server, table)
    messages = [fleet(offset=n) for n in range(3)]
    for _ in range(3):
        assert await to.write(messages) == Written(points=72)
    assert await count(server, table) == 72
    [row] = await rows(
        server,
        table,
        more="WHERE device_id = 'acme/truck-2' AND metric = 'rpm' ORDER BY time LIMIT 1",
    )
    assert row["time"].timestamp() * 1000 == START_MS
    assert (row["tenant"], row["value"], row["sequence"], row["late"]) == ("acme", 1502.0, 0, False)
    await to.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_two_samples_of_one_millisecond_are_two_rows_and_a_later_value_wins(
    server: Postgres, table: str
) -> None:
    to = writer(server, table)
    assert await to.write(
        [batch([sample(sequence=1, a=1.0), sample(sequence=2, a=2.0), sample(sequence=2, a=3.0)])]
    ) == Written(points=2)
    late = batch([sample(sequence=1, a=9.0)])
    late = replace(late, late=~late.late)
    assert await to.write([late]) == Written(points=1)
    found = await rows(server, table, "sequence, value, late", "ORDER BY sequence")
    assert [tuple(row) for row in found] == [(1, 9.0, True), (2, 3.0, False)]
    await to.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_names_of_all_kinds_come_back_as_they_are_and_what_no_text_can_hold_is_set_aside(
    server: Postgres, table: str
) -> None:
    names = ["a b,c=d\\", "'; DROP TABLE x; --", "過熱 🔥", '"quoted"', "%s {} $1"]
    odd = [replace(sample("t/x", n), readings=((name, 1.0),)) for n, name in enumerate(names)]
    bad = [
        sample("t/\x00"),
        replace(sample("t/far"), time_ms=2**61),
        replace(sample(), readings=(("v", float("nan")),)),
    ]
    outcome = await writer(server, table).write([batch([*odd, *bad])])
    assert isinstance(outcome, Written)
    assert outcome.points == len(names)
    assert sum(one.points for one in outcome.refused) == 3
    found = await rows(server, table, "metric")
    assert {row["metric"] for row in found} == set(names)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_row_that_a_rule_of_the_table_refuses_is_set_aside_alone(
    server: Postgres, table: str
) -> None:
    to = writer(server, table)
    await to.write([fleet()])
    await server.fetch(f"ALTER TABLE {table} ADD CHECK (value < 5000)")
    samples = [sample("acme/new", n, n, rpm=9_000.0 if n == 7 else 1.0) for n in range(40)]
    outcome = await to.write([batch(samples)])
    assert isinstance(outcome, Written)
    assert (outcome.points, [one.points for one in outcome.refused]) == (39, [1])
    assert b"9000" in outcome.refused[0].example
    assert await count(server, table) == 24 + 39
    await to.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_many_points_go_in_several_requests_and_writers_may_meet(
    server: Postgres, table: str
) -> None:
    messages = [fleet(devices=20, samples=10, offset=n) for n in range(4)]
    first = writer(server, table, batch=300)
    assert isinstance(await first.write(messages[:1]), Written)
    both = [writer(server, table, batch=300) for _ in range(3)]
    outcomes = await asyncio.gather(*(one.write(messages) for one in both))
    assert not [one for one in outcomes if isinstance(one, Written) and one.refused]
    for one in both:
        assert await one.write(messages) == Written(points=1_600)
        await one.close()
    assert await count(server, table) == 1_600
    await first.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_wrong_credentials_and_a_missing_table_are_waited_for(
    server: Postgres, table: str
) -> None:
    for changes in ({"password": "wrong"}, {"create_table": False}):
        to = writer(server, table, **changes)
        outcome = await to.write([fleet()])
        assert isinstance(outcome, Retry)
        assert outcome.reason.endswith("check the TIMESERIES_* settings.")
        assert "wrong" not in outcome.reason
        await to.close()


async def test_a_server_that_dies_and_comes_back_has_every_row_once() -> None:
    async with Postgres() as own:
        to = writer(own, "telemetry")
        messages = [fleet(offset=n) for n in range(4)]
        assert await to.write(messages[:2]) == Written(points=48)
        own.kill()
        outcome = await to.write(messages)
        assert isinstance(outcome, Retry)
        await own.start()
        assert await to.write(messages) == Written(points=96)
        assert await count(own, "telemetry") == 96
        await to.close()
