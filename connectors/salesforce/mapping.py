"""Event → fields of a Case, and what an update or a clear writes into one. Pure.

People work in a Case, so a change writes only what is ours: our own fields (Fieldline_…__c),
and of the common ones

| field    | written by a change                                                           |
|----------|-------------------------------------------------------------------------------|
| Priority | by an update, while it still is what the last severity that we told makes     |
| Status   | closed by a clear, while it still is the open one; open by an update, if closed|
| others   | never: Subject, Description, account, asset and entitlement are set once      |

Each change adds a line to Fieldline_Log__c that ends with its key in brackets: that mark, and
the version and time of the last change, tell what has been done, so a change never counts
twice and an older one never undoes a newer one. Older is what has a lower version and did not
occur later: versions alone begin anew with a new topic or a new `fieldline send`.

Lengths: Subject 255, Description 32,000, SuppliedCompany 80, Priority, Status and Origin 255
(Salesforce Field Reference, Case). Whether a text's length is counted in code points or in
UTF-16 units is not said there; unverified.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from connectors.base import Delivery
from connectors.fields import Field, Overlong, Policy, Unit, payload
from connectors.mapped import facts_of
from connectors.salesforce.config import SalesforceSettings
from connectors.sources import Value
from pipeline.core.events import Action, Severity
from pipeline.core.outcome import Rejected
from pipeline.wire.cloudevents import instant

KEY_MAX = 64
SNAPSHOT = "Fieldline_Snapshot__c"
SNAPSHOT_MAX = 32_000
VERSION, SEVERITY, LOG = "Fieldline_Version__c", "Fieldline_Severity__c", "Fieldline_Log__c"
LOG_MAX = 8_000
"""Most characters kept in the log, the newest: 200 of them must fit into one answer."""
CASE = "Case"
_DIGITS = 20
_ID = re.compile(r"[A-Za-z0-9]{15}([A-Za-z0-9]{3})?")
_RAISE, _CHANGE = (Action.RAISE.value,), (Action.UPDATE.value, Action.CLEAR.value)
_TELLS = (Action.RAISE.value, Action.UPDATE.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What one event wants of the record of `entity`. `message` is the platform event's fields."""

    key: str
    entity: str
    action: Action
    version: str
    occurred_at_ms: int
    severity: Severity
    fields: Mapping[str, Any] = field(default_factory=dict)
    message: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stamp(self) -> str:
        """What Fieldline_Version__c holds of it."""
        return f"{self.version}@{self.occurred_at_ms}"

    @property
    def at(self) -> str:
        """When it occurred, for people."""
        return instant(self.occurred_at_ms) or f"{self.occurred_at_ms} ms since 1970"

    @property
    def mark(self) -> str:
        """What the log's line of this change ends with."""
        return f"[{self.key}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A record as it is at Salesforce; '' for what is empty."""

    id: str
    priority: str
    status: str
    closed: bool
    version: str
    severity: str
    log: str


def record_id(value: Value) -> Value:
    """A Salesforce record Id, 15 or 18 characters; ValueError for anything else."""
    if not _ID.fullmatch(str(value)):
        raise ValueError("it is no Salesforce Id of 15 or 18 letters and digits")
    return value


