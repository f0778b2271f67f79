"""The driver against a far end that doubles whatever is sent twice."""

from __future__ import annotations

import asyncio
import gzip
from collections import deque
from collections.abc import Sequence

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.base import Call, Conversation, Effect
from connectors.exchange import MAX_ANSWER, Exchange, converse
from connectors.jobs import Final, Finished
from connectors.lanes import Lanes
from connectors.verdicts import after_sends
from pipeline.core.breaker import Phase
from pipeline.core.ledger import Claim, Mode, State
from pipeline.core.outcome import Outcome, Rejected
from pipeline.core.retry import Cause
from pipeline.core.sinks import SinkPolicy
from tests.unit.driver_world import POLICY, URL, Scripted, World, drain, finals, job

DONE, REJECTED, DEAD = Final.DELIVERED, Final.REJECTED, Final.DEAD_LETTERED


def of(world: World, device: str) -> list[str]:
    return [key for key in world.far.effects if key.startswith(f"{device}-")]


async def test_an_event_is_delivered_with_one_begin_and_one_finish() -> None:
    world = World()
    (done,) = await world.deliver(job("a", 1))
    assert (done.final, done.attempts, world.far.effects) == (DONE, 1, ["a-1"])
    assert (world.ledger.begins, world.ledger.finishes) == (1, 1)
    assert world.ledger.rows["a-1"].state is State.SUCCEEDED


async def test_a_batch_of_devices_shares_one_request_and_two_calls_of_the_ledger() -> None:
    world = World(Scripted(batch_size=50))
    results = await world.deliver(*(job(f"d{n}", 1) for n in range(50)))
    assert set(finals(results).values()) == {DONE}
    assert len(world.far.effects) == 50
    assert (world.ledger.begins, world.ledger.finishes) == (1, 1)


async def test_what_failed_before_it_committed_is_looked_up_twice_and_sent_again() -> None:
    world = World()
    world.far.script["a-1"] = deque(["before"])
    began = world.time.now
    (done,) = await world.deliver(job("a", 1))
    assert [what for what, _ in world.far.requests] == ["write", "look", "look", "write"]
    assert world.far.effects == ["a-1"]
    assert world.time.now - began >= 2 * POLICY.settle_s
    assert done.attempts == 2


async def test_what_committed_and_then_dropped_is_found_and_never_sent_again() -> None:
    world = World()
    world.far.script["a-1"] = deque(["after"])
    (done,) = await world.deliver(job("a", 1))
    assert [what for what, _ in world.far.requests] == ["write", "look"]
    assert (done.final, world.far.effects) == (DONE, ["a-1"])
    assert world.ledger.rows["a-1"].target_id == "id-a-1"


async def test_an_outage_opens_the_breaker_and_nothing_is_dead_lettered() -> None:
    world = World()
    world.far.all.extend(["503"] * 40)
    jobs = [job(f"d{n}", i) for n in range(10) for i in range(3)]
    async with world.driver() as driver:
        results = await drain(driver, jobs, world.time)
        assert driver.status().breaker is Phase.CLOSED
        assert driver.status().attempts == 70
    assert set(finals(results).values()) == {DONE}
    assert sorted(world.far.effects) == sorted(j.delivery.key for j in jobs)
    assert "breaker" in {reason for reason, _ in world.waits}


async def test_an_open_breaker_probes_with_one_event_whatever_the_batch_size() -> None:
    world = World(Scripted(batch_size=10))
    world.far.all.extend(["503"] * 8)
    await world.deliver(*(job(f"d{n}", i) for n in range(30) for i in range(2)))
    assert world.far.sizes[:3] == [10, 10, 10], "three failures open it"
    assert world.far.sizes[3:9] == [1] * 6, "five probes fail, the sixth closes it"
    assert len(set(world.far.effects)) == len(world.far.effects) == 60


