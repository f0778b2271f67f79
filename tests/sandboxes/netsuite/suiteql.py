"""As much of SuiteQL as is needed: SELECT … FROM type WHERE … ORDER BY ….

Conditions are `column = literal`, `column > literal`, `column IN (literals)`, `column IS [NOT]
NULL`, joined by AND. A text literal doubles its quotes. Column names come back in lower case,
every value as text, empty ones not at all.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.sandboxes.netsuite.records import TYPES, Record, Refusal, Type

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>\d+)"
    r"|(?P<sign><>|<=|>=|!=|[=<>(),*]))"
)
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
NO_COLUMNS = frozenset({"incomingmessage"})
Row = dict[str, str]


def run(query: str, tables: Mapping[str, Mapping[str, Record]]) -> list[Row]:
    """The rows; Refusal where the query is not understood."""
    return _Query(_tokens(query)).run(tables)


def _tokens(query: str) -> list[tuple[str, str]]:
    found, at = [], 0
    query = query.rstrip()
    while at < len(query):
        match = _TOKEN.match(query, at)
        if match is None or match.lastgroup is None:
            raise _bad(f"unexpected character at {at}")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


class _Query:
    """A recursive descent over the tokens, then the same over the records."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = [*tokens, ("end", "")]
        self._at = 0

    def run(self, tables: Mapping[str, Mapping[str, Record]]) -> list[Row]:
        """Read the whole query, then answer it."""
        self._word("SELECT")
        columns = self._columns()
        self._word("FROM")
        table = self._name()
        if table == "dual":
            self._end()
            return [{f"expr{n}": text for n, text in enumerate(columns, 1)}]
        kind = TYPES.get(table)
        if kind is None:
            raise _bad(f"Record '{table}' was not found")
        rows = [_row(kind, one) for one in tables[table].values()]
        self._known(kind, columns)
        if self._is("WHERE"):
            while True:
                rows = self._condition(kind, rows)
                if not self._is("AND"):
                    break
        if self._is("ORDER"):
            self._word("BY")
            rows = self._ordered(kind, rows)
        self._end()
        wanted = list(_row(kind, None)) if columns == ["*"] else columns
        return [{c: row[c] for c in wanted if row.get(c)} for row in rows]

    def _columns(self) -> list[str]:
        found = [self._value()]
        while self._is(","):
            found.append(self._value())
        return found

    def _condition(self, kind: Type, rows: list[Row]) -> list[Row]:
        column = self._name()
        self._known(kind, [column])
        if self._is("IS"):
            empty = not self._is("NOT")
            self._word("NULL")
            return [row for row in rows if (not row.get(column)) is empty]
        if self._is("IN"):
            self._word("(")
            among = {self._value()}
            while self._is(","):
                among.add(self._value())
            self._word(")")
            return [row for row in rows if row.get(column) in among]
        sign = self._next()[1]
        if sign not in _COMPARE:
            raise _bad(f"unexpected '{sign}'")
        value = self._value()
        return [
            row
            for row in rows
            if row.get(column)
            if _COMPARE[sign](*_comparable(row[column], value))
        ]

    def _ordered(self, kind: Type, rows: list[Row]) -> list[Row]:
        column = self._name()
        self._known(kind, [column])
        down = self._is("DESC")
        if not down:
            self._is("ASC")
        return sorted(rows, key=lambda row: _sortable(row.get(column, "")), reverse=down)

    def _known(self, kind: Type, columns: list[str]) -> None:
        known = {*_row(kind, None), "*"}
        for column in columns:
            if column not in known:
                raise _bad(f"Unknown identifier '{column}'. Available identifiers are: {kind.name}")

    def _value(self) -> str:
        kind, text = self._next()
        if kind == "text":
            return text[1:-1].replace("''", "'")
        if kind in {"number", "word"} or text == "*":
            return text.lower() if kind == "word" else text
        raise _bad(f"unexpected '{text}'")

    def _name(self) -> str:
        kind, text = self._next()
        if kind != "word":
            raise _bad(f"a name is expected, not '{text}'")
        return text.lower()

    def _next(self) -> tuple[str, str]:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _is(self, word: str) -> bool:
        kind, text = self._tokens[self._at]
        if kind == "text" or text.upper() != word:
            return False
        self._at += 1
        return True

    def _word(self, word: str) -> None:
        if not self._is(word):
            raise _bad(f"{word} is expected, not '{self._tokens[self._at][1]}'")

    def _end(self) -> None:
        kind, text = self._tokens[self._at]
        if kind != "end":
            raise _bad(f"unexpected '{text}'")


def _row(kind: Type, record: Record | None) -> Row:
    """A record as its table shows it; with None every column is empty."""
    names = [*kind.texts, *kind.references]
    row = {"id": record.id if record else "", "externalid": record.external_id if record else ""}
    values = record.values if record else {}
    return row | {n.lower(): values.get(n, "") for n in names if n.lower() not in NO_COLUMNS}


def _comparable(left: str, right: str) -> tuple[Any, Any]:
    return (int(left), int(right)) if left.isdigit() and right.isdigit() else (left, right)


def _sortable(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdigit() else (0, text)


def _bad(why: str) -> Refusal:
    detail = f"Invalid search query. Detailed unprocessed description follows. Search error: {why}."
    return Refusal(status=400, code="INVALID_PARAMETER", detail=detail)