def record_fields(settings: SalesforceSettings) -> tuple[Field, ...]:
    """The fields of the record, for every action."""
    made = [
        Field(settings.external_id_field, "event.entity", required=True, limit=KEY_MAX, on=_RAISE),
        Field("Subject", "event.summary", limit=255, overlong=Overlong.CUT, on=_RAISE),
        Field(
            *("Description", "event.text"),
            limit=32_000,
            overlong=Overlong.CUT,
            lines=True,
            on=_RAISE,
        ),
        Field(
            *("Priority", "event.severity"),
            choices={one.value: name for one, name in settings.priorities.items()},
            on=_TELLS,
            note="by an update only while nobody else has changed it",
        ),
        Field(
            *("Status", "event.action"),
            choices={
                Action.RAISE.value: settings.status_open,
                Action.UPDATE.value: settings.status_open,
                Action.CLEAR.value: settings.status_closed,
            },
            note="an update opens what is closed; a clear closes what nobody else has taken on",
        ),
        Field("AccountId", "ids.salesforce.account", make=record_id, on=_RAISE),
        Field("AssetId", "ids.salesforce.asset", make=record_id, on=_RAISE),
        Field("EntitlementId", "ids.salesforce.entitlement", make=record_id, on=_RAISE),
        Field(SEVERITY, "event.severity", on=_TELLS, note="the last that we told"),
        Field(VERSION, "event.version", limit=64, note="with '@' and the time of the event"),
        Field(SNAPSHOT, "event.snapshot", limit=SNAPSHOT_MAX, make=whole_or_none, on=_TELLS),
        Field(
            *(LOG, "event.summary"),
            limit=255,
            overlong=Overlong.CUT,
            on=_CHANGE,
            note="a line is added, marked with the change's key",
        ),
    ]
    if settings.origin and settings.object == CASE:
        origins = dict.fromkeys(_RAISE, settings.origin)
        made.append(Field("Origin", "event.action", choices=origins, on=_RAISE))
    if settings.object == CASE:
        made.append(
            Field("SuppliedCompany", "customer.name", limit=80, overlong=Overlong.CUT, on=_RAISE)
        )
    for relation, name, source in (
        ("Account", settings.account_external_id_field, "customer.id"),
        ("Asset", settings.asset_external_id_field, "asset.id"),
    ):
        if name:
            note = f"only where the identity map has no salesforce.{relation.lower()}"
            made.append(Field(f"{relation}.{name}", source, limit=255, on=_RAISE, note=note))
    return tuple(made)


def message_fields() -> tuple[Field, ...]:
    """The fields of the platform event. Subscribers drop a second one with the same Key__c."""
    return (
        Field("Key__c", "event.key", required=True, limit=KEY_MAX, note="the same when sent again"),
        Field("Entity__c", "event.entity", limit=KEY_MAX),
        Field("Action__c", "event.action"),
        Field("Type__c", "event.type", limit=255),
        Field("Severity__c", "event.severity"),
        Field("Summary__c", "event.summary", limit=255, overlong=Overlong.CUT),
        Field("Device__c", "device.id", limit=255),
        Field("Asset__c", "asset.id", limit=255),
        Field("Occurred_At__c", "event.occurred_at", unit=Unit.ISO),
    )


class Mapper:
    """Deliveries to what they want, for one org and one policy."""

    def __init__(self, settings: SalesforceSettings, policy: Policy) -> None:
        self._settings = settings
        self._policy = policy
        self._fields = record_fields(settings)
        self._message = message_fields() if settings.platform_event else ()

    def wanted(self, delivery: Delivery) -> Wanted | Rejected:
        """What this delivery wants, or Rejected with a 'mapping.*' code."""
        raises = delivery.event.action is Action.RAISE
        facts = facts_of(delivery)
        if isinstance(facts, Rejected):
            return facts
        aimed = aim(delivery)
        for value in (aimed.key, aimed.entity):
            if not _usable(value):
                return _unusable(value)
        fields = payload(self._fields, facts, self._policy)
        if isinstance(fields, Rejected):
            return fields
        message = payload(self._message, facts, self._policy)
        if isinstance(message, Rejected):
            return message
        fields[VERSION] = aimed.stamp
        if raises:
            fields[self._settings.external_id_field] = aimed.entity
            # Both ways to name a parent at once are an error at Salesforce.
            for relation in ("Account", "Asset"):
                if f"{relation}Id" in fields:
                    fields.pop(relation, None)
        return replace(aimed, fields=fields, message=message)


def aim(delivery: Delivery) -> Wanted:
    """Which record and which mark the delivery is about, without what it writes."""
    event = delivery.event
    return Wanted(
        key=delivery.key,
        entity=delivery.key if event.action is Action.RAISE else event.entity,
        action=event.action,
        version=event.version,
        occurred_at_ms=event.occurred_at_ms,
        severity=event.severity,
    )


