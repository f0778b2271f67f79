from __future__ import annotations

import base64
from dataclasses import replace

import httpx
import pytest

from connectors.base import Connector, Effect, Reply
from connectors.tryton import TrytonConnector
from connectors.tryton.session import ASSETS
from pipeline.core.outcome import (
    Delivered,
    Found,
    NotFound,
    Rejected,
    Retryable,
    Scope,
    Unknown,
)
from tests.contract.conversation import body, converse, steps
from tests.contract.tryton_examples import (
    CONFIG,
    LOGIN,
    NUMBER_TAKEN,
    PREFERENCES,
    RECORD,
    RIGHTS,
    connector,
    delivery,
    equipment,
    error,
    key,
    login,
    ok,
    order,
    user_error,
)

OTHER = replace(
    RECORD, device_id="acme/truck-2", asset_id="TRK_2", customer_id="C-2", customer_tax_id=""
)
PARTY = {"id": 3, "code": "C-1", "active": 1}


def deliver(
    replies: list[Reply], *names: str, to: TrytonConnector | None = None
) -> tuple[list[object], list[str]]:
    """Outcomes and steps of delivering these events after a login."""
    conversation = (to or connector()).deliver([delivery(name) for name in names or ("one",)])
    outcomes, calls = converse(conversation, [*login(), *replies])
    assert steps(calls)[:5] == LOGIN
    return list(outcomes), steps(calls)[5:]


def test_it_is_a_connector() -> None:
    made: Connector = connector()
    assert made.name == "tryton"
    assert made.batch_size > 1


def test_with_everything_in_place_two_calls_deliver_a_batch_and_look_up_comes_first() -> None:
    outcomes, made = deliver([ok([equipment()]), ok([20, 21])], "one", "two")
    assert outcomes == [
        Delivered(target_id="20", created=True),
        Delivered(target_id="21", created=True),
    ]
    assert made == ["look_up", "create_order"]


def test_customer_and_equipment_are_made_before_the_order_where_they_are_missing() -> None:
    outcomes, made = deliver([ok([]), ok([]), ok([3]), ok([10]), ok([equipment()]), ok([20])])
    assert outcomes == [Delivered(target_id="20", created=True)]
    assert made == [
        *("look_up", "find_customer", "create_customer"),
        *("create_equipment", "look_up", "create_order"),
    ]


def test_only_the_creates_are_writes_and_only_the_customers_is_keyed() -> None:
    replies = [*login(), ok([]), ok([]), ok([3]), ok([10]), ok([equipment()]), ok([20])]
    _, calls = converse(connector().deliver([delivery()]), replies)
    assert {c.step: c.effect for c in calls if c.effect is not Effect.READ} == {
        "create_customer": Effect.KEYED_WRITE,
        "create_equipment": Effect.WRITE,
        "create_order": Effect.WRITE,
    }


def test_an_order_that_is_there_is_not_made_again() -> None:
    outcomes, made = deliver([ok([equipment(), order()])])
    assert outcomes == [Delivered(target_id="20", created=False)]
    assert made == ["look_up"]


def test_a_longer_or_differently_written_reference_is_not_the_same_order() -> None:
    like = [
        order() | {"name": f"fl-{key('one')} · x"},
        order() | {"name": f"FL-{key('one')}2 · x"},
    ]
    outcomes, _ = deliver([ok([equipment(), *like]), ok([30])])
    assert outcomes == [Delivered(target_id="30", created=True)]


def test_one_key_twice_in_a_batch_is_made_once() -> None:
    outcomes, _ = deliver([ok([equipment()]), ok([20])], "one", "one")
    assert outcomes == [
        Delivered(target_id="20", created=True),
        Delivered(target_id="20", created=False),
    ]


def test_what_the_mapping_refuses_needs_no_call_at_all() -> None:
    outcomes, calls = converse(connector().deliver([replace(delivery(), record=None)]), [])
    assert isinstance(outcomes[0], Rejected)
    assert calls == []


def test_an_empty_batch_needs_no_call_at_all() -> None:
    assert converse(connector().deliver([]), []) == ([], [])
    assert converse(connector().look_up([]), []) == ([], [])


