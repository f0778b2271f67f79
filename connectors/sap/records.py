"""Reading notifications: by reference, by number, and what one shows. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from connectors.answers import text_of
from connectors.base import Conversation, Effect
from connectors.sap.answers import GONE, NO_RECORD, Trouble, entities, entity, of_record
from connectors.sap.batch import Op
from connectors.sap.session import Session
from pipeline.core.outcome import Retryable

SERVICE = "API_MAINTNOTIFICATION"
SET = "MaintenanceNotification"
COMPLETED, DELETION_FLAG = "4", "5"
"""NotifProcessingPhase; 4 as in SAP's view I_MaintenanceNotification, 5 unverified (3)."""
ID_MAX = 12
_FOUND = ("MaintenanceNotification", "MaintNotifExtReferenceNumber", "NotifProcessingPhase")
_SEEN = (
    *_FOUND,
    *("ConcatenatedActiveSystStsName", "MaintPriority", "MaintNotificationLongText"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A notification as SAP shows it. `text` is its whole long text, `etag` '' where none."""

    id: str
    reference: str
    phase: str
    status: str
    priority: str
    text: str
    etag: str

    @property
    def completed(self) -> bool:
        """By us or by a person."""
        return self.phase == COMPLETED or "NOCO" in self.status.split()

    @property
    def deleted(self) -> bool:
        """A person has set the deletion flag."""
        return self.phase == DELETION_FLAG or "DLFL" in self.status.split()


def quoted(text: str) -> str:
    """A string in an expression: quotes doubled (OData V2 URI conventions)."""
    return "'" + text.replace("'", "''") + "'"


def literal(text: str) -> str:
    """A string in a URL: quoted, and all but its own quotes percent-encoded."""
    return quote(quoted(text), safe="'")


def at(number: str) -> str:
    """Path of one notification."""
    return f"{SET}({literal(number)})"


def seen(fields: Mapping[str, Any], etag: str = "") -> Seen | None:
    """What an entity shows; None where it has no number."""
    number = text_of(fields.get("MaintenanceNotification"), ID_MAX)
    if number is None:
        return None
    meta = fields.get("__metadata")
    inside = text_of(meta.get("etag")) if isinstance(meta, dict) else None

    def told(name: str) -> str:
        value = fields.get(name)
        return value if isinstance(value, str) else ""

    return Seen(
        id=number,
        reference=told("MaintNotifExtReferenceNumber").strip().upper(),
        phase=told("NotifProcessingPhase"),
        status=told("ConcatenatedActiveSystStsName"),
        priority=told("MaintPriority"),
        text=told("MaintNotificationLongText"),
        etag=_header(inside or etag),
    )


def find(
    session: Session, references: Collection[str]
) -> Conversation[dict[str, str] | Trouble | Retryable]:
    """Numbers by reference, of those that are there.

    Where several have one reference (a person copied it), the oldest without a deletion flag
    counts, for everybody.
    """
    wanted = " or ".join(f"MaintNotifExtReferenceNumber eq '{one}'" for one in references)
    path = f"{SET}?$filter={quote(wanted, safe='')}&$select={','.join(_FOUND)}&$format=json"
    reply = yield from session.read("find", SERVICE, path)
    if not isinstance(reply, httpx.Response):
        return reply
    rows = entities(reply)
    shown = [seen(row) for row in rows] if rows is not None else [None]
    found: dict[str, Seen] = {}
    for one in shown:
        if one is None or one.reference not in references:
            return session.unreadable(reply)
        kept = found.setdefault(one.reference, one)
        if (one.deleted, one.id) < (kept.deleted, kept.id):
            found[one.reference] = one
    return {ref: one.id for ref, one in found.items()}


def read(
    session: Session, numbers: Sequence[str]
) -> Conversation[dict[str, Seen | Trouble | Retryable]]:
    """Each of those notifications, as single entities: only those are sure to be whole.

    Trouble with row NO_RECORD is one that is not there any more.
    """
    ops = [
        Op(step="read", method="GET", path=f"{at(number)}?$select={','.join(_SEEN)}")
        for number in numbers
    ]
    answers = yield from session.send(SERVICE, ops, effect=Effect.READ, batch_step="read_batch")
    shown: dict[str, Seen | Trouble | Retryable] = {}
    for number, answer in zip(numbers, answers, strict=True):
        if isinstance(answer, httpx.Response):
            one = seen(entity(answer) or {}, answer.headers.get("etag", ""))
            same = one is not None and one.id.lstrip("0") == number.lstrip("0")
            shown[number] = one if one is not None and same else session.unreadable(answer)
        elif isinstance(answer, Trouble):
            row = of_record(answer.row, answer.reply)
            gone = Trouble(row=NO_RECORD, reply=answer.reply)
            shown[number] = gone if row is GONE else answer
        else:
            shown[number] = answer
    return shown


def _header(text: str) -> str:
    """An ETag as it can stand in a header; '' where it cannot."""
    return text if text.isascii() and text.isprintable() else ""
