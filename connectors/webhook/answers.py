"""What a receiver's answer means: tables, and functions over them. Pure.

A receiver is somebody else's program, so the tables follow HTTP's own words. Two things
decide about a failure: whether the receiver can have taken the event, and whether it keeps
each event to once (`keyed`), so that sending again is harmless.

A batch may be answered event by event: a JSON array, or an object with one under `items`
or `results`, of objects with `status` (an HTTP status) and, better, `id` (the event's id);
`target_id`, `detail` and `retry_after` (seconds) where there are any. Without ids, the order
counts. An answer that names some events and not others leaves the others Unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

import httpx
import orjson

from connectors.base import Reply
from pipeline.core.outcome import Delivered, Outcome, Rejected, Retryable, Scope, Unknown

ANSWER_MAX = 4_096
TARGET_ID_MAX = 512
RETRY_AFTER_MAX_S = 3_600.0
_WORDS_MAX = 300
_STATUSES = range(100, 600)


class Kind(StrEnum):
    """What follows from a status that is not a success."""

    REFUSED = "refused"
    """Not taken, and never will be as it is."""
    HELD = "held"
    """Not taken because another request with this key is under way: again, this event."""
    BUSY = "busy"
    """Not taken, and no event is to blame: again when the receiver can."""
    FAILED = "failed"
    """The receiver, or what stands before it, failed: it may have been taken."""
    UNCLEAR = "unclear"
    """Nobody knows, whoever is to blame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the tables below; `source` says where it is written.

    `advice` is for a person; `by_event`: it speaks of the content, so in a batch it may be
    due to one event of many.
    """

    kind: Kind
    code: str
    source: str
    advice: str = ""
    by_event: bool = False


def _row(kind: Kind, code: str, source: str, advice: str = "", *, by_event: bool = False) -> Row:
    return Row(kind=kind, code=f"webhook.{code}", source=source, advice=advice, by_event=by_event)


_CREDENTIALS = _row(
    Kind.BUSY,
    "credentials",
    "RFC 9110, 15.5.2 and 15.5.4; a credential is mended by people, not in the DLQ",
    "check WEBHOOK_SECRET and what the receiver expects",
)
STATUSES: Mapping[int, Row] = {
    400: _row(Kind.REFUSED, "bad_request", "RFC 9110, 15.5.1", by_event=True),
    401: _CREDENTIALS,
    403: _CREDENTIALS,
    404: _row(Kind.REFUSED, "not_found", "RFC 9110, 15.5.5", "check WEBHOOK_URL"),
    408: _row(Kind.BUSY, "timeout", "RFC 9110, 15.5.9: the request did not come in whole"),
    409: _row(Kind.HELD, "conflict", "draft-ietf-httpapi-idempotency-key-header-07, 2.6"),
    410: _row(Kind.REFUSED, "gone", "RFC 9110, 15.5.11", "check WEBHOOK_URL"),
    413: _row(Kind.REFUSED, "too_large", "RFC 9110, 15.5.14", by_event=True),
    422: _row(
        Kind.REFUSED,
        "unprocessable",
        "RFC 9110, 15.5.21; a key used for another payload, idempotency-key draft 07, 2.6",
        by_event=True,
    ),
    425: _row(Kind.BUSY, "too_early", "RFC 8470, 5.2"),
    429: _row(Kind.BUSY, "rate_limit", "RFC 6585, 4"),
    500: _row(Kind.FAILED, "server_error", "RFC 9110, 15.6.1"),
    502: _row(Kind.FAILED, "bad_gateway", "RFC 9110, 15.6.3: it may have gone through"),
    503: _row(Kind.BUSY, "unavailable", "RFC 9110, 15.6.4"),
    504: _row(Kind.FAILED, "gateway_timeout", "RFC 9110, 15.6.5: it may have gone through"),
}
REDIRECT = _row(
    Kind.REFUSED, "redirect", "never followed: RFC 9110, 15.4", "set WEBHOOK_URL to where it is"
)
OTHER_5XX = _row(Kind.FAILED, "server_error", "RFC 9110, 15.6")
OTHER_STATUS = _row(Kind.UNCLEAR, "unexpected_status", "none that this table knows")
NO_WORD = _row(Kind.UNCLEAR, "no_word", "an answer event by event that leaves this one out")

_NOT_SENT = "httpx: before the request is written"
_CUT_OFF = "httpx: after writing began"
_UNREACHABLE = _row(
    Kind.BUSY, "unreachable", _NOT_SENT, "check that the receiver runs, and WEBHOOK_URL"
)
TRANSPORT: Mapping[type[httpx.TransportError], Row] = {
    httpx.ConnectError: _UNREACHABLE,
    httpx.ConnectTimeout: _UNREACHABLE,
    httpx.PoolTimeout: _row(Kind.BUSY, "no_connection_free", _NOT_SENT),
    httpx.ProxyError: _row(Kind.BUSY, "proxy", _NOT_SENT),
    httpx.UnsupportedProtocol: _row(Kind.BUSY, "address", _NOT_SENT, "check WEBHOOK_URL"),
    httpx.ReadTimeout: _row(Kind.UNCLEAR, "timeout", _CUT_OFF),
    httpx.WriteTimeout: _row(Kind.UNCLEAR, "timeout", _CUT_OFF),
}
CUT_OFF = _row(Kind.UNCLEAR, "connection_lost", _CUT_OFF)
"""Every other TransportError, those that httpx may yet grow included."""


def row_of(reply: Reply) -> Row | None:
    """The table's line for an answer; None for a success."""
    if isinstance(reply, httpx.TransportError):
        return TRANSPORT.get(type(reply), CUT_OFF)
    return row_of_status(reply.status_code)


