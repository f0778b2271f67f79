from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Delivery, Effect, Reply
from connectors.tryton.mapping import (
    NAME_MAX,
    Change,
    mark_of,
    one_line,
    to_change,
    with_line,
    with_severity,
)
from pipeline.core.events import Action, Severity
from pipeline.core.outcome import Delivered, Found, NotFound, Rejected, Retryable, Scope
from tests.contract.conversation import body, converse, steps
from tests.contract.tryton_examples import (
    RIGHTS,
    connector,
    delivery,
    equipment,
    error,
    event,
    key,
    login,
    ok,
    order,
    user_error,
)

DONE = ok([{"id": 4}])
WRITTEN = ok(None)
CONFLICT = error("ConcurrencyException", ["Records were modified in the meanwhile"])


def about(
    raised: str = "one",
    action: Action = Action.CLEAR,
    name: str = "",
    **more: Any,  # noqa: ANN401 - any field
) -> Delivery:
    made = event(
        name or f"{raised}-{action}",
        action=action,
        entity_id=key(raised),
        summary="Coolant is calm again",
        **more,
    )
    return Delivery(event=made, key=made.id)


def now(raised: str = "one", identity: int = 20, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """An order as it is read before it is changed."""
    return (
        order(raised, identity)
        | {
            "comment": "Occurred: today",
            "_timestamp": "17.5",
            "status.": {"id": 3, "progress": None},
            "progress": None,
            "timesheet_duration": {"__class__": "timedelta", "seconds": 0},
            "children": [],
        }
        | changes
    )


def deliver(
    replies: list[Reply], *deliveries: Delivery
) -> tuple[list[object], list[str], list[Any]]:
    """Outcomes, steps, and the parameters of each write."""
    outcomes, calls = converse(connector().deliver(deliveries), [*login(), *replies])
    writes = [body(call)["params"] for call in calls if call.step == "change_order"]
    return list(outcomes), steps(calls)[5:], writes


def test_a_clear_adds_its_line_and_closes_the_order() -> None:
    outcomes, made, [[ids, values, context]] = deliver([ok([now()]), DONE, WRITTEN], about())
    assert outcomes == [Delivered(target_id="20", created=True)]
    assert made == ["read_order", "done_status", "change_order"]
    line = "Cleared at 2026-11-21T10:30:00.250Z: Coolant is calm again (closed) "
    comment = f"Occurred: today\n\n{line}[FL-{key('one-clear')}]"
    assert (ids, values) == ([20], {"comment": comment, "status": 4, "progress": 1.0})
    assert context["_timestamp"] == {"project.work,20": "17.5"}
    assert (context["company"], context["language"]) == (1, "en")


def test_an_update_adds_its_line_and_sets_the_severity_in_the_name() -> None:
    old = now(name=f"FL-{key('one')} · warning · Coolant · hot")
    update = about(action=Action.UPDATE, severity=Severity.CRITICAL)
    outcomes, made, [[_, values, _]] = deliver([ok([old]), WRITTEN], update)
    assert outcomes == [Delivered(target_id="20", created=True)]
    assert made == ["read_order", "change_order"]
    assert values["name"] == f"FL-{key('one')} · critical · Coolant · hot"
    assert "Now critical, since 2026-11-21T10:30:00.250Z: " in values["comment"]
    assert set(values) == {"name", "comment"}


@pytest.mark.parametrize(
    "noted",
    [
        {"timesheet_duration": {"__class__": "timedelta", "seconds": 900}},
        {"progress": 0.1},
        {"children": [31]},
        {"status.": {"id": 4, "progress": 1.0}, "progress": 1.0},
    ],
    ids=str,
)
def test_an_order_somebody_works_on_or_has_closed_keeps_its_status(noted: dict[str, Any]) -> None:
    outcomes, made, [[_, values, _]] = deliver([ok([now(**noted)]), WRITTEN], about())
    assert outcomes == [Delivered(target_id="20", created=True)]
    assert made == ["read_order", "change_order"]
    assert set(values) == {"comment"}


@pytest.mark.parametrize("action", [Action.UPDATE, Action.CLEAR])
def test_a_change_that_is_there_already_is_not_made_again(action: Action) -> None:
    there = now(comment=f"x\n\ny {mark_of(key(f'one-{action}'))}\nAnn: thanks")
    outcomes, made, _ = deliver([ok([there])], about(action=action))
    assert outcomes == [Delivered(target_id="20", created=False)]
    assert made == ["read_order"]


@pytest.mark.parametrize("action", [Action.UPDATE, Action.CLEAR])
def test_without_its_order_there_is_nothing_to_change_and_nobody_to_ask(action: Action) -> None:
    like = now() | {"name": f"fl-{key('one')} · x"}
    outcomes, made, _ = deliver([ok([like])], about(action=action))
    [rejected] = outcomes
    assert isinstance(rejected, Rejected)
    assert (rejected.code, rejected.final) == ("mapping.nothing_to_update", True)
    assert rejected.message.endswith(".")
    assert made == ["read_order"]


def test_changes_of_several_orders_are_one_transaction() -> None:
    replies: list[Reply] = [ok([now("one", 20), now("two", 21), now("three", 22)]), DONE, WRITTEN]
    outcomes, made, [params] = deliver(replies, about("one"), about("two"), about("three"))
    assert outcomes == [Delivered(target_id=str(i), created=True) for i in (20, 21, 22)]
    assert made == ["read_order", "done_status", "change_order"]
    assert [part for part in params if isinstance(part, list)] == [[20], [21], [22]]
    assert len(params[-1]["_timestamp"]) == 3


def test_an_update_and_the_clear_of_one_order_are_made_one_after_the_other() -> None:
    update = about(action=Action.UPDATE, severity=Severity.CRITICAL)
    replies: list[Reply] = [ok([now()]), WRITTEN, ok([now(_timestamp="18")]), DONE, WRITTEN]
    outcomes, made, writes = deliver(replies, update, about())
    assert outcomes == [Delivered(target_id="20", created=True)] * 2
    assert made == ["read_order", "change_order", "read_order", "done_status", "change_order"]
    assert writes[1][-1]["_timestamp"] == {"project.work,20": "18"}


def test_what_is_raised_is_created_before_what_is_over_is_closed() -> None:
    replies: list[Reply] = [ok([equipment()]), ok([20]), ok([now("two", 20)]), DONE, WRITTEN]
    outcomes, made, _ = deliver(replies, about("two"), delivery("two"))
    assert outcomes == [Delivered(target_id="20", created=True)] * 2
    assert made[:2] == ["look_up", "create_order"]


def test_a_refused_batch_of_changes_is_gone_through_one_by_one() -> None:
    orders = ok([now("one", 20), now("two", 21), now("three", 22)])
    replies: list[Reply] = [orders, DONE, CONFLICT, WRITTEN, CONFLICT, WRITTEN]
    outcomes, made, _ = deliver(replies, about("one"), about("two"), about("three"))
    assert outcomes[0] == Delivered(target_id="20", created=True)
    assert isinstance(outcomes[1], Retryable)
    assert (outcomes[1].code, outcomes[1].scope) == ("tryton.concurrency", Scope.ITEM)
    assert outcomes[2] == Delivered(target_id="22", created=True)
    assert made.count("change_order") == 4


def test_a_rule_of_trytons_that_refuses_a_change_is_for_a_person_to_decide() -> None:
    may = ok({**RIGHTS, "project.work": {**RIGHTS["project.work"], "write": 1}})
    outcomes, _, _ = deliver([ok([now()]), DONE, user_error("Not now."), may], about())
    assert outcomes == [Rejected(code="tryton.user_error", message="Not now.", answer="Not now.")]


def test_a_change_refused_for_want_of_rights_halts_the_sink_and_rejects_nothing() -> None:
    replies: list[Reply] = [
        *(ok([now("one", 20), now("two", 21)]), DONE),
        *(user_error("You are not allowed."), user_error("You are not allowed."), ok(RIGHTS)),
    ]
    outcomes, _, _ = deliver(replies, about("one"), about("two"))
    for outcome in outcomes:
        assert isinstance(outcome, Retryable)
        assert (outcome.code, outcome.scope) == ("tryton.no_rights", Scope.SYSTEM)


def test_a_tryton_without_a_status_for_done_halts_what_would_close_an_order() -> None:
    update = about("two", Action.UPDATE, severity=Severity.CRITICAL)
    replies: list[Reply] = [ok([now("one", 20), now("two", 21)]), ok([]), WRITTEN]
    outcomes, _, _ = deliver(replies, about("one"), update)
    assert isinstance(outcomes[0], Retryable)
    assert (outcomes[0].code, outcomes[0].scope) == ("tryton.no_done_status", Scope.SYSTEM)
    assert outcomes[1] == Delivered(target_id="21", created=True)


CLOSED: dict[str, Any] = {
    "comment": f"Cleared at noon: calm (closed) {mark_of('k')}",
    "progress": 1.0,
    "status.": {"id": 4, "progress": 1.0},
}


def test_an_update_opens_what_a_clear_has_closed() -> None:
    done = now() | CLOSED
    update = about(action=Action.UPDATE, severity=Severity.CRITICAL)
    outcomes, made, [[_, values, _]] = deliver([ok([done]), ok([{"id": 3}]), WRITTEN], update)
    assert outcomes == [Delivered(target_id="20", created=True)]
    assert made == ["read_order", "open_status", "change_order"]
    assert (values["status"], values["progress"]) == (3, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"comment": "Ann: repaired"},
        {"comment": f"{CLOSED['comment']}\n\nNow critical, since noon: worse {mark_of('l')}"},
    ],
    ids=["by a person", "opened since"],
)
def test_an_update_leaves_closed_what_we_did_not_close_last(changes: dict[str, Any]) -> None:
    done = now() | CLOSED | changes
    update = about(action=Action.UPDATE, severity=Severity.CRITICAL)
    _, made, [[_, values, _]] = deliver([ok([done]), WRITTEN], update)
    assert made == ["read_order", "change_order"]
    assert "status" not in values


