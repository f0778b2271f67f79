"""What systems' answers have in common: transport trouble, Retry-After, JSON, words. Pure.

A connector's own tables (connectors/<system>/answers.py) are Rows too, so that
`fieldline connectors contract` can print every code with what follows and where it is written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import orjson

from connectors.base import Reply
from pipeline.core.outcome import Outcome, Rejected, Retryable, Scope, Unknown

ANSWER_MAX = 4_096
"""Most characters that are kept of an answer."""
TARGET_ID_MAX = 512
RETRY_AFTER_MAX_S = 3_600.0
WORDS_MAX = 300
"""Most characters of the system's words in a message."""
STARS = "***"
_BODY_HEADERS = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


class Kind(StrEnum):
    """What follows from an answer that is not a success."""

    REFUSED = "refused"
    """Not taken, and never will be as it is: a person decides."""
    HELD = "held"
    """Not taken, for a reason that passes and concerns this record alone: again, within the
    event's own budget."""
    BUSY = "busy"
    """Not taken, and no event is to blame: again when the system can, however long it takes."""
    FAILED = "failed"
    """The system, or what stands before it, failed: it may have been taken. With a write that
    the system keeps to once that is harmless: again, as BUSY."""
    UNCLEAR = "unclear"
    """Nobody knows, whoever is to blame: unknown."""
    EXPIRED = "expired"
    """Not taken because the session or token is over: log in anew, once; then as BUSY."""
    RACED = "raced"
    """Not taken because the record changed or was made meanwhile: look again, once; then HELD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a system's table of answers.

    `code` is ours, 'system.reason'; `when` is what the system says (status, its own code);
    `source` says where that is written; `advice` is for the person who reads the message.
    """

    kind: Kind
    code: str
    when: str
    source: str
    advice: str = ""


_NOT_SENT = "httpx: before the request is written"
_CUT_OFF = "httpx: after writing began"
_TRANSPORT: Mapping[type[httpx.TransportError], tuple[Kind, str, str, str]] = {
    httpx.ConnectError: (
        Kind.BUSY,
        "unreachable",
        _NOT_SENT,
        "check that it runs, and its address",
    ),
    httpx.ConnectTimeout: (Kind.BUSY, "unreachable", _NOT_SENT, "check the network to it"),
    httpx.PoolTimeout: (Kind.BUSY, "no_connection_free", _NOT_SENT, ""),
    httpx.ProxyError: (Kind.BUSY, "proxy", _NOT_SENT, "check the proxy"),
    httpx.UnsupportedProtocol: (Kind.BUSY, "address", _NOT_SENT, "check its address"),
    httpx.ReadTimeout: (Kind.UNCLEAR, "timeout", _CUT_OFF, ""),
    httpx.WriteTimeout: (Kind.UNCLEAR, "timeout", _CUT_OFF, ""),
}
_LOST = (Kind.UNCLEAR, "connection_lost", _CUT_OFF, "")


def transport_row(system: str, trouble: httpx.TransportError) -> Row:
    """The line for trouble on the way; one that httpx may yet grow is UNCLEAR."""
    kind, reason, source, advice = _TRANSPORT.get(type(trouble), _LOST)
    when = type(trouble).__name__
    return Row(kind=kind, code=f"{system}.{reason}", when=when, source=source, advice=advice)


def transport_rows(system: str) -> tuple[Row, ...]:
    """All of them, for `fieldline connectors contract`."""
    lost = (httpx.ReadError, httpx.WriteError, httpx.CloseError)
    kinds = (*_TRANSPORT, *lost, httpx.RemoteProtocolError, httpx.LocalProtocolError)
    return tuple(transport_row(system, kind("")) for kind in kinds)


def outcome_of(
    row: Row, *, keyed: bool, message: str, answer: str = "", retry_after_s: float | None = None
) -> Outcome:
    """What a line means for one event.

    `keyed`: the request was a KEYED_WRITE at most, so that it may be sent again at once.
    """
    if row.kind is Kind.REFUSED:
        return Rejected(code=row.code, message=message, answer=answer[:ANSWER_MAX] or None)
    if row.kind is Kind.UNCLEAR or (row.kind is Kind.FAILED and not keyed):
        return Unknown(code=row.code, message=message)
    item = row.kind in {Kind.HELD, Kind.RACED}
    return Retryable(
        code=row.code,
        message=message,
        scope=Scope.ITEM if item else Scope.SYSTEM,
        retry_after_s=retry_after_s,
    )