def row_of_status(status: int) -> Row | None:
    """The table's line for a status; None for a success."""
    if httpx.codes.is_success(status):
        return None
    if httpx.codes.is_redirect(status):
        return REDIRECT
    found = STATUSES.get(status)
    if found is not None:
        return found
    return OTHER_5XX if httpx.codes.is_server_error(status) else OTHER_STATUS


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What was said of one event; `fields` is the JSON object that said it, or nothing."""

    status: int
    fields: Mapping[str, Any]
    location: str | None = None
    replayed: bool = False
    retry_after_s: float | None = None


def outcome(row: Row | None, word: Word | None, key: str, *, keyed: bool, says: str) -> Outcome:
    """What an answer means for the event with that key; `says` its words."""
    if row is None and word is not None:
        return _taken(word, key)
    row = row or NO_WORD
    retry_after_s = word.retry_after_s if word is not None else None
    message = _message(row, word)
    if row.kind is Kind.HELD and word is not None and (known := _known_before(word, key)):
        return known
    if row.kind is Kind.REFUSED:
        return Rejected(code=row.code, message=message, answer=says or None)
    if row.kind is Kind.UNCLEAR or (row.kind is Kind.FAILED and not keyed):
        return Unknown(code=row.code, message=message)
    return Retryable(
        code=row.code,
        message=message,
        scope=Scope.ITEM if row.kind is Kind.HELD else Scope.SYSTEM,
        retry_after_s=retry_after_s,
    )


def word_of(reply: Reply, now_s: float) -> Word | None:
    """What the answer as a whole says; None where there is none."""
    if isinstance(reply, httpx.TransportError):
        return None
    body = json_of(reply)
    return Word(
        status=reply.status_code,
        fields=body if isinstance(body, dict) else {},
        location=reply.headers.get("location"),
        replayed=reply.headers.get("idempotency-replayed", "").lower() == "true",
        retry_after_s=retry_after(reply.headers.get("retry-after"), now_s),
    )


def words_of(reply: Reply, keys: Sequence[str]) -> list[Word | None] | None:
    """What the answer says event by event, in the order of `keys`; None where it does not.

    None in the list: nothing that can be understood was said of that one.
    """
    if isinstance(reply, httpx.TransportError):
        return None
    body = json_of(reply)
    if isinstance(body, dict):
        body = next((body[name] for name in ("items", "results") if name in body), None)
    if not isinstance(body, list):
        # 207 promises a word on each: without one, nothing is known.
        multi = reply.status_code == httpx.codes.MULTI_STATUS
        return [None] * len(keys) if multi else None
    words = [_item(item) for item in body[: len(keys) + 1]]
    named = {str(w.fields["id"]): w for w in words if w is not None and "id" in w.fields}
    if named:
        return [named.get(key) for key in keys]
    return words if len(words) == len(keys) else [None] * len(keys)


def json_of(reply: httpx.Response) -> Any:  # noqa: ANN401 - JSON
    """The body's JSON; None where it is none. Never raises on what a server may send."""
    try:
        return orjson.loads(reply.content)
    except orjson.JSONDecodeError:
        return None


