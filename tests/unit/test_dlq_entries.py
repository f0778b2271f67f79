from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.agents.deadletter import HEADERS_BYTES, Cause, dead_letter, kept_headers, unreadable
from pipeline.core.ledger import Note
from pipeline.core.ledger import State as Row
from pipeline.ops.audit import Act, operator, reason
from pipeline.ops.deadletters import in_order, paced
from pipeline.ops.dlq_acts import discarded, replay_headers
from pipeline.ops.dlq_entries import SCHEMA, Entry, find
from pipeline.ops.dlq_filters import Filter, instant
from pipeline.settings import Settings, SettingsError
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.cloudevents import EDITED, REPLAY, headers, trace_parent
from pipeline.wire.records import encode_event
from tests.unit.examples import event

CODEC = Codec()
NOW = 1_763_700_000_000
HOUR = 3_600_000
SOURCE = event().source


def message(**changes: object) -> Any:  # noqa: ANN401 - as Faust's
    given = {
        "topic": "sink.tryton",
        "partition": 2,
        "offset": 17,
        "key": b"acme/engine-001",
        "value": encode_event(CODEC, event()),
        "headers": [(name, value) for name, value in headers(event()).items()],
    }
    return SimpleNamespace(**{**given, **changes})


def cause(**changes: Any) -> Cause:  # noqa: ANN401 - any field
    given: dict[str, Any] = {
        "cause_class": "rejected",
        "code": "tryton.user_error",
        "message": "It says no.",
        "answer": "no",
        "attempts": 2,
        "event_id": event().id,
        "tenant": "acme",
    }
    return Cause(**{**given, **changes})


def entry(offset: int = 0, **fields: object) -> Entry:
    record = dead_letter("tryton", message(), cause(), now_ms=NOW)
    return Entry(offset=offset, record={**record, **fields}, sink="tryton")


def test_a_dead_letter_has_headers_history_and_no_secrets() -> None:
    note = Note(at_ms=NOW, state=Row.RETRYABLE, code="tryton.user_error", owner="deliver-tryton/0")
    given = message(headers={"ce_id": b"x", "Authorization": b"Basic abc", "x-token": b"t"})
    why = cause(
        history=[note],
        answer='{"password": "hunter2"}' + "x" * 9_000,
        message="It says Authorization: Bearer hunter2",
    )
    value = CODEC.encode(SCHEMA, dead_letter("tryton", given, why, now_ms=NOW))
    assert b"hunter2" not in value
    record = CODEC.decode(SCHEMA, value)
    assert record["headers"] == {"ce_id": b"x"}
    assert record["history"] == [
        {
            "at_ms": NOW,
            "state": "retryable",
            "code": "tryton.user_error",
            "owner": "deliver-tryton/0",
        }
    ]
    assert len(record["answer"]) == 4_096
    assert record["payload"] == given.value
    assert record["traceparent"] == trace_parent(event().id)


def test_the_trace_of_the_message_is_kept() -> None:
    given = message(headers=[("traceparent", b"00-abc-def-01")])
    record = dead_letter("tryton", given, cause(), now_ms=NOW)
    assert record["traceparent"] == "00-abc-def-01"


@pytest.mark.parametrize("nothing", [None, [], {}])
def test_a_message_without_key_value_or_headers_is_a_dead_letter_too(nothing: object) -> None:
    given = message(key=None, value=None, headers=nothing)
    why = unreadable(UnreadableError("the message is empty"))
    value = CODEC.encode(SCHEMA, dead_letter("tryton", given, why, now_ms=NOW))
    record = CODEC.decode(SCHEMA, value)
    assert (record["key"], record["payload"], record["traceparent"]) == ("", b"", None)


def test_headers_are_kept_up_to_a_limit() -> None:
    kept = kept_headers({"a": b"1", "big": b"x" * HEADERS_BYTES, "b": None})
    assert kept == {"a": b"1", "b": b""}


def test_the_first_version_of_the_schema_is_still_read() -> None:
    record = entry().record
    old = {k: v for k, v in record.items() if k not in {"headers", "history"}}
    read = CODEC.decode(SCHEMA, CODEC.encode("dead_letter.v1", old))
    assert (read["headers"], read["history"]) == ({}, [])
    assert read["event_id"] == event().id


def test_replays_go_by_their_events_order_also_where_one_came_back_later() -> None:
    places = [(1, 9), (0, 30), (0, 4), (1, 2)]
    entries = [
        entry(
            number,
            payload=encode_event(CODEC, event(source=replace(SOURCE, partition=part, offset=at))),
            source_offset=100 - at,
        )
        for number, (part, at) in enumerate(places)
    ]
    entries.insert(0, entry(9, payload=b"no event"))
    assert [one.offset for one in in_order(CODEC, entries)] == [2, 1, 3, 0, 9]


