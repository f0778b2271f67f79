"""Records by key: read, upserted by external id, updated by Id. Pure.

| request                                              | for                                   |
|------------------------------------------------------|---------------------------------------|
| GET query?q=SELECT … WHERE key IN (…)                | what is there: people's changes show  |
| PATCH sobjects/{Object}/{Field}/{key}                | one new record                        |
| PATCH composite/sobjects/{Object}/{Field}            | up to 200 new ones, each by itself    |
| PATCH composite/sobjects                             | up to 200 changes, by Id: they never  |
|                                                      | make a record that has gone meanwhile |

An upsert of what is there would write over it, so it is sent only for keys that the query
did not find; who is faster in between has written the same fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import httpx

from connectors.answers import Kind, json_of, text_of
from connectors.base import Conversation, Effect, Reply
from connectors.salesforce.answers import (
    AMBIGUOUS,
    NO_QUERY,
    UNCLEAR,
    Failure,
    refused,
    told,
)
from connectors.salesforce.config import COLLECTION, SalesforceSettings
from connectors.salesforce.mapping import LOG, SEVERITY, VERSION, Seen
from connectors.salesforce.session import Session

_IN_PATH = re.compile(r"[A-Za-z0-9_-]+")
"""Keys that can stand in a path: '/' cannot, even escaped, and one that ends like a domain
('.inc') is answered by 404 ('Upsert Records Using sObject Rows by External ID')."""
_WITH_IS_CLOSED = frozenset({"Case", "WorkOrder"})
_LONG_TEXT = 131_072
"""Most characters of a long text area (Salesforce Field Types)."""
_QUERY_MAX = 12_000
"""Characters of the keys in a query: an address may have 16,384 bytes (REST API, 414)."""

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A write that was taken. `created` False where the record was there before."""

    id: str
    created: bool


Result = Done | Failure


