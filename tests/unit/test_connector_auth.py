"""Tokens: kept, renewed in time, given up when spent, and no answer breaks them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.answers import Kind
from connectors.auth import (
    DEFAULT_S,
    LONGEST_S,
    SPARE_S,
    Token,
    Tokens,
    secrets_of,
    token_rows,
)
from connectors.base import Effect, Reply
from pipeline.core.outcome import Retryable, Scope
from tests.contract.conversation import converse

CLIENT_SECRET = "hunter2-of/the+client"
TOKEN = "eyJhbGciOi.token.of-the-test"


class Clock:
    """Seconds since the Unix epoch."""

    def __init__(self) -> None:
        self.now_s = 1_795_257_000.0

    def __call__(self) -> float:
        return self.now_s


class World:
    """Tokens and the times at which one was asked for."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked: list[float] = []
        self.tokens = Tokens("erp", self._ask, clock=self.clock)

    def _ask(self, now_s: float) -> httpx.Request:
        self.asked.append(now_s)
        form = {"grant_type": "client_credentials", "client_secret": CLIENT_SECRET}
        return httpx.Request("POST", "https://login.example.com/token", data=form)

    def get(self, *replies: Reply) -> Token | Retryable:
        """What `get` returns, given these answers and no more."""
        made, calls = converse(self.tokens.get(), replies)
        assert [(call.step, call.effect) for call in calls] == [("token", Effect.READ)] * len(calls)
        return made

    def token(self, *replies: Reply) -> Token:
        made = self.get(*replies)
        assert isinstance(made, Token), made
        return made


def granted(text: str = TOKEN, **more: object) -> httpx.Response:
    body = {"access_token": text, "token_type": "Bearer", "expires_in": 3600, **more}
    return httpx.Response(200, json=body)


def test_a_token_is_asked_for_once_and_kept() -> None:
    world = World()
    first = world.token(granted(instance_url="https://eu.example.com", scope="api"))
    assert first.text == TOKEN
    assert first.until_s == world.clock.now_s + 3600
    assert first.fields == {
        "instance_url": "https://eu.example.com",
        "scope": "api",
        "token_type": "Bearer",
    }
    assert world.token() is first
    assert len(world.asked) == 1


def test_in_its_last_seconds_it_is_renewed() -> None:
    world = World()
    first = world.token(granted())
    world.clock.now_s = first.until_s - SPARE_S - 0.001
    assert world.token() is first
    world.clock.now_s = first.until_s - SPARE_S
    second = world.token(granted("another"))
    assert second.text == "another"
    assert world.token() is second
    assert world.asked[1] == first.until_s - SPARE_S


def test_a_token_that_is_refused_while_it_lasts_is_replaced() -> None:
    world = World()
    first = world.token(granted())
    world.tokens.spent(first)
    second = world.token(granted("another"))
    assert second.text == "another"
    world.tokens.spent(first)  # told late, by a conversation that began with it
    assert world.token() is second


def test_two_conversations_at_once_both_get_a_token() -> None:
    world = World()
    one, other = world.tokens.get(), world.tokens.get()
    next(one)
    next(other)
    ends = []
    for talk, text in ((one, "first"), (other, "second")):
        with pytest.raises(StopIteration) as end:
            talk.send(granted(text))
        ends.append(end.value.value.text)
    assert ends == ["first", "second"]
    assert world.token().text == "second"


