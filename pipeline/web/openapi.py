"""The OpenAPI 3.1 document of an API, made from its table of operations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pipeline.web.requests import MAX_KEY

if TYPE_CHECKING:
    from pipeline.web.identity_api import Operation

_PARAM = re.compile(r"\{(\w+)(?::\w+)?\}")
_PROBLEM = {
    "description": "One sentence in `detail`.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """The document. Every operation but those that are open needs the bearer token."""
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        path = _PARAM.sub(r"{\1}", one.path)
        paths.setdefault(path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Fieldline identity map", "version": version("fieldline")},
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Problem": {
                    "type": "object",
                    "required": ["title", "status", "detail", "code"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                        "code": {"type": "string"},
                        "field": {"type": "string"},
                    },
                }
            },
        },
    }


def _operation(one: Operation) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAM.findall(one.path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": told, "schema": {"type": "string"}}
        for name, told in one.query.items()
    ]
    out: dict[str, Any] = {
        "summary": one.summary,
        "operationId": re.sub(r"\W+", "_", f"{one.method.lower()}{_PARAM.sub('', one.path)}"),
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": {}}}},
            "default": _PROBLEM,
        },
    }
    if not one.open:
        out["security"] = [{"token": []}]
    if one.members is not None:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The same key with the same request changes nothing again.",
                "schema": {"type": "string", "maxLength": MAX_KEY},
            }
        )
        schema = {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: dict(member.schema) for name, member in one.members.items()},
        }
        out["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if one.file:
        out["requestBody"] = {
            "required": True,
            "content": {"text/csv": {"schema": {"type": "string"}}},
        }
        out["responses"]["207"] = {"description": "Some lines are wrong; the others are in."}
    if parameters:
        out["parameters"] = parameters
    return out
