"""Rows, transactions, and what Dataverse checks before it takes one."""

from __future__ import annotations

import copy
import itertools
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.sandboxes.dynamics.schema import BY_SET, STATUS_OF_STATE, TABLES, Column, Table

Row = dict[str, Any]
GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
BREAKS = frozenset("/<>*%&:\\?+")
ALL_OR_NOTHING = "CloseIncident"
STATUS_OF = {
    "0x80040217": 404,
    "0x80060891": 404,
    "0x80040237": 412,
    "0x80060892": 412,
    "0x80060882": 412,
    "0x80040220": 403,
    "0x80048306": 403,
    "0x80072560": 403,
    "0x80072321": 429,
    "0x80072322": 429,
    "0x80072326": 429,
    "0x8006088a": 404,
    "0x80044150": 500,
    "0x80044151": 500,
    "0x80040216": 500,
}
"""Everything else is a bad request, 400."""


class RefusedError(Exception):
    """What the API answers instead."""

    def __init__(self, code: str, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.code, self.message = code, message
        self.status = status or STATUS_OF.get(code.lower(), 400)


class Store:
    """All rows of the environment. `note(op, table, key, id, fields)` is told at commit;
    `error(text)` says with which code a record is to be refused."""

    def __init__(
        self,
        note: Callable[[str, str, str, str, Mapping[str, Any]], None],
        error: Callable[[str], str | None],
    ) -> None:
        self._note, self._error = note, error
        self._versions = itertools.count(1_000_001)
        self._tickets = itertools.count(1)
        self.rows: dict[str, dict[str, Row]] = {name: {} for name in TABLES}
        self._effects: list[tuple[str, str, str, str, dict[str, Any]]] = []
        self._before: list[tuple[str, str, Row | None]] = []
        """Of this transaction: rows as they were before each change."""
        self._keys: dict[tuple[str, str], tuple[int, dict[str, str]]] = {}
        """By table and attribute: how many rows were looked through, and ids by key."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it, or nothing."""
        self._effects, self._before = [], []
        with ExitStack() as undo:
            undo.callback(self._roll_back)
            yield
            undo.pop_all()
        for effect in self._effects:
            self._note(*effect)

    def _roll_back(self) -> None:
        for name, own, row in reversed(self._before):
            if row is None:
                self.rows[name].pop(own, None)
            else:
                self.rows[name][own] = row
        self._keys.clear()

    # -- finding

    def by_id(self, table: Table, own: str) -> Row | None:
        """A row by its id."""
        return self.rows[table.name].get(own.lower())

    def by_key(self, table: Table, attribute: str, value: str) -> Row | None:
        """A row by alternate key; keys compare without case, as SQL Server's collation does."""
        if attribute not in table.keys:
            raise RefusedError(
                "0x80060888", f"The specified key property {attribute} is not a key of {table.name}"
            )
        if BREAKS & set(value):
            raise RefusedError("0x80060888", "Bad Request - Error in query syntax.")
        low = value.lower()
        rows = self.rows[table.name]
        seen, ids = self._keys.get((table.name, attribute), (-1, {}))
        if seen != len(rows):
            ids = {str(row.get(attribute) or "").lower(): own for own, row in rows.items()}
            self._keys[table.name, attribute] = (len(rows), ids)
        return rows.get(ids.get(low, ""))

    def _touch(self, table: Table, own: str) -> None:
        """Remember a row as it is, for the transaction may fail."""
        row = self.rows[table.name].get(own)
        self._before.append((table.name, own, copy.deepcopy(row)))

    # -- changing

    def create(self, table: Table, given: Mapping[str, Any], keys: Mapping[str, str]) -> Row:
        """A new row; `keys` come from the address."""
        self._refuse(table, given, keys)
        row = self._checked(table, given) | dict(keys)
        own = str(row.get(table.id) or uuid.uuid4()).lower()
        if own in self.rows[table.name]:
            raise RefusedError("0x80040237", "Cannot insert duplicate key.")
        for key in table.keys:
            value = row.get(key)
            if value and self.by_key(table, key, str(value)) is not None:
                raise RefusedError(
                    "0x80060892", f"A record that has the attribute values {key} already exists."
                )
        if table.name == "incident":
            if not row.get("customerid_account") and not row.get("customerid_contact"):
                raise RefusedError("0x80040203", "You should specify a parent contact or account.")
            row.setdefault("ticketnumber", f"CAS-{next(self._tickets):05}-K3Q1")
            row |= {"statecode": 0, "statuscode": 1}
            row.setdefault("prioritycode", 2)
        elif "statecode" in table.columns:
            row |= {"statecode": 0, "statuscode": 1}
        row |= {table.id: own, "@odata.etag": self._etag()}
        self._touch(table, own)
        self.rows[table.name][own] = row
        for key in table.keys:
            seen, ids = self._keys.get((table.name, key), (-1, {}))
            if seen == len(self.rows[table.name]) - 1:
                ids[str(row.get(key) or "").lower()] = own
                self._keys[table.name, key] = (seen + 1, ids)
        self._told("create", table, row, given)
        return row

    def update(self, table: Table, row: Row, given: Mapping[str, Any]) -> None:
        """Change a row."""
        keys = {key: str(row.get(key) or "") for key in table.keys}
        self._refuse(table, given, keys)
        changed = self._checked(table, given)
        changed.pop(table.id, None)
        op = self._state(table, row, changed) if "statecode" in table.columns else "update"
        before = dict(row)
        self._touch(table, row[table.id])
        row |= changed
        if any(changed.get(key, row.get(key)) != before.get(key) for key in table.keys):
            self._keys.clear()
        if row != before:
            row["@odata.etag"] = self._etag()
            self._told(op, table, row, given)

    def delete(self, table: Table, row: Row) -> None:
        """Take a row away."""
        self._touch(table, row[table.id])
        del self.rows[table.name][row[table.id]]
        self._keys.clear()
        self._told("delete", table, row, {})

    def close_incident(self, given: Mapping[str, Any]) -> None:
        """The action CloseIncident."""
        resolution, status = given.get("IncidentResolution"), given.get("Status")
        if not isinstance(resolution, dict) or not isinstance(status, int):
            raise RefusedError("0x80048d19", "Error identified in Payload: IncidentResolution")
        told = {k: v for k, v in resolution.items() if not k.startswith("@odata")}
        bound = self.bound(str(told.get("incidentid@odata.bind") or ""))
        if bound is None or bound[0].name != "incident":
            raise RefusedError("0x80040203", "The incident of the resolution is missing.")
        table, row = bound
        self._refuse(table, given, {key: str(row.get(key) or "") for key in table.keys})
        if row["statecode"] != 0:
            raise _resolved()
        status = 5 if status == -1 else status
        if status not in STATUS_OF_STATE[1]:
            raise RefusedError("0x80048408", f"{status} is not a valid status code for Resolved.")
        self._touch(table, row[table.id])
        row |= {"statecode": 1, "statuscode": status, "@odata.etag": self._etag()}
        self.create(TABLES["incidentresolution"], told, {})
        self._told("close", table, row, told)

    def _state(self, table: Table, row: Row, changed: Row) -> str:
        told = changed.get("statecode")
        state: int = row["statecode"] if told is None else told
        if table.name == "incident":
            if state == 1 != row["statecode"]:
                raise RefusedError(
                    "0x80040203",
                    "This message can not be used to set the state of incident to Resolved. In "
                    f"order to set state of incident to Resolved, use the {ALL_OR_NOTHING}Request "
                    "message instead.",
                )
            reopens = row["statecode"] != 0 and state == 0
            if row["statecode"] != 0 and not (
                reopens and set(changed) <= {"statecode", "statuscode"}
            ):
                raise _resolved()
            allowed = STATUS_OF_STATE[state]
        else:
            allowed = {state + 1}
        status = changed.get("statuscode", row["statuscode"])
        if "statecode" in changed and "statuscode" not in changed:
            status = changed["statuscode"] = min(allowed)
        if status not in allowed:
            raise RefusedError(
                "0x80048408", f"{status} is not a valid status code for state code {state}."
            )
        if state == row["statecode"]:
            return "update"
        return "reopen" if state == 0 else "close"

    # -- checking

    def bound(self, text: str) -> tuple[Table, Row] | None:
        """The row that '/accounts(…)' names, or None where the text names none."""
        found = re.fullmatch(r"(?:https?://[^?]*/|/)?([A-Za-z0-9_]+)\((.+)\)", text)
        table = BY_SET.get(found[1]) if found else None
        if found is None or table is None:
            return None
        if GUID.fullmatch(found[2]):
            row = self.by_id(table, found[2])
            if row is None:
                raise RefusedError(
                    "0x80040217", f"{table.name} With Id = {found[2]} Does Not Exist"
                )
            return table, row
        named = re.fullmatch(r"([A-Za-z0-9_]+)='((?:[^']|'')*)'", found[2])
        if named is None:
            return None
        row = self.by_key(table, named[1], named[2].replace("''", "'"))
        if row is None:
            raise RefusedError(
                "0x80060891",
                f"A record with the specified key values does not exist in {table.name} entity",
            )
        return table, row

    def _checked(self, table: Table, given: Mapping[str, Any]) -> Row:
        row: Row = {}
        for name, value in given.items():
            if name.startswith("@odata."):
                continue
            if name.endswith("@odata.bind"):
                property_name = name.removesuffix("@odata.bind")
                bound = self.bound(str(value)) if property_name in table.lookups else None
                if bound is None or bound[0].name != table.lookups[property_name]:
                    raise _payload(table, property_name)
                row[property_name] = bound[1][bound[0].id]
            elif name == table.id:
                if not GUID.fullmatch(str(value)):
                    raise _payload(table, name)
                row[name] = str(value).lower()
            elif name in table.columns:
                row[name] = _fitting(table, name, table.columns[name], value)
            else:
                raise _payload(table, name)
        return row

    def _refuse(self, table: Table, given: Mapping[str, Any], keys: Mapping[str, str]) -> None:
        for name, value in keys.items():
            if name in given and given[name] != value:
                raise RefusedError("0x80040203", f"{name} is in the address and in the body.")
        text = json.dumps([table.name, dict(keys), dict(given)], ensure_ascii=False, default=str)
        if code := self._error(text):
            raise RefusedError(code, f"{code}, as told")

    def _told(self, op: str, table: Table, row: Row, given: Mapping[str, Any]) -> None:
        key = next((str(row[k]) for k in table.keys if row.get(k)), "")
        self._effects.append((op, table.name, key, row[table.id], dict(given)))

    def _etag(self) -> str:
        return f'W/"{next(self._versions)}"'


def _fitting(table: Table, name: str, column: Column, value: Any) -> Any:  # noqa: ANN401 - JSON
    if value is None:
        return None
    if column.kind == "text":
        if not isinstance(value, str):
            raise _payload(table, name)
        if len(value) > column.most:
            raise RefusedError(
                "0x80044331",
                f"A validation error occurred.  The length of the '{name}' attribute of the "
                f"'{table.name}' entity exceeded the maximum allowed length of '{column.most}'.",
            )
    elif column.kind in {"int", "choice"}:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _payload(table, name)
        if column.kind == "choice" and value not in column.choices:
            raise RefusedError(
                "0x8004431A",
                f"A validation error occurred. The value {value} of '{name}' on record of type "
                f"'{table.name}' is outside the valid range.",
            )
    return value


def _payload(table: Table, name: str) -> RefusedError:
    return RefusedError(
        "0x80048d19",
        f"Error identified in Payload provided by the user for Entity :'{table.entity_set}': "
        f"Invalid property '{name}' was found in entity 'Microsoft.Dynamics.CRM.{table.name}'.",
    )


def _resolved() -> RefusedError:
    return RefusedError(
        "0x800404CF",
        "This case has already been resolved. Close and reopen the case record to see the updates.",
    )
