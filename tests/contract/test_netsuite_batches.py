"""Asynchronous batches: jobs are followed, never doubled, and each record has its own end."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from connectors.jobs import Final
from pipeline.core.outcome import Delivered, Rejected, Unknown
from tests.contract.cases.netsuite import CASE
from tests.contract.conversation import steps
from tests.contract.world import World, event, many, story
from tests.sandboxes.box import boxed
from tests.sandboxes.netsuite import Netsuite, make

Place = tuple[World, Netsuite]


@pytest.fixture
def place() -> Iterator[Place]:
    """A far end, and the sandbox behind it."""
    sandbox = make()
    with boxed(sandbox) as far:
        yield World(CASE, far), sandbox


async def test_many_new_records_go_in_one_request_and_are_looked_up_after_it(place: Place) -> None:
    world, _ = place
    outcomes = await world.deliver(*many(40))
    assert [type(one) for one in outcomes] == [Delivered] * 40
    assert steps(world.writes()) == ["create_batch"]
    request = world.writes()[0].request
    assert request.headers["prefer"] == "respond-async"
    assert request.headers["content-type"].endswith("; type=collection")
    made = world.creates()
    assert [e["id"] for e in made] == [
        one.target_id for one in outcomes if isinstance(one, Delivered)
    ]


async def test_a_job_that_runs_on_is_unknown_and_then_followed_and_not_sent_again(
    place: Place,
) -> None:
    world, sandbox = place
    sandbox.jobs.looks, sandbox.jobs.age_s = 10_000, 10_000.0
    connector = world.connector()
    told = many(3)
    outcomes = await world.deliver(*told, connector=connector)
    assert {type(one) for one in outcomes} == {Unknown}
    assert {one.code for one in outcomes if isinstance(one, Unknown)} == {"netsuite.job_running"}
    again = await world.deliver(told[1], connector=connector)
    assert isinstance(again[0], Unknown)
    assert len(world.writes()) == 1
    sandbox.jobs.looks = 0
    ends = await world.deliver(*told, connector=connector)
    assert [type(one) for one in ends] == [Delivered] * 3
    assert len(world.writes()) == 1
    assert len(world.creates()) == 3


async def test_a_change_waits_for_the_job_that_its_record_is_in(place: Place) -> None:
    world, sandbox = place
    sandbox.jobs.looks, sandbox.jobs.age_s = 10_000, 10_000.0
    connector = world.connector()
    raised, _, clear, _ = story()
    await world.deliver(raised, event("other", device_id="acme/truck-9"), connector=connector)
    [early] = await world.deliver(clear, connector=connector)
    assert not isinstance(early, Delivered | Rejected)
    sandbox.jobs.looks = 0
    [late] = await world.deliver(clear, connector=connector)
    assert isinstance(late, Delivered)
    assert [e["op"] for e in world.ops(raised.id)] == ["create", "close"]


async def test_the_same_batch_from_another_worker_follows_the_earlier_job(place: Place) -> None:
    world, sandbox = place
    world.far.faults(CASE.on_write(mode="drop_after", times=1))
    lost = await world.deliver(*many(3))
    assert {type(one) for one in lost} == {Unknown}
    sandbox.jobs.age_s = 10_000.0
    found = await world.deliver(*many(3))
    assert [type(one) for one in found] == [Delivered] * 3
    keys = {call.request.headers["x-netsuite-idempotency-key"] for call in world.writes()}
    assert len(keys) == 1
    assert len(sandbox.jobs.all) == 1
    assert len(world.creates()) == 3


async def test_another_batch_has_another_idempotency_key(place: Place) -> None:
    world, _ = place
    await world.deliver(*many(3))
    await world.deliver(*(event(f"f{n}") for n in range(3)))
    keys = [call.request.headers["x-netsuite-idempotency-key"] for call in world.writes()]
    assert all(one != two for one, two in pairwise(keys))


async def test_what_a_job_refused_is_told_of_each_record_in_netsuites_words(place: Place) -> None:
    world, _ = place
    told = many(5)
    world.far.errors({"code": "USER_ERROR", "key": told[3].id, "times": None})
    outcomes = await world.deliver(*told)
    assert [type(one) for one in outcomes] == [
        *[Delivered] * 3,
        Rejected,
        Delivered,
    ]
    refused = outcomes[3]
    assert isinstance(refused, Rejected)
    assert refused.code == "netsuite.refused"
    assert "as told" in refused.message


async def test_a_batch_that_is_refused_as_a_whole_is_sent_record_by_record(place: Place) -> None:
    world, _ = place
    no = '{"o:errorDetails": [{"detail": "No batches here.", "o:errorCode": "INVALID_HEADER"}]}'
    world.far.faults(
        {"method": "PUT", "path": "/supportCase$", "status": 400, "body_text": no, "times": None}
    )
    outcomes = await world.deliver(*many(3))
    assert [type(one) for one in outcomes] == [Delivered] * 3
    assert steps(world.writes()) == ["create_batch", *["create"] * 3]


@pytest.mark.parametrize("location", [{}, {"location": "/elsewhere"}, {"location": "%00"}])
async def test_an_acceptance_that_names_no_job_is_unknown(
    place: Place, location: dict[str, str]
) -> None:
    world, _ = place
    world.far.faults(CASE.on_write(status=202, headers=location, times=None))
    outcomes = await world.deliver(*many(2))
    assert {type(one) for one in outcomes} == {Unknown}


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"mode": "html"},
        {"mode": "truncate"},
        {"mode": "drop_before"},
        {"mode": "drop_field", "fields": ["completed"]},
    ],
)
async def test_a_job_that_cannot_be_looked_at_is_unknown(
    place: Place, fault: dict[str, object]
) -> None:
    world, _ = place
    world.far.faults({"path": "/async/v1/job", "times": None, **fault})
    outcomes = await world.deliver(*many(2))
    assert {type(one) for one in outcomes} == {Unknown}


async def test_a_job_that_netsuite_forgot_is_settled_by_looking_the_records_up(
    place: Place,
) -> None:
    world, sandbox = place
    connector = world.connector()
    sandbox.jobs.looks, sandbox.jobs.age_s = 10_000, 10_000.0
    await world.deliver(*many(2), connector=connector)
    sandbox.jobs.all.clear()
    sandbox.jobs.looks = 0
    outcomes = await world.deliver(*many(2), connector=connector)
    assert [type(one) for one in outcomes] == [Delivered] * 2
    assert len(world.creates()) == 2


async def test_slow_jobs_end_well_through_the_engine(place: Place) -> None:
    world, sandbox = place
    sandbox.jobs.looks, sandbox.jobs.age_s = 30, 10_000.0
    ends = await world.run(many(4))
    assert {end.final for end in ends} == {Final.DELIVERED}
    assert len(world.creates()) == 4


async def test_without_batches_each_record_goes_by_itself(place: Place) -> None:
    world, _ = place
    connector = world.connector(async_from=0)
    assert connector.batch_size == 1
    outcomes = await world.deliver(*many(3), connector=connector)
    assert [type(one) for one in outcomes] == [Delivered] * 3
    assert steps(world.writes()) == ["create"] * 3
