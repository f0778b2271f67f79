"""Records of the org: what is taken, what is refused and with which words."""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tests.sandboxes.journal import Journal, Op
from tests.sandboxes.salesforce.schema import CLOSED, OBJECTS, PREFIX, Column

STATUS_OF = {
    "INVALID_SESSION_ID": 401,
    "REQUEST_LIMIT_EXCEEDED": 403,
    "STORAGE_LIMIT_EXCEEDED": 403,
    "API_DISABLED_FOR_ORG": 403,
    "INSUFFICIENT_ACCESS_OR_READONLY": 403,
    "FUNCTIONALITY_NOT_ENABLED": 403,
    "NOT_FOUND": 404,
    "ENTITY_IS_DELETED": 404,
    "SERVER_UNAVAILABLE": 503,
}
"""Everything else is 400."""
_ID = re.compile(r"[A-Za-z0-9]{15}([A-Za-z0-9]{3})?")
_ALPHABET = string.ascii_letters + string.digits

Record = dict[str, Any]


class Refusal(Exception):  # noqa: N818 - it is Salesforce's word for it that counts
    """One error as Salesforce tells it. `whole`: it is about the request, not the record."""

    def __init__(self, code: str, message: str, *fields: str, whole: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fields = list(fields)
        self.whole = whole
        self.places: list[str] = []

    @property
    def status(self) -> int:
        """The HTTP status, where the record is alone in its request."""
        return 300 if self.code == "DUPLICATE_EXTERNAL_ID" else STATUS_OF.get(self.code, 400)

    def alone(self) -> Any:  # noqa: ANN401 - JSON
        """The body of a request about one record; 300 has the addresses of all that match."""
        if self.code == "DUPLICATE_EXTERNAL_ID":
            return self.places
        return [{"message": self.message, "errorCode": self.code, "fields": self.fields}]

    def among(self) -> dict[str, Any]:
        """The entry among the results of several records."""
        error = {"statusCode": self.code, "message": self.message, "fields": self.fields}
        return {"success": False, "errors": [error]}


class Store:
    """Everything there is. `knob` says with which code a record is to be refused, if any."""

    def __init__(self, knob: Callable[[str], str | None], journal: Callable[[], Journal]) -> None:
        self._knob = knob
        self._journal = journal
        self.records: dict[str, dict[str, Record]] = {name: {} for name in OBJECTS}
        self.events: list[Record] = []
        self._numbers = 0

    # -- reading

    def columns(self, name: str) -> Mapping[str, Column]:
        """The fields of an object; NOT_FOUND where there is none of that name."""
        if name not in OBJECTS:
            raise Refusal("NOT_FOUND", "The requested resource does not exist", whole=True)
        return OBJECTS[name]

    def live(self, name: str) -> list[Record]:
        """Records that are not in the recycle bin."""
        return [one for one in self.records[name].values() if not one["IsDeleted"]]

    def get(self, name: str, own_id: str) -> Record:
        """A record by Id, 15 or 18 characters."""
        self.columns(name)
        found = self.records[name].get(own_id[:15])
        if found is None or found["IsDeleted"]:
            raise Refusal("NOT_FOUND", "The requested resource does not exist")
        return found

    def matches(self, name: str, field: str, value: str) -> list[Record]:
        """Records with that external id. Compared without regard to case."""
        column = self.columns(name).get(field)
        if column is None or not (column.external or field == "Id"):
            raise Refusal("NOT_FOUND", "The requested resource does not exist", whole=True)
        wanted = value.strip().lower()
        return [one for one in self.live(name) if str(one.get(field) or "").lower() == wanted]

    # -- writing

    def upsert(
        self, name: str, field: str, value: str, given: Mapping[str, Any], *, only: bool = False
    ) -> tuple[Record, bool]:
        """The record and whether it was made. `only`: never make one (updateOnly)."""
        found = self.matches(name, field, value)
        if len(found) > 1:
            refusal = Refusal("DUPLICATE_EXTERNAL_ID", f"{field}: more than one record found")
            refusal.places = [f"/services/data/v62.0/sobjects/{name}/{r['Id']}" for r in found]
            raise refusal
        if found:
            return self.update(name, found[0]["Id"], given), False
        if only:
            raise Refusal("NOT_FOUND", "The requested resource does not exist")
        return self.create(name, {**given, field: value}), True

    def create(self, name: str, given: Mapping[str, Any]) -> Record:
        """Insert."""
        fields = self._checked(name, given, None)
        for field, column in OBJECTS[name].items():
            if column.required and not fields.get(field):
                message = f"Required fields are missing: [{field}]"
                raise Refusal("REQUIRED_FIELD_MISSING", message, field)
        now = _now()
        own_id = PREFIX[name] + "".join(secrets.choice(_ALPHABET) for _ in range(12)) + "AAA"
        if name.endswith("__e"):
            record = {"Id": own_id, **fields}
            self.events.append(record)
            self._journal().note("create", name, str(fields.get("Key__c")), own_id, fields)
            return record
        times = dict.fromkeys(("CreatedDate", "LastModifiedDate", "SystemModstamp"), now)
        record = {"Id": own_id, "IsDeleted": False, **times, **fields}
        if name == "Case":
            self._numbers += 1
            record["CaseNumber"] = f"{self._numbers:08}"
            record.setdefault("Status", "New")
            record.setdefault("Priority", "Medium")
            _close(record)
        self.records[name][own_id[:15]] = record
        self._journal().note("create", name, key_of(record), own_id, fields)
        return record

    def update(self, name: str, own_id: str, given: Mapping[str, Any]) -> Record:
        """Change by Id."""
        self.columns(name)
        record = self.records[name].get(own_id[:15])
        if record is None:
            raise Refusal("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
        if record["IsDeleted"]:
            raise Refusal("ENTITY_IS_DELETED", "entity is deleted")
        fields = self._checked(name, given, record)
        changed = {field: value for field, value in fields.items() if record.get(field) != value}
        was = record.get("IsClosed", False)
        record.update(changed)
        if name == "Case":
            _close(record)
        if changed:
            record["LastModifiedDate"] = record["SystemModstamp"] = _now()
            closed = record.get("IsClosed", False)
            op: Op = "update" if was == closed else "close" if closed else "reopen"
            self._journal().note(op, name, key_of(record), record["Id"], changed)
        return record

    def delete(self, name: str, own_id: str) -> None:
        """Into the recycle bin."""
        record = self.records[name].get(own_id[:15])
        if record is None or record["IsDeleted"]:
            raise Refusal("ENTITY_IS_DELETED", "entity is deleted")
        record["IsDeleted"] = True
        self._journal().note("delete", name, key_of(record), record["Id"], {})

    def _checked(
        self, name: str, given: Mapping[str, Any], record: Record | None
    ) -> dict[str, Any]:
        columns = self.columns(name)
        fields: dict[str, Any] = {}
        for field, value in given.items():
            if field in {"attributes", "id", "Id"}:
                continue
            if isinstance(value, Mapping):
                own, value = self._parent(name, field, value)  # noqa: PLW2901 - it is that field
            else:
                own = field
            column = columns.get(own)
            if column is None:
                message = f"No such column '{own}' on sobject of type {name}"
                raise Refusal("INVALID_FIELD", message, whole=True)
            if not (column.create if record is None else column.update):
                message = (
                    f"Unable to create/update fields: {own}. Please check the security settings"
                )
                raise Refusal("INVALID_FIELD_FOR_INSERT_UPDATE", message, own)
            fields[own] = self._value(own, column, value)
        known = {} if record is None else {"Id": record["Id"], "key": key_of(record)}
        if code := self._knob(json.dumps({**known, **fields}, ensure_ascii=False)):
            raise Refusal(code, f"{code}, as told")
        self._unique(name, fields, record["Id"] if record else None)
        return fields

    def _unique(self, name: str, fields: Mapping[str, Any], own_id: str | None) -> None:
        for field, value in fields.items():
            others = self.matches(name, field, str(value)) if self._is_unique(name, field) else []
            for other in others:
                if value and other["Id"] != own_id:
                    raise Refusal(
                        "DUPLICATE_VALUE",
                        f"duplicate value found: {field} duplicates value on record with id: "
                        f"{other['Id'][:15]}",
                    )

    def _is_unique(self, name: str, field: str) -> bool:
        return OBJECTS[name][field].unique

    def _parent(self, name: str, field: str, value: Mapping[str, Any]) -> tuple[str, str]:
        """A parent by its external id: {'Account': {'Customer_Id__c': 'C-1'}}."""
        for own, column in OBJECTS[name].items():
            if column.relation == field:
                [(by, wanted)] = [(k, v) for k, v in value.items() if k != "attributes"] or [
                    ("", "")
                ]
                known = OBJECTS[column.refers].get(by)
                if known is None or not known.external:
                    message = f"No such column '{by}' on sobject of type {column.refers}"
                    raise Refusal("INVALID_FIELD", message, whole=True)
                found = self.matches(column.refers, by, str(wanted))
                if len(found) == 1:
                    return own, found[0]["Id"]
                message = (
                    f"Foreign key external ID: {str(wanted).lower()} not found for field {by} "
                    f"in entity {column.refers}"
                )
                raise Refusal("INVALID_FIELD", message)
        message = f"No such column '{field}' on sobject of type {name}"
        raise Refusal("INVALID_FIELD", message, whole=True)

    def _value(self, field: str, column: Column, value: Any) -> Any:  # noqa: ANN401 - JSON
        if value is None:
            return None
        if not isinstance(value, str):
            message = f"Cannot deserialize instance of {column.type} from {value!r}"
            raise Refusal("JSON_PARSER_ERROR", message, whole=True)
        text = value.strip()
        if not text:
            return None
        if column.length and len(text) > column.length and column.type != "reference":
            message = f"{field}: data value too large: {text[:40]} (max length={column.length})"
            raise Refusal("STRING_TOO_LONG", message, field)
        if column.restricted and text not in column.values:
            message = f"{field}: bad value for restricted picklist field: {text}"
            raise Refusal("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, field)
        if column.refers:
            return self._reference(field, column, text)
        return text

    def _reference(self, field: str, column: Column, text: str) -> str:
        if not _ID.fullmatch(text) or not text.startswith(PREFIX[column.refers]):
            message = f"{field}: id value of incorrect type: {text}"
            raise Refusal("MALFORMED_ID", message, field)
        found = self.records[column.refers].get(text[:15])
        if found is None or found["IsDeleted"]:
            raise Refusal("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", field)
        return str(found["Id"])


def key_of(record: Mapping[str, Any]) -> str:
    """The journal's key: the external id, if it has one."""
    for field in ("Fieldline_Key__c", "Customer_Id__c", "Asset_Id__c", "Key__c"):
        if record.get(field):
            return str(record[field])
    return str(record["Id"])


def _close(record: Record) -> None:
    record["IsClosed"] = record.get("Status") == CLOSED
    if not record["IsClosed"]:
        record["ClosedDate"] = None
    elif not record.get("ClosedDate"):
        record["ClosedDate"] = _now()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