class Records:
    """Records of one object under one session."""

    def __init__(self, session: Session, settings: SalesforceSettings) -> None:
        self._session = session
        self._settings = settings
        self._object = settings.object
        self._key = settings.external_id_field

    def read(self, keys: Iterable[str], step: str) -> Conversation[dict[str, Seen | Failure]]:
        """The records with these keys, by key; one that is not there is left out.

        A Failure for each of a piece that could not be read, and for a key that several have.
        """
        found: dict[str, Seen | Failure] = {}
        failed: Failure | None = None
        for piece in _pieces(sorted(set(keys))):
            rows = failed or (yield from self._query(piece, step))
            if isinstance(rows, Failure):
                failed = rows.before()  # the rest would not go better
                found.update(dict.fromkeys(piece, failed))
                continue
            folded = {key.casefold(): key for key in piece}
            for row in rows:
                key = str(row[self._key])
                mine = folded.get(key.casefold(), key)
                # The field may ignore case, and then an upsert would write over the other's.
                odd = mine in found or mine != key
                found[mine] = told(AMBIGUOUS, f"key {key}") if odd else self._seen(row)
        return found

    def upsert_one(self, key: str, values: Values) -> Conversation[Result]:
        """Make one record. The key goes in the path alone: in the body it is an error."""
        if not _IN_PATH.fullmatch(key):
            [result] = yield from self._upsert_many([(key, values)])
            return result
        body = {name: value for name, value in values.items() if name != self._key}
        reply = yield from self._session.call(
            "upsert", "PATCH", self.row_path(key), Effect.KEYED_WRITE, body=body
        )
        if isinstance(reply, Failure):
            return reply
        if not isinstance(reply, httpx.Response) or reply.status_code not in {200, 201, 204}:
            return self._ambiguous(reply) or self._session.failure(reply)
        if reply.status_code == httpx.codes.NO_CONTENT:  # updated; before API version 46
            seen = (yield from self.read([key], "read_upserted")).get(key)
            known = seen.id if isinstance(seen, Seen) else f"{self._key}/{key}"
            return Done(id=known, created=False)
        result = result_of(json_of(reply))
        if isinstance(result, Failure):
            return result if result.row is not UNCLEAR else self._session.failure(reply)
        made = reply.status_code == httpx.codes.CREATED
        return Done(id=result.id, created=made)

    def upsert(self, items: Sequence[tuple[str, Values]]) -> Conversation[list[Result]]:
        """Make up to COLLECTION records; one result each, in order."""
        if len(items) == 1:
            return [(yield from self.upsert_one(*items[0]))]
        return (yield from self._upsert_many(items))

    def update(self, items: Sequence[tuple[str, Values]]) -> Conversation[list[Result]]:
        """Change up to COLLECTION records, given by Id; one result each, in order."""
        records = [
            {"attributes": {"type": self._object}, "id": own_id, **values}
            for own_id, values in items
        ]
        return (yield from self._collection("update", "composite/sobjects", records))

    # -- requests

    def _query(
        self, keys: Sequence[str], step: str
    ) -> Conversation[list[dict[str, Any]] | Failure]:
        names = ("Id", self._key, *read_fields(self._object))
        values = ",".join(_literal(key) for key in keys)
        # Names are checked by the settings, values are escaped.
        soql = f"SELECT {','.join(names)} FROM {self._object} WHERE {self._key} IN ({values})"  # noqa: S608 - see above
        path = self._session.path(f"query/?q={quote(soql, safe='')}")
        reply = yield from self._session.call(step, "GET", path, Effect.READ)
        if isinstance(reply, Failure):
            return reply
        if not isinstance(reply, httpx.Response) or reply.status_code != httpx.codes.OK:
            failure = self._session.failure(reply)
            gone = isinstance(reply, httpx.Response) and reply.status_code == httpx.codes.NOT_FOUND
            return replace(failure, row=NO_QUERY) if gone else failure
        body = json_of(reply)
        rows = body.get("records") if isinstance(body, dict) else None
        # Keys are unique, so all are on the first page; more of them is no answer to rely on.
        if isinstance(rows, list) and body.get("done") is True and all(map(self._is_row, rows)):
            return rows
        return self._session.failure(reply)

    def _is_row(self, row: object) -> bool:
        return (
            isinstance(row, dict)
            and isinstance(row.get("Id"), str)
            and bool(row["Id"])
            and isinstance(row.get(self._key), str)
        )

    def _seen(self, row: Mapping[str, Any]) -> Seen:
        status = text_of(row.get("Status")) or ""
        return Seen(
            id=text_of(row["Id"]) or "",
            priority=text_of(row.get("Priority")) or "",
            status=status,
            closed=row.get("IsClosed") is True or status == self._settings.status_closed,
            version=text_of(row.get(VERSION)) or "",
            severity=text_of(row.get(SEVERITY)) or "",
            log=text_of(row.get(LOG), _LONG_TEXT) or "",
        )

    def _upsert_many(self, items: Sequence[tuple[str, Values]]) -> Conversation[list[Result]]:
        records = [
            {"attributes": {"type": self._object}, **values, self._key: key}
            for key, values in items
        ]
        path = f"composite/sobjects/{self._object}/{self._key}"
        return (yield from self._collection("upsert_collection", path, records))

    def _collection(
        self, step: str, path: str, records: Sequence[Values]
    ) -> Conversation[list[Result]]:
        """One result per record. A refusal of the whole request may be for one record's sake."""
        reply = yield from self._session.call(
            *(step, "PATCH", self._session.path(path), Effect.KEYED_WRITE),
            body={"allOrNone": False, "records": records},
        )
        if isinstance(reply, Failure):
            return [reply] * len(records)
        if isinstance(reply, httpx.Response) and reply.status_code == httpx.codes.OK:
            body = json_of(reply)
            if isinstance(body, list) and len(body) == len(records):
                return [result_of(one) for one in body]
        failure = self._session.failure(reply)
        if failure.row.kind is Kind.REFUSED and len(records) > 1:
            half = len(records) // 2
            first = yield from self._collection(step, path, records[:half])
            return first + (yield from self._collection(step, path, records[half:]))
        return [failure] * len(records)

    def row_path(self, key: str) -> str:
        """Where the record with that key is upserted."""
        return self._session.path(f"sobjects/{self._object}/{self._key}/{quote(key, safe='')}")

    def _ambiguous(self, reply: Reply) -> Failure | None:
        """300 has a list of the records' addresses; nothing was written."""
        if isinstance(reply, httpx.Response) and reply.status_code == 300:  # noqa: PLR2004
            places = json_of(reply)
            if isinstance(places, list):
                return told(AMBIGUOUS, f"{len(places)} records")
        return None


def read_fields(name: str) -> tuple[str, ...]:
    """What is read of a record besides Id and key. Custom objects have no IsClosed."""
    closed = ("IsClosed",) if name in _WITH_IS_CLOSED else ()
    return ("Priority", "Status", *closed, VERSION, SEVERITY, LOG)


def _pieces(keys: Sequence[str]) -> Iterator[list[str]]:
    """The keys in runs whose query fits into an address."""
    piece: list[str] = []
    length = 0
    for key in keys:
        own = len(quote(_literal(key), safe="")) + 3
        if piece and (len(piece) == COLLECTION or length + own > _QUERY_MAX):
            yield piece
            piece, length = [], 0
        piece.append(key)
        length += own
    if piece:
        yield piece


def _literal(text: str) -> str:
    r"""A SOQL string; \ and ' are the characters that end or change one."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def result_of(one: Any) -> Result:  # noqa: ANN401 - JSON
    """One UpsertResult or SaveResult, or its failure; UNCLEAR where it does not say which."""
    if not isinstance(one, Mapping):
        return refused(one)
    own_id = one.get("id")
    if one.get("success") is True and isinstance(own_id, str) and own_id:
        # Updates have no 'created': each of ours that is taken is new.
        return Done(id=own_id[:64], created=one.get("created") is not False)
    if one.get("success") is False:
        return refused(one.get("errors"))
    return told(UNCLEAR)
