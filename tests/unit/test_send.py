"""Deliveries by hand, to real far ends: once, in order, and never said to be more than known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from connectors.fields import Policy
from pipeline.core.outcome import Unknown
from pipeline.ops.send import Came
from tests.sandboxes import erpnext
from tests.sandboxes.box import Box, boxed
from tests.unit.send_world import KEYS, POLICY, RETRY, creates, lines, told_of


@pytest.fixture
def far() -> Iterator[Box]:
    with boxed(erpnext.make()) as box:
        yield box


# -- with the engine


async def test_an_event_is_delivered_once_and_told_with_its_target(far: Box) -> None:
    [sent] = lines({"id": "one"})
    [told] = await told_of(far, [sent])
    assert told.as_json() == {
        "line": 1,
        "id": "one",
        "device_id": "acme/truck-1",
        "outcome": "delivered",
        "target_id": "FL-one",
        "created": True,
        "code": None,
        "message": None,
        "answer": None,
        "final": None,
        "retry_after_s": None,
        "attempts": 1,
    }
    [again] = await told_of(far, [sent])
    assert (again.came, again.as_json()["created"]) == (Came.DELIVERED, False)
    assert len(creates(far)) == 1


async def test_no_events_are_no_work(far: Box) -> None:
    assert await told_of(far, []) == []
    assert await told_of(far, [], wait_s=0) == []
    assert far.stats()["requests"] == 0


async def test_a_system_that_is_away_for_a_while_is_waited_for(far: Box) -> None:
    far.faults({"status": 503, "times": 3})
    [told] = await told_of(far, lines({}))
    assert (told.came, told.attempts) == (Came.DELIVERED, 4)
    assert len(creates(far)) == 1


async def test_a_wait_that_is_longer_than_a_worker_keeps_an_event_is_waited_for_too(
    far: Box,
) -> None:
    """What waits longer than park_after_s leaves the engine: nobody here would take it back."""
    far.errors({"code": "DocumentLockedError", "times": 2})
    [told] = await told_of(far, lines({}), policy=replace(POLICY, park_after_s=0.001), wait_s=20)
    assert (told.came, told.attempts) == (Came.DELIVERED, 3)
    assert len(creates(far)) == 1


async def test_taken_and_then_the_connection_lost_is_delivered_and_there_once(far: Box) -> None:
    far.faults({"method": "POST", "mode": "drop_after", "times": 2})
    [told] = await told_of(far, lines({}))
    assert told.came is Came.DELIVERED
    assert len(creates(far)) == 1


async def test_a_line_that_stands_twice_is_created_once(far: Box) -> None:
    first, second = lines({"id": "same", "summary": "x"}, {"id": "same", "summary": "x"})
    told = await told_of(far, [first, second])
    assert [one.came for one in told] == [Came.DELIVERED] * 2
    assert [one.as_json()["created"] for one in told] == [True, False]
    assert len(creates(far)) == 1


async def test_a_key_with_another_payload_is_refused(far: Box) -> None:
    told = await told_of(far, lines({"id": "same"}, {"id": "same", "type": "other"}))
    assert [one.came for one in told] == [Came.DELIVERED, Came.REJECTED]
    assert told[1].as_json()["code"] == "ledger.key_conflict"
    assert len(creates(far)) == 1


async def test_a_refusal_is_told_with_the_systems_words_and_the_others_go_on(far: Box) -> None:
    far.errors({"code": "MandatoryError", "key": "FL-bad", "times": None})
    told = await told_of(
        far, lines({"id": "good"}, {"id": "bad", "device_id": "acme/truck-2"}, {"id": "late"})
    )
    assert [one.came for one in told] == [Came.DELIVERED, Came.REJECTED, Came.DELIVERED]
    shown = told[1].as_json()
    assert (shown["code"], shown["final"], shown["created"]) == ("erpnext.mandatory", False, None)
    assert "MandatoryError" in shown["answer"]
    assert shown["message"].endswith(".")


async def test_what_the_mapping_refuses_is_never_sent(far: Box) -> None:
    policy = Policy(regions=frozenset({"eu"}))
    [told] = await told_of(far, lines({}), mapping=policy)
    assert (told.came, told.as_json()["code"], told.as_json()["final"]) == (
        Came.REJECTED,
        "mapping.region",
        True,
    )
    assert far.stats()["requests"] == 0


async def test_a_device_without_a_record_is_refused(far: Box) -> None:
    [known] = lines({})
    [told] = await told_of(far, [replace(known, record=None)])
    assert told.as_json()["code"] == "mapping.unregistered_device"


async def test_events_of_one_device_come_in_the_files_order(far: Box) -> None:
    far.faults(*({"status": 503, "skip": n, "times": 1} for n in (0, 3, 5)))
    story = [
        {"id": "raised"},
        {"id": "worse", "action": "update", "entity_id": "raised", "severity": "critical"},
        {"id": "over", "action": "clear", "entity_id": "raised"},
        {"id": "again", "action": "update", "entity_id": "raised"},
    ]
    told = await told_of(far, lines(*story))
    assert [one.came for one in told] == [Came.DELIVERED] * 4
    ops_of = [(e["op"], e["kind"]) for e in far.journal() if e["kind"] == "Issue"]
    assert list(dict.fromkeys(op for op, _ in ops_of)) == ["create", "update", "close", "reopen"]


async def test_an_older_state_behind_a_newer_one_is_superseded_not_sent(far: Box) -> None:
    raised, newer, older = lines(
        {"id": "raised"},
        {"id": "newer", "action": "clear", "entity_id": "raised"},
        {"id": "older", "action": "update", "entity_id": "raised"},
    )
    told = await told_of(far, [raised, newer])
    assert [one.came for one in told] == [Came.DELIVERED] * 2
    late = replace(
        older, event=replace(older.event, source=replace(older.event.source, offset=1, index=-1))
    )
    first, second, third = await told_of(far, [raised, newer, late])
    assert (first.came, second.came, third.came) == (
        Came.DELIVERED,
        Came.DELIVERED,
        Came.SUPERSEDED,
    )
    assert third.as_json()["outcome"] == "superseded"
    assert not [e for e in far.journal() if e["op"] == "reopen"]


async def test_hundreds_of_events_of_many_devices_are_there_once_each_in_order(far: Box) -> None:
    sent = lines(*({"id": f"e{n}", "device_id": f"acme/truck-{n % 40}"} for n in range(200)))
    told = await told_of(far, sent)
    assert {one.came for one in told} == {Came.DELIVERED}
    made = [e["key"] for e in creates(far)]
    assert len(set(made)) == len(made) == 200
    for device in range(40):
        of = [f"FL-e{n}" for n in range(device, 200, 40)]
        assert [key for key in made if key in of] == of


# -- when the time is up


async def test_what_was_not_at_an_end_in_time_has_the_outcome_of_its_last_attempt(
    far: Box,
) -> None:
    far.faults({"status": 503, "times": None})
    sent = lines({"id": "a"}, {"id": "b"})
    began = time.monotonic()
    first, second = await told_of(far, sent, wait_s=1.0)
    assert time.monotonic() - began < 20
    assert (first.came, first.as_json()["code"]) == (Came.RETRYABLE, "erpnext.unavailable")
    assert first.attempts >= 1
    assert second.as_json() | {"outcome": second.came.value} == {
        **dict.fromkeys(KEYS),
        "line": 2,
        "id": "b",
        "device_id": "acme/truck-1",
        "outcome": "not_sent",
        "attempts": 0,
    }
    assert not creates(far)


async def test_what_is_being_written_when_the_time_is_up_is_unknown(far: Box) -> None:
    far.faults({"method": "POST", "delay_s": 5.0, "times": None})
    slow = replace(POLICY, retry=replace(RETRY, request_s=20, settle_s=25))
    [told] = await told_of(far, lines({}), wait_s=0.7, policy=slow)
    assert told.came is Came.UNKNOWN
    assert isinstance(told.outcome, Unknown)
    assert (told.outcome.code, told.attempts) == ("delivery.cut_off", 1)
    assert told.outcome.message.endswith(".")


async def test_what_is_only_being_read_when_the_time_is_up_was_not_sent(far: Box) -> None:
    far.faults({"method": "GET", "mode": "hang", "times": None})
    change = {"action": "update", "entity_id": "raised"}
    slow = replace(POLICY, retry=replace(RETRY, request_s=20, settle_s=25))
    [told] = await told_of(far, lines(change), wait_s=0.7, policy=slow)
    assert told.came is Came.NOT_SENT
    assert told.outcome is None
