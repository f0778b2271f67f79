"""Updates and clears against a real Tryton: what canned replies cannot prove."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from connectors.base import Call, Delivery, Effect
from connectors.tryton import TrytonConnector
from infra.local.tryton import Tryton
from pipeline.core.events import Action, Severity
from pipeline.core.outcome import Delivered, Found, NotFound, Rejected, Retryable, Scope
from pipeline.core.registry import DeviceRecord
from tests.contract.conversation import converse_over, steps
from tests.contract.tryton_examples import delivery, event, key
from tests.integration.tryton_world import (
    client,
    config_of,
    customer,
    deliver_until_taken,
    dropping_proxy,
    may_write_orders,
    orders_of,
    part,
    past_connector,
)

__all__ = ["client", "part"]
pytestmark = pytest.mark.parts


async def state_of(
    client: httpx.AsyncClient, part: Tryton, record: DeviceRecord
) -> list[tuple[str, str]]:
    """Name and status of each order of that customer."""
    return [(order.name, order.status) for order in await orders_of(client, part, record)]


async def comment_of(client: httpx.AsyncClient, part: Tryton, order: str) -> str:
    [row] = await as_person(client, part, "read", [int(order)], ["comment"])
    return str(row["comment"])


async def as_person(client: httpx.AsyncClient, part: Tryton, method: str, *params: object) -> Any:  # noqa: ANN401 - JSON
    """A call on orders."""
    return await past_connector(client, part, f"model.project.work.{method}", *params)


async def cleared_before(
    client: httpx.AsyncClient,
    part: Tryton,
    to: TrytonConnector,
    sent: Sequence[Delivery],
    order: str,
) -> None:
    """Sending the clear again finds it, and the order tells of it once."""
    [again], _ = await converse_over(client, to.deliver(sent))
    assert again == Delivered(target_id=order, created=False)
    assert (await comment_of(client, part, order)).count("Cleared at") == 1


def about(name: str, record: DeviceRecord, action: Action, raised: str, **more: Any) -> Delivery:  # noqa: ANN401 - any field
    """An update or clear of what was raised under that name."""
    made = event(
        name,
        device_id=record.device_id,
        action=action,
        entity_id=key(raised),
        summary=f"{name} told",
        **more,
    )
    return Delivery(event=made, key=made.id)


async def test_an_order_is_made_graver_and_then_closed_each_once(
    part: Tryton, client: httpx.AsyncClient
) -> None:
    record = customer("whole")
    to = TrytonConnector(config_of(part))
    raised = event("whole", device_id=record.device_id, severity=Severity.WARNING)
    sent = [
        Delivery(event=raised, key=raised.id, record=record),
        about("worse", record, Action.UPDATE, "whole", severity=Severity.CRITICAL),
        about("over", record, Action.CLEAR, "whole", severity=Severity.WARNING),
    ]
    assert (await converse_over(client, to.look_up(sent)))[0] == [NotFound()] * 3
    outcomes, _ = await converse_over(client, to.deliver(sent[:1]))
    [first] = outcomes
    assert isinstance(first, Delivered)
    [updated], _ = await converse_over(client, to.deliver(sent[1:2]))
    assert updated == Delivered(target_id=first.target_id, created=True)
    reference = f"FL-{key('whole')} · critical · Coolant at 112 °C, limit 105 °C"
    assert await state_of(client, part, record) == [(reference, "Open")]
    [cleared], calls = await converse_over(client, to.deliver(sent[2:]))
    assert cleared == Delivered(target_id=first.target_id, created=True)
    assert steps(calls) == ["read_order", "done_status", "change_order"]
    assert await state_of(client, part, record) == [(reference, "Done")]
    text = await comment_of(client, part, first.target_id)
    assert text.splitlines()[-4:] == [
        "",
        f"Now critical, since 2026-11-21T10:30:00.250Z: worse told [FL-{key('worse')}]",
        "",
        f"Cleared at 2026-11-21T10:30:00.250Z: over told (closed) [FL-{key('over')}]",
    ]
    again, calls = await converse_over(client, to.deliver(sent))
    assert again == [Delivered(target_id=first.target_id, created=False)] * 3
    assert all(call.effect is Effect.READ for call in calls)
    assert await comment_of(client, part, first.target_id) == text
    found, _ = await converse_over(client, to.look_up(sent))
    assert found == [Found(target_id=first.target_id)] * 3


@pytest.mark.parametrize("noted", [{"progress": 0.25}, {"children": True}])
async def test_an_order_that_somebody_works_on_is_told_and_stays_open(
    part: Tryton, client: httpx.AsyncClient, noted: dict[str, Any]
) -> None:
    kind = next(iter(noted))
    record = customer(f"worked-{kind}")
    to = TrytonConnector(config_of(part))
    order = await deliver_until_taken(client, to, kind, record)
    if kind == "children":
        [row] = await as_person(client, part, "read", [int(order)], ["company"])
        below = {"type": "task", "name": "Call", "parent": int(order), "company": row["company"]}
        await as_person(client, part, "create", [below])
    else:
        await as_person(client, part, "write", [int(order)], noted)
    sent = [about(f"{kind}-over", record, Action.CLEAR, kind)]
    [outcome], calls = await converse_over(client, to.deliver(sent))
    assert outcome == Delivered(target_id=order, created=True)
    assert "done_status" not in steps(calls)
    assert "Open" in dict(await state_of(client, part, record)).values()
    assert f"[FL-{key(f'{kind}-over')}]" in await comment_of(client, part, order)


async def test_a_persons_change_in_between_is_kept_and_the_clear_is_tried_again(
    part: Tryton, client: httpx.AsyncClient
) -> None:
    record = customer("between")
    to = TrytonConnector(config_of(part))
    order = await deliver_until_taken(client, to, "between", record)

    async def person(call: Call) -> None:
        if call.step == "change_order":
            values = {"comment": "I will go there. Ann"}
            await as_person(client, part, "write", [int(order)], values)

    sent = [about("between-over", record, Action.CLEAR, "between")]
    [outcome], _ = await converse_over(client, to.deliver(sent), before=person)
    assert isinstance(outcome, Retryable)
    assert (outcome.code, outcome.scope) == ("tryton.concurrency", Scope.ITEM)
    [again], _ = await converse_over(client, to.deliver(sent))
    assert again == Delivered(target_id=order, created=True)
    text = await comment_of(client, part, order)
    assert text.startswith("I will go there. Ann\n\nCleared at ")


async def test_the_same_write_sent_twice_takes_effect_once(
    part: Tryton, client: httpx.AsyncClient
) -> None:
    record = customer("resent")
    to = TrytonConnector(config_of(part))
    order = await deliver_until_taken(client, to, "resent", record)

    async def first_already(call: Call) -> None:
        if call.step == "change_order":
            request = call.request
            copy = httpx.Request(
                "POST", request.url, content=request.content, headers=request.headers
            )
            assert (await client.send(copy)).json()["result"] is None

    sent = [about("resent-over", record, Action.CLEAR, "resent")]
    [outcome], _ = await converse_over(client, to.deliver(sent), before=first_already)
    assert isinstance(outcome, Retryable)
    assert outcome.code == "tryton.concurrency"
    await cleared_before(client, part, to, sent, order)


async def test_an_answer_to_a_clear_lost_after_the_commit_is_found_by_the_next_attempt(
    part: Tryton, client: httpx.AsyncClient
) -> None:
    record = customer("lost-clear")
    direct = TrytonConnector(config_of(part))
    order = await deliver_until_taken(client, direct, "lost-clear", record)
    sent = [about("lost-over", record, Action.CLEAR, "lost-clear")]
    async with dropping_proxy(part.port, after=b"model.project.work.write") as port:
        config = config_of(part, url=f"http://127.0.0.1:{port}/erp")
        to = TrytonConnector(config)
        [outcome], calls = await converse_over(client, to.deliver(sent))
        assert isinstance(outcome, Retryable)
        assert steps(calls)[-1] == "change_order"
        assert (await converse_over(client, to.look_up(sent)))[0] == [Found(target_id=order)]
        await cleared_before(client, part, to, sent, order)


async def test_a_batch_mixes_what_is_raised_and_what_is_over(
    part: Tryton, client: httpx.AsyncClient
) -> None:
    record = customer("mixed")
    to = TrytonConnector(config_of(part))
    names = [f"mixed-{i}" for i in range(5)]
    await converse_over(client, to.deliver([delivery(name, record=record) for name in names]))
    sent = [
        about("mixed-0-over", record, Action.CLEAR, "mixed-0"),
        delivery("mixed-new", record=record),
        about("mixed-none-over", record, Action.CLEAR, "mixed-none"),
        about("mixed-1-over", record, Action.CLEAR, "mixed-1"),
        about("mixed-new-over", record, Action.CLEAR, "mixed-new"),
    ]
    outcomes, calls = await converse_over(client, to.deliver(sent))
    assert [type(o) for o in outcomes] == [Delivered, Delivered, Rejected, Delivered, Delivered]
    assert isinstance(outcomes[2], Rejected)
    assert (outcomes[2].code, outcomes[2].final) == ("mapping.nothing_to_update", True)
    made = ["look_up", "create_order", "read_order", "done_status", "change_order"]
    assert steps(calls) == made
    closed = [n for n, status in await state_of(client, part, record) if status == "Done"]
    assert sorted(n.split(" · ")[0] for n in closed) == sorted(
        f"FL-{key(name)}" for name in ("mixed-0", "mixed-1", "mixed-new")
    )


async def test_without_the_right_to_write_a_clear_halts_and_rejects_nothing(
    part: Tryton, client: httpx.AsyncClient
) -> None:
    record = customer("no-right")
    to = TrytonConnector(config_of(part))
    await deliver_until_taken(client, to, "no-right", record)
    await may_write_orders(client, part, may=False)
    try:
        sent = [about("no-right-over", record, Action.CLEAR, "no-right")]
        [outcome], _ = await converse_over(client, to.deliver(sent))
    finally:
        await may_write_orders(client, part, may=True)
    assert isinstance(outcome, Retryable)
    assert (outcome.code, outcome.scope) == ("tryton.no_rights", Scope.SYSTEM)
    assert "may not write project.work" in outcome.message
