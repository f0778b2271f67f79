"""External ids, searches, and `load`: keyed writes of many records at once. Pure.

`load` (odoo/orm/models.py) is all or nothing: where one row is refused the savepoint of all is
rolled back and `ids` is False. Its messages name the rows at fault, but also row 0 where it is
not: the error of the attempt with all rows is told of the first one. So what it blames is
tried again alone before anything is said of it, and the others again together.

With `mode` 'update' and `noupdate` a row whose external id is there is left as it is, and its
id is given (`_load_records`): made where missing, and never overwritten. Two such calls at
once meet at the unique key of ir.model.data; one ends in PostgreSQL's words for a lock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.answers import ANSWER_MAX, WORDS_MAX, Row, hide
from connectors.base import Conversation, Effect
from connectors.odoo.answers import (
    NO_RIGHTS,
    REFUSED_ROW,
    SKIPPED_ROW,
    UNREADABLE,
    Trouble,
    Value,
    message_row,
)
from connectors.odoo.rpc import Api
from connectors.speech import Speech
from pipeline.core.outcome import Outcome, Rejected, Retryable, Scope, Unknown

DATA = "ir.model.data"
INSERT = {"mode": "update", "noupdate": True}
UPDATE = {"mode": "init", "noupdate": True}
SEARCH_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Table:
    """Rows for `load`: `columns` without the external id, which is each row's key."""

    model: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[str]]


class Records:
    """Odoo's records under one user."""

    def __init__(self, api: Api, speech: Speech, secrets: Sequence[str]) -> None:
        self._api = api
        self._speech = speech
        self._secrets = secrets

    def ids(
        self, step: str, names: Collection[str]
    ) -> Conversation[dict[str, tuple[str, int]] | Retryable]:
        """Model and database id of those external ids ('module.name') that are there."""
        modules: dict[str, list[str]] = {}
        for name in names:
            module, _, rest = name.partition(".")
            modules.setdefault(module, []).append(rest)
        domain: list[Any] = ["|"] * (len(modules) - 1)
        for module, rests in modules.items():
            domain += ["&", ["module", "=", module], ["name", "in", sorted(rests)]]
        rows = yield from self.search(step, DATA, domain, ("module", "name", "model", "res_id"))
        if isinstance(rows, Retryable):
            return rows
        found = {}
        for row in rows:
            name = f"{row.get('module')}.{row.get('name')}"
            model, own = row.get("model"), row.get("res_id")
            if name in names and isinstance(model, str) and type(own) is int:
                found[name] = (model, own)
        return found

    def search(
        self, step: str, model: str, domain: Sequence[Any], fields: Sequence[str]
    ) -> Conversation[list[dict[str, Any]] | Retryable]:
        """Records, archived ones too, lowest id first."""
        got = yield from self._api.call(
            step,
            model,
            "search_read",
            context={"active_test": False},
            domain=list(domain),
            fields=list(fields),
            limit=SEARCH_MAX,
            order="id",
        )
        if isinstance(got, Trouble):
            return self._speech.again(got.row, got.reply)
        rows = got.value
        if isinstance(rows, list) and all(
            isinstance(row, dict) and type(row.get("id")) is int for row in rows
        ):
            return rows
        return Retryable(
            code=UNREADABLE.code, message="Odoo's answer cannot be read.", scope=Scope.SYSTEM
        )

    def load(  # noqa: PLR0911 - one end after another
        self, step: str, table: Table, context: Mapping[str, Any]
    ) -> Conversation[dict[str, int | Outcome]]:
        """The database id of every row, or what came of it, by external id."""
        names = list(table.rows)
        got = yield from self._api.call(
            step,
            table.model,
            "load",
            Effect.KEYED_WRITE,
            context=context,
            fields=["id", *table.columns],
            data=[[name, *row] for name, row in table.rows.items()],
        )
        if isinstance(got, Trouble):
            outcome = self._speech.outcome(got.row, got.reply, keyed=True)
            if isinstance(outcome, Rejected) and len(names) > 1:
                return (yield from self._apart(step, table, context, names))
            return dict.fromkeys(names, outcome)
        ids, messages = _read(got)
        if ids is not None and len(ids) == len(names):
            return dict(zip(names, ids, strict=True))
        if ids is not None and len(ids) < len(names):
            return (yield from self._skipped(step, names))
        if not messages:
            return dict.fromkeys(names, _unread())
        if len(names) == 1:
            return {names[0]: (yield from self._refusal(table.model, " ".join(messages.values())))}
        return (
            yield from self._apart(step, table, context, [names[at] for at in _at(messages, names)])
        )

    def may(self, model: str, operation: str) -> Conversation[bool | None]:
        """Whether the user has that right at all; None where Odoo does not tell."""
        got = yield from self._api.may("rights", model, operation)
        return got.value if isinstance(got, Value) and isinstance(got.value, bool) else None

    def _apart(
        self, step: str, table: Table, context: Mapping[str, Any], blamed: Sequence[str]
    ) -> Conversation[dict[str, int | Outcome]]:
        """Again: those not blamed together, each of the others alone."""
        rest = [name for name in table.rows if name not in blamed]
        groups = [rest] if rest else []
        groups += [[name] for name in blamed]
        results: dict[str, int | Outcome] = {}
        for at, group in enumerate(groups):
            part = Table(table.model, table.columns, {name: table.rows[name] for name in group})
            results |= yield from self.load(step, part, context)
            if stop := _for_all(results[group[0]]):
                left = (name for later in groups[at + 1 :] for name in later)
                results |= dict.fromkeys(left, stop)
                break
        return results

    def _refusal(self, model: str, said: str) -> Conversation[Outcome]:
        """What `load`'s words about one row mean. For want of rights it says them too."""
        said = hide(said, self._secrets)
        row = message_row(said)
        if row is not REFUSED_ROW:
            return Retryable(code=row.code, message=_sentence(row, said), scope=Scope.ITEM)
        if (yield from self.may(model, "create")) is False:
            return Retryable(
                code=NO_RIGHTS.code, message=_sentence(NO_RIGHTS, said), scope=Scope.SYSTEM
            )
        return Rejected(code=row.code, message=_sentence(row, said), answer=said[:ANSWER_MAX])

    def _skipped(self, step: str, names: Sequence[str]) -> Conversation[dict[str, int | Outcome]]:
        """Fewer ids than rows: rows with a database warning are left out without an error."""
        found = yield from self.ids(f"{step}_again", names)
        if isinstance(found, Retryable):
            return dict.fromkeys(names, found)
        skipped = Retryable(
            code=SKIPPED_ROW.code,
            message="Odoo left this record out without an error: see its log.",
            scope=Scope.ITEM,
        )
        return {name: found[name][1] if name in found else skipped for name in names}


