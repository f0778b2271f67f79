"""The driver as an engine: parking, fencing, a lost ledger, superseded states, tenants in turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.base import Conversation, Delivery
from connectors.jobs import End, Final, Job, Postponed
from connectors.lanes import Lanes
from pipeline.core.events import Action
from pipeline.core.ledger import Mode, State
from pipeline.core.outcome import LookUp, Undecidable
from pipeline.core.retry import Cause
from tests.unit.driver_world import POLICY, Scripted, World, drain, event, finals, job

DONE, DEAD = Final.DELIVERED, Final.DEAD_LETTERED


def about(device: str, number: int, *, raised: int, action: Action) -> Job:
    """A job whose event updates or clears what event `raised` of the device began."""
    told = replace(event(device, number), action=action, entity_id=f"{device}-{raised}")
    return replace(job(device, number), delivery=Delivery(event=told, key=told.id))


async def test_what_waits_long_leaves_with_all_that_is_behind_it_and_comes_back_in_order() -> None:
    world = World()
    world.far.script["a-1"] = deque(["409", "409"])
    async with world.driver(park_after_s=0.1) as driver:
        driver.submit([job("a", 1), job("a", 2), job("b", 1)])
        ends: list[End] = []
        while len(ends) < 3:
            ends += await driver.ends()
        driver.submit([job("a", 3)])
        ends += await driver.ends()
        postponed = [end for end in ends if isinstance(end, Postponed)]
        assert [end.job.delivery.key for end in postponed] == ["a-1", "a-2", "a-3"]
        assert [end.delay_s > 0 for end in postponed] == [True, False, False]
        assert postponed[0].waiting.own == 1
        assert len(driver) == 0
        driver.submit([replace(postponed[0].job, waiting=postponed[0].waiting)], back=True)
        [again] = await driver.ends()
        assert isinstance(again, Postponed)
        assert again.waiting.own == 2, "its budget goes on where it was"


async def test_the_wait_before_a_look_up_survives_being_parked() -> None:
    world = World()
    world.far.script["a-1"] = deque(["before"])
    began = world.time.now
    [done] = await world.deliver(job("a", 1), park_after_s=1.0)
    assert [what for what, _ in world.far.requests] == ["write", "look", "look", "write"]
    assert done.final is DONE
    assert world.time.now - began >= 2 * POLICY.settle_s
    assert world.far.effects == ["a-1"]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([f"{d}-{n}" for d in "abc" for n in range(4)]),
        st.lists(st.sampled_from(["before", "after", "503", "409", "422", ""]), max_size=3),
    ),
    st.integers(1, 5),
    st.sampled_from([0.2, 3.0]),
)
def test_with_parking_too_effects_come_once_in_order_per_key_and_none_is_lost(
    script: dict[str, list[str]], batch_size: int, park_after_s: float
) -> None:
    world = World(Scripted(batch_size=batch_size))
    world.far.script.update({key: deque(todo) for key, todo in script.items()})
    jobs = [job(d, n) for d in "abc" for n in range(4)]
    results = asyncio.run(world.deliver(*jobs, park_after_s=park_after_s))
    ends = finals(results)
    assert len(results) == len(jobs)
    assert world.far.faults == []
    assert sorted(world.far.effects) == sorted(key for key, end in ends.items() if end is DONE)
    for device in "abc":
        mine = [key for key in world.far.effects if key.startswith(f"{device}-")]
        assert mine == sorted(mine)


async def test_a_worker_that_lost_its_partition_begins_nothing_until_it_holds_it_again() -> None:
    world = World()
    async with world.driver() as driver:
        await drain(driver, [job("a", 1)], world.time)
        await world.ledger.hold("s", await world.places([0]), "other", 0)
        [done] = await drain(driver, [job("a", 2)], world.time)
        assert done.final is DONE
        assert [reason for reason, _ in world.waits] == ["hold"]
        assert world.far.effects == ["a-1", "a-2"]


async def test_a_worker_fenced_in_mid_send_leaves_its_row_and_the_effect_is_found() -> None:
    world = World()
    begin, fenced = world.ledger.begin, iter([True])

    async def taken_away(*arguments: object) -> object:
        begun = await begin(*arguments)  # type: ignore[arg-type]
        if next(fenced, False):
            await world.ledger.hold("s", await world.places([0]), "other", 0)
        return begun

    world.ledger.begin = taken_away  # type: ignore[method-assign,assignment]
    world.far.script["a-1"] = deque(["409"])
    [done] = await world.deliver(job("a", 1))
    assert (done.final, world.far.effects) == (DONE, ["a-1"])
    assert world.waits[0][0] == "taken_over"


async def test_an_emptied_ledger_has_everything_looked_up_before_it_is_sent() -> None:
    world = World()
    world.committed, world.end = 3, 10
    world.far.effects += ["a-1"]
    results = await world.deliver(job("a", 1), job("b", 5), job("c", 11))
    assert set(finals(results).values()) == {DONE}
    assert sorted(world.far.effects) == ["a-1", "b-5", "c-11"]
    looked = [key for what, key in world.far.requests if what == "look"]
    assert sorted(looked) == ["a-1", "b-5", "b-5"], "what came later was never in doubt"


async def test_a_ledger_emptied_in_mid_run_is_noticed_at_the_next_begin() -> None:
    world = World()
    world.end = 10
    async with world.driver() as driver:
        await drain(driver, [job("a", 1)], world.time)
        world.ledger.rows.clear()
        world.ledger.markers.clear()
        world.committed = 2
        [again] = await drain(driver, [job("a", 1)], world.time)
        assert (again.final, world.far.effects) == (DONE, ["a-1"])
        assert driver.doubts == {0: 10}


async def test_an_older_state_of_a_record_is_dropped_and_a_newer_one_is_sent() -> None:
    world = World()
    results = await world.deliver(
        job("a", 1),
        about("a", 5, raised=1, action=Action.UPDATE),
        about("a", 3, raised=1, action=Action.UPDATE),
        about("a", 6, raised=1, action=Action.CLEAR),
    )
    assert finals(results) == {
        "a-1": DONE,
        "a-5": DONE,
        "a-3": Final.SUPERSEDED,
        "a-6": DONE,
    }
    assert world.far.effects == ["a-1", "a-5", "a-6"]
    assert world.state("a-3") == "superseded"


async def test_a_dead_letter_replayed_after_its_record_was_cleared_is_dropped() -> None:
    world = World()
    world.far.script["a-1"] = deque(["422"])
    async with world.driver() as driver:
        [dead] = await drain(driver, [job("a", 1)], world.time)
        await driver.settle([dead])
        await drain(driver, [about("a", 2, raised=1, action=Action.CLEAR)], world.time)
        [late] = await drain(driver, [job("a", 1, mode=Mode.REPLAY)], world.time)
    assert (late.final, world.far.effects) == (Final.SUPERSEDED, ["a-2"])


@dataclass
class Blind(Scripted):
    """A target that cannot be asked."""

    def look_up(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[LookUp]]:
        yield from ()
        return [Undecidable(code="blind", message="It cannot be asked.")] * len(deliveries)


async def test_what_cannot_be_looked_up_goes_to_a_person_and_is_never_sent_again() -> None:
    world = World(Blind())
    world.far.script["a-1"] = deque(["after"])
    async with world.driver() as driver:
        [dead] = await drain(driver, [job("a", 1)], world.time)
        assert (dead.final, dead.cause) == (DEAD, Cause.UNRESOLVED)
        await driver.settle([dead])
    assert world.ledger.rows["a-1"].state is State.DEAD_LETTERED
    assert [what for what, _ in world.far.requests] == ["write"]


async def test_a_keyed_target_is_sent_again_at_once_what_it_may_have() -> None:
    world = World(Scripted(keyed=True))
    world.far.script["a-1"] = deque(["after", "before"])
    began = world.time.now
    [done] = await world.deliver(job("a", 1))
    assert [what for what, _ in world.far.requests] == ["write"] * 3
    assert done.final is DONE
    assert world.time.now - began < POLICY.settle_s


async def test_tenants_take_turns_and_none_takes_part_in_more_than_its_share() -> None:
    lanes = Lanes(asyncio.sleep, tenant_lanes=1)

    def of(tenant: str, number: int) -> Job:
        told = replace(event(f"{tenant}{number}", 1), tenant=tenant)
        return replace(job("x", number), delivery=Delivery(event=told, key=f"{tenant}{number}"))

    lanes.add([of("big", n) for n in range(5)])
    lanes.add([of("small", n) for n in range(2)])
    first = lanes.take(4)
    assert sorted(run.key for run in first) == ["big0", "big1", "small0", "small1"]
    assert lanes.take(4) == [], "both are at it"
    lanes.back(first)
    assert [run.key for run in lanes.take(2)] == ["big2", "big3"]


async def test_forgotten_jobs_end_nowhere_and_what_is_under_way_is_still_written() -> None:
    world = World()
    begin, told = world.ledger.begin, asyncio.Event()

    async def noted(*arguments: object) -> object:
        begun = await begin(*arguments)  # type: ignore[arg-type]
        told.set()
        return begun

    world.ledger.begin = noted  # type: ignore[method-assign,assignment]
    async with world.driver() as driver:
        driver.submit([job("a", 1), job("a", 2)])
        await told.wait()
        driver.forget()
        await driver.quiesce()
        assert world.state("a-1") == "succeeded"
        assert (len(driver), driver.has_ends) == (0, False)
        driver.go_on()
        [done] = await drain(driver, [job("a", 1)], world.time)
        assert done.repeated


async def test_no_conversation_begins_while_the_driver_is_quiet() -> None:
    world = World()
    async with world.driver() as driver:
        await driver.quiesce()
        driver.submit([job("a", 1)])
        for _ in range(100):
            await asyncio.sleep(0)
        assert world.far.requests == []
        driver.go_on()
        assert len(await driver.ends()) == 1


@pytest.mark.parametrize("in_hand", [3, 10_000])
async def test_room_is_there_while_fewer_jobs_are_in_hand_than_the_policy_allows(
    in_hand: int,
) -> None:
    world = World()
    async with world.driver() as driver:
        driver._policy = replace(driver._policy, in_hand=in_hand)  # noqa: SLF001 - the world has one policy
        await driver.quiesce()
        driver.submit([job(d, 1) for d in "abc"])
        waits = asyncio.create_task(driver.room())
        for _ in range(20):
            await asyncio.sleep(0)
        assert waits.done() is (in_hand > 3)
        driver.go_on()
        await driver.ends()
        await waits
