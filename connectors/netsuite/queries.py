"""SuiteQL: which records are there, and how they stand. Pure.

NetSuite help, Executing SuiteQL Queries Through REST Web Services: `Prefer: transient` is
required; column names come back in lower case, every value as text, an empty one not at all.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import httpx

from connectors.answers import Row, json_of, text_of
from connectors.base import Conversation, Effect, Reply
from connectors.netsuite.access import Access
from connectors.netsuite.answers import NO_QUERY, QUERY, UNREADABLE, trouble
from connectors.netsuite.config import NetsuiteSettings
from connectors.speech import Speech
from pipeline.core.outcome import Retryable

PAGE = 1_000
"""Most rows of one answer (D)."""
PAGES_MAX = 20
PATH = "/query/v1/suiteql"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A record as it stands; ids as text, '' where a field is empty.

    `version` is the place of the last event that was written whole: a record without one is
    not whole.
    """

    id: str
    status: str = ""
    priority: str = ""
    version: str = ""


def literal(text: str) -> str:
    """A text as SQL has it: quotes are doubled, and nothing else has a meaning in one."""
    return "'" + text.replace("'", "''") + "'"


class Queries:
    """Look-ups of one record type."""

    def __init__(self, settings: NetsuiteSettings, access: Access) -> None:
        self._access = access
        self._table = settings.record_type.lower()
        self._key = (settings.key_field or "externalid").lower()
        self._version = settings.version_field.lower()

    def text(self, keys: Collection[str]) -> str:
        """The query for the records with those keys."""
        columns = f"id, {self._key}, status, priority, {self._version}"
        among = ", ".join(literal(key) for key in sorted(keys))
        return (
            f"SELECT {columns} FROM {self._table} WHERE {self._key} IN ({among}) "  # noqa: S608 - names are checked by the settings, keys are literals
            "ORDER BY id"
        )

    def find(
        self, keys: Collection[str], speech: Speech, *, step: str = "look_up"
    ) -> Conversation[dict[str, Case] | Retryable]:
        """The records that are there, by key. Half an answer is none."""
        found: dict[str, Case] = {}
        offset = 0
        for left in reversed(range(PAGES_MAX)):
            reply = yield from self._access.send(
                step,
                "POST",
                f"{PATH}?limit={PAGE}&offset={offset}",
                effect=Effect.READ,
                body={"q": self.text(keys)},
                headers={"prefer": "transient"},
            )
            if isinstance(reply, Retryable):
                return reply
            page = _page(reply)
            if isinstance(page, Row):
                return speech.again(page, reply)
            rows, more = page
            if more and not left:
                return speech.again(UNREADABLE, reply)
            for row in rows:
                key, own_id = text_of(row.get(self._key)), text_of(row.get("id"))
                if key and own_id:
                    found.setdefault(key, self._case(own_id, row))
            offset += len(rows)
            if not more or not rows:
                break
        return found

    def _case(self, own_id: str, row: dict[str, Any]) -> Case:
        return Case(
            id=own_id,
            status=text_of(row.get("status")) or "",
            priority=text_of(row.get("priority")) or "",
            version=text_of(row.get(self._version)) or "",
        )


def _page(reply: Reply) -> tuple[list[dict[str, Any]], bool] | Row:
    """Rows and whether there are more, or what the answer means instead."""
    if isinstance(reply, httpx.TransportError) or not reply.is_success:
        row = trouble(reply)
        # The query is ours alone: an answer that refuses it blames no event.
        status = reply.status_code if isinstance(reply, httpx.Response) else 0
        return {400: QUERY, 404: NO_QUERY}.get(status, row)
    body = json_of(reply)
    rows = body.get("items") if isinstance(body, dict) else None
    more = body.get("hasMore") if isinstance(body, dict) else None
    if not isinstance(rows, list) or not isinstance(more, bool):
        return UNREADABLE
    if not all(isinstance(row, dict) for row in rows):
        return UNREADABLE
    return rows, more
