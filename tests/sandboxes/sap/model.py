"""The services' entity types: one table of properties each, and the EDMX drawn from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

STRING, DATE, STAMP, TIME, FLAG = (
    *("Edm.String", "Edm.DateTime", "Edm.DateTimeOffset"),
    *("Edm.Time", "Edm.Boolean"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One property. `most` in UTF-16 units; None = as long as it likes."""

    type: str = STRING
    most: int | None = None
    key: bool = False
    nullable: bool = True
    creatable: bool = True
    updatable: bool = True
    filterable: bool = True
    upper: bool = False


def _text(most: int | None, **more: Any) -> Property:  # noqa: ANN401 - fields of Property
    return Property(most=most, **more)


def _code(most: int, **more: Any) -> Property:  # noqa: ANN401 - fields of Property
    return Property(most=most, upper=True, **more)


def _shown(most: int | None = None, kind: str = STRING, **more: Any) -> Property:  # noqa: ANN401 - fields of Property
    return Property(type=kind, most=most, creatable=False, updatable=False, **more)


NOTIFICATION: Mapping[str, Property] = {
    "MaintenanceNotification": _shown(12, key=True, nullable=False, upper=True),
    "MaintNotifInternalID": _shown(22, upper=True),
    "NotificationText": _text(40, nullable=False),
    "MaintPriority": _code(1),
    "NotificationType": _code(2, updatable=False),
    "NotifProcessingPhase": _shown(1, upper=True),
    "NotifProcessingPhaseDesc": _shown(60),
    "MaintPriorityDesc": _shown(20),
    "CreationDate": _shown(kind=DATE),
    "CreationTime": _shown(kind=TIME),
    "LastChangeDate": _shown(kind=DATE),
    "LastChangeTime": _shown(kind=TIME),
    "LastChangeDateTime": _shown(kind=STAMP),
    "ReportedByUser": _code(12),
    "MalfunctionEffect": _code(1),
    "MalfunctionStartDate": Property(type=DATE),
    "MalfunctionStartTime": Property(type=TIME),
    "MalfunctionEndDate": Property(type=DATE),
    "MalfunctionEndTime": Property(type=TIME),
    "NotificationTimeZone": _shown(6, upper=True),
    "RequiredStartDate": Property(type=DATE),
    "RequiredStartTime": Property(type=TIME),
    "MaintenanceObjectIsDown": Property(type=FLAG),
    "MaintNotificationLongText": _shown(),
    "MaintNotifLongTextForEdit": _text(1333),
    "TechnicalObject": _code(40),
    "TechObjIsEquipOrFuncnlLoc": _code(20),
    "TechnicalObjectLabel": _shown(40, upper=True),
    "MaintenancePlanningPlant": _code(4),
    "MainWorkCenterPlant": _code(4),
    "MainWorkCenter": _code(8),
    "LocationDescription": _text(50),
    "MaintenanceOrder": _code(12),
    "MaintenanceOrderType": _shown(4, upper=True),
    "ConcatenatedActiveSystStsName": _shown(224, filterable=False),
    "NotificationReferenceDate": Property(type=DATE),
    "NotificationReferenceTime": Property(type=TIME),
    "NotificationCompletionDate": _shown(kind=DATE),
    "CompletionTime": _shown(kind=TIME),
    "MaintNotifExtReferenceNumber": _code(20),
    "CreatedByUser": _shown(12, upper=True),
}
ORDER: Mapping[str, Property] = {
    "MaintenanceOrder": _shown(12, key=True, nullable=False, upper=True),
    "MaintenanceOrderType": _code(4, nullable=False, updatable=False),
    "MaintenanceOrderDesc": _text(40),
    "MaintenanceNotification": _code(12),
    "MaintPriority": _code(1),
    "TechnicalObject": _code(40),
    "TechObjIsEquipOrFuncnlLoc": _code(20),
    "MaintenancePlanningPlant": _code(4),
    "MainWorkCenter": _code(8),
    "MainWorkCenterPlant": _code(4),
    "LastChangeDateTime": _shown(kind=STAMP),
}
Parameter = tuple[str, str, int | None, bool]
"""Name, type, greatest length, mandatory."""
_NUMBER: Parameter = ("MaintenanceNotification", STRING, 12, True)
FUNCTIONS: Mapping[str, tuple[Parameter, ...]] = {
    "CompleteMaintNotification": (
        _NUMBER,
        ("MaintNotifReferenceDateTime", STAMP, None, False),
        ("NotificationReferenceDate", DATE, None, False),
        ("NotificationReferenceTime", TIME, None, False),
    ),
    "SetMaintNotifToInProcess": (_NUMBER,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service: its only entity set, of the type SET + 'Type', and its function imports."""

    name: str
    set: str
    properties: Mapping[str, Property]
    functions: Mapping[str, tuple[Parameter, ...]]

    @property
    def key(self) -> str:
        """The key property."""
        return next(name for name, one in self.properties.items() if one.key)


SERVICES = {
    one.name: one
    for one in (
        Service(
            name="API_MAINTNOTIFICATION",
            set="MaintenanceNotification",
            properties=NOTIFICATION,
            functions=FUNCTIONS,
        ),
        Service(
            name="API_MAINTENANCEORDER;v=0002",
            set="MaintenanceOrder",
            properties=ORDER,
            functions={},
        ),
    )
}


def edmx(service: Service) -> str:
    """The service's $metadata (MS-ODATA: CSDL 2.0 with SAP's annotations)."""
    space, kind = service.name.partition(";")[0], f"{service.set}Type"
    head = f"""<?xml version="1.0" encoding="utf-8"?>
<edmx:Edmx Version="1.0" xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx"
 xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"
 xmlns:sap="http://www.sap.com/Protocols/SAPData">
<edmx:DataServices m:DataServiceVersion="2.0">
<Schema Namespace="{space}" xml:lang="en" sap:schema-version="1"
 xmlns="http://schemas.microsoft.com/ado/2008/09/edm">
<EntityType Name="{kind}" sap:content-version="1">
<Key><PropertyRef Name="{service.key}"/></Key>"""
    container = f"""</EntityType>
<EntityContainer Name="{space}_Entities" m:IsDefaultEntityContainer="true"
 sap:supported-formats="atom json xlsx">
<EntitySet Name="{service.set}" EntityType="{space}.{kind}" sap:deletable="false"
 sap:content-version="1"/>"""
    lines = [head, *(_property(name, one) for name, one in service.properties.items()), container]
    for name, parameters in service.functions.items():
        lines += [
            f"""<FunctionImport Name="{name}" ReturnType="{space}.{kind}"
 EntitySet="{service.set}" m:HttpMethod="POST" sap:action-for="{space}.{kind}">""",
            *(_parameter(one) for one in parameters),
            "</FunctionImport>",
        ]
    lines += ["</EntityContainer>", "</Schema>", "</edmx:DataServices>", "</edmx:Edmx>"]
    return "\n".join(lines)


def _property(name: str, one: Property) -> str:
    said = {"Name": name, "Type": one.type}
    if not one.nullable:
        said["Nullable"] = "false"
    if one.most is not None:
        said["MaxLength"] = str(one.most)
    if one.type in {DATE, STAMP, TIME}:
        said["Precision"] = "0"
    if one.upper:
        said["sap:display-format"] = "UpperCase"
    if one.type == DATE:
        said["sap:display-format"] = "Date"
    for what in ("creatable", "updatable", "filterable"):
        if not getattr(one, what):
            said[f"sap:{what}"] = "false"
    return "<Property " + " ".join(f"{k}={quoteattr(v)}" for k, v in said.items()) + "/>"


def _parameter(one: Parameter) -> str:
    name, kind, most, mandatory = one
    limit = f' MaxLength="{most}"' if most else ""
    length = limit if kind == STRING else ' Precision="0"'
    null = "" if mandatory else ' Nullable="true"'
    return f'<Parameter Name="{name}" Type="{kind}" Mode="In"{length}{null}/>'
