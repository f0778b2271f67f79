"""Objects and fields of the org (Salesforce Object Reference and Field Reference)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One field. `refers` names the object of a reference, `relation` how it is called then."""

    type: str = "string"
    length: int = 0
    create: bool = True
    update: bool = True
    required: bool = False
    external: bool = False
    unique: bool = False
    refers: str = ""
    relation: str = ""
    values: tuple[str, ...] = ()
    restricted: bool = False


def _text(length: int, **more: Any) -> Column:  # noqa: ANN401 - Column's
    return Column(length=length, **more)


def _long(length: int) -> Column:
    return Column(type="textarea", length=length)


def _link(to: str) -> Column:
    return Column(type="reference", length=18, refers=to, relation=to)


def _pick(*values: str, restricted: bool = False) -> Column:
    return Column(type="picklist", length=255, values=values, restricted=restricted)


def _made(kind: str, length: int = 0) -> Column:
    return Column(type=kind, length=length, create=False, update=False)


SYSTEM: dict[str, Column] = {
    "Id": _made("id", 18),
    "IsDeleted": _made("boolean"),
    "CreatedDate": _made("datetime"),
    "LastModifiedDate": _made("datetime"),
    "SystemModstamp": _made("datetime"),
}
CASE: dict[str, Column] = {
    "CaseNumber": _made("string", 30),
    "Subject": _text(255),
    "Description": _long(32_000),
    "Status": _pick("New", "Working", "Escalated", "Closed", restricted=True),
    "Priority": _pick("High", "Medium", "Low"),
    "Origin": _pick("Phone", "Email", "Web"),
    "AccountId": _link("Account"),
    "AssetId": _link("Asset"),
    "EntitlementId": _link("Entitlement"),
    "SuppliedCompany": _text(80),
    "IsClosed": _made("boolean"),
    "ClosedDate": _made("datetime"),
    "Fieldline_Key__c": _text(64, external=True, unique=True),
    "Fieldline_Version__c": _text(64),
    "Fieldline_Severity__c": _text(40),
    "Fieldline_Log__c": _long(32_768),
    "Fieldline_Snapshot__c": _long(32_768),
    "Legacy_Key__c": _text(64, external=True),
}
OBJECTS: Mapping[str, Mapping[str, Column]] = {
    "Case": SYSTEM | CASE,
    "Account": SYSTEM
    | {
        "Name": _text(255, required=True),
        "Customer_Id__c": _text(255, external=True, unique=True),
    },
    "Asset": SYSTEM
    | {
        "Name": _text(255, required=True),
        "AccountId": _link("Account"),
        "Asset_Id__c": _text(255, external=True, unique=True),
    },
    "Entitlement": SYSTEM | {"Name": _text(255, required=True), "AccountId": _link("Account")},
    "Fieldline_Event__e": {
        "Key__c": _text(64, required=True),
        "Entity__c": _text(64),
        "Action__c": _text(20),
        "Type__c": _text(255),
        "Severity__c": _text(20),
        "Summary__c": _text(255),
        "Device__c": _text(255),
        "Asset__c": _text(255),
        "Occurred_At__c": Column(type="datetime"),
        "Record__c": _text(18),
    },
}
PREFIX: Mapping[str, str] = {
    "Case": "500",
    "Account": "001",
    "Asset": "02i",
    "Entitlement": "550",
    "Fieldline_Event__e": "e01",
}
CLOSED = "Closed"


def describe(name: str) -> dict[str, Any]:
    """What sobjects/{name}/describe says (DescribeSObjectResult), the parts that matter."""
    event = name.endswith("__e")
    return {
        "name": name,
        "label": name,
        "keyPrefix": PREFIX[name],
        "custom": "__" in name,
        "createable": True,
        "updateable": not event,
        "deletable": not event,
        "queryable": not event,
        "urls": {"sobject": f"/services/data/v62.0/sobjects/{name}"},
        "fields": [_described(field, column) for field, column in OBJECTS[name].items()],
        "childRelationships": [],
        "recordTypeInfos": [],
    }


def _described(name: str, column: Column) -> dict[str, Any]:
    return {
        "name": name,
        "label": name,
        "type": column.type,
        "length": column.length,
        "createable": column.create,
        "updateable": column.update,
        "nillable": not column.required,
        "externalId": column.external,
        "unique": column.unique,
        "idLookup": column.external or name == "Id",
        "custom": name.endswith("__c"),
        "referenceTo": [column.refers] if column.refers else [],
        "relationshipName": column.relation or None,
        "restrictedPicklist": column.restricted,
        "picklistValues": [
            {"value": value, "label": value, "active": True, "defaultValue": False}
            for value in column.values
        ],
    }