async def test_a_run_that_broke_a_batch_is_never_combined_again() -> None:
    lanes = Lanes(asyncio.sleep)
    lanes.add([job(device, 1) for device in "abcd"])
    runs = lanes.take(10)
    broken: Exchange[Sequence[Outcome]] = Exchange(result=None, calls=0, wrote=False, bug="X")
    after_sends(runs[1:3], broken, keyed=False, policy=SinkPolicy(retry=POLICY), jitter=lambda: 0.5)
    for run in runs:
        lanes.later(run, 0)
    for _ in range(5):
        await asyncio.sleep(0)
    taken = [[run.key for run in lanes.take(10)] for _ in range(3)]
    assert taken == [["a-1"], ["b-1"], ["c-1"]]
    await lanes.close()


async def test_a_system_that_hangs_on_writes_for_an_hour_is_an_outage_too() -> None:
    world = World()
    world.far.script["a-1"] = deque(["before"] * 60)
    (done,) = await world.deliver(job("a", 1))
    assert (done.final, done.attempts) == (DONE, 61)


async def test_an_event_that_alone_gets_no_answer_is_dead_lettered_in_the_end() -> None:
    world = World()
    world.far.script["a-1"] = deque(["before"] * 60)
    results = await world.deliver(job("a", 1), job("a", 2), *(job("b", n) for n in range(3)))
    assert finals(results)["a-1"] is DONE, "nothing else was taken while it waited"
    world = World()
    world.far.script["a-1"] = deque(["before"] * 60)
    for n in range(40):
        world.far.script[f"b-{n}"] = deque(["409", "409", "409"])
    results = await world.deliver(job("a", 1), job("a", 2), *(job("b", n) for n in range(40)))
    assert finals(results)["a-1"] is DEAD
    assert finals(results)["a-2"] is DONE


async def test_a_poison_event_in_the_middle_goes_to_a_person_and_later_ones_go_on() -> None:
    world = World()
    world.far.script["a-2"] = deque(["422"])
    results = await world.deliver(job("a", 1), job("a", 2), job("a", 3))
    assert finals(results) == {"a-1": DONE, "a-2": DEAD, "a-3": DONE}
    assert world.far.effects == ["a-1", "a-3"]
    assert [r.cause for r in results] == [None, Cause.REJECTED, None]


async def test_trouble_of_one_event_uses_up_its_budget_and_holds_back_its_own_key_only() -> None:
    world = World()
    world.far.script["a-1"] = deque(["409"] * 10)
    results = await world.deliver(job("a", 1), job("a", 2), job("b", 1), lanes=1)
    assert [r.job.delivery.key for r in results] == ["b-1", "a-1", "a-2"]
    assert (results[1].cause, results[1].attempts) == (Cause.EXHAUSTED, POLICY.max_attempts)


async def test_more_waiting_keys_than_lanes_hold_back_nobody() -> None:
    world = World()
    for n in range(20):
        world.far.script[f"w{n}-1"] = deque(["409", "409"])
    results = await world.deliver(*(job(f"w{n}", 1) for n in range(20)), job("free", 1), lanes=2)
    assert results[0].job.delivery.key == "free-1"
    assert set(finals(results).values()) == {DONE}


async def test_nothing_is_sent_while_the_ledger_cannot_be_written() -> None:
    world = World()
    world.ledger.away = 5
    results = await world.deliver(job("a", 1))
    assert finals(results) == {"a-1": DONE}
    assert [reason for reason, _ in world.waits] == ["ledger"] * 5
    assert world.far.faults == []


async def test_a_refusal_is_final_in_the_ledger_only_once_the_caller_has_stored_it() -> None:
    world = World()
    world.far.script["a-1"] = deque(["422", "422"])
    async with world.driver() as driver:
        await drain(driver, [job("a", 1)])
        assert world.state("a-1") == "retryable"
        # A crash here: the next worker is refused again, and the DLQ gets its entry then.
        (again,) = await drain(driver, [job("a", 1)])
        assert (again.final, again.attempts, again.repeated) == (DEAD, 2, False)
        await driver.settle([again])
        await driver.settle([again])
        assert world.state("a-1") == "dead_lettered"
        (known,) = await drain(driver, [job("a", 1)])
        assert (known.final, known.repeated) == (DEAD, True)
        await driver.settle([known])
        (replayed,) = await drain(driver, [job("a", 1, mode=Mode.REPLAY)])
        assert (replayed.final, world.far.effects) == (DONE, ["a-1"])


