"""Enough of SOQL: SELECT … FROM … [WHERE … AND …] [ORDER BY …] [LIMIT n], and COUNT()."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.sandboxes.salesforce.schema import OBJECTS, Column
from tests.sandboxes.salesforce.store import Record, Refusal, Store

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^'\\]|\\.)*')
      | (?P<number>-?\d+(?:\.\d+)?)
      | (?P<word>[A-Za-z_][A-Za-z0-9_.]*)
      | (?P<sign><=|>=|!=|<>|[=<>(),])
    )""",
    re.VERBOSE,
)
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
PAGE = 2_000


def run(store: Store, soql: str, *, deleted: bool = False) -> tuple[list[dict[str, Any]], bool]:
    """The records as an answer shows them, and whether only their number was asked for."""
    parser = _Parser(soql)
    names = parser.select()
    parser.expect("FROM")
    name = parser.name()
    if name not in OBJECTS or name.endswith("__e"):
        message = f"sObject type '{name}' is not supported."
        raise Refusal("INVALID_TYPE", message)
    rows = list(store.records[name].values()) if deleted else store.live(name)
    if parser.has("WHERE"):
        for test in parser.tests(lambda path, row: _at(store, name, path, row)):
            rows = [row for row in rows if test(row)]
    if parser.has("ORDER"):
        parser.expect("BY")
        path = parser.name()
        down = parser.has("DESC") or not (parser.has("ASC") or True)
        rows.sort(key=lambda row: str(_at(store, name, path, row) or ""), reverse=down)
    if parser.has("LIMIT"):
        rows = rows[: int(parser.value())]
    parser.end()
    if names == ["COUNT()"]:
        return [{}] * len(rows), True
    return [_shown(store, name, names, row) for row in rows], False


def _shown(store: Store, name: str, names: list[str], row: Record) -> dict[str, Any]:
    url = f"/services/data/v62.0/sobjects/{name}/{row['Id']}"
    shown: dict[str, Any] = {"attributes": {"type": name, "url": url}}
    for path in names:
        head, _, rest = path.partition(".")
        if rest:
            value = _at(store, name, path, row)
            shown[head] = {**(shown.get(head) or {}), rest: value}
        else:
            shown[_column(name, path)[0]] = _at(store, name, path, row)
    return shown


def _column(name: str, field: str) -> tuple[str, Column]:
    for own, column in OBJECTS[name].items():
        if own.lower() == field.lower():
            return own, column
    message = f"No such column '{field}' on entity '{name}'."
    raise Refusal("INVALID_FIELD", message)


def _at(store: Store, name: str, path: str, row: Record) -> Any:  # noqa: ANN401 - a value
    head, _, rest = path.partition(".")
    if not rest:
        return row.get(_column(name, head)[0])
    for own, column in OBJECTS[name].items():
        if column.relation.lower() == head.lower():
            parent = store.records[column.refers].get(str(row.get(own))[:15])
            return None if parent is None else _at(store, column.refers, rest, parent)
    message = f"Didn't understand relationship '{head}' in field path."
    raise Refusal("INVALID_FIELD", message)


class _Parser:
    def __init__(self, soql: str) -> None:
        self._tokens: list[str] = []
        at, text = 0, soql.strip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise _malformed(text[at : at + 20])
            self._tokens.append(match[0].strip())
            at = match.end()
        self._at = 0

    def _next(self) -> str:
        if self._at >= len(self._tokens):
            raise _malformed("<EOF>")
        self._at += 1
        return self._tokens[self._at - 1]

    def has(self, word: str) -> bool:
        """Whether that comes next; then it is passed."""
        if self._at < len(self._tokens) and self._tokens[self._at].upper() == word:
            self._at += 1
            return True
        return False

    def expect(self, word: str) -> None:
        """That must come next."""
        if not self.has(word):
            raise _malformed(self._next())

    def end(self) -> None:
        """Nothing may come any more."""
        if self._at < len(self._tokens):
            raise _malformed(self._next())

    def name(self) -> str:
        """A name."""
        token = self._next()
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", token):
            raise _malformed(token)
        return token

    def value(self) -> Any:  # noqa: ANN401 - a literal
        """A literal."""
        token = self._next()
        if token.startswith("'"):
            return re.sub(r"\\(.)", r"\1", token[1:-1])
        if re.fullmatch(r"-?\d+(\.\d+)?", token):
            return float(token) if "." in token else int(token)
        words = {"TRUE": True, "FALSE": False, "NULL": None}
        if token.upper() in words:
            return words[token.upper()]
        raise _malformed(token)

    def select(self) -> list[str]:
        """The names after SELECT."""
        self.expect("SELECT")
        names = [self.name()]
        if names[0].upper() == "COUNT" and self.has("("):
            self.expect(")")
            return ["COUNT()"]
        while self.has(","):
            names.append(self.name())
        return names

    def tests(self, at: Callable[[str, Record], Any]) -> list[Callable[[Record], bool]]:
        """The conditions, all of which must hold."""
        found = [self._test(at)]
        while self.has("AND"):
            found.append(self._test(at))
        return found

    def _test(self, at: Callable[[str, Record], Any]) -> Callable[[Record], bool]:
        path = self.name()
        if self.has("IN"):
            self.expect("(")
            wanted = [_folded(self.value())]
            while self.has(","):
                wanted.append(_folded(self.value()))
            self.expect(")")
            return lambda row: _folded(at(path, row)) in wanted
        sign = self._next()
        value = self.value()
        if sign == "=":
            return lambda row: _folded(at(path, row)) == _folded(value)
        if sign in {"!=", "<>"}:
            return lambda row: _folded(at(path, row)) != _folded(value)
        if sign not in _COMPARE:
            raise _malformed(sign)
        compare = _COMPARE[sign]
        return lambda row: at(path, row) is not None and compare(at(path, row), value)


def _folded(value: Any) -> Any:  # noqa: ANN401 - a literal
    """SOQL compares texts without regard to case; Ids have 15 or 18 characters."""
    return value.lower() if isinstance(value, str) else value


def _malformed(token: str) -> Refusal:
    return Refusal("MALFORMED_QUERY", f"unexpected token: '{token}'")
