"""$filter, $select, $orderby, $top and pages, over rows that are plain dicts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.sandboxes.dynamics.store import RefusedError

Rows = Sequence[Mapping[str, Any]]
_TOKEN = re.compile(
    r"\s*(?:('(?:[^']|'')*')|([(),])"
    r"|([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})|(-?[0-9]+(?:\.[0-9]+)?)\b"
    r"|([A-Za-z_][A-Za-z0-9_/]*))"
)
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
}
_CALLS: Mapping[str, Callable[[str, str], bool]] = {
    "contains": lambda text, part: part in text,
    "startswith": str.startswith,
    "endswith": str.endswith,
}


def filtered(rows: Rows, text: str) -> list[Mapping[str, Any]]:
    """The rows that a $filter lets through (OData 4 URL conventions, 5.1.1; a part of it)."""
    keep = _Filter(text).parse()
    return [row for row in rows if keep(row)]


class _Filter:
    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        at = 0
        while at < len(text.rstrip()):
            found = _TOKEN.match(text, at)
            if found is None:
                raise _syntax(text)
            self._tokens.append(next(group for group in found.groups() if group is not None))
            at = found.end()
        self._text, self._at = text, 0

    def parse(self) -> Callable[[Mapping[str, Any]], bool]:
        made = self._any()
        if self._at != len(self._tokens):
            raise _syntax(self._text)
        return made

    def _next(self, *wanted: str) -> str:
        token = self._tokens[self._at] if self._at < len(self._tokens) else ""
        if not token or (wanted and token not in wanted):
            raise _syntax(self._text)
        self._at += 1
        return token

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _any(self) -> Callable[[Mapping[str, Any]], bool]:
        parts = [self._all()]
        while self._peek() == "or":
            self._next()
            parts.append(self._all())
        return lambda row: any(part(row) for part in parts)

    def _all(self) -> Callable[[Mapping[str, Any]], bool]:
        parts = [self._one()]
        while self._peek() == "and":
            self._next()
            parts.append(self._one())
        return lambda row: all(part(row) for part in parts)

    def _one(self) -> Callable[[Mapping[str, Any]], bool]:
        token = self._next()
        if token == "(":
            inner = self._any()
            self._next(")")
            return inner
        if token == "not":
            negated = self._one()
            return lambda row: not negated(row)
        if token in _CALLS:
            self._next("(")
            name = self._next()
            self._next(",")
            part = str(_value(self._next()))
            self._next(")")
            call = _CALLS[token]
            return lambda row: call(str(row.get(name) or ""), part)
        compare = _COMPARE[self._next(*_COMPARE)]
        value = _value(self._next())

        def holds(row: Mapping[str, Any]) -> bool:
            try:
                return compare(row.get(token), value)
            except TypeError:
                return False

        return holds


def _value(token: str) -> Any:  # noqa: ANN401 - a literal
    if token.startswith("'"):
        return token[1:-1].replace("''", "'")
    if token in {"true", "false", "null"}:
        return {"true": True, "false": False, "null": None}[token]
    if re.fullmatch(r"-?[0-9]+", token):
        return int(token)
    return float(token) if re.fullmatch(r"-?[0-9]+\.[0-9]+", token) else token.lower()


def ordered(rows: Rows, text: str) -> list[Mapping[str, Any]]:
    """By $orderby; empty values first, as SQL Server has them."""
    out = list(rows)
    for part in reversed([one.strip() for one in text.split(",") if one.strip()]):
        name, _, way = part.partition(" ")
        out.sort(key=lambda r: (r.get(name) is not None, r.get(name) or ""), reverse=way == "desc")
    return out


def selected(row: Mapping[str, Any], select: str, own: str, known: set[str]) -> dict[str, Any]:
    """The columns wanted; id and ETag come always."""
    names = [name.strip() for name in select.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise RefusedError(
                "0x80060888", f"Could not find a property named '{name}' on this type."
            )
    kept = {"@odata.etag", own, *names} if names else set(row)
    return {name: row.get(name) for name in ("@odata.etag", own, *row) if name in kept} | {
        name: row.get(name) for name in names
    }


def _syntax(text: str) -> RefusedError:
    return RefusedError("0x80060888", f"Syntax error in '{text[:100]}'.")
