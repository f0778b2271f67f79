"""Sessions that end, and limits on the rate."""

from __future__ import annotations

from connectors.jobs import Final
from tests.contract.case import Means, Trait, means
from tests.contract.suite.helpers import lacking
from tests.contract.world import World, event, many


async def test_a_session_that_ends_is_renewed_and_nothing_is_lost(world: World) -> None:
    if lacking(world, Trait.EXPIRY):
        return
    connector = world.connector()
    [first] = await world.deliver(event("a"), connector=connector)
    world.far.expire()
    [second] = await world.deliver(event("b"), connector=connector)
    assert [means(first), means(second)] == [Means.DELIVERED] * 2
    world.far.faults(world.case.on_write(mode="expire", times=1))
    outcomes = await world.deliver(event("c"), event("d"), connector=connector)
    assert [means(one) for one in outcomes] == [Means.DELIVERED] * 2
    assert len(world.creates()) == 4


async def test_a_session_that_never_lasts_is_the_systems_trouble(world: World) -> None:
    if lacking(world, Trait.EXPIRY):
        return
    world.far.faults(world.case.on_write(mode="expire", times=None))
    [outcome] = await world.deliver(event())
    assert means(outcome) is Means.SYSTEM, outcome


async def test_the_rate_stays_under_the_systems_limit(world: World) -> None:
    if lacking(world, Trait.LIMIT):
        return
    # A login, a token, a look-up: a window lets a few through besides the writes.
    world.far.limit(8, 1.0)
    told = many(12)
    ends = await world.run(told)
    assert {end.final for end in ends} == {Final.DELIVERED}
    assert len(world.creates()) == 12
    stats = world.far.stats()
    times = sorted(stats["times"])
    busiest = max(sum(at <= t < at + 0.95 for t in times) for at in times)
    assert busiest <= 16, "two windows' worth within one"
    assert stats["limited"] <= stats["requests"] / 2, stats
