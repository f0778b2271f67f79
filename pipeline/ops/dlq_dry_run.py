"""What a replay would send: the connector's conversation for real, up to its first write.

Only requests that can have no effect are made. The first that could have one is shown instead
of sent; what would come after it depends on the target's answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import httpx

from connectors.base import Call, Connector, Conversation, Delivery, Reply
from connectors.exchange import Exchange, converse
from connectors.registry import make_connector
from pipeline.core.events import fingerprint
from pipeline.core.ledger import Row
from pipeline.core.ledger import State as RowState
from pipeline.core.outcome import (
    Delivered,
    Found,
    LookUp,
    NotFound,
    Outcome,
    Rejected,
    Undecidable,
)
from pipeline.core.registry import Owners
from pipeline.core.scrub import REMOVED, scrub, secret_name
from pipeline.ops.dlq_acts import event_of
from pipeline.ops.dlq_entries import Entry
from pipeline.settings import Settings
from pipeline.wire.avro import Codec

MAX_BODY: Final = 20_000
"""Characters of a body that are shown."""


class Verdict(StrEnum):
    """What a replay would come to now."""

    WRITES = "writes"
    """The request shown would be sent."""
    NOTHING = "nothing to send"
    """The target has it."""
    REFUSED = "refused"
    """It would come back as a dead letter."""
    AWAY = "away"
    """The system cannot say now: a replay would wait for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A request without its secrets. `body` is pretty where it is JSON (`is_json`)."""

    method: str
    url: str
    headers: Sequence[tuple[str, str]]
    body: str
    is_json: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """One entry's dry run: `said` is a sentence, `request` there is for WRITES only.

    `step` is the connector's name for the request, `reads` how many were made to come to it.
    """

    entry: Entry
    verdict: Verdict
    said: str
    step: str = ""
    request: Shown | None = None
    reads: int = 0


class Stage:
    """Where dry runs of one sink are made: one connector, so one login for all of them."""

    def __init__(self, settings: Settings, codec: Codec, sink: str, owners: Owners) -> None:
        self._codec = codec
        self._connector: Connector = make_connector(sink)
        self._owners = owners
        self._request_s = settings.delivery_request_s

    async def rehearse(self, client: httpx.AsyncClient, entry: Entry, row: Row | None) -> Rehearsal:
        """One entry's dry run, given the ledger's row. SettingsError for an unreadable one."""
        event = event_of(self._codec, entry, wish="replayed")
        if told := _by_ledger(entry, row, fingerprint(event)):
            return told
        at_ms = min(event.occurred_at_ms, event.observed_at_ms)
        [record] = await self._owners.resolve([(event.device_id, at_ms)])
        delivery = Delivery(event=event, key=event.id, record=record)
        reads = 0
        if not self._connector.keyed:
            looked: Exchange[Sequence[LookUp]] = await converse(
                lambda: self._connector.look_up([delivery]),
                client,
                request_s=self._request_s,
                late=lambda: True,
            )
            reads = looked.calls
            if told := self._by_look_up(entry, looked):
                return told
        calls: list[Call] = []
        tried: Exchange[Sequence[Outcome]] = await converse(
            lambda: _watched(self._connector.deliver([delivery]), calls),
            client,
            request_s=self._request_s,
            late=lambda: True,
        )
        reads += tried.calls
        if tried.late and calls:
            return Rehearsal(
                entry=entry,
                verdict=Verdict.WRITES,
                said=(
                    f"{self._connector.name} would be sent this first ({calls[-1].step}); what "
                    "follows depends on its answer."
                ),
                step=calls[-1].step,
                request=shown(calls[-1].request),
                reads=reads,
            )
        return self._by_outcome(entry, tried, reads)

    def _by_look_up(self, entry: Entry, looked: Exchange[Sequence[LookUp]]) -> Rehearsal | None:
        name, reads = self._connector.name, looked.calls
        if not looked.result:
            said = f"The connector {name} failed ({looked.bug or 'no answer'}): report it."
            return Rehearsal(entry=entry, verdict=Verdict.AWAY, said=said, reads=reads)
        match looked.result[0]:
            case NotFound():
                return None
            case Found(target_id=target_id):
                verdict, said = Verdict.NOTHING, f"{name} has it already, as {target_id}."
            case Undecidable(message=message):
                verdict, said = Verdict.REFUSED, f"{name} cannot be asked for it: {message}"
            case trouble:
                verdict, said = Verdict.AWAY, trouble.message
        return Rehearsal(entry=entry, verdict=verdict, said=said, reads=reads)

    def _by_outcome(
        self, entry: Entry, tried: Exchange[Sequence[Outcome]], reads: int
    ) -> Rehearsal:
        name = self._connector.name
        if not tried.result:
            said = f"The connector {name} failed ({tried.bug or 'no outcome'}): report it."
            return Rehearsal(entry=entry, verdict=Verdict.AWAY, said=said, reads=reads)
        match tried.result[0]:
            case Delivered(target_id=target_id):
                verdict, said = Verdict.NOTHING, f"{name} has it already, as {target_id}."
            case Rejected(message=message):
                verdict = Verdict.REFUSED
                said = f"It would be refused before anything is sent: {message}"
            case trouble:
                verdict, said = Verdict.AWAY, trouble.message
        return Rehearsal(entry=entry, verdict=verdict, said=said, reads=reads)


def _by_ledger(entry: Entry, row: Row | None, digest: str) -> Rehearsal | None:
    """What the ledger alone decides."""
    if row is None:
        return None
    ours = row.payload_hash == digest
    if row.state is RowState.SUCCEEDED and (ours or entry.edited):
        said = f"The ledger says that it is delivered, as {row.target_id}."
        return Rehearsal(entry=entry, verdict=Verdict.NOTHING, said=said)
    if not ours and not entry.edited:
        said = (
            "It would be refused again: the ledger knows its id with another payload. "
            "Look at both, then discard this one."
        )
        return Rehearsal(entry=entry, verdict=Verdict.REFUSED, said=said)
    return None


def _watched(
    conversation: Conversation[Sequence[Outcome]], calls: list[Call]
) -> Conversation[Sequence[Outcome]]:
    """The same conversation; the last call it wanted stands at the end of `calls`."""
    reply: Reply | None = None
    try:
        while True:
            call = next(conversation) if reply is None else conversation.send(reply)
            calls[:] = [call]
            reply = yield call
    except StopIteration as end:
        outcomes: Sequence[Outcome] = end.value
        return outcomes
    finally:
        conversation.close()


def shown(request: httpx.Request) -> Shown:
    """A request as a person may see it: what looks like a credential is removed."""
    body, is_json = _body(request.read())
    return Shown(
        method=request.method,
        url=scrub(str(request.url)),
        headers=list(_headers(request)),
        body=body if len(body) <= MAX_BODY else f"{body[:MAX_BODY]}…",
        is_json=is_json and len(body) <= MAX_BODY,
    )


def _headers(request: httpx.Request) -> Iterator[tuple[str, str]]:
    for raw, content in request.headers.raw:
        name, value = raw.decode("latin-1"), content.decode("latin-1")
        yield name, REMOVED if secret_name(name) else scrub(value)


def _body(content: bytes) -> tuple[str, bool]:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return f"({len(content)} bytes)", False
    try:
        document = json.loads(text)
        return json.dumps(_without_secrets(document), indent=2, ensure_ascii=False), True
    except (ValueError, RecursionError):
        return scrub(text, most=MAX_BODY), False


def _without_secrets(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return {
            name: REMOVED if secret_name(name) else _without_secrets(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_without_secrets(inner) for inner in value]
    return scrub(value, most=MAX_BODY) if isinstance(value, str) else value
