"""Whose fields are whose: what people wrote stays, older events change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from connectors.base import Checked
from connectors.exchange import converse
from pipeline.core.events import Action, BusinessEvent, Severity
from pipeline.core.outcome import Delivered, Found, NotFound, Rejected, Retryable, Scope
from pipeline.core.registry import DeviceRecord
from tests.contract.cases.netsuite import CASE
from tests.contract.changes import OUTAGES, clear_during, with_refused_raise
from tests.contract.conversation import steps
from tests.contract.world import World, event, many, story
from tests.sandboxes.box import boxed
from tests.sandboxes.netsuite import Netsuite, make
from tests.sandboxes.netsuite.records import TYPES, Record

Place = tuple[World, Netsuite]
KIND = TYPES["supportcase"]


@pytest.fixture
def place() -> Iterator[Place]:
    """A far end, and the sandbox behind it."""
    sandbox = make()
    with boxed(sandbox) as far:
        yield World(CASE, far), sandbox


def case_of(sandbox: Netsuite, told: BusinessEvent) -> Record:
    found = sandbox.records.find(KIND, f"eid:{told.entity}")
    assert found is not None
    return found


def people_write(sandbox: Netsuite, told: BusinessEvent, **values: str) -> None:
    case_of(sandbox, told).values.update(values)


async def test_without_queries_what_is_raised_goes_by_its_upsert_alone_and_a_change_waits(
    place: Place,
) -> None:
    world, _ = place
    world.far.faults({"path": "/suiteql", "status": 404, "times": None})
    raised, update, _, _ = story()
    [made] = await world.deliver(raised)
    [change] = await world.deliver(update)
    assert isinstance(made, Delivered), made
    assert isinstance(change, Retryable)
    assert change.code == "netsuite.no_query"
    assert len(world.creates()) == 1


# -- conflict rules


async def test_a_raise_that_comes_again_leaves_what_people_changed(place: Place) -> None:
    world, sandbox = place
    raised = story()[0]
    await world.deliver(raised)
    people_write(sandbox, raised, title="Compressor seized", status="2")
    [again] = await world.deliver(raised)
    assert again == Delivered(target_id=case_of(sandbox, raised).id, created=False)
    assert case_of(sandbox, raised).values["title"] == "Compressor seized"
    assert len(world.writes()) == 1


async def test_the_first_message_is_written_once_whatever_happens(place: Place) -> None:
    world, sandbox = place
    world.far.faults(CASE.on_write(mode="drop_after", times=2))
    await world.run(story())
    assert len(case_of(sandbox, story()[0]).messages) == 1


async def test_an_update_keeps_title_and_status_of_people(place: Place) -> None:
    world, sandbox = place
    raised, update, _, _ = story()
    await world.deliver(raised)
    people_write(sandbox, raised, title="Compressor seized", status="3")
    await world.deliver(update)
    kept = case_of(sandbox, raised).values
    assert (kept["title"], kept["status"]) == ("Compressor seized", "3")
    assert update.summary in kept["custevent_fieldline_snapshot"]


@pytest.mark.parametrize(
    ("there", "severity", "then"),
    [
        ("3", Severity.CRITICAL, "1"),
        ("2", Severity.CRITICAL, "1"),
        ("1", Severity.INFO, "1"),
        ("2", Severity.WARNING, "2"),
        ("1", Severity.WARNING, "1"),
    ],
)
async def test_a_priority_only_rises(
    place: Place, there: str, severity: Severity, then: str
) -> None:
    world, sandbox = place
    raised, update, _, _ = story()
    await world.deliver(raised)
    people_write(sandbox, raised, priority=there)
    await world.deliver(replace(update, severity=severity))
    assert case_of(sandbox, raised).values["priority"] == then


async def test_an_older_event_changes_nothing_of_a_newer_one(place: Place) -> None:
    world, sandbox = place
    raised, update, clear, _ = story()
    await world.deliver(raised)
    await world.deliver(clear)
    [late] = await world.deliver(update)
    assert late == Delivered(target_id=case_of(sandbox, raised).id, created=False)
    assert case_of(sandbox, raised).values["status"] == "5"
    assert [e["op"] for e in world.ops()] == ["create", "close"]


async def test_a_clear_of_a_case_that_people_closed_leaves_their_status(place: Place) -> None:
    world, sandbox = place
    raised, _, clear, _ = story()
    await world.deliver(raised)
    people_write(sandbox, raised, status="5")
    [outcome] = await world.deliver(clear)
    assert isinstance(outcome, Delivered)
    assert "status" not in world.ops()[-1]["fields"]


async def test_a_clear_without_a_record_is_final_and_an_update_is_not(place: Place) -> None:
    world, _ = place
    _, update, clear, _ = story()
    outcomes = [(await world.deliver(one))[0] for one in (update, clear)]
    assert [(o.code, o.final) for o in outcomes if isinstance(o, Rejected)] == [
        ("netsuite.no_record", False),
        ("netsuite.no_record", True),
    ]


async def test_a_case_that_is_deleted_between_look_and_write_is_no_record(place: Place) -> None:
    world, sandbox = place
    raised, update, _, _ = story()
    await world.deliver(raised)
    own_id = case_of(sandbox, raised).id
    gone = '{"o:errorDetails": [{"detail": "gone", "o:errorCode": "NONEXISTENT_ID"}]}'
    world.far.faults({"method": "PATCH", "path": own_id, "status": 404, "body_text": gone})
    [outcome] = await world.deliver(update)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "netsuite.no_record"


# -- records that are not whole


async def test_a_field_that_netsuite_leaves_out_is_told_and_the_replay_completes_the_record(
    place: Place,
) -> None:
    world, sandbox = place
    raised = story()[0]
    told = {"x-netsuite-propertyvalidation": "custevent_fieldline_snapshot"}
    world.far.faults(CASE.on_write(status=204, headers=told))
    [outcome] = await world.deliver(raised)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "netsuite.fields_ignored"
    assert "custevent_fieldline_snapshot" in outcome.message
    [replayed] = await world.deliver(raised)
    assert isinstance(replayed, Delivered)
    assert "custevent_fieldline_snapshot" in case_of(sandbox, raised).values


async def test_a_record_without_our_version_is_written_again(place: Place) -> None:
    world, sandbox = place
    raised = story()[0]
    await world.deliver(raised)
    del case_of(sandbox, raised).values["custevent_fieldline_version"]
    assert await world.look_up(raised) == [NotFound()]
    [outcome] = await world.deliver(raised)
    assert outcome == Delivered(target_id=case_of(sandbox, raised).id, created=False)
    assert case_of(sandbox, raised).values["custevent_fieldline_version"] == raised.version


async def test_every_write_asks_that_unknown_fields_are_errors(place: Place) -> None:
    world, _ = place
    await world.run(story())
    await world.deliver(event("a"), event("b"))
    assert {"create", "create_batch", "change"} <= set(steps(world.writes()))
    for call in world.writes():
        assert call.request.headers["x-netsuite-propertynamevalidation"] == "Error"


async def test_a_field_that_the_account_lacks_refuses_the_event_by_its_name(place: Place) -> None:
    world, _ = place
    connector = world.connector(snapshot_field="custevent_nobody_made")
    [outcome] = await world.deliver(event(), connector=connector)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "netsuite.content"
    assert "custevent_nobody_made" in outcome.message
    assert not world.ops()


async def test_an_upsert_whose_answer_says_no_id_is_looked_up(place: Place) -> None:
    world, sandbox = place
    sandbox._where = lambda kind, record: f"{sandbox.base}/x/{kind.name}/eid:{record.external_id}"  # type: ignore[method-assign]  # noqa: SLF001 - another form of the address
    [outcome] = await world.deliver(event())
    assert isinstance(outcome, Delivered)
    assert outcome.target_id == case_of(sandbox, event()).id


async def test_a_field_of_our_own_can_hold_the_key(place: Place) -> None:
    world, sandbox = place
    connector = world.connector(key_field="custevent_fieldline_key")
    [made] = await world.deliver(event(), connector=connector)
    for record in sandbox.records.tables["supportcase"].values():
        record.external_id = ""
    [found] = await world.look_up(event(), connector=connector)
    assert isinstance(made, Delivered)
    assert found == Found(target_id=made.target_id)


# -- references


async def test_the_identity_maps_id_is_used_where_there_is_one(place: Place) -> None:
    world, sandbox = place
    customer = sandbox.records.find(TYPES["customer"], "eid:C-1")
    assert customer is not None
    mapped = replace(CASE.record, customer_id="C 1?", ids={"netsuite.customer": customer.id})
    [outcome] = await world.deliver(event(), record=mapped)
    assert isinstance(outcome, Delivered)
    assert case_of(sandbox, event()).values["company"] == customer.id


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (replace(CASE.record, customer_id="C 1"), "mapping.unusable"),
        (replace(CASE.record, ids={"netsuite.customer": "12; DROP"}), "mapping.unusable"),
        (replace(CASE.record, customer_id="C-999"), "netsuite.refused"),
    ],
)
async def test_a_customer_that_cannot_be_named_or_is_not_there_refuses_the_event(
    place: Place, record: DeviceRecord, code: str
) -> None:
    world, _ = place
    [outcome] = await world.deliver(event(), record=record)
    assert isinstance(outcome, Rejected)
    assert outcome.code == code
    assert not world.ops()


# -- limits and checks


async def test_more_requests_at_once_than_the_account_takes_are_the_systems_trouble() -> None:
    with boxed(make(concurrency=1)) as far:
        world = World(CASE, far)
        connector = world.connector()
        await world.deliver(event("first"), connector=connector)
        far.faults({"path": "/suiteql", "delay_s": 0.4, "times": 4})
        told = [event(f"c{n}", device_id=f"acme/truck-{n}") for n in range(4)]
        outcomes = await asyncio.gather(*(world.deliver(one, connector=connector) for one in told))
        refused = [o for [o] in outcomes if isinstance(o, Retryable)]
        assert refused
        assert {(o.code, o.scope) for o in refused} == {("netsuite.concurrency", Scope.SYSTEM)}
        assert {o.retry_after_s for o in refused} == {1.0}
        ends = await world.run(told)
        assert len(ends) == 4
        assert len(world.creates()) == 5


async def checked(world: World, **values: str) -> dict[str, Checked]:
    connector = world.connector(**dict[str, Any](values))
    exchange = await world.hold(connector.check())
    assert exchange.result is not None, exchange.bug
    return {one.what: one for one in exchange.result}


async def test_a_check_names_the_fields_that_the_account_lacks(place: Place) -> None:
    world, _ = place
    told = await checked(world, message_field="custevent_no_message")
    assert told["fields of supportCase"].ok is False
    assert "custevent_no_message" in told["fields of supportCase"].detail
    told = await checked(world, version_field="custevent_no_version")
    assert told["looking up records"].ok is False


async def test_a_check_tells_how_many_requests_may_be_under_way(place: Place) -> None:
    world, sandbox = place
    told = await checked(world)
    assert str(sandbox.concurrency) in told["requests at once"].detail
    world.far.faults({"path": "governanceLimits", "status": 403, "times": None})
    told = await checked(world)
    assert told["requests at once"].ok is None


async def test_hostile_answers_to_a_query_are_never_read_as_records(place: Place) -> None:
    world, _ = place
    for body in (
        "[]",
        '{"items": {}}',
        '{"items": [], "hasMore": "no"}',
        '{"items": [1], "hasMore": false}',
        '{"items": [{"id": {}, "externalid": []}], "hasMore": true}',
        "null",
    ):
        world.far.faults({"path": "/suiteql", "status": 200, "body_text": body, "times": None})
        [answer] = await world.look_up(event())
        assert isinstance(answer, Retryable), body


async def test_pages_of_a_look_up_are_all_read(place: Place) -> None:
    world, _ = place
    told = many(3)
    rows = [
        [{"id": str(n), "externalid": one.id, "custevent_fieldline_version": one.version}]
        for n, one in enumerate(told, 1)
    ]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/token"):
            return httpx.Response(200, json={"access_token": "t", "expires_in": "3600"})
        offset = int(request.url.params["offset"])
        return httpx.Response(200, json={"items": rows[offset], "hasMore": offset < 2})

    connector = world.connector()
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        sent = [world.delivery(one) for one in told]
        exchange = await converse(
            lambda: connector.look_up(sent),
            client,
            request_s=world.case.request_s,
            late=lambda: False,
        )
    assert exchange.result == [Found(target_id=str(n)) for n in (1, 2, 3)]


async def test_a_change_in_the_batch_of_its_own_refused_raise_is_no_record(place: Place) -> None:
    world, _ = place
    raised, update, _, _ = story()
    world.far.errors({"code": "USER_ERROR", "key": raised.id, "times": None})
    outcomes = await world.deliver(raised, update)
    assert [o.code for o in outcomes if isinstance(o, Rejected)] == [
        "netsuite.refused",
        "netsuite.no_record",
    ]
    assert update.action is Action.UPDATE


@pytest.mark.parametrize("fault", OUTAGES)
async def test_a_change_during_an_outage_is_the_systems_trouble(
    place: Place, fault: dict[str, Any]
) -> None:
    world, _ = place
    outcome = await clear_during(world, path="/suiteql", **fault)
    assert isinstance(outcome, Retryable)
    assert outcome.scope is Scope.SYSTEM


async def test_a_change_waits_as_long_as_the_raise_of_its_batch(place: Place) -> None:
    world, _ = place
    for code, scope in (
        ("CONCURRENCY_LIMIT_EXCEEDED", Scope.SYSTEM),
        ("RCRD_HAS_BEEN_CHANGED", Scope.ITEM),
    ):
        outcomes = await with_refused_raise(world, code)
        assert [o.scope for o in outcomes if isinstance(o, Retryable)] == [scope] * 2
