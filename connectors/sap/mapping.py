"""Event → notification, or a change of one. Lengths and names: the service's $metadata (D).

ABAP counts characters in UTF-16 units, so an emoji takes two of the forty. Dates are at
midnight (`sap:display-format="Date"`), with the time of day in a field beside it; both are
sent in UTC. Which priority stands for what is customizing, see `SapSettings.priorities`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connectors.base import Delivery
from connectors.fields import Field, Overlong, Policy, Unit, clean_text
from connectors.mapped import mapped
from connectors.sources import Value
from pipeline.core.events import Action
from pipeline.core.outcome import Rejected

PRIORITIES: Mapping[str, str] = {"critical": "1", "warning": "2", "info": "4"}
"""SAP's standard priority type: 1 very high, 2 high, 3 medium, 4 low."""
TEXT_MAX = 40
LONG_TEXT_MAX = 1_333
RAISED_TEXT_MAX = 900
"""What a raise takes of the long text, so that lines of later changes find room."""
LINE_MAX = 88
"""With its first words and its mark a line stays under the 132 of a line in SAP (TDLINE)."""
OBJECT_MAX = 40
EQUIPMENT = "EAMS_EQUI"
DAY_MS = 86_400_000
_CALENDAR_MS = range(-62_135_596_800_000, 253_402_300_800_000)
"""0001-01-01 to 9999-12-31, what ABAP can say (DATS)."""
_JSON_TIME = re.compile(r"PT\d{2}H\d{2}M\d{2}S")
_JSON_DATE = re.compile(r"/Date\((-?\d{1,15})\)/")
_MARK = re.compile(r"\[FL-([A-Z2-7]{20})\]")
_OURS = re.compile(r"^(Now \w+|Cleared):.*\[FL-[A-Z2-7]{20}\]\s*$")
_BLANKS = re.compile(r"\s+")


def reference(key: str) -> str:
    """MaintNotifExtReferenceNumber: 96 bits of SHA-256 over the key, base32, 20 characters.

    Upper case, for SAP changes lower case in that field (`sap:display-format="UpperCase"`).
    Never to be changed: what was sent under the old ones would be sent again.
    """
    digest = hashlib.sha256(key.encode()).digest()
    return base64.b32encode(digest[:12]).decode().rstrip("=")


def request_id(key: str) -> str:
    """RequestID: a GUID, 32 hexadecimal digits, the same for each repetition of a create."""
    return hashlib.sha256(f"{key}\x1frequest".encode()).hexdigest()[:32].upper()


def units(text: str) -> int:
    """Length as ABAP counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def cut(text: str, most: int) -> str:
    """The text within so many UTF-16 units; an ellipsis says that its end is gone."""
    if units(text) <= most:
        return text
    kept = text.encode("utf-16-le", "surrogatepass")[: 2 * (most - 1)]
    return kept.decode("utf-16-le", "ignore").rstrip() + "…"


def _short(value: Value) -> str:
    return cut(clean_text(str(value), lines=False), TEXT_MAX)


def _long(value: Value) -> str:
    # A mark in a device's own words would pass for a change that was made.
    return cut(_MARK.sub("[FL]", clean_text(str(value), lines=True)), RAISED_TEXT_MAX)


def _line(value: Value) -> str:
    return cut(_MARK.sub("[FL]", clean_text(str(value), lines=False)), LINE_MAX)


def _date(value: Value) -> str:
    if not isinstance(value, int) or value not in _CALENDAR_MS:
        raise ValueError(f"{value} ms since 1970 is beyond SAP's calendar")
    return f"/Date({value // DAY_MS * DAY_MS})/"


def _text(value: Value) -> str:
    return clean_text(str(value), lines=False)


def _object_fields(source: str, kind: str) -> tuple[Field, ...]:
    return (
        Field(
            "TechnicalObject",
            source,
            required=True,
            limit=OBJECT_MAX,
            make=_text,
            note="ids.sap.equipment, else ids.sap.functional_location, else the asset id",
        ),
        Field(
            "TechObjIsEquipOrFuncnlLoc",
            source,
            required=True,
            make=lambda _: kind,
            note="EAMS_FL for a functional location, else EAMS_EQUI",
        ),
    )


def raise_fields(
    priorities: Mapping[str, str] = PRIORITIES,
    source: str = "asset.id",
    kind: str = EQUIPMENT,
) -> tuple[Field, ...]:
    """The fields of a new notification; `source` is where its technical object comes from.

    NotificationType, plant and work center are the system's settings.
    """
    return (
        Field(
            "MaintNotifExtReferenceNumber",
            "event.key",
            required=True,
            limit=20,
            make=lambda key: reference(str(key)),
            note="the key: 96 bits of its hash",
        ),
        Field(
            "NotificationText",
            "event.summary",
            limit=TEXT_MAX,
            overlong=Overlong.CUT,
            make=_short,
            note="in UTF-16 units",
        ),
        Field("MaintPriority", "event.severity", choices=priorities),
        Field(
            "MaintNotifLongTextForEdit",
            "event.text",
            limit=RAISED_TEXT_MAX,
            overlong=Overlong.CUT,
            lines=True,
            make=_long,
            note="in UTF-16 units; lines of changes follow",
        ),
        *_object_fields(source, kind),
        Field("MalfunctionStartDate", "event.occurred_at", make=_date, note="/Date(ms)/, UTC"),
        Field("MalfunctionStartTime", "event.occurred_at", unit=Unit.ODATA_V2_TIME),
    )


def order_fields(
    priorities: Mapping[str, str] = PRIORITIES,
    source: str = "asset.id",
    kind: str = EQUIPMENT,
) -> tuple[Field, ...]:
    """The fields of a maintenance order (unverified); its type and plant are settings."""
    return (
        Field(
            "MaintenanceOrderDesc",
            "event.summary",
            limit=TEXT_MAX,
            overlong=Overlong.CUT,
            make=_short,
            note="in UTF-16 units",
        ),
        Field("MaintPriority", "event.severity", choices=priorities),
        *_object_fields(source, kind),
    )


def change_fields(priorities: Mapping[str, str] = PRIORITIES) -> tuple[Field, ...]:
    """The fields of an update or a clear."""
    return (
        Field(
            "MaintNotifExtReferenceNumber",
            "event.entity",
            required=True,
            make=lambda key: reference(str(key)),
            note="finds the notification; not written",
        ),
        Field(
            "MaintPriority",
            "event.severity",
            choices=priorities,
            on=("update",),
            note="only where it is more urgent",
        ),
        Field("MaintNotifLongTextForEdit", "event.summary", make=_line, note="as a line more"),
        Field(
            "NotificationReferenceDate",
            "event.occurred_at",
            make=_date,
            on=("clear",),
            note="of CompleteMaintNotification",
        ),
        Field(
            "NotificationReferenceTime",
            "event.occurred_at",
            unit=Unit.ODATA_V2_TIME,
            on=("clear",),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an update or a clear does to the notification with that `reference`.

    `line` is the line it leaves in the long text; it ends with the change's own mark.
    `priority` '' where it stays; `date` and `time` are OData V2 JSON values, '' for an update.
    """

    key: str
    reference: str
    mark: str
    line: str
    priority: str
    clears: bool
    date: str = ""
    time: str = ""


