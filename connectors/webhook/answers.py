"""What a receiver's answer means: tables, and functions over them. Pure.

A receiver is somebody else's program, so the tables follow HTTP's own words. Two things
decide about a failure: whether the receiver can have taken the event, and whether it keeps
each event to once (`keyed`), so that sending again is harmless.

A batch may be answered event by event: a JSON array, or an object with one under `items`
or `results`, of objects with `status` (an HTTP status) and, better, `id` (the event's id);
`target_id`, `detail` and `retry_after` (seconds) where there are any. Without ids, the order
counts. An answer that names some events and not others leaves the others Unknown.

A success with a whole HTML page is a proxy's or a login form, and no receiver's word.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from connectors.answers import (
    TARGET_ID_MAX,
    Kind,
    Row,
    json_of,
    message_of,
    outcome_of,
    retry_after,
    text_of,
    transport_row,
    transport_rows,
    within,
)
from connectors.base import Reply
from pipeline.core.outcome import Delivered, Outcome

NAME = "webhook"
TITLE = "The receiver"
_STATUSES = range(100, 600)
_KNOWN = frozenset(httpx.codes)
_PAGES = (b"<!doctype html", b"<html")


def _row(kind: Kind, code: str, when: int | str, source: str, advice: str = "") -> Row:
    return Row(kind=kind, code=f"{NAME}.{code}", when=str(when), source=source, advice=advice)


_MENDED = "; a credential is mended by people, not in the DLQ"
_WHO = "check WEBHOOK_SECRET, WEBHOOK_HEADERS and what the receiver expects"
STATUSES = (
    _row(Kind.REFUSED, "bad_request", 400, "RFC 9110, 15.5.1"),
    _row(Kind.BUSY, "credentials", 401, f"RFC 9110, 15.5.2{_MENDED}", _WHO),
    _row(Kind.BUSY, "credentials", 403, f"RFC 9110, 15.5.4{_MENDED}", _WHO),
    _row(Kind.REFUSED, "not_found", 404, "RFC 9110, 15.5.5", "check WEBHOOK_URL"),
    _row(Kind.BUSY, "timeout", 408, "RFC 9110, 15.5.9: the request did not come in whole"),
    _row(Kind.HELD, "conflict", 409, "draft-ietf-httpapi-idempotency-key-header-07, 2.6"),
    _row(Kind.REFUSED, "gone", 410, "RFC 9110, 15.5.11", "check WEBHOOK_URL"),
    _row(Kind.REFUSED, "too_large", 413, "RFC 9110, 15.5.14"),
    _row(
        Kind.REFUSED,
        "unprocessable",
        422,
        "RFC 9110, 15.5.21; a key used for another payload, idempotency-key draft 07, 2.6",
    ),
    _row(Kind.BUSY, "too_early", 425, "RFC 8470, 5.2"),
    _row(Kind.BUSY, "rate_limit", 429, "RFC 6585, 4"),
    _row(Kind.FAILED, "server_error", 500, "RFC 9110, 15.6.1"),
    _row(Kind.FAILED, "bad_gateway", 502, "RFC 9110, 15.6.3: it may have gone through"),
    _row(Kind.BUSY, "unavailable", 503, "RFC 9110, 15.6.4"),
    _row(Kind.FAILED, "gateway_timeout", 504, "RFC 9110, 15.6.5: it may have gone through"),
)
REDIRECT = _row(
    Kind.REFUSED,
    "redirect",
    "3xx",
    "never followed: RFC 9110, 15.4",
    "set WEBHOOK_URL to where it is",
)
OTHER_5XX = _row(Kind.FAILED, "server_error", "5xx", "RFC 9110, 15.6")
OTHER_STATUS = _row(
    Kind.UNCLEAR, "unexpected_status", "any other status", "none that this table knows"
)
PAGE = _row(Kind.UNCLEAR, "web_page", "2xx with an HTML page", "a proxy's or a login form's")
NO_WORD = _row(
    Kind.UNCLEAR, "no_word", "an answer event by event without this one", "none that we know"
)
ROWS = (*STATUSES, REDIRECT, OTHER_5XX, OTHER_STATUS, PAGE, NO_WORD, *transport_rows(NAME))
BY_EVENT = frozenset({"webhook.bad_request", "webhook.too_large", "webhook.unprocessable"})
"""These speak of the content: in a batch they may be due to one event of many."""
_BY_STATUS = {row.when: row for row in STATUSES}


def row_of(reply: Reply) -> Row | None:
    """The table's line for an answer; None for a success."""
    if isinstance(reply, httpx.TransportError):
        return transport_row(NAME, reply)
    row = row_of_status(reply.status_code)
    if row is None and reply.content[:200].lstrip().lower().startswith(_PAGES):
        return PAGE
    return row


def row_of_status(status: int) -> Row | None:
    """The table's line for a status; None for a success that RFC 9110 or its registry knows."""
    if httpx.codes.is_success(status):
        return None if status in _KNOWN else OTHER_STATUS
    if httpx.codes.is_redirect(status):
        return REDIRECT
    found = _BY_STATUS.get(str(status))
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
    if row.kind is Kind.HELD and word is not None and (known := _known_before(word, key)):
        return known
    return outcome_of(
        row,
        keyed=keyed,
        message=message(row, word),
        answer=says,
        retry_after_s=word.retry_after_s if word is not None else None,
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


def target_id(fields: Mapping[str, Any], location: str | None, key: str) -> str:
    """The receiver's own id for the event; our key where it gives none."""
    told = text_of(fields.get("target_id")) or text_of(fields.get("id"))
    return told or (location or key)[:TARGET_ID_MAX]


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
    return Word(status=status, fields=item, retry_after_s=within(seconds))


def message(row: Row, word: Word | None) -> str:
    """One sentence: what the receiver said and what to do."""
    if word is None:
        return message_of(TITLE, row)
    names = ("detail", "message", "title", "error")
    told = next((word.fields[name] for name in names if name in word.fields), "")
    return message_of(TITLE, row, told if isinstance(told, str) else "", word.status)