def test_a_refused_batch_is_looked_up_and_then_gone_through_one_by_one() -> None:
    outcomes, made = deliver(
        [
            ok([equipment()]),
            user_error("Bad name."),  # the batch
            ok([]),
            ok([20]),  # one
            user_error("Bad name."),  # two
            ok([]),
            ok(RIGHTS),
            ok([22]),  # three
        ],
        *("one", "two", "three"),
    )
    assert outcomes[0] == Delivered(target_id="20", created=True)
    assert outcomes[1] == Rejected(
        code="tryton.user_error", message="Bad name.", answer="Bad name."
    )
    assert outcomes[2] == Delivered(target_id="22", created=True)
    assert made[1:] == [
        *("create_order", "look_up", "create_order"),
        *("create_order", "look_up", "rights", "create_order"),
    ]


def test_when_the_system_fails_midway_what_was_not_sent_is_retryable_not_unknown() -> None:
    outcomes, _ = deliver(
        [ok([equipment()]), user_error(), ok([]), ok([20]), httpx.ReadTimeout("")],
        *("one", "two", "three"),
    )
    assert [type(o) for o in outcomes] == [Delivered, Unknown, Retryable]


def test_a_number_that_two_creates_drew_at_once_is_no_ones_fault() -> None:
    outcomes, made = deliver([ok([equipment()]), user_error(NUMBER_TAKEN)], "one", "two")
    for outcome in outcomes:
        assert isinstance(outcome, Retryable)
        assert (outcome.code, outcome.scope) == ("tryton.number_race", Scope.ITEM)
    assert made == ["look_up", "create_order"]


@pytest.mark.parametrize(
    "told", [[user_error()], [error("'x'")], [ok(188), user_error()], [ok(188), ok([])]], ids=len
)
def test_a_tryton_that_does_not_tell_its_sentence_still_takes_orders(told: list[Reply]) -> None:
    replies = [*login()[:3], *told, ok([equipment()]), user_error(""), ok([]), ok(RIGHTS)]
    outcomes, _ = converse(connector().deliver([delivery()]), replies)
    assert isinstance(outcomes[0], Rejected)


def test_a_fault_in_a_create_is_looked_up_before_anything_is_said() -> None:
    outcomes, _ = deliver([ok([equipment()]), error("'x'", ""), ok([order()])])
    assert outcomes == [Delivered(target_id="20", created=False)]
    outcomes, _ = deliver([ok([equipment()]), error("'x'", ""), ok([])])
    assert isinstance(outcomes[0], Retryable)
    assert outcomes[0].scope is Scope.ITEM
    outcomes, _ = deliver([ok([equipment()]), error("'x'", ""), httpx.ReadTimeout("")])
    assert isinstance(outcomes[0], Unknown)


@pytest.mark.parametrize(
    "reply",
    [
        ok(None),
        ok([]),
        ok([True]),
        ok(["20"]),
        ok([20, 21]),
        httpx.Response(502),
        httpx.ReadError(""),
    ],
    ids=repr,
)
def test_a_create_without_the_right_number_of_ids_is_unknown(reply: Reply) -> None:
    outcomes, _ = deliver([ok([equipment()]), reply])
    assert isinstance(outcomes[0], Unknown)


@pytest.mark.parametrize(
    "reply", [httpx.ReadTimeout(""), httpx.Response(502), ok(None), ok([{"id": "x"}])], ids=repr
)
def test_whatever_fails_in_the_look_up_is_retryable(reply: Reply) -> None:
    outcomes, made = deliver([reply])
    assert isinstance(outcomes[0], Retryable)
    assert made == ["look_up"]


@pytest.mark.parametrize("at", ["customer", "equipment"])
def test_an_unclear_answer_before_the_order_is_retryable_for_no_order_was_sent(at: str) -> None:
    before: list[Reply] = [ok([]), ok([])] if at == "customer" else [ok([]), ok([PARTY])]
    after: list[Reply] = [] if at == "customer" else [ok([])]
    outcomes, made = deliver([*before, httpx.ReadTimeout(""), *after])
    assert isinstance(outcomes[0], Retryable)
    assert outcomes[0].scope is Scope.SYSTEM
    assert "create_order" not in made


def test_who_loses_the_race_for_a_customer_uses_the_winners() -> None:
    outcomes, made = deliver(
        [
            *(ok([]), ok([]), user_error(), ok(RIGHTS), ok([PARTY])),
            *(ok([10]), ok([equipment()]), ok([20])),
        ]
    )
    assert outcomes == [Delivered(target_id="20", created=True)]
    assert made.count("find_customer") == 2


