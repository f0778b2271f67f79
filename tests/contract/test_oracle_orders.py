"""Oracle Fusion: all or nothing, If-Match, whose words stay, and the modes by setting."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Effect
from connectors.jobs import Final
from connectors.oracle.config import OracleSettings
from connectors.oracle.mapping import (
    DESCRIPTION_MAX,
    NEWS,
    described,
    last_place,
    place_of,
    with_news,
)
from connectors.settings import make as make_settings
from pipeline.core.events import BusinessEvent, Severity
from pipeline.core.outcome import Delivered, Found, Rejected, Retryable, Scope, Unknown
from pipeline.settings import SettingsError
from tests.contract.cases.oracle import CASE
from tests.contract.changes import OUTAGES, clear_during, with_refused_raise
from tests.contract.conversation import body, steps
from tests.contract.world import World, event, many, story
from tests.sandboxes.box import boxed
from tests.sandboxes.oracle import ORGANIZATION, PASSWORD, USERNAME, Oracle, make

Place = tuple[World, Oracle]
BASIC: dict[str, Any] = {"username": USERNAME, "password": PASSWORD} | dict.fromkeys(
    ("client_id", "client_secret", "token_url", "scope"), ""
)
CONDITION: dict[str, Any] = {"condition_code": "OVERHEAT", "document_type": "ORA_IOT"}


@pytest.fixture
def place() -> Iterator[Place]:
    """A far end, and the sandbox behind it."""
    sandbox = make()
    with boxed(sandbox) as far:
        yield World(CASE, far), sandbox


def order_of(sandbox: Oracle, told: BusinessEvent) -> dict[str, Any]:
    [found] = [
        one
        for one in sandbox.orders.values()
        if f"FL-{told.entity}" in (one["WorkOrderNumber"], *one.get("documents", ()))
    ]
    return found


def people_write(sandbox: Oracle, told: BusinessEvent, **values: Any) -> None:  # noqa: ANN401 - attributes
    order = order_of(sandbox, told)
    order.update(values, changes=order["changes"] + 1)


# -- descriptions


@given(
    text=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=300),
    news=st.lists(st.text("abc [FL-1.2] · now: ", max_size=250), max_size=4),
    offset=st.integers(0, 2**62),
)
def test_a_description_keeps_its_text_and_always_tells_the_last_place(
    text: str, news: list[str], offset: int
) -> None:
    told = described(text, (offset, 3))
    head = told.partition(" [FL-")[0]
    for step, one in enumerate(news, 4):
        told = with_news(told, one, (offset, step))
        assert len(told) <= DESCRIPTION_MAX
        assert last_place(told) == (offset, step)
        assert told.startswith(head.partition(NEWS)[0].rstrip()[:100].rstrip())


@pytest.mark.parametrize("text", ["", "[FL-1.2] was here", "[FL-x.y]", "[FL-1]", "FL-1.2"])
def test_only_a_mark_at_the_end_is_one(text: str) -> None:
    assert last_place(text) == (-1, -1)


def test_places_are_compared_as_numbers() -> None:
    assert place_of("0000000000000000010.0000000002") == (10, 2)
    assert place_of("0000000000000000010.0000000002") > place_of("0000000000000000009.0000000011")


# -- conflict rules


async def test_what_people_wrote_stays_and_the_news_come_after_it(place: Place) -> None:
    world, sandbox = place
    raised, update, clear, _ = story()
    await world.deliver(raised)
    people_write(sandbox, raised, WorkOrderDescription="Compressor, call Ann first")
    await world.deliver(update)
    told = order_of(sandbox, raised)["WorkOrderDescription"]
    assert told == f"Compressor, call Ann first · now: {update.summary} [FL-2.0]"
    await world.deliver(clear)
    told = order_of(sandbox, raised)["WorkOrderDescription"]
    assert told == f"Compressor, call Ann first · now: {clear.summary} [FL-3.0]"


async def test_an_older_event_changes_nothing_of_a_newer_one(place: Place) -> None:
    world, sandbox = place
    raised, update, clear, _ = story()
    await world.deliver(raised)
    await world.deliver(clear)
    [late] = await world.deliver(update)
    assert isinstance(late, Delivered)
    assert not late.created
    assert order_of(sandbox, raised)["WorkOrderStatusCode"] == "ORA_COMPLETED"
    assert [e["op"] for e in world.ops()] == ["create", "close"]


async def test_a_write_that_comes_between_look_and_change_is_not_lost(place: Place) -> None:
    world, sandbox = place
    raised, update, _, _ = story()
    await world.deliver(raised)
    connector = world.connector()
    conversation = connector.deliver([world.delivery(update)])

    def meddled() -> Any:  # noqa: ANN401 - a conversation
        call = next(conversation)
        first = True
        try:
            while True:
                if call.step == "change" and first:
                    first = False
                    people_write(sandbox, raised, WorkOrderDescription="Ann is on it")
                call = conversation.send((yield call))
        except StopIteration as end:
            return end.value

    exchange = await world.hold(meddled())
    assert exchange.result is not None, exchange.bug
    [outcome] = exchange.result
    assert isinstance(outcome, Delivered)
    assert order_of(sandbox, raised)["WorkOrderDescription"].startswith("Ann is on it · now: ")
    assert steps(world.calls).count("change") == 2


async def test_an_order_that_never_stands_still_is_tried_again_later(place: Place) -> None:
    world, _ = place
    raised, update, _, _ = story()
    await world.deliver(raised)
    stale = '{"title": "Precondition Failed", "status": "412", "detail": "stale"}'
    world.far.faults({"method": "PATCH", "status": 412, "body_text": stale, "times": None})
    [outcome] = await world.deliver(update)
    assert isinstance(outcome, Retryable)
    assert outcome.scope is Scope.ITEM


async def test_an_order_that_is_closed_for_good_refuses_to_open(place: Place) -> None:
    world, sandbox = place
    raised, update, _, _ = story()
    await world.deliver(raised)
    people_write(sandbox, raised, WorkOrderStatusCode="ORA_CLOSED")
    connector = world.connector(status_closed="ORA_CLOSED")
    [outcome] = await world.deliver(update, connector=connector)
    assert isinstance(outcome, Rejected)
    assert "ORA_CLOSED" in outcome.message


@pytest.mark.parametrize(
    ("there", "severity", "then"),
    [(3, Severity.CRITICAL, 1), (1, Severity.INFO, 1), (9, Severity.CRITICAL, 9)],
)
async def test_a_priority_only_rises_and_one_of_peoples_own_stays(
    place: Place, there: int, severity: Severity, then: int
) -> None:
    world, sandbox = place
    raised, update, _, _ = story()
    await world.deliver(raised)
    people_write(sandbox, raised, WorkOrderPriority=there)
    await world.deliver(replace(update, severity=severity))
    assert order_of(sandbox, raised)["WorkOrderPriority"] == then


# -- batches


async def test_many_new_orders_go_in_one_request(place: Place) -> None:
    world, _ = place
    outcomes = await world.deliver(*many(25))
    assert [type(one) for one in outcomes] == [Delivered] * 25
    assert steps(world.writes()) == ["create_batch"]
    assert world.writes()[0].request.headers["content-type"].endswith("adf.batch+json")
    assert len(body(world.writes()[0])["parts"]) == 25


async def test_a_refused_batch_has_made_nothing_and_its_orders_go_one_by_one(place: Place) -> None:
    world, _ = place
    told = many(4)
    world.far.errors({"code": "400", "key": told[1].id, "times": None})
    outcomes = await world.deliver(*told)
    assert [type(one) for one in outcomes] == [Delivered, Rejected, Delivered, Delivered]
    assert steps(world.writes()) == ["create_batch", *["create"] * 4]
    assert len(world.creates()) == 3


@pytest.mark.parametrize(
    "fault",
    [{"mode": "drop_field", "fields": ["payload"]}, {"mode": "truncate"}, {"mode": "drop_after"}],
)
async def test_a_batch_whose_parts_are_not_told_of_is_unknown_and_then_found(
    place: Place, fault: dict[str, Any]
) -> None:
    world, _ = place
    world.far.faults(CASE.on_write(times=1, **fault))
    outcomes = await world.deliver(*many(3))
    assert {type(one) for one in outcomes} == {Unknown}
    if fault["mode"] != "drop_after":
        assert {o.code for o in outcomes if isinstance(o, Unknown)} == {"oracle.part_missing"}
    again = await world.deliver(*many(3))
    assert [type(one) for one in again] == [Delivered] * 3
    assert len(world.creates()) == 3


async def test_who_was_slower_finds_the_others_order(place: Place) -> None:
    world, sandbox = place
    told = event()
    await world.deliver(told)
    empty = '{"items": [], "hasMore": false}'
    world.far.faults({"method": "GET", "status": 200, "body_text": empty, "times": 1})
    [outcome] = await world.deliver(told)
    assert isinstance(outcome, Delivered)
    assert not outcome.created
    assert len(sandbox.orders) == 1


# -- by setting


async def test_with_upsert_mode_creates_are_keyed(place: Place) -> None:
    world, _ = place
    connector = world.connector(upsert_mode=True)
    assert connector.keyed
    await world.deliver(event("one"), connector=connector)
    assert world.writes()[0].request.headers["upsert-mode"] == "true"
    await world.deliver(*many(3), connector=connector)
    assert {part["operation"] for part in body(world.writes()[1])["parts"]} == {"upsert"}
    assert {call.effect for call in world.writes()} == {Effect.KEYED_WRITE}
    assert len(world.creates()) == 4


async def test_condition_based_orders_are_found_by_their_document_and_changed(
    place: Place,
) -> None:
    world, sandbox = place
    connector = world.connector(**CONDITION)
    raised, update, clear, again = story()
    for told in (raised, update, clear, again):
        [outcome] = await world.deliver(told, connector=connector)
        assert isinstance(outcome, Delivered), outcome
        assert outcome.created
    ops = [e["op"] for e in world.ops(f"FL-{raised.id}")]
    assert ops == ["create", "update", "close", "reopen"]
    assert len(sandbox.orders) == 1
    action = world.writes()[0].request
    assert action.url.path.endswith("/action/createConditionBasedWorkOrders")
    assert action.headers["content-type"] == "application/vnd.oracle.adf.action+json"
    [found] = await world.look_up(raised, connector=connector)
    assert isinstance(found, Found)


async def test_a_condition_based_order_is_made_once_though_the_answer_is_lost(
    place: Place,
) -> None:
    world, _ = place
    world.far.faults({"path": "/action/", "mode": "drop_after", "times": 1})
    case = replace(CASE, values=lambda far: {**CASE.values(far), **CONDITION})
    far = World(case, world.far)
    [end] = await far.run([event()])
    assert end.final is Final.DELIVERED
    assert len(world.creates()) == 1


async def test_basic_works_and_a_wrong_password_is_the_systems_trouble(place: Place) -> None:
    world, _ = place
    [made] = await world.deliver(event(), connector=world.connector(**BASIC))
    assert isinstance(made, Delivered)
    wrong = world.connector(**BASIC | {"password": "wrong-one"})
    [refused] = await world.deliver(event("two"), connector=wrong)
    assert isinstance(refused, Retryable)
    assert (refused.code, refused.scope) == ("oracle.login", Scope.SYSTEM)
    world.far.faults(CASE.on_write(mode="echo", status=500, times=None))
    [told] = await world.deliver(event("three"), connector=world.connector(**BASIC))
    hidden = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
    assert hidden not in repr(told)


async def test_every_request_names_the_framework_version(place: Place) -> None:
    world, _ = place
    await world.run(story())
    sent = [call for call in world.calls if call.step != "token"]
    assert {call.request.headers["rest-framework-version"] for call in sent} == {"4"}


async def test_the_identity_maps_asset_number_is_used_where_there_is_one(place: Place) -> None:
    world, sandbox = place
    sandbox.assets.add("A-77")
    mapped = replace(CASE.record, ids={"oracle.asset": "A-77"})
    await world.deliver(event(), record=mapped)
    assert order_of(sandbox, event())["AssetNumber"] == "A-77"


async def test_half_a_page_of_a_look_up_is_no_answer(place: Place) -> None:
    world, _ = place
    half = '{"items": [], "hasMore": true}'
    world.far.faults({"method": "GET", "status": 200, "body_text": half, "times": None})
    [answer] = await world.look_up(event())
    assert isinstance(answer, Retryable)


# -- settings


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "username and password, or client_id"),
        ({**BASIC, "client_id": "x"}, "username and password, or client_id"),
        ({"username": "x"}, "password is missing"),
        ({"client_id": "x", "client_secret": "y"}, "token_url is missing"),
        ({**BASIC, "condition_code": "C"}, "needs document_type"),
        ({**BASIC, **CONDITION, "upsert_mode": True}, "give one of them"),
        ({**BASIC, "organization_code": "a'b"}, "ORACLE_ORGANIZATION_CODE"),
        ({**BASIC, "reference_field": "x = 'y' or z"}, "ORACLE_REFERENCE_FIELD"),
        ({**BASIC, "framework_version": "1"}, "ORACLE_FRAMEWORK_VERSION"),
        ({**BASIC, "url": "http://erp.example"}, "ORACLE_URL"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_mend(
    values: dict[str, Any], said: str
) -> None:
    base = {"url": "https://fusion.example", "organization_code": ORGANIZATION}
    with pytest.raises(SettingsError, match=said) as caught:
        make_settings(OracleSettings, base | values)
    assert PASSWORD not in str(caught.value)


def test_requests_go_to_the_environment_and_its_identity_domain_only() -> None:
    made = make_settings(
        OracleSettings,
        {
            "url": "https://fusion.example",
            "organization_code": ORGANIZATION,
            "client_id": "x",
            "client_secret": "y",
            "token_url": "https://idcs.example/oauth2/v1/token",
        },
    )
    assert made.hosts() == {"fusion.example", "idcs.example"}


@pytest.mark.parametrize("fault", OUTAGES)
async def test_a_change_during_an_outage_is_the_systems_trouble(
    place: Place, fault: dict[str, Any]
) -> None:
    world, _ = place
    outcome = await clear_during(world, path="q=", **fault)
    assert isinstance(outcome, Retryable)
    assert outcome.scope is Scope.SYSTEM


async def test_a_change_waits_as_long_as_the_raise_of_its_batch(place: Place) -> None:
    world, _ = place
    for code, scope in (("503", Scope.SYSTEM), ("409", Scope.ITEM)):
        outcomes = await with_refused_raise(world, code)
        assert [o.scope for o in outcomes if isinstance(o, Retryable)] == [scope] * 2
