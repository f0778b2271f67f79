"""Search domains: prefix notation over records (odoo/orm/domains.py)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.sandboxes.odoo.errors import OdooError

Get = Callable[[str], Any]


def _like(value: Any, pattern: str, *, case: bool, whole: bool) -> bool:  # noqa: ANN401 - JSON
    parts = re.split(r"(?<!\\)([%_])", pattern)
    text = "".join({"%": ".*", "_": "."}.get(part, re.escape(part)) for part in parts)
    flags = re.DOTALL if case else re.DOTALL | re.IGNORECASE
    search = re.fullmatch if whole else re.search
    return search(text, str(value or ""), flags) is not None


OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": lambda value, wanted: (value or False) == (wanted or False),
    "!=": lambda value, wanted: (value or False) != (wanted or False),
    "in": lambda value, wanted: (value or False) in wanted,
    "not in": lambda value, wanted: (value or False) not in wanted,
    ">": lambda value, wanted: bool(value) and value > wanted,
    "<": lambda value, wanted: bool(value) and value < wanted,
    ">=": lambda value, wanted: bool(value) and value >= wanted,
    "<=": lambda value, wanted: bool(value) and value <= wanted,
    "like": lambda value, wanted: _like(value, wanted, case=True, whole=False),
    "ilike": lambda value, wanted: _like(value, wanted, case=False, whole=False),
    "=like": lambda value, wanted: _like(value, wanted, case=True, whole=True),
}


def matches(domain: Sequence[Any], get: Get) -> bool:
    """Whether a record, given by its fields' values, fits. OdooError where it is no domain."""
    results: list[bool] = []
    for term in reversed(domain):
        if term == "!":
            results.append(not results.pop())
        elif term in ("&", "|"):
            one, other = results.pop(), results.pop()
            results.append((one and other) if term == "&" else (one or other))
        elif isinstance(term, list | tuple) and len(term) == 3 and term[1] in OPERATORS:
            results.append(OPERATORS[term[1]](get(term[0]), term[2]))
        else:
            raise OdooError("builtins.ValueError", f"Invalid domain term {term!r}")
    return all(results)
