"""The records of an account: their types, what is checked, what changes."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.sandboxes.journal import Journal, Op
from tests.sandboxes.knobs import Knobs

EXTERNAL = re.compile(r"[A-Za-z0-9_-]+")
CLOSED = "5"
STATUSES = {
    "1": "Not Started",
    "2": "In Progress",
    "3": "Escalated",
    "4": "Re-Opened",
    CLOSED: "Closed",
}
PRIORITIES = {"1": "High", "2": "Medium", "3": "Low"}
SENT_ONCE = frozenset({"incomingMessage"})
"""No field of the record: each write adds a message to it."""


@dataclass(frozen=True, kw_only=True)
class Type:
    """One record type: text fields with their limits, references with where they point."""

    name: str
    texts: Mapping[str, int]
    references: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    def knows(self, name: str) -> bool:
        """Whether it has that field."""
        return name in {*self.texts, *self.references, "id", "externalId"}


TYPES = {
    one.name.lower(): one
    for one in (
        Type(
            name="supportCase",
            texts={
                "title": 300,
                "incomingMessage": 100_000,
                "email": 254,
                "phone": 32,
                "custevent_fieldline_version": 300,
                "custevent_fieldline_snapshot": 4_000,
                "custevent_fieldline_key": 300,
            },
            references={
                "company": "customer",
                "status": "supportcasestatus",
                "priority": "supportcasepriority",
                "custevent_fieldline_asset": "customrecord_fieldline_asset",
            },
            required=("title", "company"),
        ),
        Type(
            name="customer",
            texts={"companyName": 83, "entityId": 80, "email": 254, "phone": 32, "comments": 4_000},
            required=("companyName",),
        ),
        Type(name="customrecord_fieldline_asset", texts={"name": 300}, required=("name",)),
    )
}
LISTS = {"supportcasestatus": STATUSES, "supportcasepriority": PRIORITIES}


@dataclass(kw_only=True)
class Refusal(Exception):  # noqa: N818 - not an error of ours
    """What NetSuite says instead of taking a record."""

    status: int
    code: str
    detail: str
    path: str = ""


@dataclass(kw_only=True)
class Record:
    """One record. `values` has texts, and ids for references."""

    id: str
    external_id: str
    values: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


STATUS_OF = {
    "INVALID_LOGIN": 401,
    "INSUFFICIENT_PERMISSION": 403,
    "NONEXISTENT_ID": 404,
    "RCRD_DSNT_EXIST": 404,
    "CONCURRENCY_LIMIT_EXCEEDED": 429,
    "SSS_REQUEST_LIMIT_EXCEEDED": 429,
    "UNEXPECTED_ERROR": 500,
}
"""Every other code comes with 400."""


class Records:
    """All records of an account."""

    def __init__(self, knobs: Knobs, journal: Journal) -> None:
        self.knobs, self.journal = knobs, journal
        self.tables: dict[str, dict[str, Record]] = {name: {} for name in TYPES}
        self._numbers = itertools.count(101)

    def type(self, name: str) -> Type:
        """The record type of that name, in whatever case."""
        found = TYPES.get(name.lower())
        if found is None:
            detail = f"Record type '{name}' does not exist."
            raise Refusal(status=404, code="NONEXISTENT_ID", detail=detail)
        return found

    def find(self, kind: Type, own_id: str) -> Record | None:
        """By internal id, or by external id as 'eid:…'."""
        table = self.tables[kind.name.lower()]
        if own_id.startswith("eid:"):
            wanted = own_id.removeprefix("eid:")
            return next((one for one in table.values() if one.external_id == wanted), None)
        return table.get(own_id)

    def get(self, kind: Type, own_id: str) -> Record:
        """As `find`; refused where there is none."""
        found = self.find(kind, own_id)
        if found is None:
            detail = (
                f"The record instance does not exist. Provide a valid record instance ID: {own_id}."
            )
            raise Refusal(status=404, code="NONEXISTENT_ID", detail=detail)
        return found

    def seed(self, kind: str, external_id: str, values: Mapping[str, str]) -> None:
        """Master data that is there before anybody comes."""
        own_id = str(next(self._numbers))
        self.tables[kind][own_id] = Record(id=own_id, external_id=external_id, values=dict(values))

    def save(
        self, kind: Type, body: Mapping[str, Any], before: Record | None, external_id: str = ""
    ) -> Record:
        """Make or change one record; a refusal leaves all as it was."""
        text = json.dumps({"externalId": external_id} | dict(body), ensure_ascii=False)
        if before is not None:
            text += json.dumps([before.external_id, before.id])
        if code := self.knobs.error(text):
            raise Refusal(status=STATUS_OF.get(code, 400), code=code, detail=f"{code}, as told.")
        given = self._checked(kind, body)
        messages = [given.pop(name) for name in SENT_ONCE if name in given]
        if before is None:
            self._required(kind, given)
            made = Record(id=str(next(self._numbers)), external_id=external_id)
            made.values = _defaults(kind) | given
            made.messages = messages
            self.tables[kind.name.lower()][made.id] = made
            self._note("create", kind, made, given, messages)
            return made
        after = copy.deepcopy(before)
        after.values |= given
        self._required(kind, after.values)
        after.messages += messages
        if after != before:
            self._note(_op(before, after), kind, after, given, messages)
        self.tables[kind.name.lower()][before.id] = after
        return after

    def delete(self, kind: Type, record: Record) -> None:
        """Away with it."""
        del self.tables[kind.name.lower()][record.id]
        self.journal.note("delete", kind.name, record.external_id, record.id, {})

    def _note(
        self, op: Op, kind: Type, record: Record, given: Mapping[str, str], messages: list[str]
    ) -> None:
        fields = dict(given) | ({"incomingMessage": messages[0]} if messages else {})
        self.journal.note(op, kind.name, record.external_id, record.id, fields)

    def _checked(self, kind: Type, body: Mapping[str, Any]) -> dict[str, str]:
        given: dict[str, str] = {}
        for name, value in body.items():
            if name in kind.texts:
                if not isinstance(value, str | int | float | bool | None):
                    raise _invalid(name, f"Invalid value for the field '{name}'.")
                given[name] = _text(name, value, kind.texts[name])
            elif name in kind.references:
                given[name] = self._reference(name, value, kind.references[name])
        return given

    def _reference(self, name: str, value: Any, points_at: str) -> str:  # noqa: ANN401 - JSON
        wanted = value if isinstance(value, dict) else {"id": value}
        own_id, external = wanted.get("id"), wanted.get("externalId")
        if points_at in LISTS:
            if str(own_id) in LISTS[points_at]:
                return str(own_id)
        elif isinstance(own_id, str | int) and str(own_id) in self.tables[points_at]:
            return str(own_id)
        elif own_id is None and isinstance(external, str):
            found = self.find(TYPES[points_at], f"eid:{external}")
            if found is not None:
                return found.id
        shown = own_id if own_id is not None else external
        raise _invalid(
            name,
            f"Invalid Field Value {shown} for the following field: {name.lower()}",
            "USER_ERROR",
        )

    def _required(self, kind: Type, values: Mapping[str, str]) -> None:
        missing = [name for name in kind.required if not values.get(name)]
        if missing:
            named = ", ".join(missing)
            detail = f"Error while accessing a resource. Please enter value(s) for: {named}."
            raise Refusal(status=400, code="USER_ERROR", detail=detail)


def _text(name: str, value: Any, most: int) -> str:  # noqa: ANN401 - JSON
    text = "" if value is None else str(value)
    if len(text) > most:
        detail = (
            f"The field {name} contained more than the maximum number ( {most} ) of characters "
            "allowed."
        )
        raise _invalid(name, detail, "USER_ERROR")
    return text


def _invalid(name: str, detail: str, code: str = "INVALID_CONTENT") -> Refusal:
    return Refusal(status=400, code=code, detail=detail, path=name)


def _defaults(kind: Type) -> dict[str, str]:
    return {"status": "1", "priority": "2"} if kind.name == "supportCase" else {}


def _op(before: Record, after: Record) -> Op:
    was, now = (one.values.get("status") == CLOSED for one in (before, after))
    if was == now:
        return "update"
    return "close" if now else "reopen"
