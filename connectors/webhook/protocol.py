"""Webhook out: one signed request for an event, or a batch of them, and what came of it. Pure.

| | single | batched | templated |
|---|---|---|---|
| body | application/cloudevents+json | application/cloudevents-batch+json | the template's, JSON |
| key there | Idempotency-Key, and the event's `id` | each event's `id` | Idempotency-Key |
| webhook-id | the key | a digest of the keys: same batch, same id | the key |
| method, address | POST, the address | POST, the address | the setting's; it may name a record |

A batch carries no Idempotency-Key: sent again, it may hold other events, so only the ids in
it tell the receiver what it has. Bodies stay under BODY_MAX, in as many requests as that
takes. A batch that is refused as a whole for its content (400, 413, 422) is halved until the
event that is to blame stands alone, so that one cannot reject the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import httpx

from connectors.answers import Kind, Row, clean, forms_of, retryable, says
from connectors.base import Call, Checked, Conversation, Delivery, Effect, Reply
from connectors.fields import OPEN, Policy
from connectors.mapped import in_order
from connectors.webhook import answers
from connectors.webhook.answers import NAME, Word
from connectors.webhook.config import WebhookSettings
from connectors.webhook.mapping import to_request
from connectors.webhook.signature import sign
from connectors.webhook.template import Template
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
from pipeline.wire.cloudevents import trace_parent

BODY_MAX = 1_048_576
"""Largest body, bytes; an event alone is at most mapping.EVENT_MAX."""
_SINGLE = "application/cloudevents+json; charset=utf-8"
_BATCH = "application/cloudevents-batch+json; charset=utf-8"
_JSON = "application/json; charset=utf-8"
_NOBODY = "fieldline-check"
"""A key that no event has: `check` asks for it."""
_NOT_SENT = Retryable(
    code="webhook.not_sent",
    message="The batch before it failed, so this one was not sent.",
    scope=Scope.SYSTEM,
)
T = TypeVar("T")


class Item(NamedTuple):
    """An event that can be sent: key, event id, where and what."""

    key: str
    event_id: str
    url: httpx.URL | str
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer over one or more items: an outcome each, or None where it is to be halved."""

    outcomes: list[Outcome] | None
    lost: bool
    """The receiver, not an item, is in trouble: nothing more is sent."""


