"""Event → documents: a service report, and a snapshot of the readings where there are any. Pure.

Names come from the raising event's key, so that a document is found again by its path, and
bytes from the event alone: sent again, they are the same. CMIS: times are milliseconds since
1970 (CMIS 1.1, 5.2.11); WebDAV: text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.base import Delivery
from connectors.dms.config import DmsSettings
from connectors.dms.render import render
from connectors.fields import Field, Overlong, Policy, Unit
from connectors.mapped import mapped
from connectors.sources import Value
from pipeline.core.events import Action, BusinessEvent
from pipeline.core.outcome import Rejected

REPORT, SNAPSHOT = "report", "snapshot"
MIME = {"json": "application/json", "pdf": "application/pdf"}
TEXT_MAX = 250
KEY, VERSION, STATE = "fieldline:key", "fieldline:version", "fieldline:state"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DAY_MS = 86_400_000


def _name(value: Value) -> str:
    """A part of a path; ValueError where it could be read as more or less than that."""
    if _NAME.fullmatch(str(value)) is None or str(value).endswith("."):
        raise ValueError("names of documents have 1 to 64 letters, digits, '-', '_' and '.'")
    return str(value)


PROPERTIES = (
    Field(KEY, "event.entity", required=True, make=_name, note="in the document's name"),
    Field("fieldline:event", "event.key", required=True, make=_name),
    Field(VERSION, "event.version", required=True),
    Field("fieldline:tenant", "event.tenant", required=True, make=_name, note="its folder"),
    Field("fieldline:device", "device.id", required=True, limit=TEXT_MAX),
    Field("fieldline:asset", "asset.id", limit=TEXT_MAX),
    Field("fieldline:customer", "customer.id", limit=TEXT_MAX),
    Field("fieldline:severity", "event.severity"),
    Field(STATE, "event.open", choices={"True": "open", "False": "closed"}),
    Field("cmis:description", "event.summary", limit=TEXT_MAX, overlong=Overlong.CUT),
)
OCCURRED = {
    "cmis": Field("fieldline:occurredAt", "event.occurred_at", unit=Unit.MILLISECONDS),
    "webdav": Field("fieldline:occurredAt", "event.occurred_at", unit=Unit.ISO),
}
_HEAD = (
    Field("key", "event.entity", required=True),
    Field("event", "event.key", required=True),
    Field("type", "event.type"),
    Field("action", "event.action"),
    Field("occurred_at", "event.occurred_at", required=True, unit=Unit.ISO),
    Field("device.id", "device.id"),
    Field("device.class", "device.class"),
    Field("asset.id", "asset.id"),
    Field("asset.name", "asset.name"),
)
REPORT_FIELDS = (
    *_HEAD,
    Field("summary", "event.summary"),
    Field("severity", "event.severity"),
    Field("state", "event.open", choices={"True": "open", "False": "closed"}),
    Field("detector", "event.detector"),
    Field("metric", "event.metric"),
    Field("rule", "event.rule"),
    Field("correlation", "event.correlation"),
    Field("asset.site", "site.id"),
    Field("customer.id", "customer.id"),
    Field("customer.name", "customer.name"),
    Field("customer.tax_id", "customer.tax_id"),
    Field("text", "event.text", lines=True),
)
SNAPSHOT_FIELDS = _HEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document, or one version of it. `name` is that of the document as a whole."""

    role: str
    type: str
    folder: str
    name: str
    mime: str
    content: bytes
    properties: Mapping[str, Any]
    secondary: tuple[str, ...]

    @property
    def path(self) -> str:
        """From the repository's root."""
        return f"{self.folder}/{self.name}"

    @property
    def version(self) -> str:
        """Place of the event among its device's: a later one is greater, as text."""
        return str(self.properties[VERSION])

    @property
    def version_name(self) -> str:
        """Name of this version as a resource of its own, for stores without versions."""
        stem, _, ending = self.name.rpartition(".")
        return f"{stem}.{self.version}.{ending}"


def documents_of(
    one: Delivery, policy: Policy, settings: DmsSettings
) -> tuple[Document, ...] | Rejected:
    """The documents of an event, the report last: where it is, everything is."""
    properties = mapped((*PROPERTIES, OCCURRED[settings.binding]), one, policy)
    if isinstance(properties, Rejected):
        return properties
    report = mapped(REPORT_FIELDS, one, policy)
    if isinstance(report, Rejected):
        return report
    snapshot = mapped(SNAPSHOT_FIELDS, one, policy)
    if isinstance(snapshot, Rejected):
        return snapshot
    properties, secondary = _retained(properties, one.event, settings)
    roles: list[tuple[str, str, dict[str, Any]]] = []
    if one.event.snapshot:
        readings = [
            {"metric": e.metric, "value": e.value, "baseline": e.baseline, "score": e.score}
            for e in one.event.snapshot
        ]
        roles.append((SNAPSHOT, settings.snapshot_type, snapshot | {"readings": readings}))
    roles.append((REPORT, settings.report_type, report))
    return tuple(
        Document(
            role=role,
            type=kind,
            folder=folder_of(one, settings),
            name=name_of(one, role, settings),
            mime=MIME[settings.format],
            content=render(role, body, settings.format, one.event.occurred_at_ms),
            properties=properties,
            secondary=secondary,
        )
        for role, kind, body in roles
    )


def usable(one: Delivery) -> Rejected | None:
    """Whether the names that an event's documents have can be asked for."""
    names = (one.event.entity, one.event.tenant)
    if all(_NAME.fullmatch(name) and not name.endswith(".") for name in names):
        return None
    return Rejected(code="mapping.unusable", message="Its key or tenant is no name of a document.")


def folder_of(one: Delivery, settings: DmsSettings) -> str:
    """The tenant's folder."""
    return f"{settings.folder}/{one.event.tenant}"


def name_of(one: Delivery, role: str, settings: DmsSettings) -> str:
    """A document's name: from the raising event's key."""
    return f"{one.event.entity}-{role}.{settings.format}"


def _retained(
    properties: dict[str, Any], event: BusinessEvent, settings: DmsSettings
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """With the retention class, and the secondary types that its properties belong to."""
    secondary: Sequence[str] = ()
    if settings.retention_class:
        properties = properties | {settings.retention_property: settings.retention_class}
        secondary = (settings.retention_type,) if settings.retention_type else ()
    if settings.retention_days and settings.binding == "cmis":
        until = event.occurred_at_ms + settings.retention_days * _DAY_MS
        properties = properties | {"cmis:rm_expirationDate": until}
        secondary = (*secondary, "cmis:rm_clientMgtRetention")
    return properties, tuple(secondary)


def closes(one: Delivery) -> bool:
    """Whether the event ends the trouble."""
    return one.event.action is Action.CLEAR