def test_who_loses_the_race_for_equipment_uses_the_lower_id() -> None:
    conversation = connector().deliver([delivery()])
    both = ok([equipment(9), equipment(10)])
    replies = [*login(), ok([]), ok([PARTY]), ok([10]), both, ok([20])]
    outcomes, calls = converse(conversation, replies)
    assert outcomes == [Delivered(target_id="20", created=True)]
    assert body(calls[-1])["params"][0][0]["parent"] == 9


def test_a_refused_customer_holds_back_only_its_own_orders() -> None:
    to = connector()
    deliveries = [delivery("one"), delivery("two", record=OTHER)]
    replies: list[Reply] = [
        *(ok([]), ok([]), user_error("VAT is not valid.")),  # both customers at once
        *(user_error("VAT is not valid."), ok(RIGHTS), ok([4]), ok([])),
        *(ok([10]), ok([equipment(10, customer="C-2", asset="TRK_2")]), ok([20])),
    ]
    outcomes, _ = converse(to.deliver(deliveries), [*login(), *replies])
    assert outcomes[0] == Rejected(
        code="tryton.user_error", message="VAT is not valid.", answer="VAT is not valid."
    )
    assert outcomes[1] == Delivered(target_id="20", created=True)


def test_a_deactivated_customer_is_for_a_person_to_decide() -> None:
    outcomes, _ = deliver([ok([]), ok([PARTY | {"active": 0}])])
    assert isinstance(outcomes[0], Rejected)
    assert outcomes[0].code == "tryton.inactive_customer"


def test_equipment_of_another_customer_is_for_a_person_to_decide() -> None:
    outcomes, made = deliver([ok([equipment(customer="C-9")])])
    assert isinstance(outcomes[0], Rejected)
    assert outcomes[0].code == "tryton.equipment_of_other_customer"
    assert made == ["look_up"]


def test_a_create_refused_for_want_of_rights_halts_the_sink_and_rejects_nothing() -> None:
    outcomes, _ = deliver(
        [ok([equipment()]), user_error("You are not allowed."), ok([]), ok({"project.work": {}})]
    )
    assert isinstance(outcomes[0], Retryable)
    assert (outcomes[0].code, outcomes[0].scope) == ("tryton.no_rights", Scope.SYSTEM)


def test_an_expired_session_is_renewed_once_even_before_a_write() -> None:
    outcomes, made = deliver([ok([equipment()]), httpx.Response(401), *login(), ok([20])])
    assert outcomes == [Delivered(target_id="20", created=True)]
    assert made == ["look_up", "create_order", *LOGIN, "create_order"]


def test_a_session_that_is_refused_twice_is_the_systems_trouble() -> None:
    outcomes, _ = deliver([httpx.Response(401), *login(), httpx.Response(401)])
    assert isinstance(outcomes[0], Retryable)
    assert (outcomes[0].code, outcomes[0].scope) == ("tryton.session", Scope.SYSTEM)


def test_the_session_is_kept_for_the_next_conversation() -> None:
    to = connector()
    deliver([ok([equipment(), order()])], to=to)
    _, calls = converse(to.look_up([delivery()]), [ok([])])
    assert steps(calls) == ["look_up"]
    expected = base64.b64encode(b"fieldline:2:token").decode()
    assert calls[0].request.headers["Authorization"] == f"Session {expected}"


@pytest.mark.parametrize(
    ("replies", "code"),
    [
        ([httpx.Response(401)], "tryton.credentials"),
        ([error("LoginException", ["password", "Password", "password"])], "tryton.credentials"),
        ([httpx.Response(429)], "tryton.rate_limit"),
        ([httpx.Response(404)], "tryton.no_database"),
        ([httpx.Response(308)], "tryton.redirect"),
        ([httpx.ReadTimeout("")], "tryton.timeout"),
        ([ok(None)], "tryton.garbled"),
        ([login()[0], httpx.ReadError("")], "tryton.connection_lost"),
        ([login()[0], ok(PREFERENCES | {"company": None})], "tryton.no_company"),
        ([*login()[:2], ok({"project.work": {"read": 1, "create": 0}})], "tryton.no_rights"),
        ([*login()[:2], error("'project.work'", "")], "tryton.fault"),
        ([*login()[:3], httpx.ConnectError("")], "tryton.unreachable"),
        ([*login()[:4], httpx.ConnectError("")], "tryton.unreachable"),
    ],
    ids=str,
)
def test_a_login_that_fails_is_the_systems_trouble_with_a_clear_code(
    replies: list[Reply], code: str
) -> None:
    outcomes, _ = converse(connector().deliver([delivery()]), replies)
    [got] = outcomes
    assert isinstance(got, Retryable)
    assert (got.code, got.scope) == (code, Scope.SYSTEM)
    assert "open sesame" not in repr(got)