async def test_a_key_used_for_another_payload_is_never_sent() -> None:
    world = World()
    async with world.driver() as driver:
        await drain(driver, [job("a", 1)])
        (conflict,) = await drain(driver, [job("a", 1, payload="other")])
        assert (conflict.final, conflict.cause) == (DEAD, Cause.KEY_CONFLICT)
        await driver.settle([conflict])
    assert world.ledger.rows["a-1"].state is State.SUCCEEDED
    assert world.far.effects == ["a-1"]


@pytest.mark.parametrize("todo", ["after", "before"])
async def test_a_cancelled_worker_leaves_its_row_in_flight_and_the_next_one_looks(
    todo: str,
) -> None:
    world = World()
    gone = asyncio.Event()

    async def hang(request: httpx.Request) -> httpx.Response:
        if todo == "after":
            world.far.effects.append("a-1")
        gone.set()
        await asyncio.Event().wait()
        return httpx.Response(200, request=request)

    async with world.driver() as driver:
        driver._client = httpx.AsyncClient(transport=httpx.MockTransport(hang))  # noqa: SLF001 - a far end that hangs once
        worker = asyncio.create_task(drain(driver, [job("a", 1)]))
        await gone.wait()
        worker.cancel()
        with pytest.raises(asyncio.CancelledError):
            await worker
        assert world.ledger.rows["a-1"].state is State.IN_FLIGHT
    (done,) = await world.deliver(job("a", 1))
    looks = 1 if todo == "after" else 2
    assert [what for what, _ in world.far.requests].count("look") == looks
    assert (done.final, world.far.effects) == (DONE, ["a-1"])


async def test_a_worker_that_was_held_up_after_its_begin_sends_nothing() -> None:
    world = World()
    begin = world.ledger.begin
    paused = iter([True])

    async def slow(*arguments: object) -> object:
        begun = await begin(*arguments)  # type: ignore[arg-type]
        if next(paused, False):
            world.time.now += POLICY.settle_s
        return begun

    world.ledger.begin = slow  # type: ignore[method-assign,assignment]
    (done,) = await world.deliver(job("a", 1))
    assert [what for what, _ in world.far.requests] == ["write"]
    assert (done.final, done.attempts) == (DONE, 2)


async def test_a_worker_whose_row_was_taken_over_leaves_it_to_the_other() -> None:
    world = World()
    world.far.script["a-1"] = deque(["409"])
    finish = world.ledger.finish
    other = iter([True])

    async def late(*arguments: object) -> object:
        if next(other, False):
            await world.ledger.begin("s", [Claim(key="a-1", payload_hash="p")], "other", 0)
        return await finish(*arguments)  # type: ignore[arg-type]

    world.ledger.finish = late  # type: ignore[method-assign,assignment]
    (done,) = await world.deliver(job("a", 1))
    assert world.waits[0][0] == "taken_over"
    assert (done.final, world.far.effects) == (DONE, ["a-1"])


async def test_an_unknown_whose_row_has_gone_is_still_looked_up_before_it_is_sent() -> None:
    world = World()
    world.far.script["a-1"] = deque(["after"])
    finish = world.ledger.finish
    emptied = iter([True])

    async def lose(*arguments: object) -> object:
        if next(emptied, False):
            world.ledger.rows.clear()
        return await finish(*arguments)  # type: ignore[arg-type]

    world.ledger.finish = lose  # type: ignore[method-assign,assignment]
    (done,) = await world.deliver(job("a", 1))
    assert (done.final, world.far.effects) == (DONE, ["a-1"])


async def test_a_fault_in_a_connectors_code_rejects_the_one_event_and_not_its_batch() -> None:
    world = World(Scripted(batch_size=10, broken=frozenset({"d3-1"})))
    results = await world.deliver(*(job(f"d{n}", 1) for n in range(10)))
    broken = [r for r in results if r.final is DEAD]
    assert [r.job.delivery.key for r in broken] == ["d3-1"]
    assert isinstance(broken[0].outcome, Rejected)
    assert broken[0].outcome.code == "connector.bug"
    assert len(world.far.effects) == 9


