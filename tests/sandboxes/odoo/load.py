"""BaseModel.load, with its habits: all or nothing, row 0 blamed for others, warnings that skip.

odoo/orm/models.py: load, _load_records; odoo/addons/base/models/ir_fields.py: the conversions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Any

from tests.sandboxes.odoo.errors import OdooError
from tests.sandboxes.odoo.models import MODELS
from tests.sandboxes.odoo.orm import Orm, Values

Row = tuple[str, Values, int]
_WARNING = "psycopg2.Warning"


class _RefusedError(OdooError):
    """Ends the savepoint of a load that has errors."""

    def __init__(self) -> None:
        super().__init__("rollback")


def load(orm: Orm, model: str, fields: Sequence[str], data: Sequence[Sequence[Any]]) -> Values:
    """{'ids': list or False, 'messages': […], 'nextrow': 0}."""
    paths = [name.split("/") for name in fields]
    for path in paths:
        if path[0] not in {"id", ".id"} and path[0] not in MODELS[model]:
            raise OdooError("builtins.ValueError", f"Invalid field name {path[0]!r}")
    messages: list[Values] = []
    ids: list[int] | bool = []
    try:
        with orm.db.savepoint():
            rows = [_converted(orm, model, paths, row, n, messages) for n, row in enumerate(data)]
            ids = _flush(orm, model, rows, messages)
            _end(messages)
    except _RefusedError:
        ids = False
    return {"ids": ids, "messages": messages, "nextrow": 0}


def _end(messages: Sequence[Values]) -> None:
    if any(message["type"] == "error" for message in messages):
        raise _RefusedError


def _flush(orm: Orm, model: str, rows: Sequence[Row], messages: list[Values]) -> list[int]:
    together: Values | None = None
    try:
        with orm.db.savepoint():
            return [_put(orm, model, xid, values) for xid, values, _ in rows]
    except OdooError as error:
        if error.is_user_error:
            together = _message("error", rows[0][2], error.message)
    ids, errors = [], 0
    for xid, values, number in rows:
        try:
            with orm.db.savepoint():
                ids.append(_put(orm, model, xid, values))
        except OdooError as error:
            said = error.message
            if error.name == _WARNING:
                messages.append(_message("warning", number, said))
                continue
            if not (error.is_user_error or error.is_database):
                said = f"Unknown error during import: <class '{error.name}'>: {said}"
            messages.append(_message("error", number, said))
            errors += 1
            if errors >= 10 and errors >= (number + 1) / 10:
                said = "Found more than 10 errors and more than one error per 10 records"
                messages.append({"type": "warning", "message": said})
                break
    if errors and together and together not in messages:
        messages.insert(0, together)
    return ids


def _put(orm: Orm, model: str, xid: str, values: Values) -> int:
    """_load_records for one row."""
    update, noupdate = orm.context.get("mode") == "update", bool(orm.context.get("noupdate"))
    there = orm.db.find(xid) if xid else None
    if there is not None:
        if there["model"] != model:
            raise OdooError("odoo.exceptions.ValidationError", f"{xid} is of {there['model']}")
        own = int(there["res_id"])
        if not (update and there["noupdate"]):
            orm.write(model, own, values, xid)
        return own
    if " " in xid:
        raise OdooError("psycopg2.errors.CheckViolation", "External IDs cannot contain spaces")
    own = orm.create(model, values, xid)
    if xid:
        orm.db.name(xid, model, own, noupdate=noupdate)
    return own


def _message(kind: str, number: int, said: str, **more: Any) -> Values:  # noqa: ANN401 - JSON
    rows = {"from": number, "to": number}
    return {"type": kind, "rows": rows, "record": number, "message": said, **more}


def _converted(
    orm: Orm,
    model: str,
    paths: Sequence[Sequence[str]],
    row: Sequence[Any],
    number: int,
    messages: list[Values],
) -> Row:
    values: Values = {}
    xid = ""
    for path, cell in zip(paths, row, strict=False):
        if path == ["id"]:
            xid = str(cell or "")
            xid = xid if "." in xid or not xid else f"__import__.{xid}"
            continue
        try:
            values[path[0]] = _cell(orm, model, path, cell)
        except ValueError as error:
            messages.append(_message("error", number, str(error), field=path[0]))
    return xid, values, number


def _cell(orm: Orm, model: str, path: Sequence[str], cell: Any) -> Any:  # noqa: ANN401, C901, PLR0911 - one type after another
    field = MODELS[model][path[0]]
    string = field["string"]
    if not cell:
        return False
    if not isinstance(cell, str):
        raise OdooError(
            "builtins.AttributeError", f"{type(cell).__name__!r} has no attribute 'lower'"
        )
    kind = field["type"]
    if kind == "many2one":
        return _linked(orm, field, path[1:], cell)
    if kind == "boolean":
        return cell.lower() in {"1", "true", "yes"}
    if kind in {"integer", "many2one_reference"}:
        if not re.fullmatch(r"-?\d+", cell):
            raise ValueError(f"'{cell}' does not seem to be an integer for field '{string}'")
        return int(cell)
    if kind == "date":
        try:
            return date.fromisoformat(cell[:10]).isoformat()
        except ValueError:
            raise ValueError(
                f"'{cell}' does not seem to be a valid date for field '{string}'"
            ) from None
    if kind == "selection":
        for item, label in field["selection"]:
            if cell.lower() in {item.lower(), label.lower()}:
                return item
        raise ValueError(f"Value '{cell}' not found in selection field '{string}'")
    return cell


def _linked(orm: Orm, field: Values, sub: Sequence[str], cell: str) -> int:
    relation, string = field["relation"], field["string"]
    if sub == [".id"]:
        if cell.isdigit() and int(cell) in orm.db.rows[relation]:
            return int(cell)
        raise ValueError(f"No matching record found for database id '{cell}' in field '{string}'")
    if sub == ["id"]:
        there = orm.db.find(cell)
        if there and there["model"] == relation:
            return int(there["res_id"])
        raise ValueError(f"No matching record found for external id '{cell}' in field '{string}'")
    for own, row in orm.db.rows[relation].items():
        if row.get("name") == cell:
            return own
    raise ValueError(f"No matching record found for name '{cell}' in field '{string}'")
