"""One database and its models' public methods, for one user (odoo/orm/models.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.sandboxes.journal import Journal, Op
from tests.sandboxes.knobs import Knobs
from tests.sandboxes.odoo.domains import matches
from tests.sandboxes.odoo.errors import OdooError
from tests.sandboxes.odoo.models import DEFAULTS, MODELS, SEED, fields_of, validate

Values = dict[str, Any]
Note = tuple[Op, str, str, str, Values]
DATA = "ir.model.data"


class Database:
    """All records by model and id. What a transaction did can be undone until it is noted."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, Values]] = {model: {} for model in MODELS}
        self.last: dict[str, int] = dict.fromkeys(MODELS, 0)
        self.notes: list[Note] = []
        self._undo: list[Callable[[], object]] = []
        self._names: dict[tuple[str, str], int] = {}
        """Row of ir.model.data by module and name, which are unique there."""
        self._xids: dict[tuple[str, int], str] = {}
        """The first external id of a record."""
        for name, model, values in SEED:
            own = self.insert(model, values)
            self.name(name, model, own, noupdate=True)

    def insert(self, model: str, values: Values) -> int:
        """A new record."""
        self.last[model] += 1
        own = self.last[model]
        empty = dict.fromkeys(MODELS[model], False)
        self.rows[model][own] = {**empty, **DEFAULTS.get(model, {}), **values}
        self._undo.append(lambda: self.rows[model].pop(own))
        return own

    def change(self, model: str, own: int, values: Values) -> None:
        """Set fields of a record."""
        row = self.rows[model][own]
        before = {name: row[name] for name in values}
        row.update(values)
        self._undo.append(lambda: row.update(before))

    def remove(self, model: str, own: int) -> None:
        """Delete a record, and its external ids with it."""
        row = self.rows[model].pop(own)
        self._undo.append(lambda: self.rows[model].__setitem__(own, row))
        data = self.rows[DATA]
        for number in [n for n, r in data.items() if (r["model"], r["res_id"]) == (model, own)]:
            name = (data[number]["module"], data[number]["name"])
            del self._names[name]
            self._undo.append(lambda name=name, number=number: self._names.update({name: number}))  # type: ignore[misc]
            self.remove(DATA, number)
        xid = self._xids.pop((model, own), "")
        self._undo.append(lambda: self._xids.update({(model, own): xid}) if xid else None)

    def name(self, xid: str, model: str, own: int, *, noupdate: bool) -> None:
        """Give it an external id."""
        module, _, rest = xid.partition(".")
        row = {"module": module, "name": rest, "model": model, "res_id": own, "noupdate": noupdate}
        self._names[module, rest] = self.insert(DATA, row)
        self._undo.append(lambda: self._names.pop((module, rest)))
        if (model, own) not in self._xids:
            self._xids[model, own] = xid
            self._undo.append(lambda: self._xids.pop((model, own)))

    def find(self, xid: str) -> Values | None:
        """The row of an external id."""
        module, _, rest = xid.partition(".")
        number = self._names.get((module, rest))
        return None if number is None else self.rows[DATA][number]

    def named(self, names: Sequence[str]) -> list[int]:
        """Rows of ir.model.data with these names, in any module."""
        modules = {module for module, _ in self._names}
        pairs = ((module, name) for module in modules for name in names)
        return sorted(self._names[pair] for pair in pairs if pair in self._names)

    def xid_of(self, model: str, own: int) -> str:
        """The first external id of a record; '' where it has none."""
        return self._xids.get((model, own), "")

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Everything or nothing of what is done inside."""
        with ExitStack() as undo:
            undo.callback(self._roll_back, len(self._undo), len(self.notes))
            yield
            undo.pop_all()

    def _roll_back(self, place: int, notes: int) -> None:
        while len(self._undo) > place:
            self._undo.pop()()
        del self.notes[notes:]

    def commit(self) -> list[Note]:
        """What was done since the last time, for good."""
        done, self.notes, self._undo = self.notes, [], []
        return done


class Orm:
    """A user's environment: every public method of every model. `denied` are rights he lacks."""

    def __init__(
        self, db: Database, knobs: Knobs, uid: int, denied: frozenset[str], context: Values
    ) -> None:
        self.db = db
        self.knobs = knobs
        self.uid = uid
        self.denied = denied
        self.context = context

    def commit(self, journal: Journal) -> None:
        """What was done becomes an effect."""
        for note in self.db.commit():
            journal.note(*note)

    # -- rights

    def has_access(self, model: str, operation: str) -> bool:
        """Since Odoo 18."""
        return operation not in self.denied or model == "res.users"

    def check(self, model: str, operation: str) -> None:
        """AccessError where the user may not."""
        if not self.has_access(model, operation):
            raise OdooError(
                "odoo.exceptions.AccessError",
                f"You are not allowed to {operation} '{model}' records.",
            )

    # -- reading

    def value(self, model: str, own: int, path: str) -> Any:  # noqa: ANN401 - JSON
        """A field of a record, over links where the path has dots."""
        first, _, rest = path.partition(".")
        if first == "id":
            return own
        row = self.db.rows[model].get(own, {})
        if first == "done" and model == "maintenance.request":
            return self.value(model, own, "stage_id.done")
        if first == "display_name":
            return row.get("name") or row.get("model") or f"{model},{own}"
        if first not in MODELS[model]:
            raise OdooError("builtins.ValueError", f"Invalid field {model}.{first} in condition")
        kept = row.get(first, False)
        if not rest:
            return kept
        return self.value(MODELS[model][first]["relation"], kept, rest) if kept else False

    def find(
        self, model: str, domain: Sequence[Any], offset: int, limit: int | None, order: str | None
    ) -> list[int]:
        """Ids, in order."""
        self.check(model, "read")
        named = [term[0] for term in domain if isinstance(term, list | tuple)]
        hides = "active" in MODELS[model] and "active" not in named
        if hides and self.context.get("active_test", True):
            domain = [*domain, ["active", "=", True]]
        ids = [
            own
            for own in self._candidates(model, domain)
            if matches(domain, lambda path, own=own: self.value(model, own, path))  # type: ignore[misc]
        ]
        for part in reversed((order or "id").split(",")):
            field, _, direction = part.strip().partition(" ")
            ids.sort(
                key=lambda own: self.value(model, own, field) or 0,
                reverse=direction == "desc",
            )
        return ids[offset:][: limit or None]

    def _candidates(self, model: str, domain: Sequence[Any]) -> Sequence[int]:
        """Only those of some names, where the domain can give no others: an index of a kind."""
        terms = [term for term in domain if isinstance(term, list | tuple)]
        names = [term[2] for term in terms if term[:2] == ["name", "in"]]
        if model != DATA or not names or "!" in domain:
            return list(self.db.rows[model])
        covered = all(term[0] in {"module", "name"} for term in terms)
        if not covered or domain.count("|") != len(names) - 1:
            return list(self.db.rows[model])
        return self.db.named([name for some in names for name in some])

    def read(self, model: str, ids: Sequence[int], names: Sequence[str], load: str) -> list[Values]:
        """Records; links as [id, name], or as id with load '_classic_write'."""
        self.check(model, "read")
        if unknown := [name for name in names if name not in fields_of(model)]:
            raise OdooError("builtins.ValueError", f"Invalid field {unknown[0]!r} on {model!r}")
        told = []
        for own in ids:
            if own not in self.db.rows[model]:
                raise OdooError(
                    "odoo.exceptions.MissingError", "Record does not exist or has been deleted."
                )
            row: Values = {"id": own}
            for name in names or fields_of(model):
                kept = self.value(model, own, name)
                field = fields_of(model)[name]
                if field["type"] == "many2one" and kept and load == "_classic_read":
                    kept = [kept, self.value(field["relation"], kept, "display_name")]
                row[name] = kept
            told.append(row)
        return told

    # -- writing

    def create(self, model: str, values: Values, xid: str = "") -> int:
        """A new record, validated. Knobs refuse it by its text."""
        self.check(model, "create")
        self._asked(model, values, xid)
        full = {**dict.fromkeys(MODELS[model], False), **DEFAULTS.get(model, {}), **values}
        validate(model, full, list(self.db.rows[model].values()))
        own = self.db.insert(model, values)
        self.db.notes.append(("create", model, xid, str(own), values))
        if model == "mail.message" and values.get("res_id"):
            about, target = str(values["model"]), int(values["res_id"])
            if target not in self.db.rows.get(about, {}):
                raise OdooError("odoo.exceptions.MissingError", "The document is not there.")
            key = self.db.xid_of(about, target)
            said = {"message_ids": {name: values.get(name) for name in ("subject", "body")}}
            self.db.notes.append(("update", about, key, str(target), said))
        return own

    def write(self, model: str, own: int, values: Values, xid: str = "") -> None:
        """Change a record. What changes nothing is no effect."""
        self.check(model, "write")
        if own not in self.db.rows[model]:
            raise OdooError("odoo.exceptions.MissingError", "Record does not exist.")
        xid = xid or self.db.xid_of(model, own)
        self._asked(model, values, xid)
        row = self.db.rows[model][own]
        others = [other for number, other in self.db.rows[model].items() if number != own]
        validate(model, row | values, others)
        changed = {name: value for name, value in values.items() if row[name] != value}
        was = self._closed(model, own)
        if changed:
            self.db.change(model, own, changed)
            now = self._closed(model, own)
            op: Op = "update" if was == now else ("close" if now else "reopen")
            self.db.notes.append((op, model, xid, str(own), changed))

    def unlink(self, model: str, own: int) -> None:
        """Delete a record, and its external ids with it."""
        self.check(model, "unlink")
        if own not in self.db.rows[model]:
            raise OdooError("odoo.exceptions.MissingError", "Record does not exist.")
        self.db.notes.append(("delete", model, self.db.xid_of(model, own), str(own), {}))
        self.db.remove(model, own)

    def _closed(self, model: str, own: int) -> bool:
        if model != "maintenance.request":
            return False
        return bool(self.value(model, own, "done") or self.value(model, own, "archive"))

    def _asked(self, model: str, values: Mapping[str, Any], xid: str) -> None:
        if unknown := [name for name in values if name not in MODELS[model]]:
            raise OdooError("builtins.ValueError", f"Invalid field {unknown[0]!r} on {model!r}")
        text = " ".join([xid, *(f"{name}={value}" for name, value in values.items())])
        if code := self.knobs.error(text):
            raise OdooError(code)