def test_a_tryton_without_a_default_status_halts_what_would_open_an_order() -> None:
    done = now() | CLOSED
    update = about(action=Action.UPDATE, severity=Severity.CRITICAL)
    outcomes, _, _ = deliver([ok([done]), ok([])], update)
    assert isinstance(outcomes[0], Retryable)
    assert (outcomes[0].code, outcomes[0].scope) == ("tryton.no_open_status", Scope.SYSTEM)


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize(
    "reply", [httpx.ReadTimeout(""), httpx.Response(502), httpx.ConnectError("")], ids=repr
)
def test_whatever_stays_unanswered_is_tried_again_for_the_next_attempt_reads_first(
    at: int, reply: Reply
) -> None:
    replies = [*[ok([now()]), DONE][:at], reply]
    outcomes, made, _ = deliver(replies, about())
    assert isinstance(outcomes[0], Retryable)
    assert outcomes[0].scope is Scope.SYSTEM
    assert len(made) == at + 1


def test_only_the_write_is_one_and_tryton_keeps_it_to_once() -> None:
    _, calls = converse(connector().deliver([about()]), [*login(), ok([now()]), DONE, WRITTEN])
    writing = {c.step: c.effect for c in calls if c.effect is not Effect.READ}
    assert writing == {"change_order": Effect.KEYED_WRITE}