class WebhookConnector:
    """The connector. `clock` gives seconds since the Unix epoch, for the signatures.

    `template` is the one that the settings name; None = CloudEvents.
    """

    name = NAME

    def __init__(
        self,
        settings: WebhookSettings,
        policy: Policy = OPEN,
        *,
        clock: Callable[[], float],
        template: Template | None = None,
    ) -> None:
        self.batch_size = settings.batch
        self.keyed = settings.keyed
        self._settings = settings
        self._policy = policy
        self._clock = clock
        self._template = template
        self._url = httpx.URL(settings.url)
        self._keys = settings.signing_keys()
        self._secrets = settings.secrets()
        self._forms = [form.encode() for form in forms_of(self._secrets)]
        self._more = {
            name.lower(): value.get_secret_value() for name, value in settings.headers.items()
        }
        self._effect = Effect.KEYED_WRITE if settings.keyed else Effect.WRITE
        self._extensions = {"timeout": httpx.Timeout(settings.timeout_s).as_dict()}

    def deliver(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[Outcome]]:
        """Post the events; one outcome per delivery, in order."""
        outcomes: dict[str, Outcome] = {}
        items: list[Item] = []
        first: dict[str, Delivery] = {}
        for one in deliveries:
            first.setdefault(one.key, one)
        for key, one in first.items():
            made = to_request(one, self._url, self._template, self._policy)
            if isinstance(made, Rejected):
                outcomes[key] = made
            else:
                items.append(Item(key, one.event.id, *made))
        groups = self._groups(items)
        while groups:
            group = groups.pop()
            reply = yield self._post(group)
            answer = self._read(self._clean(reply), group)
            if answer.outcomes is None:
                half = len(group) // 2
                groups += (group[half:], group[:half])
                continue
            for item, outcome in zip(group, answer.outcomes, strict=True):
                outcomes[item.key] = outcome
            if answer.lost:
                break
        for item in items:
            outcomes.setdefault(item.key, _NOT_SENT)
        return in_order(deliveries, outcomes)

    def look_up(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[LookUp]]:
        """Ask for each key; Undecidable where the receiver cannot be asked."""
        found: list[LookUp] = []
        for one in deliveries:
            address = self._settings.look_up_address(one.key)
            if address is None:
                found.append(
                    Undecidable(
                        code="webhook.no_look_up",
                        message="The receiver cannot be asked whether it has the event: "
                        "set WEBHOOK_LOOK_UP_URL, or decide by hand.",
                    )
                )
                continue
            reply = yield self._get("look_up", "GET", address, one.key)
            found.append(self._found(self._clean(reply), one.key))
        return found

    def check(self) -> Conversation[Sequence[Checked]]:
        """Ask for an event that nobody has sent, or at least whether anybody is there."""
        address = self._settings.look_up_address(_NOBODY)
        if address is None:
            reply = yield self._get("check", "OPTIONS", self._plain_url(), _NOBODY)
            row = answers.row_of(reply) if isinstance(reply, httpx.TransportError) else None
            detail = answers.message(row, None) if row else "The receiver's server answers."
            posting = "Whether it takes our signature shows only when something is posted."
            return [
                Checked(what="connection", ok=row is None, detail=detail),
                Checked(what="credentials", ok=None, detail=posting),
            ]
        reply = yield self._get("look_up", "GET", address, _NOBODY)
        found = self._found(self._clean(reply), _NOBODY)
        if isinstance(found, Retryable):
            return [Checked(what="look-up", ok=False, detail=found.message)]
        return [Checked(what="look-up", ok=True, detail="The receiver says what it has.")]

    # -- out

    def _groups(self, items: Sequence[Item]) -> list[list[Item]]:
        """What goes into one request each; the last goes first."""
        groups: list[list[Item]] = []
        size = BODY_MAX
        for item in items:
            if size + len(item.body) + 1 > BODY_MAX or len(groups[-1]) >= self.batch_size:
                groups.append([])
                size = 2
            groups[-1].append(item)
            size += len(item.body) + 1
        return groups[::-1]

    def _post(self, group: Sequence[Item]) -> Call:
        item = group[0]
        if self.batch_size == 1:
            step, body, message_id = "post", item.body, item.key
            headers = {
                "content-type": _SINGLE if self._template is None else _JSON,
                # A structured-fields string (idempotency-key draft 07, 2.1), so quoted.
                "idempotency-key": f'"{item.key}"',
                "traceparent": trace_parent(item.event_id),
            }
        else:
            step, body = "post_batch", b"[%b]" % b",".join(item.body for item in group)
            keys = "\n".join(item.key for item in group)
            message_id = f"batch_{hashlib.sha256(keys.encode()).hexdigest()[:32]}"
            headers = {"content-type": _BATCH}
        headers = {"accept": "application/json", **headers, **self._more}
        request = httpx.Request(
            self._settings.method,
            item.url,
            headers=headers | self._signed(message_id, body),
            content=body,
            extensions=self._extensions,
        )
        return Call(step=step, request=request, effect=self._effect)

    def _get(self, step: str, method: str, address: str, key: str) -> Call:
        headers = {"accept": "application/json", **self._more, **self._signed(key, b"")}
        request = httpx.Request(method, address, headers=headers, extensions=self._extensions)
        return Call(step=step, request=request, effect=Effect.READ)

    def _plain_url(self) -> str:
        """The address without what only an event can fill in."""
        return self._settings.url.partition("{")[0]

    def _signed(self, message_id: str, body: bytes) -> dict[str, str]:
        return sign(self._keys, message_id=message_id, timestamp=int(self._clock()), body=body)

    # -- back

    def _read(self, reply: Reply, group: Sequence[Item]) -> Answer:
        row, whole, told = answers.row_of(reply), self._word(reply), says(reply)
        words: Sequence[Word | None] | None = None
        if self.batch_size > 1:
            words = answers.words_of(reply, [item.key for item in group])
        if words is None:
            if row is not None and row.code in answers.BY_EVENT and len(group) > 1:
                return Answer(None, lost=False)
            words = [whole] * len(group)
            rows = [row] * len(group)
            if row is None and self.batch_size > 1:
                # What a batch's answer has of an id names the batch, not an event.
                words = [Word(status=whole.status, fields={}) if whole else None] * len(group)
        else:
            rows = [answers.row_of_status(word.status) if word else None for word in words]
        outcomes = [
            answers.outcome(row, word, item.key, keyed=self.keyed, says=told)
            for row, word, item in zip(rows, words, group, strict=True)
        ]
        return Answer(_by_item(rows, outcomes), lost=not any(map(_answered, outcomes)))

    def _found(self, reply: Reply, key: str) -> LookUp:
        row, word = answers.row_of(reply), self._word(reply)
        if word is not None and word.status == httpx.codes.NOT_FOUND:
            # A page of some proxy is no word of the receiver: JSON, or nothing at all, is.
            if isinstance(reply, httpx.Response) and (word.fields or not reply.content):
                return NotFound()
        elif row is None and word is not None:
            named = [word.fields.get(name) for name in ("id", "key", "event_id")]
            if key in named:
                return Found(target_id=answers.target_id(word.fields, word.location, key))
        elif row is not None and row is not answers.PAGE and row.kind is not Kind.REFUSED:
            wish = word.retry_after_s if word else None
            trouble = retryable(row, message=answers.message(row, word), retry_after_s=wish)
            return replace(trouble, scope=Scope.SYSTEM)
        return Retryable(
            code="webhook.look_up_unclear",
            message="The answer to the look-up does not say whether the receiver has the event: "
            "check WEBHOOK_LOOK_UP_URL.",
            scope=Scope.ITEM,
        )

    def _clean(self, reply: Reply) -> Reply:
        """Without our secrets. Looked for first: nearly no answer has one."""
        told = reply.content if isinstance(reply, httpx.Response) else b""
        return clean(reply, self._secrets) if any(one in told for one in self._forms) else reply

    def _word(self, reply: Reply) -> Word | None:
        return answers.word_of(reply, self._clock())


def _answered(outcome: Outcome) -> bool:
    """Whether the receiver is at work, whatever it says of the event."""
    ended = isinstance(outcome, Delivered | Rejected)
    return ended or (isinstance(outcome, Retryable) and outcome.scope is Scope.ITEM)


def _by_item(rows: Sequence[Row | None], outcomes: list[Outcome]) -> list[Outcome]:
    """Where a receiver failed on some events and took or refused others, those are to blame."""
    if not any(isinstance(outcome, Delivered | Rejected) for outcome in outcomes):
        return outcomes
    return [
        replace(outcome, scope=Scope.ITEM)
        if row is not None and row.kind is Kind.FAILED and isinstance(outcome, Retryable)
        else outcome
        for row, outcome in zip(rows, outcomes, strict=True)
    ]
