"""Requests and answers of the REST API, apart from HTTP; references within a composite."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from tests.sandboxes.salesforce.store import Refusal

_REFERENCE = re.compile(r"@\{([A-Za-z0-9_]+)((?:\.[A-Za-z0-9_]+|\[\d+\])*)\}")
_STEP = re.compile(r"\.([A-Za-z0-9_]+)|\[(\d+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request. `path` are the segments after the version, decoded one by one."""

    method: str
    path: Sequence[str]
    query: Mapping[str, str]
    body: bytes
    version: str

    def json(self) -> dict[str, Any]:
        """The body as an object."""
        try:
            value = orjson.loads(self.body or b"{}")
        except orjson.JSONDecodeError as error:
            raise Refusal("JSON_PARSER_ERROR", str(error), whole=True) from None
        if not isinstance(value, dict):
            raise Refusal("JSON_PARSER_ERROR", "The HTTP entity body must be an object", whole=True)
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer; `body` is JSON, or text that is CSV."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def parsed(method: str, target: str, body: bytes) -> Asked | None:
    """A request below /services/data/vXX.0/; None for another address."""
    parts = urlsplit(target)
    match = re.fullmatch(r"/services/data/v(\d{2,3}\.0)/(.*)", parts.path)
    if match is None:
        return None
    path = [unquote(piece) for piece in match[2].split("/") if piece]
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return Asked(method=method, path=path, query=query, body=body, version=match[1])


def filled(value: Any, done: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """With every @{reference.field} replaced by what that answer said."""
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: str(_referred(match, done)), value)
    if isinstance(value, list):
        return [filled(one, done) for one in value]
    if isinstance(value, dict):
        return {k: filled(v, done) for k, v in value.items()}
    return value


def _referred(match: re.Match[str], done: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    found = done.get(match[1])
    for name, index in _STEP.findall(match[2]):
        try:
            found = found[name] if name else found[int(index)]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            found = None
    if found is None:
        message = f"Invalid reference specified. No value for {match[0][2:-1]} found in {match[1]}"
        raise Refusal("PROCESSING_HALTED", message)
    return found
