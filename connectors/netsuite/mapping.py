"""Event → support case, and changes of one.

Limits: a free-form text field holds 300 characters, a text area 4,000 (NetSuite help, Custom
Field Types; that a case's title holds 300 is unverified). Ids of priorities and statuses are
those of a new account (help, Support Case: usage notes); an administrator can change them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from connectors.fields import Field, Overlong
from connectors.sources import Value
from pipeline.core.registry import DeviceRecord

TITLE_MAX = 300
TEXT_MAX = 4_000
PRIORITY = {"critical": "1", "warning": "2", "info": "3"}
"""High, Medium, Low."""
_EXTERNAL = re.compile(r"[A-Za-z0-9_-]{1,255}")
_IDS = "ids."
_INTERNAL = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What an account calls the fields that are its own; '' = it has none."""

    key: str = ""
    version: str = "custevent_fieldline_version"
    snapshot: str = "custevent_fieldline_snapshot"
    message: str = "incomingMessage"
    asset: str = "custevent_fieldline_asset"


def external_id(value: Value) -> Value:
    """A key that an address can name; ValueError otherwise (help, Using External IDs)."""
    if _EXTERNAL.fullmatch(str(value)) is None:
        raise ValueError("an external id is 1 to 255 letters, digits, '_' and '-'")
    return value


def internal_id(value: Value) -> Value:
    """NetSuite's own id of a record; ValueError where it is none."""
    if _INTERNAL.fullmatch(str(value)) is None:
        raise ValueError("an internal id is a whole number")
    return str(value)


def case_fields(names: Names) -> tuple[Field, ...]:
    """The record of an event that raises. Fields that the account has not are left out."""
    asset = names.asset
    own = [
        Field("externalId", "event.key", required=True, make=external_id),
        Field(names.key, "event.key"),
        Field("title", "event.summary", required=True, limit=TITLE_MAX, overlong=Overlong.CUT),
        Field(
            names.message,
            "event.text",
            lines=True,
            limit=TEXT_MAX,
            overlong=Overlong.CUT,
            note="written once: each further write of it would be one more message",
        ),
        Field("priority.id", "event.severity", choices=PRIORITY),
        Field("company.id", "ids.netsuite.customer", make=internal_id),
        Field(
            "company.externalId",
            "customer.id",
            make=external_id,
            note="only where the identity map has no internal id",
        ),
        Field(f"{asset}.id" if asset else "", "ids.netsuite.asset", make=internal_id),
        Field(
            f"{asset}.externalId" if asset else "",
            "asset.id",
            make=external_id,
            note="only where the identity map has no internal id",
        ),
        Field(names.snapshot, "event.text", lines=True, limit=TEXT_MAX, overlong=Overlong.CUT),
        Field(names.version, "event.version", required=True),
    ]
    return tuple(one for one in own if one.target)


def change_fields(names: Names) -> tuple[Field, ...]:
    """What an update or a clear writes; `status` besides, by the case's state."""
    own = [
        Field("externalId", "event.entity", required=True, make=external_id),
        Field("priority.id", "event.severity", choices=PRIORITY, on=("update",)),
        Field(names.snapshot, "event.text", lines=True, limit=TEXT_MAX, overlong=Overlong.CUT),
        Field(names.version, "event.version", required=True),
    ]
    return tuple(one for one in own if one.target)


def for_record(fields: Sequence[Field], record: DeviceRecord) -> tuple[Field, ...]:
    """Each reference by one id only: by the internal one where the identity map has it."""
    known = {
        _reference(one)
        for one in fields
        if one.source.startswith(_IDS) and record.ids.get(one.source.removeprefix(_IDS))
    }
    return tuple(
        one
        for one in fields
        if not one.target.endswith(".externalId") or _reference(one) not in known
    )


def _reference(one: Field) -> str:
    return one.target.rpartition(".")[0]


def urgent(priority: str) -> int:
    """How urgent a priority is; one that an administrator made is above all of ours."""
    order = list(reversed(PRIORITY.values()))
    return order.index(priority) if priority in order else len(order)
