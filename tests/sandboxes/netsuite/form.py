"""The forms of requests and answers: media types, errors, pages, names of properties."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from tests.sandboxes.netsuite.records import EXTERNAL, Record, Refusal, Type

PAGE_MAX = 1_000
ERROR = "application/vnd.oracle.resource+json; type=error; charset=UTF-8"
SINGULAR = "application/vnd.oracle.resource+json; type=singular; charset=UTF-8"
COLLECTION = "application/vnd.oracle.resource+json; type=collection; charset=UTF-8"
TITLES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found"}


def unknown_names(request: Request, kind: Type, body: Mapping[str, Any]) -> list[str]:
    """Properties that the type does not have; refused where the request asks for that."""
    names = [name for name in body if not kind.knows(name)]
    asked = request.headers.get("x-netsuite-propertynamevalidation", "warning").lower()
    if names and asked == "error":
        detail = f"Unknown reference or field(s): {', '.join(names)}"
        raise Refusal(status=400, code="INVALID_CONTENT", detail=detail, path=names[0])
    return [] if asked == "ignore" else names


def schema_of(kind: Type) -> dict[str, Any]:
    texts = {name: {"type": "string", "maxLength": most} for name, most in kind.texts.items()}
    links = {name: {"type": "object"} for name in kind.references}
    own = {"id": {"type": "string"}, "externalId": {"type": "string"}}
    return {"type": "object", "properties": {**own, **texts, **links}}


def stub(record: Record) -> dict[str, Any]:
    return {"links": [], "id": record.id}


def external_id(text: str) -> str:
    if text and EXTERNAL.fullmatch(text) is None:
        detail = "An external ID contains only letters, numbers, underscore and hyphen."
        raise Refusal(status=400, code="INVALID_PARAMETER", detail=detail)
    return text


def number_in(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not re.fullmatch(r"\d{1,9}", text):
        detail = f"{name} is not a number."
        raise Refusal(status=400, code="INVALID_PARAMETER", detail=detail)
    return int(text)


async def body_of(request: Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise Refusal(status=400, code="INVALID_CONTENT", detail="The body is no JSON object.")
    return body


def busy() -> Refusal:
    detail = "Concurrent request limit exceeded. Request blocked."
    return Refusal(status=429, code="CONCURRENCY_LIMIT_EXCEEDED", detail=detail)


def refused(refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    told = {"detail": refusal.detail, "o:errorCode": refusal.code}
    if refusal.path:
        told["o:errorPath"] = refusal.path
    body = {
        "type": "https://www.w3.org/Protocols/rfc2616/rfc2616-sec10.html",
        "title": TITLES.get(refusal.status, "Error"),
        "status": refusal.status,
        "o:errorDetails": [told],
    }
    return Response(
        orjson.dumps(body), refusal.status, headers=dict(headers or {}), media_type=ERROR
    )


def answer(value: object, media: str = SINGULAR) -> Response:
    return Response(orjson.dumps(value), media_type=media)
