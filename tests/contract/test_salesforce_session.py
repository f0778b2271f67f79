"""Tokens: asked for as the org wants it, renewed once, and good for no other host."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
import jwt
import pytest

from connectors.base import Delivery
from connectors.fields import OPEN
from connectors.salesforce.protocol import SalesforceConnector
from pipeline.core.outcome import Delivered, Found, NotFound, Retryable, Scope
from tests.contract.case import RECORD
from tests.contract.conversation import converse, steps
from tests.contract.salesforce_examples import URL, key_pair, org, settings
from tests.contract.world import event
from tests.sandboxes.salesforce import CLIENT_ID, USERNAME


def connector(
    clock: Callable[[], float] = lambda: 1_000.0,
    **values: Any,  # noqa: ANN401 - settings
) -> SalesforceConnector:
    return SalesforceConnector(settings(**values), OPEN, clock)


def token(**more: str) -> httpx.Response:
    return httpx.Response(200, json={"access_token": "00D!secret-token", **more})


EMPTY = httpx.Response(200, json={"records": [], "done": True})
OVER = httpx.Response(401, json=[{"errorCode": "INVALID_SESSION_ID", "message": "over"}])
SOUGHT = [Delivery(event=event(), key=event().id)]
JWT: dict[str, Any] = {"client_secret": "", "username": USERNAME, "private_key": key_pair()[0]}


def test_a_jwt_says_who_we_are_for_less_than_three_minutes() -> None:
    now_s = time.time()
    _, calls = converse(connector(lambda: now_s, **JWT).look_up(SOUGHT), [token(), EMPTY])
    form = parse_qs(calls[0].request.content.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    claims = jwt.decode(
        form["assertion"][0],
        key_pair()[1],
        algorithms=["RS256"],
        audience="https://login.salesforce.com",
    )
    assert (claims["iss"], claims["sub"]) == (CLIENT_ID, USERNAME)
    assert 0 < claims["exp"] - now_s <= 180


@pytest.mark.parametrize("values", [{}, JWT])
async def test_both_ways_in_work_with_the_org(values: dict[str, Any]) -> None:
    with org(key_pair()[1]) as there:
        made = there.world.connector(**values)
        [outcome] = await there.world.deliver(event(), connector=made)
        assert isinstance(outcome, Delivered)


@pytest.mark.parametrize(
    "wrong", [{"username": "someone@else"}, {"audience": "https://evil.example"}]
)
async def test_a_jwt_that_the_org_refuses_rejects_no_event(wrong: dict[str, Any]) -> None:
    with org(key_pair()[1]) as there:
        made = there.world.connector(**JWT | wrong)
        [outcome] = await there.world.deliver(event(), connector=made)
        assert isinstance(outcome, Retryable)
        assert (outcome.code, outcome.scope) == ("salesforce.credentials", Scope.SYSTEM)
        assert "invalid" in outcome.message or "approved" in outcome.message


@pytest.mark.parametrize(
    "instance",
    [
        "https://evil.example",
        "http://acme.my.salesforce.com",
        "https://acme.my.salesforce.com@evil.example",
        "//evil",
        "nonsense",
    ],
)
def test_a_token_for_another_host_gets_neither_itself_nor_data_there(instance: str) -> None:
    [answer], calls = converse(connector().look_up(SOUGHT), [token(instance_url=instance)])
    assert isinstance(answer, Retryable)
    assert answer.code == "salesforce.instance_host"
    assert answer.scope is Scope.SYSTEM
    assert steps(calls) == ["token"]


def test_an_instance_that_the_settings_allow_is_talked_to() -> None:
    made = connector(instance_hosts=["acme2.my.salesforce.com"])
    replies = [token(instance_url="https://acme2.my.salesforce.com"), EMPTY]
    answers, calls = converse(made.look_up(SOUGHT), replies)
    assert answers == [NotFound()]
    assert calls[1].request.url.host == "acme2.my.salesforce.com"


def test_without_a_word_of_the_instance_it_is_my_domain() -> None:
    _, calls = converse(connector().look_up(SOUGHT), [token(), EMPTY])
    assert str(calls[1].request.url).startswith(f"{URL}/services/data/v62.0/query/")


def test_a_session_that_is_over_is_renewed_once_and_no_more() -> None:
    made = connector()
    found = httpx.Response(
        200,
        json={
            "records": [{"Id": "500000000000001AAA", "Fieldline_Key__c": event().id}],
            "done": True,
        },
    )
    answers, calls = converse(made.look_up(SOUGHT), [token(), OVER, token(), found])
    assert answers == [Found(target_id="500000000000001AAA")]
    assert steps(calls) == ["token", "look_up", "token", "look_up"]
    [answer], calls = converse(made.look_up(SOUGHT), [OVER, token(), OVER])
    assert isinstance(answer, Retryable)
    assert (answer.code, answer.scope) == ("salesforce.session_expired", Scope.SYSTEM)


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(500),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={"access_token": 5}),
        httpx.Response(200, json=[]),
        httpx.ReadTimeout("slow"),
        httpx.ConnectError("away"),
    ],
)
def test_a_token_that_cannot_be_had_is_the_systems_trouble(
    reply: httpx.Response | httpx.TransportError,
) -> None:
    [answer], _ = converse(connector().look_up(SOUGHT), [reply])
    assert isinstance(answer, Retryable)
    assert answer.scope is Scope.SYSTEM
    [outcome], _ = converse(
        connector().deliver([Delivery(event=event(), key=event().id, record=RECORD)]), [reply]
    )
    assert isinstance(outcome, Retryable), "nothing was sent"


def test_a_token_endpoint_that_repeats_our_assertion_is_not_quoted() -> None:
    conversation = connector(**JWT).look_up(SOUGHT)
    call = next(conversation)
    sent = parse_qs(call.request.content.decode())["assertion"][0]
    with pytest.raises(StopIteration) as end:
        conversation.send(httpx.Response(400, json={"error_description": f"bad {sent}"}))
    assert sent not in repr(end.value.value)
    assert "***" in repr(end.value.value)
