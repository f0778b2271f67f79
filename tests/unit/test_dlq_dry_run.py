from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
import pytest

from connectors.base import Call, Conversation, Delivery, Effect, Reply
from pipeline.core.events import fingerprint
from pipeline.core.ledger import Row, State
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
)
from pipeline.core.registry import DeviceRecord
from pipeline.core.scrub import REMOVED
from pipeline.ops import dlq_dry_run
from pipeline.ops.dlq_dry_run import MAX_BODY, Rehearsal, Stage, Verdict, shown
from pipeline.settings import Settings
from pipeline.wire.avro import Codec
from tests.unit.examples import event
from tests.unit.test_dlq_entries import entry

AWAY = Retryable(code="x.away", message="It cannot be reached.", scope=Scope.SYSTEM)


def call(step: str, effect: Effect) -> Call:
    request = httpx.Request("POST", f"http://erp.test/{step}", json={"step": step})
    return Call(step=step, request=request, effect=effect)


@dataclass
class Scripted:
    """A connector that makes the calls it is told to, and ends as it is told to."""

    found: LookUp = field(default_factory=NotFound)
    calls: Sequence[Call] = ()
    outcome: Outcome = AWAY
    keyed: bool = False
    name: str = "erp"
    batch_size: int = 1
    got: list[Reply] = field(default_factory=list)

    def look_up(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[LookUp]]:
        self.got.append((yield call("look_up", Effect.READ)))
        return [self.found] * len(deliveries)

    def deliver(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[Outcome]]:
        for one in self.calls:
            self.got.append((yield one))
        return [self.outcome] * len(deliveries)


class Nobody:
    """An identity map that is empty."""

    async def resolve(self, asks: Sequence[tuple[str, int]]) -> list[DeviceRecord | None]:
        return [None for _ in asks]


async def rehearse(
    connector: Scripted,
    monkeypatch: pytest.MonkeyPatch,
    row: Row | None = None,
    *,
    edited: bool = False,
) -> tuple[Rehearsal, list[str]]:
    """The dry run, and the steps that reached the target."""
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.url.path.removeprefix("/"))
        return httpx.Response(200, json={})

    monkeypatch.setattr(dlq_dry_run, "make_connector", lambda *_: connector)
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        stage = Stage(Settings(), Codec(), "erp", Nobody())
        one = entry(headers={"fieldline-edited": b"1"} if edited else {})
        return await stage.rehearse(client, one, row), sent


def row(state: State, payload_hash: str = "") -> Row:
    return Row(
        state=state,
        payload_hash=payload_hash or fingerprint(event()),
        attempt=1,
        fence=1,
        target_id="17",
        code="",
        at_ms=0,
    )


async def test_reads_are_made_and_the_first_write_is_shown_and_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = [
        call("find", Effect.READ),
        call("customer", Effect.KEYED_WRITE),
        call("order", Effect.WRITE),
    ]
    dry, sent = await rehearse(Scripted(calls=calls), monkeypatch)
    assert sent == ["look_up", "find"]
    assert (dry.verdict, dry.step, dry.reads) == (Verdict.WRITES, "customer", 2)
    assert dry.request is not None
    assert dry.request.url == "http://erp.test/customer"


async def test_a_target_that_keeps_each_key_to_once_is_not_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = [call("upsert", Effect.KEYED_WRITE)]
    dry, sent = await rehearse(Scripted(calls=calls, keyed=True), monkeypatch)
    assert (dry.verdict, sent) == (Verdict.WRITES, [])


@pytest.mark.parametrize(
    ("connector", "verdict", "says"),
    [
        (Scripted(found=Found(target_id="9")), Verdict.NOTHING, "has it already, as 9"),
        (Scripted(found=AWAY), Verdict.AWAY, "cannot be reached"),
        (
            Scripted(found=Undecidable(code="x", message="No look-up.")),
            Verdict.REFUSED,
            "No look-up",
        ),
        (Scripted(outcome=AWAY), Verdict.AWAY, "cannot be reached"),
        (
            Scripted(outcome=Rejected(code="mapping.x", message="Not registered.")),
            Verdict.REFUSED,
            "Not registered",
        ),
        (
            Scripted(outcome=Delivered(target_id="9", created=False)),
            Verdict.NOTHING,
            "has it already, as 9",
        ),
    ],
)
async def test_what_a_conversation_without_a_write_comes_to(
    connector: Scripted, verdict: Verdict, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dry, _ = await rehearse(connector, monkeypatch)
    assert dry.verdict is verdict
    assert says in dry.said
    assert dry.request is None


@pytest.mark.parametrize(
    ("known", "edited", "verdict"),
    [
        (row(State.SUCCEEDED), False, Verdict.NOTHING),
        (row(State.SUCCEEDED, "other"), True, Verdict.NOTHING),
        (row(State.SUCCEEDED, "other"), False, Verdict.REFUSED),
        (row(State.DEAD_LETTERED, "other"), False, Verdict.REFUSED),
        (row(State.DEAD_LETTERED, "other"), True, Verdict.WRITES),
        (row(State.DEAD_LETTERED), False, Verdict.WRITES),
        (None, False, Verdict.WRITES),
    ],
)
async def test_the_ledger_is_asked_first(
    known: Row | None,
    edited: bool,  # noqa: FBT001
    verdict: Verdict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connector = Scripted(calls=[call("order", Effect.WRITE)])
    dry, sent = await rehearse(connector, monkeypatch, known, edited=edited)
    assert dry.verdict is verdict
    assert bool(sent) is (verdict is Verdict.WRITES)


def test_a_request_is_shown_without_its_secrets() -> None:
    request = httpx.Request(
        "POST",
        "https://ana:hunter2@erp.test/x?token=hunter2&page=1",
        json={"password": "hunter2", "params": [{"api_key": ["hunter2"], "name": "FL-1"}]},
        headers={"Authorization": "Session hunter2", "X-Api-Key": "hunter2", "X-Own": "1"},
    )
    seen = shown(request)
    assert "hunter2" not in repr(seen)
    assert ("X-Own", "1") in seen.headers
    assert json.loads(seen.body)["params"] == [{"api_key": REMOVED, "name": "FL-1"}]
    assert seen.is_json


def test_a_body_that_is_no_json_or_no_text_or_too_long_is_shown_as_far_as_it_can_be() -> None:
    form = httpx.Request("POST", "http://erp.test", data={"password": "hunter2", "a": "1"})
    assert shown(form).body == f"password={REMOVED}&a=1"
    assert shown(httpx.Request("POST", "http://erp.test", content=b"\xff\xfe")).body == "(2 bytes)"
    long = shown(httpx.Request("POST", "http://erp.test", json={"a": "x" * 50_000}))
    assert len(long.body) <= MAX_BODY + 1
    assert not long.is_json
