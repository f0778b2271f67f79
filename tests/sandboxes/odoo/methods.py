"""The public methods, with Odoo's own names of arguments: the signature is what is bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.sandboxes.odoo.errors import OdooError
from tests.sandboxes.odoo.load import load as load_rows
from tests.sandboxes.odoo.models import DEFAULTS, fields_of
from tests.sandboxes.odoo.orm import DATA, Orm, Values

Method = Callable[..., Any]


class Model:
    """A model of one environment. The methods in RECORD take ids first, the others none."""

    def __init__(self, orm: Orm, model: str) -> None:
        self._orm = orm
        self._model = model

    def search(
        self,
        domain: Sequence[Any],
        offset: int = 0,
        limit: int | None = None,
        order: str | None = None,
    ) -> list[int]:
        return self._orm.find(self._model, domain, offset, limit, order)

    def search_count(self, domain: Sequence[Any], limit: int | None = None) -> int:
        return len(self._orm.find(self._model, domain, 0, limit, None))

    def search_read(
        self,
        domain: Sequence[Any] = (),
        fields: Sequence[str] = (),
        offset: int = 0,
        limit: int | None = None,
        order: str | None = None,
    ) -> list[Values]:
        found = self._orm.find(self._model, domain, offset, limit, order)
        return self._orm.read(self._model, found, fields, "_classic_read")

    def read(
        self, ids: Sequence[int], fields: Sequence[str] = (), load: str = "_classic_read"
    ) -> list[Values]:
        return self._orm.read(self._model, ids, fields, load)

    def create(self, vals_list: Values | list[Values]) -> list[int] | int:
        if isinstance(vals_list, dict):
            return self._orm.create(self._model, vals_list)
        return [self._orm.create(self._model, values) for values in vals_list]

    def write(self, ids: Sequence[int], vals: Values) -> bool:
        for own in ids:
            self._orm.write(self._model, own, vals)
        return True

    def unlink(self, ids: Sequence[int]) -> bool:
        for own in ids:
            self._orm.unlink(self._model, own)
        return True

    def load(self, fields: Sequence[str], data: Sequence[Sequence[Any]]) -> Values:
        return load_rows(self._orm, self._model, fields, data)

    def fields_get(
        self, allfields: Sequence[str] | None = None, attributes: Sequence[str] | None = None
    ) -> dict[str, Values]:
        return {
            name: {k: v for k, v in field.items() if attributes is None or k in attributes}
            for name, field in fields_of(self._model).items()
            if allfields is None or name in allfields
        }

    def default_get(self, fields_list: Sequence[str]) -> Values:
        return {k: v for k, v in DEFAULTS.get(self._model, {}).items() if k in fields_list}

    def has_access(self, operation: str) -> bool:
        return self._orm.has_access(self._model, operation)

    def check_access_rights(self, operation: str, raise_exception: bool = True) -> bool | None:  # noqa: FBT001, FBT002 - Odoo's own
        if not raise_exception:
            return self._orm.has_access(self._model, operation)
        self._orm.check(self._model, operation)
        return None


class Users(Model):
    """res.users."""

    def context_get(self) -> Values:
        return {"lang": "en_US", "tz": "Europe/Brussels", "uid": self._orm.uid}


class Data(Model):
    """ir.model.data."""

    def check_object_reference(
        self,
        module: str,
        xml_id: str,
        raise_on_access_error: bool = False,  # noqa: FBT001, FBT002 - Odoo's own
    ) -> list[Any]:
        row = self._orm.db.find(f"{module}.{xml_id}")
        if row is None:
            raise OdooError("builtins.ValueError", f"External ID not found: {module}.{xml_id}")
        if self._orm.has_access(row["model"], "read"):
            return [row["model"], row["res_id"]]
        if raise_on_access_error:
            self._orm.check(row["model"], "read")
        return [row["model"], False]


KINDS: dict[str, type[Model]] = {"res.users": Users, DATA: Data}
RECORD = frozenset({"read", "write", "unlink"})


def method_of(orm: Orm, model: str, name: str) -> Method | None:
    """A public method; None where there is none."""
    made = KINDS.get(model, Model)(orm, model)
    found: Method | None = None if name.startswith("_") else getattr(made, name, None)
    return found