@pytest.mark.parametrize(
    ("told", "lasts_s"),
    [
        ({}, DEFAULT_S),
        ({"expires_in": None}, DEFAULT_S),
        ({"expires_in": 1799}, 1799.0),
        ({"expires_in": "1799"}, 1799.0),
        ({"expires_in": 0}, 0.0),
        ({"expires_in": -5}, 0.0),
        ({"expires_in": 10**30}, LONGEST_S),
        ({"expires_in": "1e999"}, DEFAULT_S),
        ({"expires_in": "nan"}, DEFAULT_S),
        ({"expires_in": True}, DEFAULT_S),
        ({"expires_in": [1]}, DEFAULT_S),
        ({"expires_in": {"s": 1}}, DEFAULT_S),
        ({"expires_in": "soon"}, DEFAULT_S),
    ],
)
def test_how_long_it_lasts_is_told_or_supposed(told: dict[str, Any], lasts_s: float) -> None:
    world = World()
    body = json.dumps({"access_token": TOKEN, **told}).encode()
    made = world.token(httpx.Response(200, content=body))
    assert made.until_s - world.clock.now_s == lasts_s


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (httpx.Response(400, json={"error": "invalid_client"}), "erp.credentials"),
        (httpx.Response(401), "erp.credentials"),
        (httpx.Response(403, content=b"<html>"), "erp.credentials"),
        (httpx.Response(429, headers={"retry-after": "9"}), "erp.token_unavailable"),
        (httpx.Response(503), "erp.token_unavailable"),
        (httpx.Response(302, headers={"location": "https://h"}), "erp.token_unavailable"),
        (httpx.Response(204), "erp.token_unavailable"),
        (httpx.Response(200, content=b"<html>"), "erp.token_unavailable"),
        (httpx.Response(200, json=[TOKEN]), "erp.token_unavailable"),
        (httpx.Response(200, json={"token": TOKEN}), "erp.token_unavailable"),
        (httpx.Response(200, json={"access_token": 5}), "erp.token_unavailable"),
        (httpx.Response(200, json={"access_token": ""}), "erp.token_unavailable"),
        (httpx.Response(200, json={"access_token": "a\r\nX-Evil: 1"}), "erp.token_unavailable"),
        (httpx.Response(200, json={"access_token": "tökén"}), "erp.token_unavailable"),
        (httpx.ConnectError("x"), "erp.unreachable"),
        (httpx.ReadTimeout("x"), "erp.timeout"),
    ],
)
def test_what_is_no_token_is_the_systems_trouble_and_is_not_kept(reply: Reply, code: str) -> None:
    world = World()
    made = world.get(reply)
    assert isinstance(made, Retryable)
    assert (made.code, made.scope) == (code, Scope.SYSTEM)
    assert made.message.startswith("erp: ")
    assert made.retry_after_s == (
        9.0 if isinstance(reply, httpx.Response) and "retry-after" in reply.headers else None
    )
    assert world.token(granted()).text == TOKEN


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
NAMES = st.sampled_from(["access_token", "expires_in", "error", "error_description", "scope"])


@given(st.integers(200, 599), st.dictionaries(NAMES, JSON) | JSON | st.binary(max_size=50))
def test_no_answer_of_a_token_endpoint_raises(status: int, body: object) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    made = World().get(httpx.Response(status, content=content))
    if isinstance(made, Token):
        assert httpx.Headers({"authorization": f"Bearer {made.text}"}).raw
        assert all(isinstance(value, str) for value in made.fields.values())
    else:
        assert made.message.isprintable()
        assert made.message.endswith(".")


def test_neither_token_nor_secret_shows() -> None:
    world = World()
    made = world.token(granted(refresh_token="another-secret"))
    for shown in (repr(made), str(made), f"{world.tokens!r}", repr(vars(world.tokens))):
        assert TOKEN not in shown
        assert "another-secret" not in shown


@pytest.mark.parametrize("said", [CLIENT_SECRET, [CLIENT_SECRET], {"sent": CLIENT_SECRET}])
def test_an_endpoint_that_repeats_the_secret_is_not_quoted_on_it(said: object) -> None:
    body = {"error": "invalid_client", "error_description": said}
    made = World().get(httpx.Response(401, json=body))
    assert isinstance(made, Retryable)
    assert CLIENT_SECRET not in made.message
    assert "***" in made.message


@pytest.mark.parametrize(
    ("headers", "form", "hidden"),
    [
        ({}, {"client_id": "us", "client_secret": CLIENT_SECRET}, {CLIENT_SECRET}),
        ({"authorization": "Basic dXM6b25l"}, {"grant_type": "x"}, {"dXM6b25l"}),
        ({}, {"assertion": "a.b.c", "username": "us", "password": "pw"}, {"a.b.c", "pw"}),
        ({}, {"client_assertion": "d.e.f", "scope": "api"}, {"d.e.f"}),
        ({}, {}, set()),
    ],
)
def test_a_request_for_a_token_says_what_must_not_be_repeated(
    headers: dict[str, str], form: dict[str, str], hidden: set[str]
) -> None:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    request = httpx.Request(
        "POST", "https://h/token", headers=headers | kind, content=urlencode(form).encode()
    )
    assert set(secrets_of(request)) == hidden


def test_the_rows_of_the_contract_are_those_that_are_used() -> None:
    assert [(row.kind, row.code) for row in token_rows("erp")] == [
        (Kind.BUSY, "erp.credentials"),
        (Kind.BUSY, "erp.token_unavailable"),
    ]