def to_notification(
    one: Delivery, policy: Policy, priorities: Mapping[str, str]
) -> dict[str, Any] | Rejected:
    """The fields of the notification for an event that raises, or Rejected with 'mapping.*'."""
    made = mapped(raise_fields(priorities, *_technical_object(one)), one, policy)
    if isinstance(made, Rejected):
        return made
    # NotificationText is the one field that SAP must have.
    return {"NotificationText": _short(f"Event {one.event.type}"), **made}


def to_order(
    one: Delivery, policy: Policy, priorities: Mapping[str, str]
) -> dict[str, Any] | Rejected:
    """The fields of the maintenance order for such an event, or Rejected with 'mapping.*'."""
    return mapped(order_fields(priorities, *_technical_object(one)), one, policy)


def _technical_object(one: Delivery) -> tuple[str, str]:
    """Where its id comes from, and which kind it is."""
    ids = one.record.ids if one.record else {}
    if not ids.get("sap.equipment") and ids.get("sap.functional_location"):
        return "ids.sap.functional_location", "EAMS_FL"
    return ("ids.sap.equipment" if ids.get("sap.equipment") else "asset.id"), EQUIPMENT


def to_change(one: Delivery, policy: Policy, priorities: Mapping[str, str]) -> Change | Rejected:
    """What an update or a clear does, or Rejected with 'mapping.*'."""
    made = mapped(change_fields(priorities), one, policy)
    if isinstance(made, Rejected):
        return made
    clears = one.event.action is Action.CLEAR
    mark = reference(one.key)
    words = ["Cleared:" if clears else f"Now {one.event.severity.value}:"]
    words += [made.get("MaintNotifLongTextForEdit", ""), f"[FL-{mark}]"]
    return Change(
        key=one.key,
        reference=made["MaintNotifExtReferenceNumber"],
        mark=mark,
        line=" ".join(word for word in words if word),
        priority=made.get("MaintPriority", ""),
        clears=clears,
        date=made.get("NotificationReferenceDate", ""),
        time=made.get("NotificationReferenceTime", ""),
    )


def sought(one: Delivery) -> Change:
    """What a look-up needs of an update or a clear: nothing of its device, and no words."""
    mark = reference(one.key)
    return Change(
        key=one.key,
        reference=reference(one.event.entity),
        mark=mark,
        line=f"[FL-{mark}]",
        priority="",
        clears=one.event.action is Action.CLEAR,
    )


def date_literal(value: str) -> str:
    """A date of JSON as it stands in a URL: datetime'…'; '' where it is none (masked, say)."""
    found = _JSON_DATE.fullmatch(value)
    if found is None or int(found.group(1)) not in _CALENDAR_MS:
        return ""
    return f"datetime'{datetime.fromtimestamp(int(found.group(1)) / 1000, UTC):%Y-%m-%dT%H:%M:%S}'"


def time_literal(value: str) -> str:
    """A time of day as it stands in a URL: time'PT…'; '' where it is none."""
    return f"time'{value}'" if _JSON_TIME.fullmatch(value) else ""


def marks(text: str) -> list[str]:
    """The marks of changes in a long text, in order. SAP may have wrapped its lines anywhere."""
    return _MARK.findall(_BLANKS.sub("", text))


def with_line(text: str, line: str) -> str | None:
    """The long text with one line more, or None where it has no room.

    Our own oldest lines give way; what people wrote stays, or nothing is written.
    """
    lines = text.rstrip().split("\n") if text.strip() else []
    while True:
        made = "\n".join([*lines, line])
        if units(made) <= LONG_TEXT_MAX:
            return made
        ours = next((at for at, one in enumerate(lines) if _OURS.match(one)), None)
        if ours is None:
            return None
        del lines[ours]
