"""A record and its platform event in one composite: both or neither. Pure.

An event cannot be looked for and is not kept to once, so it goes with its record in one
transaction (allOrNone): where the record has the change, the event went out. That needs an
event that is defined as 'Publish After Commit'; that a composite rolls such a one back is
inferred from the two guides, unverified.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from connectors.answers import json_of
from connectors.base import Conversation, Effect, Reply
from connectors.salesforce.answers import AMBIGUOUS, UNCLEAR, is_success, refused, told
from connectors.salesforce.config import SalesforceSettings
from connectors.salesforce.records import Done, Records, Result, Values, result_of
from connectors.salesforce.session import Session

RECORD_FIELD = "Record__c"
"""The event's field for the record's Id."""
_RECORD, _EVENT = "record", "event"
_TAKEN = frozenset({httpx.codes.OK, httpx.codes.CREATED, httpx.codes.NO_CONTENT})

Part = tuple[int, Any]


class Publisher:
    """Records with their events, under one session."""

    def __init__(self, session: Session, records: Records, settings: SalesforceSettings) -> None:
        self._session = session
        self._records = records
        self._settings = settings

    def write(
        self, key: str, own_id: str | None, values: Values, message: Values
    ) -> Conversation[Result]:
        """Make (`own_id` None) or change one record, and publish `message` with it."""
        settings = self._settings
        if own_id is None:
            values = {n: value for n, value in values.items() if n != settings.external_id_field}
            place = self._records.row_path(key)
        else:
            place = self._session.path(f"sobjects/{settings.object}/{own_id}")
        about = {RECORD_FIELD: own_id or f"@{{{_RECORD}.id}}"}
        event = self._session.path(f"sobjects/{settings.platform_event}/")
        parts = [
            _part("PATCH", place, _RECORD, values),
            _part("POST", event, _EVENT, {**message, **about}),
        ]
        reply = yield from self._session.call(
            *("publish", "POST", self._session.path("composite"), Effect.WRITE),
            body={"allOrNone": True, "compositeRequest": parts},
        )
        if not isinstance(reply, Reply):
            return reply
        found = _parts(reply)
        if not {_RECORD, _EVENT} <= set(found):
            return self._session.failure(reply)
        return _result(found[_RECORD], found[_EVENT], own_id, key)


def _result(record: Part, event: Part, own_id: str | None, key: str) -> Result:
    (status, made), (event_status, sent) = record, event
    if status == httpx.codes.MULTIPLE_CHOICES:
        return told(AMBIGUOUS, f"key {key}")
    if status not in _TAKEN or event_status != httpx.codes.CREATED:
        failure = refused(made)
        return failure if failure.row is not UNCLEAR else refused(sent)
    # 'errors' is not empty where an event was taken: it holds OPERATION_ENQUEUED.
    taken = isinstance(sent, Mapping) and sent.get("success") is True
    if not taken or not is_success(sent.get("errors")):
        return told(UNCLEAR)
    if own_id is not None:
        return Done(id=own_id, created=True)
    result = result_of(made)
    return (
        result
        if not isinstance(result, Done)
        else Done(id=result.id, created=status == httpx.codes.CREATED)
    )


def _part(method: str, url: str, reference: str, body: Values) -> dict[str, Any]:
    return {"method": method, "url": url, "referenceId": reference, "body": dict(body)}


def _parts(reply: Reply) -> dict[str, Part]:
    """Status and body of each part, by its reference; empty where it is no composite's answer."""
    if not isinstance(reply, httpx.Response) or reply.status_code != httpx.codes.OK:
        return {}
    body = json_of(reply)
    parts = body.get("compositeResponse") if isinstance(body, dict) else None
    return {
        str(part.get("referenceId")): (status, part.get("body"))
        for part in (parts if isinstance(parts, list) else [])
        if isinstance(part, dict) and isinstance(status := part.get("httpStatusCode"), int)
    }
