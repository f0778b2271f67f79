"""OData V2 as SAP Gateway takes it: literals in URLs and JSON, $filter, errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.sandboxes.sap.model import DATE, FLAG, STAMP, STRING, TIME, Property

MALFORMED = "005056A509B11EE1B9A8FEC11C21578E"
"""The gateway's own code, as seen in public error reports for faulty requests."""
NO_SEGMENT = "005056A509B11EE1B9A8FEC11C21D78E"
"""As seen for 'Resource not found for the segment'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, before it goes out by itself or as a part of a batch."""

    status: int
    body: Any = None
    """JSON, or None for an empty answer."""
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """The request is answered with an error."""

    def __init__(self, status: int, code: str, text: str, target: str = "") -> None:
        super().__init__(text)
        self.status, self.code, self.text, self.target = status, code, text, target
        self.headers: dict[str, str] = {}

    def reply(self, number: int) -> Reply:
        """The error as SAP Gateway writes it."""
        detail = {
            "ContentID": "",
            "code": self.code,
            "message": self.text,
            "longtext_url": "",
            "propertyref": self.target,
            "severity": "error",
            "target": self.target,
            "transition": False,
        }
        now = datetime.now(UTC)
        body = {
            "error": {
                "code": self.code,
                "message": {"lang": "en", "value": self.text},
                "innererror": {
                    "application": {
                        "component_id": "PM-WOC-MN",
                        "service_namespace": "/SAP/",
                        "service_id": "API_MAINTNOTIFICATION",
                        "service_version": "0001",
                    },
                    "transactionid": f"{number:032X}",
                    "timestamp": f"{now:%Y%m%d%H%M%S}.{now.microsecond:06d}0",
                    "Error_Resolution": {"SAP_Transaction": "", "SAP_Note": ""},
                    "errordetails": [detail],
                },
            }
        }
        return Reply(status=self.status, body=body, headers=self.headers)


def malformed(text: str) -> Refusal:
    """400, the gateway's own."""
    return Refusal(400, MALFORMED, text)


# -- values

_JSON_DATE = re.compile(r"/Date\((-?\d+)(?:[+-]\d{4})?\)/")
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?")
_TIME = re.compile(r"PT(?:(\d{1,2})H)?(?:(\d{1,2})M)?(?:(\d{1,2})(?:\.\d+)?S)?")
_URL_LITERAL = re.compile(r"(datetimeoffset|datetime|time)?'((?:[^']|'')*)'")
_DAY_S = 86_400


def ms_of(text: str) -> int | None:
    """Milliseconds since 1970 of an ISO 8601 moment, UTC where it has no offset."""
    if not _ISO.fullmatch(text):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return round(at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 1000)


def seconds_of(text: str) -> int | None:
    """Seconds since midnight of PThhHmmMssS."""
    found = _TIME.fullmatch(text)
    if not found or text == "PT":
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total = hours * 3600 + minutes * 60 + seconds
    return total if total < _DAY_S else None


def from_json(name: str, one: Property, value: Any) -> Any:  # noqa: ANN401 - JSON
    """A property's value as it is kept: text, bool, ms since 1970, or seconds since midnight."""
    wrong = malformed(f"Property '{name}' has invalid value '{str(value)[:40]}'")
    if value is None:
        return None
    if one.type == FLAG:
        if not isinstance(value, bool):
            raise wrong
        return value
    if not isinstance(value, str):
        raise wrong
    if one.type in {DATE, STAMP, TIME}:
        kept = seconds_of(value) if one.type == TIME else _ms(value)
        if kept is None or (one.type == DATE and kept % (_DAY_S * 1000)):
            raise wrong  # a date has no time of day
        return kept
    if one.most is not None and len(value.encode("utf-16-le", "surrogatepass")) // 2 > one.most:
        raise wrong
    return value.upper() if one.upper else value


def _ms(text: str) -> int | None:
    found = _JSON_DATE.fullmatch(text)
    return int(found.group(1)) if found else ms_of(text)


