"""`fieldline connectors check sap`: login, service, fields, and a search. Only reads. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import ParseError

import httpx
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from connectors.base import Checked, Conversation
from connectors.sap.answers import entities
from connectors.sap.records import SERVICE, SET
from connectors.sap.session import TITLE, Session

_WRITTEN = (
    *("MaintNotifExtReferenceNumber", "NotificationText", "MaintPriority", "NotificationType"),
    *("TechnicalObject", "TechObjIsEquipOrFuncnlLoc", "MaintNotifLongTextForEdit"),
    *("MalfunctionStartDate", "MalfunctionStartTime"),
)
_CALLED = ("CompleteMaintNotification", "SetMaintNotifToInProcess")
_SAP = "{http://www.sap.com/Protocols/SAPData}"


def check(session: Session) -> Conversation[Sequence[Checked]]:
    """What was looked at, one after the other; the first failure of login ends it."""
    checks: list[Checked] = []
    reply = yield from session.read(
        "check_metadata", SERVICE, "$metadata", accept="application/xml"
    )
    if not isinstance(reply, httpx.Response):
        detail = session.again(reply).message
        return [Checked(what="credentials and service", ok=False, detail=detail)]
    checks.append(
        Checked(what="credentials and service", ok=True, detail=f"{TITLE} answers for {SERVICE}.")
    )
    missing = _missing(reply.content)
    if missing is None:
        checks.append(Checked(what="$metadata", ok=False, detail="It is no EDMX document."))
    elif missing:
        detail = f"The service has no {', '.join(missing)} to write, filter by or call."
        checks.append(Checked(what="$metadata", ok=False, detail=detail))
    else:
        detail = "It has every field and function that is used."
        checks.append(Checked(what="$metadata", ok=True, detail=detail))
    reply = yield from session.read(
        "check_search",
        SERVICE,
        f"{SET}?$filter=MaintNotifExtReferenceNumber%20ne%20%27%27&$top=1&$format=json",
    )
    if isinstance(reply, httpx.Response) and entities(reply) is not None:
        checks.append(
            Checked(what="reading", ok=True, detail="Notifications are found by their reference.")
        )
    else:
        trouble = session.unreadable(reply) if isinstance(reply, httpx.Response) else reply
        checks.append(Checked(what="reading", ok=False, detail=session.again(trouble).message))
    failed = yield from session.token(SERVICE)
    checks.append(
        Checked(what="CSRF token", ok=True, detail="A token for writes was given.")
        if failed is None
        else Checked(what="CSRF token", ok=False, detail=session.again(failed).message)
    )
    told = "The user's authorizations to create and change show only when something is written."
    return [*checks, Checked(what="writing", ok=None, detail=told)]


def _missing(content: bytes) -> list[str] | None:
    """Names that the service should have, and has not; None where it is no EDMX."""
    try:
        root = fromstring(content, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return None
    properties: dict[str, bool] = {}
    functions: set[str] = set()
    for element in root.iter():
        kind = str(element.tag).rpartition("}")[2]
        if kind == "EntityType" and element.get("Name") in {SET, f"{SET}Type"}:
            for one in element:
                if str(one.tag).endswith("}Property"):
                    properties[str(one.get("Name"))] = (
                        one.get(f"{_SAP}creatable") != "false"
                        and one.get(f"{_SAP}filterable") != "false"
                    )
        elif kind == "FunctionImport":
            functions.add(str(element.get("Name")))
    if not properties and not functions:
        return None
    missing = [name for name in _WRITTEN if not properties.get(name)]
    return [*missing, *(name for name in _CALLED if name not in functions)]