def test_look_up_asks_for_the_mark_of_a_change_and_the_order_of_a_raise() -> None:
    asked = [about("two"), delivery("one"), about("one"), about("three")]
    made = now("two", 21, comment=f"Cleared {mark_of(key('two-clear'))}")
    replies = [*login(), ok([order("one")]), ok([made, now("one", 20)])]
    got, calls = converse(connector().look_up(asked), replies)
    assert got == [Found(target_id="21"), Found(target_id="20"), NotFound(), NotFound()]
    assert all(call.effect is Effect.READ for call in calls)
    got, _ = converse(
        connector().look_up(asked), [*login(), ok([order("one")]), httpx.Response(502)]
    )
    assert [type(one) for one in got] == [Retryable, Found, Retryable, Retryable]


@pytest.mark.parametrize("bad", ["", "a · b", "x" * 65])
def test_an_entity_that_no_order_can_have_is_refused(bad: str) -> None:
    refused = to_change(event=event(action=Action.CLEAR, entity_id=bad), key=key("one"))
    assert isinstance(refused, Rejected)
    assert refused.code == "mapping.unusable_id"


@given(summary=st.text(), comment=st.text())
def test_a_line_ends_with_its_mark_and_leaves_the_rest_as_it_was(
    summary: str, comment: str
) -> None:
    made = event(action=Action.CLEAR, entity_id=key("one"), summary=summary)
    change = to_change(event=made, key=made.id)
    assert isinstance(change, Change)
    assert change.line.isprintable()
    assert change.line.endswith(change.mark)
    whole = with_line(comment, change.line)
    assert whole.startswith(comment.rstrip())
    assert whole.endswith(change.line)


@given(st.text(max_size=NAME_MAX), st.sampled_from(Severity), st.sampled_from(Severity))
def test_a_name_keeps_all_but_its_severity(text: str, old: Severity, new: Severity) -> None:
    summary = one_line(text, 80) or "x"
    name = f"FL-{key('one')} · {old} · {summary}"
    assert with_severity(name, new) == f"FL-{key('one')} · {new} · {summary}"
    renamed = f"FL-{key('one')} · Ann goes there"
    assert with_severity(renamed, new) == renamed
