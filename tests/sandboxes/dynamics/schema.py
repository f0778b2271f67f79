"""The tables of the sandbox's environment, and their definitions as the metadata API tells them.

Lengths and choices: Microsoft Learn, table references of account, contact, incident and
annotation. fieldline_* are columns that an administrator adds.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LANGUAGE = 1033
_SPACE = uuid.UUID("9b2b6a58-2d2c-5a0f-8a43-2f0f3b7a1d10")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """`kind`: text (at most `most` characters), int, bool, number, time, or choice."""

    kind: str = "text"
    most: int = 100
    choices: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """`lookups`: navigation property → logical name of the table it points at."""

    name: str
    entity_set: str
    primary_name: str
    columns: Mapping[str, Column]
    lookups: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    id_attribute: str = ""

    @property
    def id(self) -> str:
        """Primary id attribute."""
        return self.id_attribute or f"{self.name}id"

    @property
    def metadata_id(self) -> str:
        """The definition's own id."""
        return str(uuid.uuid5(_SPACE, self.name))


STATE = {0: "Active", 1: "Inactive"}
_STATES = {
    "statecode": Column(kind="choice", choices=STATE),
    "statuscode": Column(kind="choice", choices={1: "Active", 2: "Inactive"}),
}
INCIDENT = Table(
    name="incident",
    entity_set="incidents",
    primary_name="title",
    columns={
        "title": Column(most=200),
        "description": Column(most=2_000),
        "ticketnumber": Column(most=100),
        "prioritycode": Column(kind="choice", choices={1: "High", 2: "Normal", 3: "Low"}),
        "caseorigincode": Column(kind="choice", choices={1: "Phone", 2: "Email", 3: "Web"}),
        "casetypecode": Column(kind="choice", choices={1: "Question", 2: "Problem", 3: "Request"}),
        "statecode": Column(kind="choice", choices={0: "Active", 1: "Resolved", 2: "Canceled"}),
        "statuscode": Column(
            kind="choice",
            choices={
                1: "In Progress",
                2: "On Hold",
                3: "Waiting for Details",
                4: "Researching",
                5: "Problem Solved",
                1000: "Information Provided",
                6: "Canceled",
                2000: "Merged",
            },
        ),
        "fieldline_key": Column(most=100),
        "fieldline_version": Column(most=40),
    },
    lookups={
        "customerid_account": "account",
        "customerid_contact": "contact",
        "fieldline_assetid": "msdyn_customerasset",
    },
    keys=("fieldline_key",),
)
STATUS_OF_STATE = {0: {1, 2, 3, 4}, 1: {5, 1000}, 2: {6, 2000}}
TABLES = {
    table.name: table
    for table in (
        Table(
            name="account",
            entity_set="accounts",
            primary_name="name",
            columns={
                "name": Column(most=160),
                "accountnumber": Column(most=20),
                "telephone1": Column(most=50),
                "description": Column(most=2_000),
                "numberofemployees": Column(kind="int"),
                "industrycode": Column(kind="choice", choices={1: "Accounting", 2: "Agriculture"}),
                **_STATES,
            },
            keys=("accountnumber",),
        ),
        Table(
            name="contact",
            entity_set="contacts",
            primary_name="fullname",
            columns={"firstname": Column(most=50), "lastname": Column(most=50), **_STATES},
        ),
        INCIDENT,
        Table(
            name="annotation",
            entity_set="annotations",
            primary_name="subject",
            columns={"subject": Column(most=500), "notetext": Column(most=100_000)},
            lookups={"objectid_incident": "incident", "objectid_account": "account"},
        ),
        Table(
            name="incidentresolution",
            entity_set="incidentresolutions",
            primary_name="subject",
            columns={
                "subject": Column(most=200),
                "description": Column(most=2_000),
                "timespent": Column(kind="int"),
            },
            lookups={"incidentid": "incident"},
            id_attribute="activityid",
        ),
        Table(
            name="msdyn_customerasset",
            entity_set="msdyn_customerassets",
            primary_name="msdyn_name",
            columns={"msdyn_name": Column(most=100), **_STATES},
        ),
    )
}
BY_SET = {table.entity_set: table for table in TABLES.values()}


def definition(table: Table) -> dict[str, Any]:
    """One row of EntityDefinitions, with what may be expanded."""
    return {
        "MetadataId": table.metadata_id,
        "LogicalName": table.name,
        "SchemaName": table.name.capitalize(),
        "EntitySetName": table.entity_set,
        "PrimaryIdAttribute": table.id,
        "PrimaryNameAttribute": table.primary_name,
        "IsPrivate": False,
        "IsOptimisticConcurrencyEnabled": True,
        "Keys": [
            {
                "MetadataId": str(uuid.uuid5(_SPACE, f"{table.name}.{key}")),
                "SchemaName": f"{key}_key",
                "LogicalName": f"{key}_key",
                "EntityLogicalName": table.name,
                "KeyAttributes": [key],
                "EntityKeyIndexStatus": "Active",
            }
            for key in table.keys
        ],
        "Attributes": [attribute(table, name) for name in table.columns],
    }


def attribute(table: Table, name: str) -> dict[str, Any]:
    """One column's definition."""
    column = table.columns[name]
    made: dict[str, Any] = {
        "MetadataId": str(uuid.uuid5(_SPACE, f"{table.name}/{name}")),
        "LogicalName": name,
        "SchemaName": name.capitalize(),
        "AttributeType": "Picklist" if column.kind == "choice" else column.kind.capitalize(),
    }
    if column.kind == "text":
        made["MaxLength"] = column.most
    return made


def picklists(table: Table) -> list[dict[str, Any]]:
    """Choice columns with their options; states are attribute types of their own."""
    return [
        {
            "MetadataId": attribute(table, name)["MetadataId"],
            "LogicalName": name,
            "OptionSet": {
                "Options": [
                    {
                        "Value": value,
                        "Label": {"LocalizedLabels": [{"Label": label, "LanguageCode": LANGUAGE}]},
                    }
                    for value, label in column.choices.items()
                ]
            },
        }
        for name, column in table.columns.items()
        if column.kind == "choice" and name not in {"statecode", "statuscode"}
    ]


def csdl() -> str:
    """$metadata: enough for a client that reads names and types."""
    types = {"text": "String", "choice": "Int32", "int": "Int32", "bool": "Boolean"}
    entities = "".join(
        f'<EntityType Name="{t.name}"><Key><PropertyRef Name="{t.id}"/></Key>'
        f'<Property Name="{t.id}" Type="Edm.Guid"/>'
        + "".join(
            f'<Property Name="{name}" Type="Edm.{types.get(column.kind, "String")}"/>'
            for name, column in t.columns.items()
        )
        + "".join(
            f'<NavigationProperty Name="{name}" Type="mscrm.{target}"/>'
            for name, target in t.lookups.items()
        )
        + "</EntityType>"
        for t in TABLES.values()
    )
    sets = "".join(
        f'<EntitySet Name="{t.entity_set}" EntityType="Microsoft.Dynamics.CRM.{t.name}"/>'
        for t in TABLES.values()
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">'
        '<edmx:DataServices><Schema Namespace="Microsoft.Dynamics.CRM" Alias="mscrm" '
        'xmlns="http://docs.oasis-open.org/odata/ns/edm">'
        f'{entities}<EntityContainer Name="System">{sets}</EntityContainer>'
        "</Schema></edmx:DataServices></edmx:Edmx>"
    )
