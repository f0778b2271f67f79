"""What the system holds: notifications and orders, with their rules. Undone as a whole."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tests.sandboxes.base import Sandbox
from tests.sandboxes.journal import Op
from tests.sandboxes.sap.model import NOTIFICATION, Property, Service
from tests.sandboxes.sap.odata import Refusal, from_json, malformed

NOTIFICATIONS, ORDERS = "MaintenanceNotification", "MaintenanceOrder"
REFERENCE = "MaintNotifExtReferenceNumber"
DAY_MS = 86_400_000
TYPES = {"M1": False, "M2": False, "M3": True}
"""Notification types; True = long text is a log that can only be added to."""
PRIORITIES = {"1": "Very High", "2": "High", "3": "Medium", "4": "Low"}
KINDS = {"EAMS_EQUI", "EAMS_FL"}
PHASES = {
    "1": ("Outstanding", "OSNO"),
    "3": ("In Process", "NOPR"),
    "4": ("Completed", "NOCO"),
    "5": ("Deletion flag", "DLFL"),
}
STATUS_OF = {"/IWFND/CM_BEC/026": 403, "IM/820": 403}
"""Statuses of codes that a test orders; all others are 400. IM/820 is our own number."""


@dataclass(kw_only=True)
class Row:
    """One entity: kept values by property, and how often it was changed."""

    values: dict[str, Any]
    version: int = 1
    written: float = field(default_factory=time.time)


class Store:
    """All entities. `missing` are technical objects that are not in the system."""

    def __init__(self, box: Sandbox, missing: Collection[str]) -> None:
        self._box = box
        self.missing = frozenset(missing)
        self.locks: dict[str, str] = {}
        """User by number of the notification that he has open."""
        self._before: list[tuple[str, str, Row | None]] = []
        self.clear()

    def clear(self) -> None:
        """Nothing is there."""
        self.rows: dict[str, dict[str, Row]] = {NOTIFICATIONS: {}, ORDERS: {}}
        self.locks.clear()
        self._numbers = itertools.count(10_000_001)
        self._orders = itertools.count(4_000_001)

    def begin(self) -> int:
        """A unit of work begins; the number is for `undo`."""
        self._before.clear()
        return len(self._box.journal.effects)

    def undo(self, begun: int) -> None:
        """Everything since then is undone. Numbers that were drawn stay drawn."""
        for kind, number, row in reversed(self._before):
            if row is None:
                self.rows[kind].pop(number, None)
            else:
                self.rows[kind][number] = row
        self._before.clear()
        del self._box.journal.effects[begun:]

    def _keep(self, kind: str, number: str) -> None:
        row = self.rows[kind].get(number)
        self._before.append((kind, number, row and replace(row, values=dict(row.values))))

    def _note(self, op: Op, row: Row, fields: Mapping[str, Any]) -> None:
        kind = NOTIFICATIONS if "NotifProcessingPhase" in row.values else ORDERS
        own = row.values[kind]
        key = row.values.get("MaintenanceNotification" if kind == ORDERS else REFERENCE)
        self._box.journal.note(op, kind, key or "", own, fields)

    def row(self, service: Service, number: str) -> Row:
        """One entity by its number, with or without leading zeros."""
        kept = self.rows[service.set].get(number.lstrip("0"))
        if kept is None:
            raise Refusal(404, "/IWBEP/CM_MGW_RT/020", f"{service.set} {number} not found")
        return kept

    # -- writing

    def create(
        self, service: Service, given: Mapping[str, Any], user: str
    ) -> tuple[Row, list[str]]:
        """A new entity, and the names of given properties that are not the client's to set."""
        if code := self._box.knobs.error(json.dumps(given, ensure_ascii=False)):
            raise self._told(code)
        values, ignored = _accepted(service.properties, given, "creatable")
        order = service.set == ORDERS
        row = self._new_order(values) if order else self._new_notification(values, user)
        number = row.values[service.key]
        self._keep(service.set, number)
        self.rows[service.set][number] = row
        self._note("create", row, given)
        return row, ignored

    def update(
        self, service: Service, row: Row, given: Mapping[str, Any], user: str, *, whole: bool
    ) -> list[str]:
        """Merge the given properties in; names of those that are not the client's to set."""
        if code := self._box.knobs.error(json.dumps(given, ensure_ascii=False)):
            raise self._told(code)
        if service.set == ORDERS:
            raise Refusal(501, "/IWBEP/CM_MGW_RT/021", "Method 'UPDATE_ENTITY' not implemented")
        self._may_change(row)
        values, ignored = _accepted(service.properties, given, "updatable")
        if whole and not values.get("NotificationText"):
            raise Refusal(400, "IM/801", "Enter a short text", "NotificationText")
        merged = row.values | values
        _judge(merged, self.missing)
        before = dict(row.values)
        self._keep(NOTIFICATIONS, row.values[NOTIFICATIONS])
        row.values.update(values)
        self._long_text(row, values, user)
        if row.values != before:
            self._touch(row)
            self._note("update", row, given)
        return ignored

    def call(self, name: str, row: Row, parameters: Mapping[str, Any]) -> None:
        """A function import on one notification."""
        if code := self._box.knobs.error(json.dumps(row.values, ensure_ascii=False, default=str)):
            raise self._told(code)
        number, phase = row.values["MaintenanceNotification"], row.values["NotifProcessingPhase"]
        self._free(number)
        if phase == "5":
            raise Refusal(400, "IM/406", f"Notification {number} deleted")
        self._keep(NOTIFICATIONS, number)
        if name == "SetMaintNotifToInProcess":
            if phase == "3":
                raise Refusal(400, "IM/802", f"Notification {number} is already in process")
            op: Op = "reopen" if phase == "4" else "update"
            self._phase(row, "3")
            row.values |= {"NotificationCompletionDate": None, "CompletionTime": None}
            self._note(op, row, {"NotifProcessingPhase": "3"})
            return
        if phase == "4":
            raise Refusal(400, "IM/803", f"Notification {number} is already completed")
        now = time.time()
        row.values |= {
            "NotificationCompletionDate": int(now * 1000) // DAY_MS * DAY_MS,
            "CompletionTime": int(now) % 86_400,
            "NotificationReferenceDate": parameters.get("NotificationReferenceDate"),
            "NotificationReferenceTime": parameters.get("NotificationReferenceTime"),
        }
        self._phase(row, "4")
        self._note("close", row, parameters)

    def by_hand(self, number: str, **values: Any) -> None:  # noqa: ANN401 - properties
        """What a person does in the system itself; not in the journal."""
        row = self.rows[NOTIFICATIONS][number]
        phase = values.pop("phase", "")
        row.values.update(values)
        if phase:
            self._phase(row, phase)
        else:
            self._touch(row)

    # -- rules

    def _new_notification(self, values: dict[str, Any], user: str) -> Row:
        values.setdefault("NotificationType", "M1")
        _judge(values, self.missing)
        number = str(next(self._numbers))
        now = time.time()
        day, second = int(now * 1000) // DAY_MS * DAY_MS, int(now) % 86_400
        row = Row(
            values=dict.fromkeys(NOTIFICATION)
            | values
            | {
                "MaintenanceNotification": number,
                "MaintNotifInternalID": f"QM{int(number):012}",
                "CreationDate": day,
                "CreationTime": second,
                "NotificationTimeZone": "UTC",
                "CreatedByUser": user,
                "TechnicalObjectLabel": (values.get("TechnicalObject") or "").lstrip("0"),
                "MaintNotificationLongText": "",
            }
        )
        self._phase(row, "1")
        self._long_text(row, values, user)
        row.version = 1
        return row

    def _new_order(self, values: dict[str, Any]) -> Row:
        if not values.get("MaintenanceOrderType"):
            raise Refusal(400, "IW/801", "Enter an order type", "MaintenanceOrderType")
        number = str(next(self._orders))
        of = (values.get("MaintenanceNotification") or "").lstrip("0")
        if of:
            notification = self.rows[NOTIFICATIONS].get(of)
            if notification is None:
                raise Refusal(400, "IW/802", f"Notification {of} does not exist")
            if taken := notification.values.get("MaintenanceOrder"):
                raise Refusal(400, "IW/803", f"Notification {of} is assigned to order {taken}")
            self._free(of)
            self._keep(NOTIFICATIONS, of)
            notification.values["MaintenanceOrder"] = number
            notification.values["MaintenanceOrderType"] = values["MaintenanceOrderType"]
            self._phase(notification, notification.values["NotifProcessingPhase"])
        row = Row(values=values | {"MaintenanceOrder": number, "MaintenanceNotification": of})
        row.values["LastChangeDateTime"] = int(row.written) * 1000
        return row

    def _may_change(self, row: Row) -> None:
        number = row.values.get("MaintenanceNotification") or ""
        self._free(number)
        if row.values.get("NotifProcessingPhase") == "4":
            raise Refusal(400, "IM/804", f"Notification {number} is completed; reopen it first")
        if row.values.get("NotifProcessingPhase") == "5":
            raise Refusal(400, "IM/406", f"Notification {number} deleted")

    def _free(self, number: str) -> None:
        if user := self.locks.get(number):
            raise Refusal(400, "IM/416", f"Notification {number} locked by {user}")

    def _told(self, code: str) -> Refusal:
        words = {"IM/416": "Notification is locked by SMITH", "IM/406": "Notification deleted"}
        return Refusal(STATUS_OF.get(code, 400), code, words.get(code, f"{code}, as told"))

    def _phase(self, row: Row, phase: str) -> None:
        words, status = PHASES[phase]
        order = " ORAS" if row.values.get("MaintenanceOrder") else ""
        row.values["NotifProcessingPhase"] = phase
        row.values["NotifProcessingPhaseDesc"] = words
        row.values["ConcatenatedActiveSystStsName"] = status + order
        self._touch(row)

    def _touch(self, row: Row) -> None:
        row.version += 1
        row.written = time.time()
        now = int(row.written)
        row.values["LastChangeDateTime"] = now * 1000
        row.values["LastChangeDate"] = now * 1000 // DAY_MS * DAY_MS
        row.values["LastChangeTime"] = now % 86_400
        row.values["MaintPriorityDesc"] = PRIORITIES.get(row.values.get("MaintPriority") or "", "")

    def _long_text(self, row: Row, given: Mapping[str, Any], user: str) -> None:
        """The text for editing is taken over into the long text, and shown empty again."""
        text = given.get("MaintNotifLongTextForEdit")
        row.values["MaintNotifLongTextForEdit"] = ""
        if text is None:
            return
        if TYPES[row.values["NotificationType"]]:
            head = f"* {datetime.now(UTC):%d.%m.%Y %H:%M:%S} UTC {user}"
            kept = row.values["MaintNotificationLongText"]
            text = "\n".join(part for part in (kept, head, text) if part)
        row.values["MaintNotificationLongText"] = text


