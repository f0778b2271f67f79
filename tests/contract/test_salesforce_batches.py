"""Many at once: each event has an outcome of its own, and an answer says no more than it says."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from pipeline.core.events import Action
from pipeline.core.outcome import Delivered, Rejected, Retryable, Scope, Unknown
from tests.contract import salesforce_examples
from tests.contract.case import RECORD
from tests.contract.conversation import body, steps
from tests.contract.salesforce_examples import ID, READ, Org, talk
from tests.contract.world import event, many

FINE = {"success": True, "id": ID, "created": True, "errors": []}
"""An item of a batch's answer."""

there = salesforce_examples.there


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
    reply = httpx.Response(200, json=[{"success": False, "errors": errors}, FINE])
    outcomes, _ = talk(many(2), READ, reply)
    assert isinstance(outcomes[0], Rejected)
    assert outcomes[0].answer == "STRING_TOO_LONG: Subject: too large"


@pytest.mark.parametrize(
    "item",
    [None, 5, [], {}, {"success": True}, {"success": "true", "id": ID}, {"success": False}],
)
def test_an_item_that_does_not_say_what_happened_is_unknown(item: object) -> None:
    outcomes, _ = talk(many(2), READ, httpx.Response(200, json=[FINE, item]))
    assert outcomes[0] == Delivered(target_id=ID, created=True)
    assert isinstance(outcomes[1], Unknown)


def test_fewer_items_than_records_are_no_answer() -> None:
    outcomes, _ = talk(many(2), READ, httpx.Response(200, json=[FINE]))
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