async def test_replays_are_paced() -> None:
    begun = time.monotonic()
    assert len([one async for one in paced([entry()] * 5, 40.0)]) == 5
    assert time.monotonic() - begun >= 4 / 40


def test_a_replay_has_the_headers_of_its_event_as_it_is_now_and_says_which_replay() -> None:
    marks = {
        "x-own": b"1",
        "ce_time": b"old",
        "traceparent": b"00-abc",
        EDITED: b"1",
        REPLAY: b"earlier",
    }
    sent = replay_headers(entry(headers=marks), event(), "r2")
    assert sent["x-own"] == b"1"
    assert sent["ce_time"] == headers(event())["ce_time"]
    assert sent["traceparent"] == b"00-abc"
    assert (sent[EDITED], sent[REPLAY]) == (b"1", b"r2")
    assert EDITED not in replay_headers(entry(), event(), "r1")


def test_the_result_of_a_discard_fits_its_schema_and_says_who_and_why() -> None:
    act = Act(
        id="a1", at_ms=NOW, who="ana", why="a rig", action="discard", sink="tryton", event_id="x"
    )
    value = CODEC.encode("delivery_result.v2", discarded(entry(), event(), act))
    result = CODEC.decode("delivery_result.v2", value)
    assert (result["outcome"], result["event_id"]) == ("discarded", event().id)
    assert result["message"] == "Discarded by ana: a rig"
    assert (result["cause_class"], result["code"]) == ("rejected", "tryton.user_error")


def test_an_entry_of_two_sinks_or_of_two_events_asks_for_more() -> None:
    here, there = entry(1), Entry(offset=1, record=entry().record, sink="webhook")
    with pytest.raises(SettingsError, match="DLQs of tryton and webhook: say which with --sink"):
        find([here, there], event().id[:4])
    other = entry(2, event_id="aaaab")
    with pytest.raises(SettingsError, match="fits 2"):
        find([here, other], "aaaa")
    assert find([here, other], "aaaab") is other
    assert find([here, entry(7, event_id="")], "7").offset == 7
    with pytest.raises(SettingsError, match="No dead letter ''"):
        find([here], "")


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (Filter(), True),
        (Filter(device="acme/engine-*"), True),
        (Filter(device="acme"), False),
        (Filter(tenant="ac*"), True),
        (Filter(tenant="other"), False),
        (Filter(cause="rejected"), True),
        (Filter(cause="tryton.*"), True),
        (Filter(cause="exhausted"), False),
        (Filter(since_ms=NOW, until_ms=NOW + 1), True),
        (Filter(since_ms=NOW + 1), False),
        (Filter(until_ms=NOW), False),
    ],
)
def test_filters_take_what_they_say(wanted: Filter, taken: bool) -> None:  # noqa: FBT001
    assert wanted.takes(entry().record) is taken
    assert bool(wanted) is (wanted != Filter())


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("", None),
        ("2h", NOW - 2 * HOUR),
        ("3d", NOW - 72 * HOUR),
        ("90 m", NOW - HOUR * 3 // 2),
        ("2025-11-21", 1_763_683_200_000),
        ("2025-11-21T04:40:00Z", NOW),
        ("2025-11-21T05:40+01:00", NOW),
    ],
)
def test_times_are_ago_or_iso(text: str, at_ms: int | None) -> None:
    assert instant(text, option="--since", now_ms=NOW) == at_ms


@pytest.mark.parametrize("text", ["yesterday", "2x", "-2h", "2025-13-01", "9999999999h"])
def test_what_is_no_time_is_one_sentence(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--since .* is no time"):
        instant(text, option="--since", now_ms=NOW)


def test_who_and_why_are_checked_before_anything_is_done() -> None:
    assert operator(Settings(operator=" ana ")) == "ana"
    assert operator(Settings(operator=""))
    with pytest.raises(SettingsError, match="FIELDLINE_OPERATOR"):
        operator(Settings(operator="a\nb"))
    assert reason(" because ", needed=True) == "because"
    assert reason("", needed=False) == ""
    for bad in ("x" * 501, "a\x1bb"):
        with pytest.raises(SettingsError, match="at most 500 printable"):
            reason(bad, needed=False)
    with pytest.raises(SettingsError, match="Say why"):
        reason("  ", needed=True)