def _accepted(
    properties: Mapping[str, Property], given: Mapping[str, Any], what: str
) -> tuple[dict[str, Any], list[str]]:
    """Values as they are kept; read-only ones are passed over, unknown ones refused."""
    values: dict[str, Any] = {}
    ignored = []
    for name, value in given.items():
        if name == "__metadata":
            continue
        one = properties.get(name)
        if one is None:
            raise malformed(f"Property '{name}' is invalid")
        kept = from_json(name, one, value)
        if getattr(one, what):
            values[name] = kept
        else:
            ignored.append(name)
    return values, ignored


def _judge(values: Mapping[str, Any], missing: Collection[str]) -> None:
    """A notification's own rules; numbers of messages are ours."""
    if not (values.get("NotificationText") or "").strip():
        raise Refusal(400, "IM/801", "Enter a short text", "NotificationText")
    if values.get("NotificationType") not in TYPES:
        text = f"Notification type {values.get('NotificationType')} is not defined"
        raise Refusal(400, "IM/805", text, "NotificationType")
    if (values.get("MaintPriority") or "1") not in PRIORITIES:
        raise Refusal(400, "IM/806", "Priority is not defined", "MaintPriority")
    technical = values.get("TechnicalObject")
    kind = values.get("TechObjIsEquipOrFuncnlLoc")
    if technical and kind not in KINDS:
        raise Refusal(400, "IW/804", "Enter the technical object's type")
    if technical and technical.lstrip("0") in missing:
        what = "Equipment" if kind == "EAMS_EQUI" else "Functional location"
        raise Refusal(400, "IW/805", f"{what} {technical} does not exist", "TechnicalObject")
