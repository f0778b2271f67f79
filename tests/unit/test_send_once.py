"""Deliveries by hand: one attempt each, targets without keys, batches, checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from connectors.base import Delivery
from connectors.fields import OPEN
from connectors.registry import make_connector
from pipeline.core.outcome import Rejected, Retryable, Unknown
from pipeline.ops import send as ops
from pipeline.ops.send import Came, Told, check, send
from pipeline.settings import SettingsError
from tests.sandboxes import erpnext, webhook
from tests.sandboxes.box import Box, boxed
from tests.unit.send_world import KEYS, LONG_S, POLICY, creates, lines, posted, told_of, values


@pytest.fixture
def far() -> Iterator[Box]:
    with boxed(erpnext.make()) as box:
        yield box


# -- one attempt


async def test_without_a_wait_each_is_sent_once_and_what_failed_stays_so(far: Box) -> None:
    far.faults({"status": 503, "headers": {"retry-after": "7"}, "times": 1})
    told = await told_of(far, lines({"id": "a"}, {"id": "b"}), wait_s=0)
    assert [one.came for one in told] == [Came.RETRYABLE, Came.DELIVERED]
    assert told[0].as_json()["retry_after_s"] == 7.0
    assert [one.attempts for one in told] == [1, 1]
    assert far.stats()["requests"] == 2
    assert [e["key"] for e in creates(far)] == ["FL-b"]


async def test_without_a_wait_a_lost_connection_is_unknown(far: Box) -> None:
    far.faults({"method": "POST", "mode": "drop_after"})
    [told] = await told_of(far, lines({}), wait_s=0)
    assert told.came is Came.UNKNOWN
    assert len(creates(far)) == 1


async def test_without_a_wait_an_answer_that_never_comes_is_unknown_in_bounded_time(
    far: Box,
) -> None:
    far.faults({"method": "POST", "mode": "hang"})
    [told] = await told_of(far, lines({}), wait_s=0)
    assert (told.came, told.as_json()["code"]) == (Came.UNKNOWN, "erpnext.timeout")


# -- a target that does not keep an event to once by itself


@pytest.fixture
def receiver() -> Iterator[Box]:
    with boxed(webhook.make()) as box:
        yield box


@pytest.mark.parametrize("wait_s", [0.0, LONG_S])
async def test_what_is_there_already_is_found_and_not_sent_again(
    receiver: Box, wait_s: float
) -> None:
    sent = lines({"id": "a"}, {"id": "b", "device_id": "acme/truck-2"})
    await posted(receiver, sent[:1], wait_s=wait_s, batch=1)
    told = await posted(receiver, sent, wait_s=wait_s, batch=10)
    assert [(one.came, one.as_json()["created"]) for one in told] == [
        (Came.DELIVERED, False),
        (Came.DELIVERED, True),
    ]
    assert [e["key"] for e in receiver.journal()] == ["a", "b"]
    if not wait_s:
        assert [one.attempts for one in told] == [0, 1]


async def test_what_was_looked_for_is_not_looked_for_before_each_send(receiver: Box) -> None:
    receiver.faults({"method": "POST", "status": 503, "times": 2})
    [told] = await posted(receiver, lines({}), wait_s=LONG_S, batch=1)
    assert (told.came, told.attempts) == (Came.DELIVERED, 3)
    assert receiver.stats()["requests"] == 1 + 3, "a look, and three posts"
    assert len(receiver.journal()) == 1


async def test_a_target_that_cannot_be_asked_first_is_not_written_to(receiver: Box) -> None:
    receiver.faults({"method": "GET", "status": 500, "times": None})
    [told] = await posted(receiver, lines({}), wait_s=0, batch=1)
    assert told.came is Came.RETRYABLE
    assert told.attempts == 0
    assert not receiver.journal()


@pytest.mark.parametrize("wait_s", [0.0, LONG_S])
async def test_a_batch_never_holds_a_device_twice_and_order_is_kept(
    receiver: Box, wait_s: float
) -> None:
    devices = [f"acme/truck-{n % 3}" for n in range(12)]
    sent = lines(*({"id": f"e{n}", "device_id": one} for n, one in enumerate(devices)))
    told = await posted(receiver, sent, wait_s=wait_s, batch=50)
    assert {one.came for one in told} == {Came.DELIVERED}
    keys = [e["key"] for e in receiver.journal()]
    assert sorted(keys) == sorted(one.event.id for one in sent)
    for device in set(devices):
        of = [one.event.id for one in sent if one.event.device_id == device]
        assert [key for key in keys if key in of] == of


async def test_thousands_of_events_are_there_once_each(receiver: Box) -> None:
    """More than the engine is given at once."""
    sent = lines(*({"id": f"e{n}", "device_id": f"acme/truck-{n % 400}"} for n in range(2_000)))
    assert len(sent) > 2 * ops.IN_HAND
    receiver.faults({"status": 503, "times": 2}, {"mode": "drop_after", "method": "POST"})
    told = await posted(receiver, sent, wait_s=LONG_S, batch=200, keyed=True)
    assert {one.came for one in told} == {Came.DELIVERED}
    assert sorted(e["key"] for e in receiver.journal()) == sorted(one.event.id for one in sent)


def test_batches_are_as_full_as_the_order_allows() -> None:
    sent = lines(*({"device_id": f"d{n}"} for n in (1, 2, 3, 1, 2, 2, 3)))
    for size in (1, 2, 3, 10):
        batches = ops._batches(sent, size)  # noqa: SLF001 - the rule itself
        assert [one for batch in batches for one in batch] == sent
        for batch in batches:
            devices = [one.event.device_id for one in batch]
            assert 0 < len(devices) == len(set(devices)) <= size
    assert [len(batch) for batch in ops._batches(sent, 10)] == [3, 2, 2]  # noqa: SLF001 - the rule itself
    assert ops._batches([], 3) == []  # noqa: SLF001 - the rule itself


async def test_a_key_that_stands_twice_in_one_batch_is_told_of_each_line(receiver: Box) -> None:
    sent = lines({"id": "same", "device_id": "d1"}, {"id": "same", "device_id": "d2"})
    told = await posted(receiver, sent, wait_s=0, batch=10)
    assert told[0].as_json()["created"] is True
    assert len(told) == 2
    assert len(receiver.journal()) == 1


# -- settings, checks, words


async def test_unusable_settings_are_one_sentence_before_anything_is_sent() -> None:
    for sink, wrong in (("nothing", {}), ("erpnext", {}), ("erpnext", {"no": 1})):
        with pytest.raises(SettingsError):
            await send(sink, lines({}), values=wrong, policy=POLICY, mapping=OPEN, wait_s=1)
        with pytest.raises(SettingsError):
            await check(sink, wrong, request_s=1)


async def test_a_check_only_reads(far: Box) -> None:
    found = await check("erpnext", values(far), request_s=5)
    assert [one.ok for one in found] == [True, True, None]
    wrong = await check("erpnext", values(far) | {"api_secret": "wrong"}, request_s=5)
    assert [one.ok for one in wrong] == [False]
    assert not far.journal()


def test_every_end_has_every_key_and_no_outcome_says_another_ones() -> None:
    [line] = lines({})
    for came, outcome in (
        (Came.REJECTED, Rejected(code="c", message="m", answer="a", final=True)),
        (Came.RETRYABLE, Retryable(code="c", message="m", scope="item", retry_after_s=2.0)),  # type: ignore[arg-type]  # a StrEnum's text
        (Came.UNKNOWN, Unknown(code="c", message="m")),
        (Came.NOT_SENT, None),
    ):
        shown = Told(line=line, came=came, outcome=outcome, attempts=1).as_json()
        assert list(shown) == KEYS
        assert (shown["target_id"], shown["created"]) == (None, None)
        assert (shown["answer"] is None) == (came is not Came.REJECTED)
        assert (shown["retry_after_s"] is None) == (came is not Came.RETRYABLE)


async def test_a_connector_that_fails_is_told_as_a_defect_and_as_unknown(
    far: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(type(make_connector("erpnext", values=values(far)))):  # type: ignore[misc]  # a class made here
        def deliver(self, deliveries: Sequence[Delivery]) -> Any:  # noqa: ANN401 - a conversation
            yield from super().deliver(deliveries)
            raise ZeroDivisionError

    def broken(sink: str, **more: Any) -> Any:  # noqa: ANN401 - as make_connector
        made = make_connector(sink, **more)
        made.__class__ = Broken
        return made

    monkeypatch.setattr(ops, "make_connector", broken)
    [told] = await told_of(far, lines({}), wait_s=0)
    assert (told.came, told.as_json()["code"]) == (Came.UNKNOWN, "connector.bug")
    assert "ZeroDivisionError" in told.as_json()["message"]