def done(wanted: Wanted, seen: Seen) -> bool:
    """Whether the record has it: it is there, or the change was made, or a newer one was."""
    if wanted.action is Action.RAISE:
        return True
    return wanted.mark in seen.log or _is_older(wanted, seen.version)


def _is_older(wanted: Wanted, stamp: str) -> bool:
    version, _, time_ms = stamp.partition("@")
    known = time_ms.removeprefix("-").isdecimal() and len(time_ms) <= _DIGITS
    return known and wanted.version < version and wanted.occurred_at_ms <= int(time_ms)


def changes(wanted: Wanted, seen: Seen, settings: SalesforceSettings) -> dict[str, Any]:
    """What an update or a clear writes into the record as it is."""
    values = dict(wanted.fields)
    told = {one.value: name for one, name in settings.priorities.items()}.get(seen.severity)
    if seen.priority not in {"", told}:
        values.pop("Priority", None)
    if wanted.action is Action.CLEAR:
        if seen.closed or seen.status != settings.status_open:
            values.pop("Status", None)
    elif not seen.closed:
        values.pop("Status", None)
    said = "Cleared" if wanted.action is Action.CLEAR else f"Now {wanted.severity.value}"
    summary = str(values.get(LOG, ""))
    line = f"{wanted.at} {said}{': ' if summary else ''}{summary} {wanted.mark}"
    values[LOG] = with_line(seen.log, line)
    return values


def after(wanted: Wanted, seen: Seen | None, values: Mapping[str, Any], own_id: str) -> Seen:
    """The record once those values are in it."""
    was = seen or Seen(
        id=own_id, priority="", status="", closed=False, version="", severity="", log=""
    )
    status = str(values.get("Status", was.status))
    closes = wanted.action is Action.CLEAR
    return replace(
        was,
        id=own_id,
        priority=str(values.get("Priority", was.priority)),
        status=status,
        closed=closes if "Status" in values else was.closed,
        version=str(values.get(VERSION, was.version)),
        severity=str(values.get(SEVERITY, was.severity)),
        log=str(values.get(LOG, was.log)),
    )


def with_line(log: str, line: str) -> str:
    """The log with one line more at its end; whole lines go from its beginning if it is full."""
    lines = [*log.splitlines(), line]
    while len(lines) > 1 and sum(len(one) + 1 for one in lines) > LOG_MAX:
        del lines[0]
    return "\n".join(lines)


def whole_or_none(value: Value) -> Value:
    """A JSON text that fits; half of one would be none."""
    return value if len(str(value)) <= SNAPSHOT_MAX else "[]"


def flat(fields: Mapping[str, Any]) -> dict[str, str]:
    """The fields as columns of a CSV: a parent's external id is 'Account.Customer_Id__c'."""
    columns: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            columns |= {f"{name}.{inner}": str(text) for inner, text in value.items()}
        else:
            columns[name] = str(value)
    return columns


def mapped(
    mapper: Mapper, deliveries: Sequence[Delivery]
) -> tuple[list[Wanted], dict[str, Rejected]]:
    """What they want, each key once and what is raised first; and the refusals by key."""
    wanted: dict[str, Wanted] = {}
    refused: dict[str, Rejected] = {}
    for delivery in deliveries:
        if delivery.key in wanted or delivery.key in refused:
            continue
        made = mapper.wanted(delivery)
        if isinstance(made, Rejected):
            refused[delivery.key] = made
        else:
            wanted[delivery.key] = made
    return sorted(wanted.values(), key=lambda one: one.action is not Action.RAISE), refused


def _usable(key: str) -> bool:
    """Whether Salesforce keeps it as it is: it trims blanks, and a text field has one line."""
    return 0 < len(key) <= KEY_MAX and key.isprintable() and key == key.strip()


def _unusable(key: str) -> Rejected:
    shown = "".join(c if c.isprintable() else "?" for c in key[:KEY_MAX])
    return Rejected(
        code="mapping.unusable_id",
        message=f"Key {shown!r} is unusable: give 1 to {KEY_MAX} printable characters without "
        "blanks at the ends.",
    )