def test_a_company_is_found_by_name_among_the_users_own() -> None:
    to = connector(CONFIG.model_copy(update={"company": "Second"}))
    preferences = ok(PREFERENCES | {"companies": [1, 7]})
    replies = [login()[0], preferences, ok([{"id": 7}]), *login()[2:], ok([])]
    _, calls = converse(to.look_up([delivery()]), replies)
    assert body(calls[-1])["params"][-1]["company"] == 7
    foreign = connector(CONFIG.model_copy(update={"company": "Third"}))
    replies = [login()[0], preferences, ok([{"id": 8}])]
    [got], _ = converse(foreign.look_up([delivery()]), replies)
    assert isinstance(got, Retryable)
    assert got.code == "tryton.no_company"


def test_look_up_answers_for_each_delivery_in_order() -> None:
    got, calls = converse(
        connector().look_up([delivery("two"), delivery("one")]), [*login(), ok([order("one")])]
    )
    assert got == [NotFound(), Found(target_id="20")]
    assert calls[-1].effect is Effect.READ


def test_orders_are_read_back_page_by_page_and_half_a_list_is_no_list() -> None:
    def row(i: int) -> dict[str, object]:
        parent = {"id": 10, "name": "TRK_1 · Truck", "party.": {"id": 3, "name": "Acme"}}
        return order(str(i), i) | {"number": f"W{i}", "parent.": parent}

    page = [row(i) for i in range(1, 501)]
    to = connector()
    got, calls = converse(to.find_orders(), [*login(), ok(page), ok([row(501)])])
    assert not isinstance(got, Retryable)
    assert len(got) == 501
    assert (got[0].key, got[0].number, got[0].party) == (key("1"), "W1", "Acme")
    assert ["id", ">", 500] in body(calls[-1])["params"][0]
    assert isinstance(converse(to.find_orders(), [ok(page), httpx.Response(503)])[0], Retryable)


def test_a_tryton_without_the_unit_halts_what_would_make_a_product() -> None:
    to = connector(CONFIG.model_copy(update={"assets": True}))
    rights = ok({**RIGHTS, **{model: {"read": 1, "create": 1} for model in ASSETS}})
    replies = [*login()[:2], rights, *login()[3:], ok([equipment()]), ok([]), ok([])]
    [got], _ = converse(to.deliver([delivery()]), replies)
    assert isinstance(got, Retryable)
    assert (got.code, got.scope) == ("tryton.no_unit", Scope.SYSTEM)


def test_who_loses_the_race_for_a_product_uses_the_winners() -> None:
    to = connector(CONFIG.model_copy(update={"assets": True}))
    rights = ok({**RIGHTS, **{model: {"read": 1, "create": 1} for model in ASSETS}})
    product = ok([{"id": 5, "code": RECORD.asset_id}])
    unit = ok([{"id": 1, "symbol": "u"}])
    replies: list[Reply] = [
        *(*login()[:2], rights, *login()[3:], ok([equipment()]), ok([]), unit),
        *(user_error("Code must be unique."), rights, product, ok([20])),
    ]
    outcomes, _ = converse(to.deliver([delivery()]), replies)
    assert outcomes == [Delivered(target_id="20", created=True)]


def test_every_request_goes_to_the_configured_address_with_a_time_limit() -> None:
    replies = [*login(), ok([]), ok([]), ok([3]), ok([10]), ok([equipment()]), ok([20])]
    _, calls = converse(connector().deliver([delivery()]), replies)
    for call in calls:
        assert str(call.request.url) == "https://erp.example/erp/rpc/"
        assert call.request.extensions["timeout"]["read"] == CONFIG.timeout_s
        assert call.request.headers["Accept-Encoding"] == "gzip"
        assert set(body(call)) == {"id", "method", "params"}
