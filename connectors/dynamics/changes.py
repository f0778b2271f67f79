"""What an update or a clear does to a record that was read: one transaction. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors.base import Delivery
from connectors.dynamics.config import DynamicsSettings
from connectors.dynamics.mapping import CHANGE, NOTE, RESOLUTION
from connectors.dynamics.odata import Ask, Step, record_path
from connectors.fields import Policy
from connectors.mapped import mapped
from pipeline.core.events import Action
from pipeline.core.outcome import Rejected

INCIDENTS = "incidents"
OPEN = {"statecode": 0, "statuscode": 1}
THERE = {"If-Match": "*"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A record as it was read."""

    id: str
    etag: str
    open: bool
    priority: int | None
    version: str


def steps(one: Delivery, seen: Seen, settings: DynamicsSettings, policy: Policy) -> Ask | Rejected:
    """What a change does to a record that was read: one transaction."""
    body = mapped(CHANGE, one, policy)
    text = mapped(RESOLUTION if one.event.action is Action.CLEAR else NOTE, one, policy)
    if isinstance(body, Rejected):
        return body
    if isinstance(text, Rejected):
        return text
    path, unchanged = record_path(settings, body.pop("key")), {"If-Match": seen.etag}
    body[settings.version_attribute] = body.pop("version")
    if one.event.action is Action.CLEAR:
        return (
            Step(method="PATCH", path=path, headers=unchanged, body=body),
            _resolve(seen, text, path, settings),
        )
    if seen.priority is not None and seen.priority <= body.get("prioritycode", 9):
        body.pop("prioritycode", None)  # a more urgent one stays, whoever set it
    about = {f"objectid_{settings.table}@odata.bind": f"/{settings.entity_set}({seen.id})"}
    note = Step(method="POST", path="annotations", body=text | about)
    if seen.open:
        return (Step(method="PATCH", path=path, headers=unchanged, body=body), note)
    return (
        Step(method="PATCH", path=path, headers=unchanged, body=OPEN),
        Step(method="PATCH", path=path, headers=THERE, body=body),
        note,
    )


def _resolve(seen: Seen, text: Mapping[str, Any], path: str, settings: DynamicsSettings) -> Step:
    if settings.entity_set != INCIDENTS:
        closed = {"statecode": 1, "statuscode": 2}
        return Step(method="PATCH", path=path, headers=THERE, body=closed)
    resolution = {
        "@odata.type": "Microsoft.Dynamics.CRM.incidentresolution",
        "incidentid@odata.bind": f"/{INCIDENTS}({seen.id})",
        **text,
    }
    body = {"IncidentResolution": resolution, "Status": settings.resolved_status}
    return Step(method="POST", path="CloseIncident", body=body)


def shows(seen: Seen, one: Delivery) -> bool:
    """Whether a record shows an event's effect, or that of a later one."""
    if one.event.action is Action.RAISE:
        return True
    if one.event.action is Action.CLEAR and not seen.open:
        return True  # people closed it: nothing is left to do
    return seen.version >= one.event.version
