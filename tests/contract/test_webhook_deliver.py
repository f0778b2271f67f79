"""What goes over the wire, alone and in batches."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from connectors.base import Call, Connector, Delivery, Effect, Reply
from connectors.webhook.protocol import BODY_MAX
from pipeline.core.outcome import Delivered, Outcome, Rejected, Retryable, Scope, Unknown
from tests.contract.conversation import body, converse, steps
from tests.contract.webhook_examples import NOW_S, SECRET, answer, connector, delivery

NAMES = ("one", "two", "three", "four")


def batched(
    replies: list[Reply], *names: str, keyed: bool = True
) -> tuple[list[Outcome], list[Call]]:
    to = connector(batch=200, keyed=keyed)
    outcomes, calls = converse(to.deliver([delivery(n) for n in names or NAMES]), replies)
    return list(outcomes), calls


def items(*statuses: int, **more: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON
    return [
        {"id": delivery(name).key, "status": status, **more}
        for name, status in zip(NAMES, statuses, strict=False)
    ]


def test_it_is_a_connector() -> None:
    made: Connector = connector()
    assert (made.name, made.batch_size, made.keyed) == ("webhook", 1, True)
    assert connector(batch=200).batch_size == 200


def test_an_event_alone_is_a_cloudevent_under_its_key() -> None:
    _, [call] = converse(connector().deliver([delivery()]), [answer(201)])
    request, one = call.request, delivery()
    assert (request.method, str(request.url)) == ("POST", "https://hooks.example/in/tok-en")
    assert request.headers["content-type"].startswith("application/cloudevents+json")
    assert request.headers["idempotency-key"] == f'"{one.key}"'
    assert request.headers["webhook-id"] == one.key
    sent = body(call)
    assert {name: sent[name] for name in ("specversion", "id", "source", "type", "subject")} == {
        "specversion": "1.0",
        "id": one.key,
        "source": "/fieldline/acme",
        "type": "fieldline.limit.exceeded",
        "subject": "acme/truck-1",
    }
    assert sent["sequence"] == one.event.version
    assert sent["traceparent"] == request.headers["traceparent"]


def test_both_signatures_are_over_the_raw_body() -> None:
    _, [call] = converse(connector().deliver([delivery()]), [answer(201)])
    headers, raw, key = call.request.headers, call.request.content, base64.b64decode(SECRET[6:])
    stamp = str(int(NOW_S))
    signed = f"{headers['webhook-id']}.{stamp}.".encode() + raw
    want = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{want}"
    own = hmac.new(key, f"{stamp}.".encode() + raw, hashlib.sha256).hexdigest()
    assert headers["x-signature"] == f"t={stamp},s=sha256={own}"


def test_the_same_event_is_the_same_request_but_for_the_time() -> None:
    _, [first] = converse(connector().deliver([delivery()]), [answer(500)])
    _, [second] = converse(connector().deliver([delivery()]), [answer(201)])
    assert first.request.content == second.request.content
    assert first.request.headers == second.request.headers


@pytest.mark.parametrize(("keyed", "effect"), [(True, Effect.KEYED_WRITE), (False, Effect.WRITE)])
def test_a_post_is_a_keyed_write_only_where_the_receiver_keeps_keys(
    *, keyed: bool, effect: Effect
) -> None:
    for batch in (1, 5):
        to = connector(batch=batch, keyed=keyed)
        _, [call] = converse(to.deliver([delivery()]), [answer(200)])
        assert call.effect is effect
    _, [call] = converse(connector(keyed=keyed).look_up([delivery()]), [answer(404)])
    assert call.effect is Effect.READ
    assert call.request.url.params["id"] == delivery().key


def test_a_batch_is_one_request_with_the_ids_inside_and_no_key_outside() -> None:
    outcomes, [call] = batched([answer(204)])
    assert call.request.headers["content-type"].startswith("application/cloudevents-batch+json")
    assert "idempotency-key" not in call.request.headers
    assert [event["id"] for event in body(call)] == [delivery(name).key for name in NAMES]
    assert outcomes == [Delivered(target_id=delivery(n).key, created=True) for n in NAMES]


def test_an_id_of_the_batch_is_not_taken_for_an_events() -> None:
    outcomes, _ = batched([answer(200, {"id": "batch-1", "created": False})])
    assert outcomes == [Delivered(target_id=delivery(n).key, created=True) for n in NAMES]


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"items": x}, lambda x: {"results": x}])
@pytest.mark.parametrize("status", [200, 207, 422])
def test_an_answer_event_by_event_counts_event_by_event(wrap: Any, status: int) -> None:  # noqa: ANN401 - a function
    told = items(201, 422, 429, 200, target_id="t", retry_after=3)[::-1]
    outcomes, calls = batched([answer(status, wrap(told))])
    assert len(calls) == 1
    assert outcomes[0] == Delivered(target_id="t", created=True)
    assert isinstance(outcomes[1], Rejected)
    assert isinstance(outcomes[2], Retryable)
    assert (outcomes[2].scope, outcomes[2].retry_after_s) == (Scope.SYSTEM, 3.0)
    assert isinstance(outcomes[3], Delivered)


def test_an_event_the_receiver_stumbles_over_while_it_takes_others_is_to_blame_itself() -> None:
    outcomes, _ = batched([answer(207, items(201, 500, 500, 201))])
    assert isinstance(outcomes[1], Retryable)
    assert outcomes[1].scope is Scope.ITEM
    outcomes, _ = batched([answer(207, items(500, 500, 500, 500))])
    assert all(isinstance(o, Retryable) and o.scope is Scope.SYSTEM for o in outcomes)


@pytest.mark.parametrize(
    "told",
    [
        items(201),
        [{"status": 201}],
        [{"status": True}] * 4,
        [{"status": "201"}] * 4,
        [{"status": 999}] * 4,
        ["201"] * 4,
        [],
        [{"status": 200}] * 5,
    ],
    ids=repr,
)
def test_an_event_no_word_was_said_of_is_unknown_never_delivered(told: list[Any]) -> None:
    outcomes, _ = batched([answer(207, told)])
    known = 1 if told and told[0] == items(201)[0] else 0
    assert all(isinstance(outcome, Unknown) for outcome in outcomes[known:])


def test_a_207_without_words_is_unknown() -> None:
    outcomes, _ = batched([answer(207)])
    assert all(isinstance(outcome, Unknown) for outcome in outcomes)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_batch_refused_for_its_content_is_halved_until_the_one_to_blame_is_alone(
    status: int,
) -> None:
    bad, good = answer(status), answer(200)
    outcomes, calls = batched([bad, bad, good, bad, good])
    assert [type(outcome) for outcome in outcomes] == [Delivered, Rejected, Delivered, Delivered]
    assert [len(body(call)) for call in calls] == [4, 2, 1, 1, 2]


@pytest.mark.parametrize("status", [404, 410, 302])
def test_a_wrong_address_is_not_asked_again_event_by_event(status: int) -> None:
    outcomes, calls = batched([answer(status)])
    assert len(calls) == 1
    assert all(isinstance(outcome, Rejected) for outcome in outcomes)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [(answer(503), Retryable), (httpx.ReadTimeout(""), Unknown), (answer(401), Retryable)],
    ids=repr,
)
def test_when_the_receiver_fails_midway_the_rest_is_not_sent(
    reply: Reply, kind: type[Outcome]
) -> None:
    big = [replaced(delivery(str(n)), "x" * 200_000) for n in range(12)]
    to = connector(batch=200)
    outcomes, calls = converse(to.deliver(big), [answer(200), reply])
    assert all(len(call.request.content) <= BODY_MAX for call in calls)
    first, second = (len(body(call)) for call in calls)
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds[:first] == [Delivered] * first
    assert kinds[first : first + second] == [kind] * second
    rest = outcomes[first + second :]
    assert rest
    assert all(isinstance(o, Retryable) and o.code == "webhook.not_sent" for o in rest)


def test_one_key_twice_in_a_batch_is_sent_once() -> None:
    outcomes, [call] = batched([answer(200)], "one", "one")
    assert len(body(call)) == 1
    assert [o.created for o in outcomes if isinstance(o, Delivered)] == [True, False]


@pytest.mark.parametrize("batch", [1, 200])
def test_what_cannot_be_written_down_is_refused_and_the_others_go(batch: int) -> None:
    wrong = [
        replace(delivery("a"), key="two words"),
        replace(delivery("b"), key='quo"te'),
        replace(delivery("c"), key=""),
        replace(delivery("d"), key="k" * 201),
        replace(delivery("e"), key="schlüssel"),
        replaced(delivery("f"), "\ud800"),
        replaced(delivery("g"), "x" * 300_000),
    ]
    to = connector(batch=batch)
    outcomes, calls = converse(to.deliver([*wrong, delivery("good")]), [answer(201)])
    assert len(calls) == 1
    codes = [outcome.code for outcome in outcomes if isinstance(outcome, Rejected)]
    assert codes == ["mapping.unusable_id"] * 5 + ["mapping.unusable_text", "mapping.too_large"]
    assert isinstance(outcomes[-1], Delivered)


def test_numbers_that_are_none_and_times_beyond_the_calendar_still_make_json() -> None:
    one = delivery()
    strange = replace(
        one.event,
        confidence=float("nan"),
        occurred_at_ms=10**17,
        summary="Ω 😀 \x00 </script>",
    )
    _, [call] = converse(connector().deliver([replace(one, event=strange)]), [answer(201)])
    sent = json.loads(call.request.content)
    assert "time" not in sent
    assert sent["data"]["confidence"] is None
    assert sent["data"]["summary"] == strange.summary


def test_an_empty_batch_needs_no_call_at_all() -> None:
    assert converse(connector(batch=5).deliver([]), []) == ([], [])
    assert converse(connector(batch=5).look_up([]), []) == ([], [])


def test_more_events_than_a_batch_holds_are_several_requests() -> None:
    names = [str(n) for n in range(5)]
    to = connector(batch=2)
    outcomes, calls = converse(to.deliver([delivery(n) for n in names]), [answer(200)] * 3)
    assert len(outcomes) == 5
    assert steps(calls) == ["post_batch"] * 3


def replaced(one: Delivery, summary: str) -> Delivery:
    return replace(one, event=replace(one.event, summary=summary))
