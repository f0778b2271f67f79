"""ERPNext's own words: both formats of its errors, names of documents, and hostile answers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Delivery, Effect, Reply
from connectors.erpnext.answers import BROKEN, TYPES, document, trouble, words
from connectors.registry import make_connector
from pipeline.core.events import Action
from pipeline.core.outcome import (
    Delivered,
    Found,
    NotFound,
    Outcome,
    Rejected,
    Retryable,
    Scope,
    Unknown,
)
from tests.contract.case import RECORD
from tests.contract.conversation import body, converse, converse_over, steps
from tests.contract.world import event, key
from tests.sandboxes.box import boxed
from tests.sandboxes.erpnext import API_KEY, API_SECRET, Erpnext

URL = "https://erp.example.com"
VALUES = {"url": URL, "api_key": API_KEY, "api_secret": API_SECRET}
NAME = f"FL-{key('one')}"
CHANGE: dict[str, Any] = {"action": Action.UPDATE, "entity_id": key("one")}


def v1(kind: str, text: str = "", **more: object) -> dict[str, Any]:
    """frappe/utils/response.py, _make_logs_v1: JSON within JSON within JSON."""
    shown = json.dumps([json.dumps({"message": text, "indicator": "red"})])
    return {"exc_type": kind, "_server_messages": shown, **more}


def v2(kind: str, text: str = "", **more: object) -> dict[str, Any]:
    """frappe/utils/response.py, report_error for ApiVersion.V2."""
    return {"errors": [{"type": kind, "message": text, **more}]}


def answer(status: int, content: object) -> httpx.Response:
    return httpx.Response(status, json=content)


def saved(name: str = NAME) -> httpx.Response:
    return answer(200, {"data": {"name": name, "subject": "x"}})


MISSING = answer(404, v1("DoesNotExistError"))


def deliver(*replies: Reply, **changes: Any) -> tuple[Outcome, list[str]]:  # noqa: ANN401 - any field
    connector = make_connector("erpnext", values=VALUES, clock=lambda: 0.0)
    told = event("change" if changes.get("entity_id") else "one", **changes)
    [outcome], calls = converse(
        connector.deliver([Delivery(event=told, key=told.id, record=RECORD)]), replies
    )
    return outcome, steps(calls)


# -- two formats


@pytest.mark.parametrize("form", [v1, v2])
@pytest.mark.parametrize("row", TYPES, ids=lambda row: str(row.when))
def test_an_error_is_known_by_its_type_in_both_formats(form: Any, row: Any) -> None:  # noqa: ANN401 - a function, a Row
    for status in (400, 404, 409, 417, 500, 503):
        assert trouble(answer(status, form(row.when, "words"))) is row


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (v1("MandatoryError", "Subject is missing"), "Subject is missing"),
        (v1("MandatoryError", "x", exception="frappe.Mandatory: s"), "frappe.Mandatory: s"),
        (v1("MandatoryError"), "MandatoryError"),
        (v2("MandatoryError", "Subject is missing"), "Subject is missing"),
        (v2("MandatoryError", exception="Traceback"), "MandatoryError"),
        ({"message": "no Route matched"}, ""),
        ({"_server_messages": "no JSON"}, ""),
        ({"_server_messages": "[]"}, ""),
        ({"_server_messages": '["no JSON"]'}, ""),
        ({"_server_messages": '[{"message": "plain"}]'}, "plain"),
        ({"errors": [], "exc_type": "X"}, "X"),
        ({"errors": ["x"], "exc_type": "X"}, "X"),
        ([1], ""),
    ],
)
def test_what_it_says_to_a_person_is_found(content: object, said: str) -> None:
    assert words(answer(417, content)) == said
    assert words(httpx.ReadTimeout("x")) == ""


def test_a_page_of_a_proxy_is_no_word_of_erpnext() -> None:
    for content in (b"<html>404</html>", b'{"message": "no Route matched"}', b""):
        reply = httpx.Response(404, content=content)
        outcome, _ = deliver(reply)
        assert isinstance(outcome, Retryable), outcome
        assert (outcome.code, outcome.scope) == ("erpnext.not_found", Scope.SYSTEM)
        # Were it believed, the clear of an open document would be dropped for good.
        outcome, _ = deliver(reply, **CHANGE)
        assert isinstance(outcome, Retryable), outcome


# -- conversations


def test_a_document_is_created_by_name_in_one_request() -> None:
    connector = make_connector("erpnext", values=VALUES)
    told = event("one")
    [outcome], calls = converse(
        connector.deliver([Delivery(event=told, key=told.id, record=RECORD)]), [saved()]
    )
    assert outcome == Delivered(target_id=NAME, created=True)
    [call] = calls
    assert (call.step, call.effect) == ("create", Effect.KEYED_WRITE)
    assert body(call)["name"] == body(call)["__newname"] == NAME
    assert call.request.headers["authorization"] == f"token {API_KEY}:{API_SECRET}"
    assert str(call.request.url) == f"{URL}/api/resource/Issue"


async def test_it_is_created_once_though_the_doctype_has_names_of_its_own() -> None:
    """A `name` alone is dropped then: a document under another name, and twice when retried."""
    with boxed(Erpnext(prompt=False)) as far:
        connector = make_connector("erpnext", values=VALUES | {"url": far.url})
        told, change = event("one"), event("change", **CHANGE)
        async with httpx.AsyncClient(trust_env=False) as client:
            for created in (True, False):
                for one in (told, change):
                    [outcome], _ = await converse_over(
                        client, connector.deliver([Delivery(event=one, key=one.id, record=RECORD)])
                    )
                    assert outcome == Delivered(target_id=NAME, created=created)
        made = [(e["kind"], e["key"]) for e in far.journal() if e["op"] == "create"]
        assert made == [("Issue", NAME), ("Comment", f"FL-{change.id}")]


async def test_the_sandbox_names_documents_as_frappe_does() -> None:
    for prompt, name in ((True, "FL-x"), (False, "ISSUE-00001")):
        with boxed(Erpnext(prompt=prompt)) as far:
            headers = {"authorization": f"token {API_KEY}:{API_SECRET}"}
            async with httpx.AsyncClient(base_url=far.url, headers=headers) as client:
                given_name = {"name": "FL-x", "subject": "s"}
                first = await client.post("/api/resource/Issue", json=given_name)
                assert first.json()["data"]["name"] == name
                forced = {"__newname": "FL-y", "subject": "s"}
                second = await client.post("/api/resource/Issue", json=forced)
                assert second.json()["data"]["name"] == "FL-y"
                assert "__newname" not in second.json()["data"]
                third = await client.post("/api/resource/Issue", json=forced)
                assert (third.status_code, third.json()["exc_type"]) == (409, "DuplicateEntryError")


def test_what_is_there_already_is_delivered() -> None:
    exists = answer(409, v1("DuplicateEntryError"))
    assert deliver(exists) == (Delivered(target_id=NAME, created=False), ["create"])


def test_a_409_that_names_no_type_is_unknown() -> None:
    outcome, _ = deliver(answer(409, {}))
    assert isinstance(outcome, Unknown)


def test_a_change_is_looked_for_made_and_marked_in_that_order() -> None:
    mark = saved(f"FL-{key('change')}")
    outcome, made = deliver(MISSING, saved(), mark, **CHANGE)
    assert outcome == Delivered(target_id=NAME, created=True)
    assert made == ["look_for_change", "change", "comment"]
    outcome, made = deliver(mark, **CHANGE)
    assert outcome == Delivered(target_id=NAME, created=False)
    assert made == ["look_for_change"]


@pytest.mark.parametrize("action", [Action.UPDATE, Action.CLEAR])
def test_a_change_of_what_is_not_there_is_refused_and_a_clear_for_good(action: Action) -> None:
    outcome, _ = deliver(MISSING, MISSING, **{**CHANGE, "action": action})
    assert isinstance(outcome, Rejected)
    assert (outcome.code, outcome.final) == ("erpnext.no_record", action is Action.CLEAR)


def test_a_change_that_is_cut_off_is_never_called_done() -> None:
    lost = httpx.ReadError("x")
    assert isinstance(deliver(lost, **CHANGE)[0], Retryable)
    assert isinstance(deliver(MISSING, lost, **CHANGE)[0], Unknown)
    assert isinstance(deliver(MISSING, saved(), lost, **CHANGE)[0], Unknown)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (saved(), Found),
        (MISSING, NotFound),
        (answer(404, v2("DoesNotExistError")), NotFound),
        (httpx.Response(404, content=b"<html>"), Retryable),
        (answer(404, {"message": "no Route matched"}), Retryable),
        (answer(200, {"data": {"name": "another"}}), Retryable),
        (answer(200, {"data": []}), Retryable),
        (httpx.Response(200, content=b"<html>"), Retryable),
        (answer(417, v1("ValidationError")), Retryable),
        (httpx.ConnectError("x"), Retryable),
    ],
)
def test_a_look_up_says_yes_or_no_only_where_erpnext_does(reply: Reply, kind: type) -> None:
    connector = make_connector("erpnext", values=VALUES)
    told = event("one")
    [found], _ = converse(connector.look_up([Delivery(event=told, key=told.id)]), [reply])
    assert isinstance(found, kind), found


# -- anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(["data", "exc_type", "exception", "errors", "_server_messages", "message"])
BODIES = (
    st.binary(max_size=60)
    | JSON.map(lambda one: json.dumps(one).encode())
    | st.dictionaries(NAMES, JSON).map(lambda one: json.dumps(one).encode())
    | st.lists(JSON, max_size=2).map(
        lambda one: json.dumps(v1("X", _server_messages=json.dumps(one))).encode()
    )
)


@given(st.integers(200, 599), BODIES)
def test_no_answer_raises_or_is_read_as_more_than_it_says(status: int, content: bytes) -> None:
    reply = httpx.Response(status, content=content)
    found = document(reply, NAME)
    if isinstance(found, dict):
        assert status == 200
        assert found["name"] == NAME
    assert isinstance(words(reply), str)
    outcome, _ = deliver(reply)
    if isinstance(outcome, Delivered):
        assert isinstance(found, dict) or json.loads(content)
    elif isinstance(outcome, Rejected):
        assert status not in {200, 401, 403, 429, 503}
    else:
        assert outcome.message.isprintable()


def test_a_success_that_is_not_the_document_is_unknown() -> None:
    contents: tuple[object, ...] = ({"data": {"name": "another"}}, {"data": None}, {}, [], "x")
    for content in contents:
        reply = answer(200, content)
        assert document(reply, NAME) is BROKEN
        assert isinstance(deliver(reply)[0], Unknown)