def _read(got: Value) -> tuple[list[int] | None, dict[int, str]]:
    """`ids`, None where there are none to read, and the sentences of errors by row."""
    value = got.value if isinstance(got.value, dict) else {}
    ids, told = value.get("ids"), value.get("messages")
    messages: dict[int, str] = {}
    for number, one in enumerate(told if isinstance(told, list) else []):
        if isinstance(one, dict) and one.get("type") == "error":
            at = one.get("record")
            said = str(one.get("message"))[:WORDS_MAX]
            messages.setdefault(at if type(at) is int else -1 - number, said)
    if isinstance(ids, list) and all(type(own) is int for own in ids):
        return ids, messages
    return None, messages if ids is False else {}


def _at(messages: Mapping[int, str], names: Sequence[str]) -> list[int]:
    """Rows that are blamed; all where none is."""
    blamed = sorted(at for at in messages if 0 <= at < len(names))
    return blamed or list(range(len(names)))


def _unread() -> Unknown:
    return Unknown(code=UNREADABLE.code, message="Odoo's answer to a load cannot be read.")


def _sentence(row: Row, said: str) -> str:
    words = " ".join(said[:WORDS_MAX].split()).rstrip(".")
    return f"Odoo: {words or row.when}{f': {row.advice}' if row.advice else ''}."


def _for_all(result: int | Outcome) -> Retryable | None:
    """What rows not yet tried get, where this one's trouble is the system's."""
    if isinstance(result, Unknown):
        return Retryable(code=result.code, message=result.message, scope=Scope.SYSTEM)
    return result if isinstance(result, Retryable) and result.scope is Scope.SYSTEM else None