async def test_a_fault_after_the_write_is_unknown_and_found() -> None:
    world = World(Scripted(batch_size=10, broken_after=frozenset({"d3-1"})))
    results = await world.deliver(*(job(f"d{n}", 1) for n in range(10)))
    assert set(finals(results).values()) == {DONE}
    assert len(world.far.effects) == 10


async def test_an_answer_that_is_too_large_or_an_unusable_address_is_a_value() -> None:
    def large(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=bytes(MAX_ANSWER + 1), request=request)

    def talk(url: str) -> Conversation[str]:
        reply = yield Call(step="x", request=httpx.Request("GET", url), effect=Effect.READ)
        return type(reply).__name__

    async with httpx.AsyncClient(transport=httpx.MockTransport(large)) as client:
        came = await converse(lambda: talk(URL), client, request_s=5, late=lambda: False)
    assert (came.result, came.wrote) == ("RemoteProtocolError", False)
    async with httpx.AsyncClient() as client:
        came = await converse(lambda: talk("nowhere"), client, request_s=5, late=lambda: False)
    assert came.result == "UnsupportedProtocol"


async def test_a_compressed_answer_arrives_decoded_once() -> None:
    def packed(request: httpx.Request) -> httpx.Response:
        headers = {"content-encoding": "gzip", "x-more": "kept"}
        return httpx.Response(200, content=gzip.compress(b"[1]"), headers=headers, request=request)

    def talk() -> Conversation[tuple[object, str]]:
        reply = yield Call(step="x", request=httpx.Request("GET", URL), effect=Effect.READ)
        assert isinstance(reply, httpx.Response)
        return reply.json(), reply.headers["x-more"]

    async with httpx.AsyncClient(transport=httpx.MockTransport(packed)) as client:
        came = await converse(talk, client, request_s=5, late=lambda: False)
    assert came.result == ([1], "kept")


faults = st.sampled_from(["before", "after", "503", "409", "422", ""])


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([f"{d}-{n}" for d in "abc" for n in range(4)]),
        st.lists(faults, max_size=3),
    ),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_whatever_fails_effects_come_once_in_order_per_key_and_none_is_lost(
    script: dict[str, list[str]], batch_size: int, lanes: int, away: int
) -> None:
    world = World(Scripted(batch_size=batch_size))
    world.far.script.update({key: deque(todo) for key, todo in script.items()})
    world.ledger.away = away
    jobs = [job(d, n) for d in "abc" for n in range(4)]
    results = asyncio.run(world.deliver(*jobs, lanes=lanes))
    ends = finals(results)
    assert len(results) == len(jobs)
    assert world.far.faults == []
    assert sorted(world.far.effects) == sorted(key for key, end in ends.items() if end is DONE)
    for device in "abc":
        assert of(world, device) == sorted(of(world, device))
    assert all("422" in script.get(key, ()) for key, end in ends.items() if end is DEAD)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([f"{d}-{n}" for d in "abc" for n in range(4)]),
        st.lists(st.sampled_from(["before", "after", "503", "409", ""]), max_size=3),
    ),
    st.integers(1, 5),
    st.lists(st.integers(0, 300), max_size=3),
)
def test_workers_that_die_anywhere_cost_no_effect_and_double_none(
    script: dict[str, list[str]], batch_size: int, deaths: list[int]
) -> None:
    world = World(Scripted(batch_size=batch_size))
    world.far.script.update({key: deque(todo) for key, todo in script.items()})
    jobs = [job(d, n) for d in "abc" for n in range(4)]

    async def live() -> list[Finished]:
        for turns in deaths:
            async with world.driver() as driver:
                worker = asyncio.create_task(drain(driver, jobs))
                for _ in range(turns):
                    await asyncio.sleep(0)
                worker.cancel()
                await asyncio.gather(worker, return_exceptions=True)
        return await world.deliver(*jobs)

    results = asyncio.run(live())
    assert set(finals(results).values()) == {DONE}
    assert world.far.faults == []
    assert sorted(world.far.effects) == sorted(finals(results))
    for device in "abc":
        assert of(world, device) == sorted(of(world, device))
