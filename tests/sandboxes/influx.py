"""InfluxDB 2's write API: line protocol read strictly, as its reference describes the syntax.

| request | answers |
|---|---|
| POST /api/v2/write?org&bucket&precision | 204; 400 malformed, nothing written; 422 partial write: the rest is written; 401 token; 404 bucket; 413 too large |
| GET /health, /ping | pass |

A point is its measurement, tags and time; what comes again is written over, field by field.
A field keeps the type of its first value: another type is refused for that point alone.
"""  # noqa: E501 - a table's row is one line

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.sandboxes.base import Sandbox
from tests.sandboxes.journal import Op

ORG = "acme"
BUCKET = "dashboards"
TOKEN = "token-of-the-influx-sandbox"
BODY_MAX = 4_000_000
NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
FIRST_NS, LAST_NS = -(2**63) + 2, 2**63 - 2
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class MalformedError(Exception):
    """A line that is no line protocol."""


@dataclass(frozen=True, slots=True)
class Point:
    """One line. `time_ns` None = the server's own."""

    measurement: str
    tags: tuple[tuple[str, str], ...]
    fields: dict[str, Any]
    time_ns: int | None


class Influx(Sandbox):
    """One bucket."""

    name = "influx"

    def __init__(self) -> None:
        super().__init__()
        self.points: dict[tuple[str, tuple[tuple[str, str], ...], int], dict[str, Any]] = {}
        self._types: dict[tuple[str, str], type] = {}
        self._now_ns = 1_795_257_000_000_000_000

    def routes(self) -> Sequence[BaseRoute]:
        """What it serves."""
        return [
            Route("/api/v2/write", self._write, methods=["POST"]),
            Route("/health", self._health, methods=["GET"]),
            Route("/ping", self._health, methods=["GET", "HEAD"]),
        ]

    def forget(self) -> None:
        """No points, no types."""
        self.points.clear()
        self._types.clear()

    def expire(self) -> None:
        """Tokens do not end."""

    async def _health(self, request: Request) -> Response:
        del request
        return JSONResponse({"name": "influxdb", "status": "pass", "version": "v2.7.0"})

    async def _write(self, request: Request) -> Response:
        body = await request.body()
        if refusal := self._refuses(request):
            return refusal
        if request.headers.get("content-encoding") == "gzip":
            try:
                body = gzip.decompress(body)
            except (OSError, EOFError, zlib.error):
                return _error(400, "invalid", "gzip: invalid header")
        if len(body) > BODY_MAX:
            return _error(413, "request too large", "http: request body too large")
        try:
            scale = NS[request.query_params.get("precision", "ns")]
            read = [point_of(line, scale) for line in lines_of(body.decode())]
        except (MalformedError, UnicodeDecodeError, KeyError) as error:
            return _error(400, "invalid", f"unable to parse {error}")
        dropped = [why for point in read if (why := self._take(point))]
        if dropped:
            said = f"partial write: {dropped[0]} dropped={len(dropped)}"
            said = f"failure writing points to database: {said}"
            return _error(422, "unprocessable entity", said)
        return Response(status_code=204)

    def _refuses(self, request: Request) -> Response | None:
        if request.headers.get("authorization") != f"Token {TOKEN}":
            return _error(401, "unauthorized", "unauthorized access")
        query = request.query_params
        if query.get("bucket") != BUCKET or query.get("org") != ORG:
            return _error(404, "not found", f'bucket "{query.get("bucket")}" not found')
        return None

    def _take(self, point: Point) -> str:
        """Write one point; why not, where it is not taken."""
        if code := self.knobs.error(repr(point)):
            return code
        for name, value in point.fields.items():
            kind = self._types.setdefault((point.measurement, name), type(value))
            if kind is not type(value):
                return (
                    f'field type conflict: input field "{name}" on measurement '
                    f'"{point.measurement}" is type {type(value).__name__}, already exists as type '
                    f"{kind.__name__}"
                )
        at = self._now_ns if point.time_ns is None else point.time_ns
        key = (point.measurement, tuple(sorted(point.tags)), at)
        there = self.points.setdefault(key, {})
        if there | point.fields != there:
            series = ",".join((point.measurement, *(f"{k}={v}" for k, v in key[1])))
            op: Op = "update" if there else "create"
            self.journal.note(op, "point", f"{series} {at}", series, point.fields)
        there.update(point.fields)
        return ""


