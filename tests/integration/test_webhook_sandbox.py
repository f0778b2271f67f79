"""The webhook connector against a receiver that runs: what is there afterwards counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest

from connectors.base import Delivery
from connectors.settings import make
from connectors.webhook import WebhookConnector, WebhookSettings
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
from tests.contract.conversation import converse_over
from tests.contract.webhook_examples import delivery
from tests.sandbox import Box, Fault, Limit, sandbox

pytestmark = pytest.mark.parts
TIMEOUT_S = 2.0


@pytest.fixture(params=[1, 200], ids=["single", "batched"])
async def to(request: pytest.FixtureRequest) -> AsyncIterator[To]:
    async with sandbox() as box, httpx.AsyncClient(trust_env=False) as client:
        yield To(box, client, request.param)


class To:
    """A connector, its receiver, and the wire between them."""

    def __init__(self, box: Box, client: httpx.AsyncClient, batch: int) -> None:
        self.box = box
        self.client = client
        self.given: dict[str, Any] = {
            "url": box.url,
            "secret": box.secret,
            "look_up_url": box.look_up_url,
            "batch": batch,
            "timeout_s": TIMEOUT_S,
        }

    def connector(self, *, skew_s: float = 0.0) -> WebhookConnector:
        settings = make(WebhookSettings, self.given)
        return WebhookConnector(settings, clock=lambda: time.time() + skew_s)

    async def send(self, *deliveries: Delivery, skew_s: float = 0.0) -> Sequence[Outcome]:
        outcomes, _ = await converse_over(
            self.client, self.connector(skew_s=skew_s).deliver(deliveries)
        )
        return outcomes


async def test_what_is_sent_twice_is_there_once_and_both_say_delivered(to: To) -> None:
    sent = [delivery("one"), delivery("two")]
    assert [o.created for o in await to.send(*sent) if isinstance(o, Delivered)] == [True, True]
    again = await to.send(*sent)
    assert again == [
        Delivered(target_id="box-1", created=False),
        Delivered(target_id="box-2", created=False),
    ]
    stats = await to.box.stats()
    assert (stats["keys"], stats["effects"], stats["events"]) == (2, 2, 4)


async def test_both_signatures_are_right_and_a_wrong_secret_or_clock_is_refused(to: To) -> None:
    assert isinstance((await to.send(delivery("one")))[0], Delivered)
    late = (await to.send(delivery("two"), skew_s=-400))[0]
    assert isinstance(late, Retryable)
    assert (late.code, late.scope) == ("webhook.credentials", Scope.SYSTEM)
    to.given["secret"] = "some-other-secret-of-ours"
    assert isinstance((await to.send(delivery("two")))[0], Retryable)
    to.given["secret"] = f"some-new-secret-of-ours {to.box.secret}"
    assert isinstance((await to.send(delivery("two")))[0], Delivered)
    assert (await to.box.stats())["unsigned"] == 2


async def test_a_receiver_that_commits_and_drops_is_unknown_and_holds_one(to: To) -> None:
    await to.box.faults(Fault(mode="drop_after", times=1))
    first = await to.send(delivery("one"))
    assert isinstance(first[0], Unknown)
    found, _ = await converse_over(to.client, to.connector().look_up([delivery("one")]))
    assert found == [Found(target_id="box-1")]
    assert await to.send(delivery("one")) == [Delivered(target_id="box-1", created=False)]
    assert (await to.box.stats())["effects"] == 1


async def test_a_receiver_that_drops_before_it_takes_has_nothing(to: To) -> None:
    await to.box.faults(Fault(mode="drop_before", times=1))
    assert isinstance((await to.send(delivery("one")))[0], Unknown)
    found, _ = await converse_over(to.client, to.connector().look_up([delivery("one")]))
    assert found == [NotFound()]


async def test_a_receiver_that_never_answers_is_unknown_after_the_time_out(to: To) -> None:
    to.given["timeout_s"] = 0.2
    await to.box.faults(Fault(mode="hang"))
    outcome = (await to.send(delivery("one")))[0]
    assert isinstance(outcome, Unknown)
    assert outcome.code == "webhook.timeout"


async def test_a_slow_receiver_is_waited_for(to: To) -> None:
    await to.box.faults(Fault(delay_s=0.2, slow_s=0.001))
    assert isinstance((await to.send(delivery("one")))[0], Delivered)


async def test_a_dead_receiver_has_certainly_taken_nothing() -> None:
    async with sandbox() as box, httpx.AsyncClient(trust_env=False) as client:
        gone = To(box, client, 1)
    async with httpx.AsyncClient(trust_env=False) as client:
        gone.client = client
        outcome = (await gone.send(delivery("one")))[0]
    assert isinstance(outcome, Retryable)
    assert (outcome.code, outcome.scope) == ("webhook.unreachable", Scope.SYSTEM)


async def test_a_limit_is_told_with_the_time_to_wait_and_keeps_what_came_before(to: To) -> None:
    await to.box.limit(Limit(events=2, window_s=30))
    assert isinstance((await to.send(delivery("one")))[0], Delivered)
    await to.send(delivery("two"))
    outcome = (await to.send(delivery("three")))[0]
    assert isinstance(outcome, Retryable)
    assert outcome.code == "webhook.rate_limit"
    assert 0 < (outcome.retry_after_s or 0) <= 31
    assert (await to.box.stats())["keys"] == 2


async def test_one_poison_event_in_a_batch_is_refused_alone() -> None:
    async with sandbox() as box, httpx.AsyncClient(trust_env=False) as client:
        to = To(box, client, 200)
        events = [delivery(f"event {n}") for n in range(40)]
        await box.faults(Fault(status=422, body='{"detail": "bad"}', keys=(events[17].key,)))
        outcomes = await to.send(*events)
        assert [n for n, o in enumerate(outcomes) if isinstance(o, Rejected)] == [17]
        assert sum(isinstance(o, Delivered) for o in outcomes) == 39
        stats = await box.stats()
        assert (stats["keys"], stats["doubled"]) == (39, 0)


async def test_the_same_key_with_another_payload_is_refused(to: To) -> None:
    await to.send(delivery("one"))
    [other] = await to.send(
        replace(delivery("one"), event=replace(delivery("one").event, summary="another"))
    )
    assert isinstance(other, Rejected)
    assert other.code == "webhook.unprocessable"


async def test_the_journal_tells_order_by_device_and_a_swap_shows() -> None:
    async with sandbox(keyed=False) as box, httpx.AsyncClient(trust_env=False) as client:
        to = To(box, client, 1)
        for offset in (1, 3, 2):
            await to.send(delivery(f"event {offset}", offset=offset))
        await to.send(delivery("event 3", offset=3))
        stats = await box.stats()
        assert (stats["out_of_order"], stats["doubled"], stats["effects"]) == (1, 1, 4)
        assert [line["place"] for line in await box.journal()] == [1, 2, 3]


async def test_many_at_once_on_one_key_leave_one(to: To) -> None:
    await asyncio.gather(*(to.send(delivery("one")) for _ in range(20)))
    stats = await to.box.stats()
    assert (stats["keys"], stats["effects"], stats["events"]) == (1, 1, 20)