def to_json(one: Property, value: Any) -> Any:  # noqa: ANN401 - JSON
    """The value as JSON shows it."""
    if value is None:
        return "" if one.type == STRING else (False if one.type == FLAG else None)
    if one.type == DATE:
        return f"/Date({value})/"
    if one.type == STAMP:
        return f"/Date({value}+0000)/"
    if one.type == TIME:
        return f"PT{value // 3600:02}H{value % 3600 // 60:02}M{value % 60:02}S"
    return value


def from_url(kind: str, text: str) -> Any:  # noqa: ANN401 - any kept value
    """The value of a literal in a URL, which must be of that type."""
    found = _URL_LITERAL.fullmatch(text.strip())
    if not found:
        raise malformed(f"Malformed URI literal syntax '{text[:40]}'")
    prefix, inner = found.group(1), found.group(2).replace("''", "'")
    wanted = {STRING: None, DATE: "datetime", STAMP: "datetimeoffset", TIME: "time"}[kind]
    value: Any = inner
    if kind in {DATE, STAMP}:
        value = ms_of(inner)
    elif kind == TIME:
        value = seconds_of(inner)
    if prefix != wanted or value is None:
        raise malformed(f"Malformed URI literal syntax '{text[:40]}'")
    return value


# -- $filter

_TOKEN = re.compile(
    r"\s*(?:(?P<literal>(?:datetimeoffset|datetime|time)?'(?:[^']|'')*')"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<mark>[(),]))"
)
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: bool(a == b),
    "ne": lambda a, b: bool(a != b),
    "gt": lambda a, b: a is not None and bool(a > b),
    "ge": lambda a, b: a is not None and bool(a >= b),
    "lt": lambda a, b: a is not None and bool(a < b),
    "le": lambda a, b: a is not None and bool(a <= b),
}
_FUNCTIONS = {"startswith", "endswith", "substringof"}
Test = Callable[[Mapping[str, Any]], bool]


class Filter:
    """A $filter: comparisons, and, or, not, brackets, and three functions on texts."""

    def __init__(self, text: str, properties: Mapping[str, Property]) -> None:
        self._properties = properties
        self._left: list[str] = []
        place = 0
        while place < len(text.rstrip()):
            found = _TOKEN.match(text, place)
            if not found:
                raise malformed(f"Invalid token detected at position {place}")
            self._left.append(found.group().strip())
            place = found.end()
        self._left.reverse()
        self.holds = self._either()
        if self._left:
            raise malformed(f"Invalid token '{self._left[-1][:40]}' in the filter")

    def _either(self) -> Test:
        tests = [self._both()]
        while self._next("or"):
            tests.append(self._both())
        return lambda row: any(test(row) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._next("and"):
            tests.append(self._one())
        return lambda row: all(test(row) for test in tests)

    def _one(self) -> Test:
        if self._next("not"):
            inner = self._one()
            return lambda row: not inner(row)
        if self._next("("):
            inner = self._either()
            self._must(")")
            return inner
        word = self._take()
        if word in _FUNCTIONS:
            return self._function(word)
        one = self._property(word)
        compare = _COMPARE.get(self._take())
        if compare is None:
            raise malformed("Invalid operator in the filter")
        value = from_url(one.type, self._take())
        if one.upper and isinstance(value, str):
            value = value.upper()
        return lambda row: compare(row.get(word) or ("" if one.type == STRING else None), value)

    def _function(self, name: str) -> Test:
        self._must("(")
        first = self._take()
        self._must(",")
        second = self._take()
        self._must(")")
        if name == "substringof":
            first, second = second, first
        self._property(first)
        part = from_url(STRING, second)
        how: Callable[[str], bool] = {
            "substringof": lambda text: part in text,
            "startswith": lambda text: text.startswith(part),
            "endswith": lambda text: text.endswith(part),
        }[name]
        return lambda row: how(str(row.get(first) or ""))

    def _property(self, name: str) -> Property:
        one = self._properties.get(name)
        if one is None or not one.filterable:
            raise malformed(f"Property {name} is invalid or not filterable")
        return one

    def _take(self) -> str:
        if not self._left:
            raise malformed("The filter ends too early")
        return self._left.pop()

    def _next(self, word: str) -> bool:
        if self._left and self._left[-1] == word:
            self._left.pop()
            return True
        return False

    def _must(self, word: str) -> None:
        if not self._next(word):
            raise malformed(f"'{word}' is missing in the filter")