def lines_of(text: str) -> Iterator[str]:
    """Lines with something in them; a line break inside a string value does not end one."""
    start = 0
    while start < len(text):
        end = _line_end(text, start)
        line = text[start:end]
        if line.strip() and not line.startswith("#"):
            yield line
        start = end + 1


def _line_end(text: str, start: int) -> int:
    fields, quoted, equals, commas, place = False, False, 0, 0, start
    while place < len(text):
        char = text[place]
        if char == "\\":
            place += 2
            continue
        fields |= char == " "
        if fields and char == '"' and (quoted or equals > commas):
            quoted = not quoted
        elif fields and not quoted:
            equals += char == "="
            commas += char == ","
        if char == "\n" and not quoted:
            return place
        place += 1
    return len(text)


def point_of(line: str, scale: int) -> Point:
    """One line; `scale` nanoseconds make one of its units of time."""
    head, _, rest = _cut(line, " ", strings=False)
    told, _, time = _cut(rest, " ", strings=True)
    measurement, *tags = _split(head, ",", strings=False)
    pairs = [_cut(tag, "=", strings=False) for tag in tags]
    if not measurement or not all(name and value for name, _, value in pairs):
        raise MalformedError(f"{line[:80]!r}: bad measurement or tags")
    names = [_plain(name) for name, _, _ in pairs]
    if len(set(names)) < len(names):
        raise MalformedError(f"{line[:80]!r}: duplicate tags")
    fields = {}
    for field in _split(told, ",", strings=True):
        written, _, value = _cut(field, "=", strings=False)
        name = _plain(written)
        if not name or not value or name == "time" or name.startswith("_"):
            raise MalformedError(f"{line[:80]!r}: bad field, or none")
        fields[name] = _value(value, line)
    return Point(
        measurement=_plain(measurement),
        tags=tuple((_plain(name), _plain(value)) for name, _, value in pairs),
        fields=fields,
        time_ns=_time(time, scale, line) if time else None,
    )


def _cut(text: str, at: str, *, strings: bool) -> tuple[str, str, str]:
    """As str.partition, at the first one that stands alone."""
    first, *rest = _split(text, at, strings=strings, most=1)
    return first, at if rest else "", rest[0] if rest else ""


def _split(text: str, at: str, *, strings: bool, most: int = -1) -> list[str]:
    """At that character where it is not escaped.

    `strings`: nor inside a string value; quotes begin one only after an equals sign that a
    comma has not ended.
    """
    parts, start, place = [], 0, 0
    quoted, equals, commas = False, 0, 0
    while place < len(text) and most:
        char = text[place]
        if char == "\\":
            place += 2
            continue
        if strings and char == '"' and (quoted or equals > commas):
            quoted = not quoted
        elif not quoted:
            equals += char == "="
            commas += char == ","
            if char == at:
                parts.append(text[start:place])
                start, most = place + 1, most - 1
        place += 1
    return [*parts, text[start:]]


def _plain(text: str) -> str:
    return re.sub(r"\\([,= ])", r"\1", text)


def _value(text: str, line: str) -> Any:  # noqa: ANN401 - a field's
    if text.startswith('"') and text.endswith('"') and len(text) > 1:
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if text in {"t", "T", "true", "True", "TRUE"}:
        return True
    if text in {"f", "F", "false", "False", "FALSE"}:
        return False
    if text.endswith(("i", "u")) and re.fullmatch(r"[+-]?\d+[iu]", text):
        return int(text[:-1])
    if _NUMBER.fullmatch(text):
        return float(text)
    raise MalformedError(f"{line[:80]!r}: invalid value {text[:40]!r}")


def _time(text: str, scale: int, line: str) -> int:
    if not re.fullmatch(r"-?\d+", text):
        raise MalformedError(f"{line[:80]!r}: bad timestamp")
    at = int(text) * scale
    if not FIRST_NS <= at <= LAST_NS:
        raise MalformedError(f"{line[:80]!r}: time outside range")
    return at


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"code": code, "message": message}, status)


def make() -> Influx:
    """With the standard credentials."""
    return Influx()
