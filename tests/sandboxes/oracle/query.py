"""Row-match queries (q=) of the REST framework, versions 2 and later."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

ATTRIBUTES: Mapping[str, int] = {
    "OrganizationCode": 30,
    "WorkOrderNumber": 120,
    "WorkOrderDescription": 240,
    "WorkOrderTypeCode": 30,
    "WorkOrderSubTypeCode": 30,
    "WorkOrderStatusCode": 30,
    "AssetNumber": 80,
    "PlannedStartDate": 40,
}
"""An order's texts and their lengths; WorkOrderPriority is a number besides."""

_TERM = re.compile(
    r"\s*(?P<name>[A-Za-z][A-Za-z.]*)\s*(?P<sign>=|>=|<=|>|<)\s*(?P<value>'(?:[^']|'')*'|\d+)\s*"
)
_JOIN = re.compile(r"(and|or)\b", re.IGNORECASE)


@dataclass
class Refusal(Exception):  # noqa: N818 - not an error of ours
    """A status with Oracle's words."""

    status: int
    detail: str
    code: str = "WIE-0000"


def matching(query: str) -> Callable[[Mapping[str, Any]], bool]:
    """A row-match expression: terms joined by and, or; and binds closer."""
    groups: list[list[tuple[str, str, str]]] = [[]]
    at = 0
    while at < len(query):
        term = _TERM.match(query, at)
        if term is None:
            raise Refusal(400, f"URL request parameter q is not valid at {at}.", "27522")
        value = term["value"]
        value = value[1:-1].replace("''", "'") if value.startswith("'") else value
        groups[-1].append((term["name"], term["sign"], value))
        at = term.end()
        if at < len(query):
            joined = _JOIN.match(query, at)
            if joined is None:
                raise Refusal(400, f"URL request parameter q is not valid at {at}.", "27522")
            if joined[1].lower() == "or":
                groups.append([])
            at = joined.end()
    known = {*ATTRIBUTES, "WorkOrderId", "LastUpdateDate", "documentReference.DocumentNumber"}
    for name, _, _ in (term for group in groups for term in group):
        if name not in known:
            raise Refusal(400, f"The attribute {name} can't be queried.", "27522")
    return lambda order: any(all(_fits(order, *term) for term in group) for group in groups)


def _fits(order: Mapping[str, Any], name: str, sign: str, value: str) -> bool:
    there = order.get("documents", []) if "." in name else [str(order.get(name, ""))]
    if sign == "=":
        return value in there
    return any(one > value if ">" in sign else one < value for one in there)
