"""Models and the records that the module Maintenance brings (addons/maintenance/data)."""

from __future__ import annotations

from typing import Any

from tests.sandboxes.odoo.errors import OdooError


def _field(kind: str, string: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - as fields_get
    return {"type": kind, "string": string, "required": False, "readonly": False, **more}


def _link(string: str, relation: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - as fields_get
    return _field("many2one", string, relation=relation, **more)


MAGIC = {
    "id": _field("integer", "ID", readonly=True),
    "display_name": _field("char", "Display Name", readonly=True),
}
PRIORITIES = [["0", "Very Low"], ["1", "Low"], ["2", "Normal"], ["3", "High"]]
KANBAN = [["normal", "In Progress"], ["blocked", "Blocked"], ["done", "Ready for next stage"]]
KINDS = [["email", "Email"], ["comment", "Comment"], ["notification", "System notification"]]

MODELS: dict[str, dict[str, dict[str, Any]]] = {
    "maintenance.request": {
        "name": _field("char", "Subjects", required=True),
        "description": _field("html", "Description"),
        "priority": _field("selection", "Priority", selection=PRIORITIES),
        "request_date": _field("date", "Request Date"),
        "schedule_date": _field("datetime", "Scheduled Date"),
        "close_date": _field("date", "Close Date", readonly=True),
        "equipment_id": _link("Equipment", "maintenance.equipment"),
        "stage_id": _link("Stage", "maintenance.stage"),
        "done": _field("boolean", "Request Done", readonly=True),
        "archive": _field("boolean", "Archive"),
        "kanban_state": _field("selection", "Kanban State", selection=KANBAN, required=True),
        "maintenance_team_id": _link("Team", "maintenance.team", required=True),
    },
    "maintenance.equipment": {
        "name": _field("char", "Equipment Name", required=True),
        "active": _field("boolean", "Active"),
        "serial_no": _field("char", "Serial Number"),
        "location": _field("char", "Location"),
        "note": _field("html", "Note"),
    },
    "maintenance.stage": {
        "name": _field("char", "Name", required=True),
        "sequence": _field("integer", "Sequence"),
        "done": _field("boolean", "Request Done"),
    },
    "maintenance.team": {"name": _field("char", "Team Name", required=True)},
    "mail.message": {
        "subject": _field("char", "Subject"),
        "body": _field("html", "Contents"),
        "model": _field("char", "Related Document Model"),
        "res_id": _field("many2one_reference", "Related Document ID"),
        "message_type": _field("selection", "Type", selection=KINDS, required=True),
        "subtype_id": _link("Subtype", "mail.message.subtype"),
    },
    "mail.message.subtype": {"name": _field("char", "Message Type", required=True)},
    "res.users": {"name": _field("char", "Name", required=True), "login": _field("char", "Login")},
    "ir.model": {"model": _field("char", "Model", required=True)},
    "ir.model.data": {
        "module": _field("char", "Module", required=True),
        "name": _field("char", "External Identifier", required=True),
        "model": _field("char", "Model Name", required=True),
        "res_id": _field("many2one_reference", "Record ID"),
        "noupdate": _field("boolean", "Non Updatable"),
    },
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "maintenance.request": {"stage_id": 1, "maintenance_team_id": 1, "kanban_state": "normal"},
    "maintenance.equipment": {"active": True},
    "mail.message": {"message_type": "email"},
}
SEED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("maintenance.stage_0", "maintenance.stage", {"name": "New Request", "sequence": 1}),
    ("maintenance.stage_1", "maintenance.stage", {"name": "In Progress", "sequence": 2}),
    (
        "maintenance.stage_3",
        "maintenance.stage",
        {"name": "Repaired", "sequence": 3, "done": True},
    ),
    ("maintenance.stage_4", "maintenance.stage", {"name": "Scrap", "sequence": 4, "done": True}),
    (
        "maintenance.equipment_team_maintenance",
        "maintenance.team",
        {"name": "Internal Maintenance"},
    ),
    ("mail.mt_note", "mail.message.subtype", {"name": "Note"}),
    ("base.user_root", "res.users", {"name": "System", "login": "__system__"}),
    ("base.user_fieldline", "res.users", {"name": "Fieldline", "login": "fieldline"}),
    ("base.user_reader", "res.users", {"name": "Reader", "login": "reader"}),
    *((f"base.model_{m.replace('.', '_')}", "ir.model", {"model": m}) for m in MODELS),
)


def fields_of(model: str) -> dict[str, dict[str, Any]]:
    """A model's fields, as fields_get tells them."""
    return {**MAGIC, **MODELS[model]}


def validate(model: str, values: dict[str, Any], others: list[dict[str, Any]]) -> None:
    """Constraints of the whole record; OdooError with PostgreSQL's or Odoo's words."""
    for name, field in MODELS[model].items():
        if field["required"] and values.get(name) in {None, False, ""}:
            raise OdooError(
                "psycopg2.errors.NotNullViolation",
                f"Missing required value for the field '{field['string']}' ({name})",
            )
        kinds = [kind for kind, _ in field.get("selection", ())]
        if kinds and values.get(name) and values[name] not in kinds:
            raise OdooError(
                "builtins.ValueError", f"Wrong value for {model}.{name}: {values[name]!r}"
            )
    serial = values.get("serial_no")
    if model == "maintenance.equipment" and serial and serial in {o["serial_no"] for o in others}:
        raise OdooError(
            "psycopg2.errors.UniqueViolation",
            "Another asset already exists with this serial number!",
        )
