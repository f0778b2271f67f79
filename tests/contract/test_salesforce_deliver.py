"""Deliveries to an org: what people did stays, and every answer is read for what it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from connectors.base import Delivery, Effect
from connectors.fields import OPEN
from connectors.salesforce.protocol import SalesforceConnector
from pipeline.core.events import Action, BusinessEvent, Severity
from pipeline.core.outcome import (
    Delivered,
    Found,
    NotFound,
    Outcome,
    Rejected,
    Retryable,
    Scope,
    Undecidable,
    Unknown,
)
from tests.contract.case import RECORD
from tests.contract.conversation import body, converse, steps
from tests.contract.salesforce_examples import Org, org, settings
from tests.contract.world import event, story

ID = "500000000000001AAA"
EVENT = "Fieldline_Event__e"


@pytest.fixture
def there() -> Iterator[Org]:
    with org() as made:
        yield made


async def one(there: Org, told: BusinessEvent, **values: Any) -> Outcome:  # noqa: ANN401 - settings
    [outcome] = await there.world.deliver(told, connector=there.world.connector(**values))
    return outcome


def many(count: int) -> list[BusinessEvent]:
    return [event(f"e{n}", device_id=f"acme/truck-{n}") for n in range(count)]


# -- people


async def test_a_case_that_people_changed_is_not_written_over_by_its_raise(there: Org) -> None:
    await one(there, event())
    there.edit(Subject="Pump, again", Description="mine", Status="Working", Priority="Low")
    outcome = await one(there, event(summary="another wording"))
    assert outcome == Delivered(target_id=there.case()["Id"], created=False)
    assert [there.case()[n] for n in ("Subject", "Description", "Status", "Priority")] == [
        *("Pump, again", "mine", "Working", "Low")
    ]


async def test_what_people_write_survives_updates_and_clears(there: Org) -> None:
    raised, update, clear, again = story()
    await one(there, raised)
    there.edit(Subject="Pump, again", Description="mine", Status="Working", Priority="Low")
    for told in (replace(update, severity=Severity.WARNING), clear, again):
        assert isinstance(await one(there, told), Delivered)
    case = there.case()
    assert [case[n] for n in ("Subject", "Description", "Status", "Priority")] == [
        *("Pump, again", "mine", "Working", "Low")
    ]
    log = case["Fieldline_Log__c"].splitlines()
    assert [line.rsplit(" ", 1)[1] for line in log] == [f"[{e.id}]" for e in (update, clear, again)]


async def test_a_case_is_closed_and_opened_as_the_trouble_goes_and_comes(there: Org) -> None:
    raised, _, clear, again = story()
    await one(there, raised)
    await one(there, clear)
    assert there.case()["IsClosed"]
    await one(there, replace(again, severity=Severity.WARNING))
    assert not there.case()["IsClosed"]
    assert there.case()["Status"] == "New"
    assert there.case()["Priority"] == "Medium"


async def test_an_older_change_does_not_undo_a_newer_one(there: Org) -> None:
    raised, update, clear, _ = story()
    await one(there, raised)
    await one(there, clear)
    before = dict(there.case())
    assert await one(there, update) == Delivered(target_id=before["Id"], created=False)
    assert there.case() == before


async def test_a_deleted_case_is_not_made_again_by_a_change(there: Org) -> None:
    raised, update, clear, _ = story()
    await one(there, raised)
    there.sandbox.rest.store.delete("Case", there.case()["Id"])
    for told, final in ((update, False), (clear, True)):
        outcome = await one(there, told)
        assert isinstance(outcome, Rejected)
        assert (outcome.code, outcome.final) == ("salesforce.no_record", final)
    assert there.cases() == []


async def test_a_case_that_goes_between_reading_and_writing_is_told_as_deleted(there: Org) -> None:
    raised, update, _, _ = story()
    await one(there, raised)
    connector = there.world.connector()
    conversation = connector.deliver([there.world.delivery(update)])
    async with httpx.AsyncClient() as client:
        call = next(conversation)
        while call.step != "update":
            call = conversation.send(await client.send(call.request))
        there.sandbox.rest.store.delete("Case", there.case()["Id"])
        with pytest.raises(StopIteration) as end:
            conversation.send(await client.send(call.request))
    [outcome] = end.value.value
    assert isinstance(outcome, Rejected)
    assert outcome.code == "salesforce.entity_is_deleted"
    assert there.cases() == []


# -- context


async def test_a_case_stands_with_its_account_asset_and_entitlement(there: Org) -> None:
    account = there.add("Account", Name="Acme", Customer_Id__c="C-1")
    asset = there.add("Asset", Name="Truck", Asset_Id__c="TRK-1", AccountId=account)
    cover = there.add("Entitlement", Name="Gold", AccountId=account)
    record = replace(RECORD, ids={"salesforce.entitlement": cover})
    connector = there.world.connector(
        account_external_id_field="Customer_Id__c", asset_external_id_field="Asset_Id__c"
    )
    for told in ([event()], many(3)):
        await there.world.deliver(*told, connector=connector, record=record)
    assert len(there.cases()) == 4
    for case in there.cases():
        assert [case[n] for n in ("AccountId", "AssetId", "EntitlementId")] == [
            account,
            asset,
            cover,
        ]


async def test_an_account_that_salesforce_does_not_have_is_a_business_refusal(there: Org) -> None:
    outcome = await one(there, event(), account_external_id_field="Customer_Id__c")
    assert isinstance(outcome, Rejected)
    assert outcome.code == "salesforce.invalid_field"
    assert "Foreign key" in outcome.message


# -- keys


async def test_versions_before_46_answer_an_update_with_204_and_no_id(there: Org) -> None:
    # Two workers: both read nothing, the second one's upsert updates.
    connectors = [there.world.connector(api_version="45.0") for _ in range(2)]
    delivery = there.world.delivery(event())
    conversations = [made.deliver([delivery]) for made in connectors]
    outcomes: list[Outcome] = []
    async with httpx.AsyncClient() as client:
        calls = [next(talk) for talk in conversations]
        while any(call.step != "upsert" for call in calls):
            calls = [
                call if call.step == "upsert" else talk.send(await client.send(call.request))
                for talk, call in zip(conversations, calls, strict=True)
            ]
        for talk, first in zip(conversations, calls, strict=True):
            try:
                call = first
                while True:
                    call = talk.send(await client.send(call.request))
            except StopIteration as end:
                outcomes += end.value
    own_id = there.case()["Id"]
    assert outcomes == [
        Delivered(target_id=own_id, created=True),
        Delivered(target_id=own_id, created=False),
    ]


async def test_a_key_that_several_have_is_refused_and_a_person_decides(there: Org) -> None:
    for _ in range(2):
        there.add("Case", Legacy_Key__c=event().id)
    values: dict[str, Any] = {"external_id_field": "Legacy_Key__c"}
    outcome = await one(there, event(), **values)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "salesforce.ambiguous_key"
    [answer] = await there.world.look_up(event(), connector=there.world.connector(**values))
    assert isinstance(answer, Undecidable)
    assert len(there.cases()) == 2


@pytest.mark.parametrize(("text", "kind"), [("[]", Rejected), ("oops", Unknown)])
def test_300_is_a_refusal_only_with_its_list(text: str, kind: type) -> None:
    [outcome], _ = talk([event()], READ, httpx.Response(300, text=text))
    assert isinstance(outcome, kind)


@pytest.mark.parametrize("name", ["a/b", "it's", 'a"b', "a\\", "ü?&=#%", "x.inc", "ключ 🔑"])
async def test_any_key_is_found_again_as_it_is(there: Org, name: str) -> None:
    told = event(id=name)
    assert isinstance(await one(there, told), Delivered)
    assert there.case()["Fieldline_Key__c"] == name
    [answer] = await there.world.look_up(told)
    assert answer == Found(target_id=there.case()["Id"])
    assert await one(there, told) == Delivered(target_id=there.case()["Id"], created=False)


async def test_a_key_that_differs_only_in_case_is_refused_not_written_over(there: Org) -> None:
    await one(there, event(id="Key-A"))
    outcome = await one(there, event(id="key-a", summary="another trouble"))
    assert isinstance(outcome, Rejected)
    assert outcome.code == "salesforce.ambiguous_key"
    assert there.case()["Subject"] == event().summary


async def test_two_hundred_long_keys_are_read_in_addresses_that_are_short_enough(
    there: Org,
) -> None:
    told = [event(id=f"{n:03}" + "ключ" * 15, device_id=f"acme/t-{n}") for n in range(200)]
    outcomes = await there.world.deliver(*told, connector=there.world.connector(bulk_from=0))
    assert all(isinstance(one, Delivered) for one in outcomes)
    assert max(len(str(call.request.url)) for call in there.world.calls) < 16_000


# -- races


def talk(
    told: list[BusinessEvent],
    *replies: httpx.Response | httpx.TransportError,
    **values: Any,  # noqa: ANN401 - settings
) -> tuple[Any, Any]:
    made = SalesforceConnector(settings(**values), OPEN, lambda: 0.0)
    deliveries = [Delivery(event=one, key=one.id, record=RECORD) for one in told]
    token = httpx.Response(200, json={"access_token": "00D!t"})
    return converse(made.deliver(deliveries), [token, *replies])


def rows(*found: dict[str, Any]) -> httpx.Response:
    return httpx.Response(200, json={"records": list(found), "done": True})


def row(told: BusinessEvent, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - fields
    return {"Id": ID, "Fieldline_Key__c": told.entity, "Status": "New", **more}


READ = rows()
RACED = httpx.Response(
    400, json=[{"errorCode": "DUPLICATE_VALUE", "message": "duplicate value found", "fields": []}]
)


def test_who_loses_a_race_looks_again_and_leaves_what_is_there() -> None:
    [outcome], calls = talk([event()], READ, RACED, rows(row(event())))
    assert outcome == Delivered(target_id=ID, created=False)
    assert steps(calls) == ["token", "read", "upsert", "read_again"]


def test_a_duplicate_of_another_value_is_refused() -> None:
    [outcome], _ = talk([event()], READ, RACED, READ)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "salesforce.duplicate_value"


def test_a_change_that_loses_a_race_is_made_once_more_and_no_oftener() -> None:
    told = story()[1]
    refused = httpx.Response(
        200, json=[{"success": False, "errors": [{"statusCode": "DUPLICATE_VALUE"}]}]
    )
    done = httpx.Response(200, json=[{"id": ID, "success": True, "errors": []}])
    there = rows(row(told))
    [outcome], calls = talk([told], there, refused, there, done)
    assert outcome == Delivered(target_id=ID, created=True)
    assert steps(calls)[1:] == ["read", "update", "read_again", "update"]
    [outcome], _ = talk([told], there, refused, there, refused)
    assert isinstance(outcome, Retryable)
    assert outcome.scope is Scope.ITEM


def test_after_a_raise_that_is_not_through_its_changes_wait() -> None:
    raised, update, clear, _ = story()
    outcomes, calls = talk([raised, update, clear], READ, httpx.ReadTimeout("slow"))
    assert isinstance(outcomes[0], Unknown)
    assert all(isinstance(one, Retryable) for one in outcomes[1:])
    assert steps(calls) == ["token", "read", "upsert"]


# -- batches


async def test_a_batch_is_two_requests_and_each_event_has_an_outcome_of_its_own(
    there: Org,
) -> None:
    told = many(5)
    there.world.far.errors(
        {"code": "UNABLE_TO_LOCK_ROW", "key": told[1].id},
        {"code": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "key": told[3].id},
    )
    outcomes = await there.world.deliver(*told)
    assert there.steps() == ["read", "upsert_collection"]
    assert isinstance(outcomes[1], Retryable)
    assert outcomes[1].scope is Scope.ITEM
    assert isinstance(outcomes[3], Rejected)
    made = [one for one in outcomes if isinstance(one, Delivered)]
    assert {one.target_id for one in made} == {case["Id"] for case in there.cases()}


async def test_changes_of_many_cases_are_one_request(there: Org) -> None:
    told = many(30)
    await there.world.deliver(*told)
    there.world.calls.clear()
    changes = [
        event(f"c{n}", offset=9, action=Action.CLEAR, entity_id=one.id, device_id=one.device_id)
        for n, one in enumerate(told)
    ]
    outcomes = await there.world.deliver(*changes)
    assert there.steps() == ["read", "update"]
    assert all(isinstance(one, Delivered) for one in outcomes)
    assert all(case["IsClosed"] for case in there.cases())


async def test_one_record_that_spoils_the_whole_request_is_refused_alone(there: Org) -> None:
    told = many(8)
    connector = there.world.connector(account_external_id_field="No_Such__c")
    account = there.add("Account", Name="Acme")
    fine = replace(RECORD, ids={"salesforce.account": account})
    deliveries = [there.world.delivery(e, RECORD if n == 5 else fine) for n, e in enumerate(told)]
    exchange = await there.world.hold(connector.deliver(deliveries))
    assert exchange.result is not None
    kinds = [type(one) for one in exchange.result]
    assert kinds == [Delivered] * 5 + [Rejected] + [Delivered] * 2


def test_after_trouble_of_the_system_the_rest_of_a_batch_is_not_sent() -> None:
    busy = httpx.Response(
        403, json=[{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests"}]
    )
    outcomes, calls = talk(many(450), READ, READ, READ, busy)
    assert steps(calls) == ["token", "read", "read", "read", "upsert_collection"]
    assert all(isinstance(one, Retryable) and one.scope is Scope.SYSTEM for one in outcomes)


def test_a_batch_whose_answer_is_lost_is_unknown_and_the_rest_is_not_sent() -> None:
    outcomes, _ = talk(many(250), READ, READ, httpx.ReadError("gone"))
    kinds = {type(one) for one in outcomes[:200]}, {type(one) for one in outcomes[200:]}
    assert kinds == ({Unknown}, {Retryable})


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200, json={"records": [], "done": False}),
        httpx.Response(200, json={"records": [{"Id": 5}], "done": True}),
        httpx.Response(200, json={"records": {}, "done": True}),
        httpx.Response(200, json=[]),
        httpx.Response(204),
        httpx.Response(400, json=[{"errorCode": "INVALID_FIELD", "message": "No such column"}]),
        httpx.ReadTimeout("slow"),
    ],
)
def test_where_it_cannot_be_read_nothing_is_written_and_nothing_is_refused(
    reply: httpx.Response | httpx.TransportError,
) -> None:
    outcomes, calls = talk(many(3), reply)
    assert steps(calls) == ["token", "read"]
    assert all(isinstance(one, Retryable) for one in outcomes)


def test_what_is_kept_of_an_answer_is_about_the_refused_record_alone() -> None:
    errors = [{"statusCode": "STRING_TOO_LONG", "message": "Subject: too large", "fields": []}]
    fine = {"success": True, "id": ID, "created": True, "errors": []}
    reply = httpx.Response(200, json=[{"success": False, "errors": errors}, fine])
    outcomes, _ = talk(many(2), READ, reply)
    assert isinstance(outcomes[0], Rejected)
    assert outcomes[0].answer == "STRING_TOO_LONG: Subject: too large"


@pytest.mark.parametrize(
    "item",
    [None, 5, [], {}, {"success": True}, {"success": "true", "id": ID}, {"success": False}],
)
def test_an_item_that_does_not_say_what_happened_is_unknown(item: object) -> None:
    fine = {"success": True, "id": ID, "created": True, "errors": []}
    outcomes, _ = talk(many(2), READ, httpx.Response(200, json=[fine, item]))
    assert outcomes[0] == Delivered(target_id=ID, created=True)
    assert isinstance(outcomes[1], Unknown)


def test_fewer_items_than_records_are_no_answer() -> None:
    fine = {"success": True, "id": ID, "created": True, "errors": []}
    outcomes, _ = talk(many(2), READ, httpx.Response(200, json=[fine]))
    assert all(isinstance(one, Unknown) for one in outcomes)


def test_a_lock_within_a_trigger_is_a_lock() -> None:
    words = "UpdateParent: execution of AfterInsert caused by: UNABLE_TO_LOCK_ROW, unable to obtain"
    errors = [{"statusCode": "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "message": words}]
    reply = httpx.Response(200, json=[{"success": False, "errors": errors}] * 2)
    outcomes, _ = talk(many(2), READ, reply)
    assert {one.code for one in outcomes} == {"salesforce.row_locked"}
    assert {one.scope for one in outcomes} == {Scope.ITEM}


def test_the_key_is_not_in_the_body_of_a_single_upsert() -> None:
    done = httpx.Response(201, json={"id": ID, "success": True, "errors": [], "created": True})
    [outcome], calls = talk([event()], READ, done)
    assert outcome == Delivered(target_id=ID, created=True)
    assert "Fieldline_Key__c" not in body(calls[2])
    assert calls[2].request.url.path.endswith(f"/sobjects/Case/Fieldline_Key__c/{event().id}")


# -- platform events


async def test_each_change_is_published_once_with_the_id_of_its_case(there: Org) -> None:
    connector = there.world.connector(platform_event=EVENT)
    assert not connector.keyed
    for told in story():
        for _ in range(2):
            [outcome] = await there.world.deliver(told, connector=connector)
            assert isinstance(outcome, Delivered), outcome
    published = there.sandbox.rest.store.events
    assert [one["Key__c"] for one in published] == [told.id for told in story()]
    assert [one["Action__c"] for one in published] == ["raise", "update", "clear", "update"]
    assert {one["Record__c"] for one in published} == {there.case()["Id"]}
    effects = {call.effect for call in there.world.calls if call.step == "publish"}
    assert effects == {Effect.WRITE}


async def test_where_the_case_is_refused_nothing_is_published(there: Org) -> None:
    told = many(3)
    there.world.far.errors({"code": "STRING_TOO_LONG", "key": told[1].id, "times": None})
    connector = there.world.connector(platform_event=EVENT)
    outcomes = await there.world.deliver(*told, connector=connector)
    assert [type(one) for one in outcomes] == [Delivered, Rejected, Delivered]
    keys = [one["Key__c"] for one in there.sandbox.rest.store.events]
    assert keys == [told[0].id, told[2].id]


async def test_where_the_event_is_refused_there_is_no_case(there: Org) -> None:
    there.world.far.errors({"code": "LIMIT_EXCEEDED", "key": '"Key__c"', "times": None})
    outcomes = await there.world.deliver(
        *many(2), connector=there.world.connector(platform_event=EVENT)
    )
    for outcome in outcomes:
        assert isinstance(outcome, Retryable)
        assert (outcome.code, outcome.scope) == ("salesforce.limit", Scope.SYSTEM)
    assert there.cases() == there.sandbox.rest.store.events == []
    assert there.steps() == ["read", "publish"]


async def test_a_lost_answer_to_an_event_is_looked_up_by_its_case(there: Org) -> None:
    connector = there.world.connector(platform_event=EVENT)
    assert await there.world.look_up(event(), connector=connector) == [NotFound()]
    there.world.far.faults({"path": "/composite", "mode": "drop_after"})
    [outcome] = await there.world.deliver(event(), connector=connector)
    assert isinstance(outcome, Unknown)
    assert await there.world.look_up(event(), connector=connector) == [
        Found(target_id=there.case()["Id"])
    ]
    assert len(there.sandbox.rest.store.events) == 1


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200, json={"compositeResponse": []}),
        httpx.Response(200, json={"compositeResponse": [{"referenceId": "record"}, 5]}),
        httpx.Response(200, json=[]),
        httpx.Response(500),
        httpx.ReadTimeout("slow"),
    ],
)
def test_an_unreadable_answer_to_an_event_is_unknown(
    reply: httpx.Response | httpx.TransportError,
) -> None:
    [outcome], _ = talk([event()], READ, reply, platform_event=EVENT)
    assert isinstance(outcome, Unknown)


async def test_without_queries_what_is_raised_goes_by_its_upsert_alone_and_a_change_waits(
    there: Org,
) -> None:
    there.world.far.faults({"path": "/query", "status": 404, "times": None})
    raised, update, _, _ = story()
    [made] = await there.world.deliver(raised)
    [again] = await there.world.deliver(raised)
    [change] = await there.world.deliver(update)
    assert isinstance(made, Delivered)
    assert made.created
    assert again == replace(made, created=False)
    assert isinstance(change, Retryable)
    assert change.code == "salesforce.no_query"
    assert len(there.cases()) == 1
