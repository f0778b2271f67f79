"""Every answer a receiver may give, and what it means."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.answers import TARGET_ID_MAX, retry_after
from connectors.base import Reply
from connectors.webhook import answers
from pipeline.core.outcome import (
    Delivered,
    Found,
    LookUp,
    NotFound,
    Outcome,
    Rejected,
    Retryable,
    Scope,
    Undecidable,
    Unknown,
)
from tests.contract.conversation import converse
from tests.contract.webhook_examples import NOW_S, SECRET, answer, connector, delivery

ONE = delivery("one").key
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def said(reply: Reply, *, keyed: bool = True) -> Outcome:
    [outcome], _ = converse(connector(keyed=keyed).deliver([delivery()]), [reply])
    return outcome


def seen(reply: Reply) -> LookUp:
    [found], _ = converse(connector().look_up([delivery()]), [reply])
    return found


@pytest.mark.parametrize("status", [200, 201, 202, 204, 226])
def test_any_success_is_delivered(status: int) -> None:
    assert said(httpx.Response(status, text="OK")) == Delivered(target_id=ONE, created=True)


@pytest.mark.parametrize(
    ("reply", "target_id", "created"),
    [
        (answer(201, {"id": "evt_9"}), "evt_9", True),
        (answer(200, {"target_id": 9, "id": "other"}), "9", True),
        (answer(201, location="/events/9"), "/events/9", True),
        (answer(200, {"id": True}), ONE, True),
        (answer(200, {"id": "x" * 9_999}), "x" * TARGET_ID_MAX, True),
        (answer(200, {"created": False}), ONE, False),
        (answer(201, idempotency_replayed="true"), ONE, False),
        (httpx.Response(200, content=b"ok\xff"), ONE, True),
    ],
    ids=repr,
)
def test_the_receivers_id_is_taken_where_it_gives_one(
    reply: Reply, target_id: str, *, created: bool
) -> None:
    assert said(reply) == Delivered(target_id=target_id, created=created)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 410, 413, 422])
def test_what_can_never_be_taken_is_rejected_with_the_receivers_words(status: int) -> None:
    outcome = said(answer(status, {"detail": "no\nsuch place."}, location="http://evil.example/"))
    assert isinstance(outcome, Rejected)
    assert not outcome.final
    assert "no such place" in outcome.message
    assert outcome.answer


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("status", [401, 403, 408, 425, 429, 503])
def test_what_the_receiver_is_to_blame_for_is_tried_again_for_ever(
    status: int, *, keyed: bool
) -> None:
    outcome = said(answer(status, retry_after="7"), keyed=keyed)
    assert isinstance(outcome, Retryable)
    assert (outcome.scope, outcome.retry_after_s) == (Scope.SYSTEM, 7.0)


@pytest.mark.parametrize("status", [500, 501, 502, 504, 507, 599])
def test_a_failure_inside_is_unknown_unless_the_receiver_keeps_each_event_to_once(
    status: int,
) -> None:
    assert isinstance(said(answer(status)), Retryable)
    assert isinstance(said(answer(status), keyed=False), Unknown)


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize(
    "reply",
    [
        *(answer(status) for status in (402, 405, 418, 451, 499, 299)),
        httpx.Response(200, text="\n <!DOCTYPE html><html>Log in"),
        *(httpx.ReadTimeout(""), httpx.WriteTimeout(""), httpx.ReadError("")),
        *(httpx.WriteError(""), httpx.RemoteProtocolError(""), httpx.CloseError("")),
    ],
    ids=repr,
)
def test_what_nobody_knows_is_unknown(reply: Reply, *, keyed: bool) -> None:
    assert isinstance(said(reply, keyed=keyed), Unknown)


@pytest.mark.parametrize(
    "reply",
    [httpx.ConnectError(""), httpx.ConnectTimeout(""), httpx.PoolTimeout("")],
    ids=repr,
)
def test_what_was_not_sent_is_retryable(reply: Reply) -> None:
    for keyed in (True, False):
        outcome = said(reply, keyed=keyed)
        assert isinstance(outcome, Retryable)
        assert outcome.scope is Scope.SYSTEM


@pytest.mark.parametrize(
    ("body", "target_id"),
    [({"target_id": "t"}, "t"), ({"id": ONE}, ONE), ({"duplicate": True}, ONE)],
    ids=repr,
)
def test_a_conflict_that_knows_the_event_is_delivered_before(
    body: dict[str, Any], target_id: str
) -> None:
    assert said(answer(409, body)) == Delivered(target_id=target_id, created=False)


@pytest.mark.parametrize("body", [None, {"id": "error-1"}, {"title": "in progress"}], ids=repr)
def test_any_other_conflict_is_tried_again_and_counts_against_the_event(body: object) -> None:
    outcome = said(answer(409, body))
    assert isinstance(outcome, Retryable)
    assert outcome.scope is Scope.ITEM


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5.0),
        (" 5 ", 5.0),
        ("99999999999999999999", 3600.0),
        (formatdate(NOW_S + 90, usegmt=True), 90.0),
        (formatdate(NOW_S - 90, usegmt=True), 0.0),
        ("-5", None),
        ("soon", None),
        ("٣", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_an_hour(text: str, seconds: float | None) -> None:
    assert retry_after(text, NOW_S) == seconds


@pytest.mark.parametrize("status", [400, 200, 503, 409])
def test_our_secret_does_not_come_back_into_an_outcome(status: int) -> None:
    echo = f"you sent {SECRET}"
    outcome = said(answer(status, {"detail": echo, "id": echo, "target_id": echo}))
    assert SECRET not in repr(outcome)


@given(status=st.integers(200, 599), body=JSON, batch=st.sampled_from([1, 5]))
def test_no_answer_is_too_strange_to_be_classified(status: int, body: object, batch: int) -> None:
    names = ["one", "two", "three"][:batch]
    conversation = connector(batch=batch).deliver([delivery(name) for name in names])
    call = next(conversation)
    outcomes: Any = None
    while outcomes is None:
        try:
            call = conversation.send(answer(status, body))
        except StopIteration as end:
            outcomes = end.value
    assert call
    assert len(outcomes) == len(names)
    if not httpx.codes.is_success(status) and status not in {207, 409} and batch == 1:
        assert not any(isinstance(outcome, Delivered) for outcome in outcomes)


def test_a_look_up_believes_only_an_answer_about_that_very_event() -> None:
    assert seen(answer(200, {"id": ONE, "target_id": "t"})) == Found(target_id="t")
    assert seen(answer(404, {"detail": "no"})) == NotFound()
    assert seen(answer(404)) == NotFound()
    for reply in (
        answer(200, {"id": "another"}),
        answer(200, []),
        httpx.Response(200, text="<html>"),
        httpx.Response(404, text="<html>nginx</html>"),
        answer(410),
        answer(302),
    ):
        unclear = seen(reply)
        assert isinstance(unclear, Retryable)
        assert unclear.code == "webhook.look_up_unclear"


@pytest.mark.parametrize(
    "reply", [answer(401), answer(500), answer(418), httpx.ReadTimeout("")], ids=repr
)
def test_a_failed_look_up_is_tried_again_for_ever(reply: Reply) -> None:
    found = seen(reply)
    assert isinstance(found, Retryable)
    assert found.scope is Scope.SYSTEM


def test_a_receiver_that_cannot_be_asked_leaves_it_to_a_person() -> None:
    [found], calls = converse(connector(look_up=False).look_up([delivery()]), [])
    assert isinstance(found, Undecidable)
    assert calls == []


def test_every_transport_error_of_httpx_is_in_the_table_or_cut_off() -> None:
    kinds = [k for k in vars(httpx).values() if isinstance(k, type)]
    for kind in kinds:
        if issubclass(kind, httpx.TransportError):
            assert answers.row_of(kind("")) is not None