def retryable(row: Row, *, message: str, retry_after_s: float | None = None) -> Retryable:
    """What a line means after a request that only reads, or that came before the write."""
    item = row.kind in {Kind.HELD, Kind.RACED, Kind.REFUSED}
    return Retryable(
        code=row.code,
        message=message,
        scope=Scope.ITEM if item else Scope.SYSTEM,
        retry_after_s=retry_after_s,
    )


def message_of(name: str, row: Row, said: str = "", status: int = 0) -> str:
    """One sentence: who said what, and what to do. `said` is the system's own words."""
    what = row.code.partition(".")[2].replace("_", " ")
    shown = f" (status {status})" if status else ""
    words = "".join(c if c.isprintable() else " " for c in said[:WORDS_MAX])
    parts = [f"{name}: {what}{shown}", " ".join(words.split()), row.advice]
    told = [one for part in parts if (one := part.rstrip(" .!?:"))]
    return f"{': '.join(told)}."


def json_of(reply: httpx.Response) -> Any:  # noqa: ANN401 - JSON
    """The body's JSON; None where it is none. Never raises on what a server may send."""
    try:
        return orjson.loads(reply.content)
    except orjson.JSONDecodeError:
        return None


def says(reply: Reply) -> str:
    """The system's words, at most ANSWER_MAX characters."""
    if isinstance(reply, httpx.TransportError):
        return ""
    return reply.content[: 4 * ANSWER_MAX].decode("utf-8", errors="replace")[:ANSWER_MAX]


def clean(reply: Reply, secrets: Iterable[str]) -> Reply:
    """The answer with our secrets as stars, for what it says goes into topics and logs.

    Also where a secret stands as JSON or an address would write it. Headers stay as they
    are: connectors read tokens from them.
    """
    if isinstance(reply, httpx.TransportError):
        return reply
    body = reply.content
    for form in forms_of(secrets):
        body = body.replace(form.encode(), STARS.encode())
    if body == reply.content:
        return reply
    kept = [(k, v) for k, v in reply.headers.raw if k.lower() not in _BODY_HEADERS]
    return httpx.Response(reply.status_code, headers=kept, content=body)


def forms_of(secrets: Iterable[str]) -> list[str]:
    """Every way in which an answer may repeat them, the longest first."""
    forms: set[str] = set()
    for secret in secrets:
        plain, ascii_only = (json.dumps(secret, ensure_ascii=one)[1:-1] for one in (False, True))
        forms |= {secret, plain, ascii_only, quote(secret, safe=""), quote_plus(secret)}
        forms |= {plain.replace("/", "\\/"), ascii_only.replace("/", "\\/")}
    return sorted(forms - {""}, key=lambda form: (-len(form), form))


def hide(text: str, secrets: Iterable[str]) -> str:
    """A text with our secrets as stars."""
    for form in forms_of(secrets):
        text = text.replace(form, STARS)
    return text


def retry_after(text: str | None, now_s: float) -> float | None:
    """Seconds of a Retry-After (RFC 9110, 10.2.3: seconds or a date), within an hour."""
    text = (text or "").strip()
    if text.isascii() and text.isdigit():
        return within(float(text[:10]))
    try:
        at = parsedate_to_datetime(text)
        return within(at.replace(tzinfo=at.tzinfo or UTC).timestamp() - now_s)
    except (ValueError, TypeError, OverflowError):
        return None


def within(seconds: float) -> float | None:
    """A wish for a wait, kept to an hour; None where it is no number."""
    if not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_MAX_S)


def text_of(value: Any, most: int = TARGET_ID_MAX) -> str | None:  # noqa: ANN401 - JSON
    """An id or word from an answer as text; None where it is neither text nor whole number."""
    if isinstance(value, str | int) and not isinstance(value, bool) and str(value):
        return str(value)[:most]
    return None


def row_by_status(rows: Sequence[Row], status: int, system: str) -> Row:
    """The line whose `when` is that status, for systems whose errors are statuses; else UNCLEAR.

    A success that nobody can read is no success: callers ask here for those too.
    """
    for row in rows:
        if row.when == str(status):
            return row
    return Row(
        kind=Kind.UNCLEAR,
        code=f"{system}.unexpected_answer",
        when="anything else",
        source="none that this table knows",
    )