def says(reply: Reply) -> str:
    """The receiver's words, at most ANSWER_MAX characters."""
    if isinstance(reply, httpx.TransportError):
        return ""
    return reply.content[: 4 * ANSWER_MAX].decode("utf-8", errors="replace")[:ANSWER_MAX]


def clean(reply: Reply, secrets: Sequence[bytes]) -> Reply:
    """The answer with our secrets as stars, for what it says goes into topics and logs."""
    if isinstance(reply, httpx.TransportError):
        return reply
    body = reply.content
    if not any(secret in body for secret in secrets):
        return reply
    for secret in secrets:
        body = body.replace(secret, b"***")
    return httpx.Response(reply.status_code, headers=reply.headers, content=body)


def retry_after(text: str | None, now_s: float) -> float | None:
    """Seconds of a Retry-After (RFC 9110, 10.2.3: seconds or a date), within an hour."""
    text = (text or "").strip()
    if text.isascii() and text.isdigit():
        return _within(float(text[:10]))
    try:
        at = parsedate_to_datetime(text)
        return _within(at.replace(tzinfo=at.tzinfo or UTC).timestamp() - now_s)
    except (ValueError, TypeError, OverflowError):
        return None


def target_id(fields: Mapping[str, Any], location: str | None, key: str) -> str:
    """The receiver's own id for the event; our key where it gives none."""
    for name in ("target_id", "id"):
        found = fields.get(name)
        if isinstance(found, str | int) and not isinstance(found, bool) and str(found):
            return str(found)[:TARGET_ID_MAX]
    return (location or key)[:TARGET_ID_MAX]


def _within(seconds: float) -> float | None:
    if not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_MAX_S)


def _taken(word: Word, key: str) -> Delivered:
    before = word.replayed or word.fields.get("created") is False
    return Delivered(target_id=target_id(word.fields, word.location, key), created=not before)


def _known_before(word: Word, key: str) -> Delivered | None:
    """A 409 that says it has this event: by its own id for it, by ours, or in so many words.

    Any other `id` may be that of the error.
    """
    fields = word.fields
    named = word.location or fields.get("target_id") or fields.get("id") == key
    if not (named or fields.get("duplicate") is True):
        return None
    return Delivered(target_id=target_id(word.fields, word.location, key), created=False)


def _item(item: Any) -> Word | None:  # noqa: ANN401 - JSON
    if not isinstance(item, dict):
        return None
    status = item.get("status")
    if not isinstance(status, int) or isinstance(status, bool) or status not in _STATUSES:
        return None
    wish = item.get("retry_after")
    seconds = float(wish) if isinstance(wish, int | float) else math.nan
    return Word(status=status, fields=item, retry_after_s=_within(seconds))


def _message(row: Row, word: Word | None) -> str:
    what = row.code.removeprefix("webhook.").replace("_", " ")
    parts = [f"The receiver's answer: {what}"]
    if word is not None:
        parts[0] += f" (status {word.status})"
        told = next(
            (word.fields[n] for n in ("detail", "message", "title", "error") if n in word.fields),
            None,
        )
        if isinstance(told, str) and told:
            parts.append(" ".join(told[:_WORDS_MAX].split()).rstrip("."))
    if row.advice:
        parts.append(row.advice)
    return f"{': '.join(parts)}."
