"""Requests as input: who sends them, how much, and which fields; all else is a Problem."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import orjson
from pydantic import SecretStr
from starlette.requests import Request

from pipeline.core.identity import EVER, MAX_TEXT
from pipeline.core.identity_check import MAX_WHY
from pipeline.settings import SettingsError
from pipeline.web.problems import Problem

MAX_BODY: Final = 64 * 1024
"""Largest JSON body, bytes."""
MAX_FILE: Final = 16 * 1024 * 1024
"""Largest registry file, bytes: some hundred thousand lines."""
MAX_KEY: Final = 255
MIN_TOKEN: Final = 16
"""Shortest token that is taken, characters."""

# A quoted string of structured fields (RFC 8941, 3.3.3), which the draft asks for, or bare text.
_QUOTED: Final = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_BARE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+")


class Gate:
    """Lets only those in who have the token; compared in constant time."""

    def __init__(self, token: SecretStr | None) -> None:
        """SettingsError where there is no token, or one that could be guessed."""
        text = token.get_secret_value() if token is not None else ""
        if len(text) < MIN_TOKEN:
            raise SettingsError(
                f"Set FIELDLINE_API_TOKEN to at least {MIN_TOKEN} random characters: it is the "
                "key to the identity map's API."
            )
        self._digest = _digest(text)

    def check(self, request: Request) -> None:
        """Problem 401 for anybody else."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Both are looked at however short the answer could be cut.
        same = hmac.compare_digest(_digest(given.strip()), self._digest)
        if scheme.lower() != "bearer" or not same:
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "unauthorized",
                "Send the token of this API: Authorization: Bearer ….",
                headers={"WWW-Authenticate": "Bearer"},
            )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


async def body_of(request: Request, media_type: str, most: int) -> bytes:
    """The body, of at most so many bytes; what is longer is not read to its end."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "media_type",
            f"Send {media_type}, with that as Content-Type.",
        )
    out = bytearray()
    async for chunk in request.stream():
        out += chunk
        if len(out) > most:
            raise Problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "too_large",
                f"The body is over {most} bytes: send less at once.",
                headers={"Connection": "close"},
            )
    return bytes(out)


def idempotency_key(request: Request) -> str:
    """The key of the request, as an id for its command; '' where it has none.

    draft-ietf-httpapi-idempotency-key-header-07: a quoted string; a bare one is taken too.
    """
    given = request.headers.getlist("idempotency-key")
    if not given:
        return ""
    text = given[0].strip()
    quoted = _QUOTED.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if len(given) > 1 or not key or len(key) > MAX_KEY or not (quoted or _BARE.fullmatch(text)):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "idempotency_key",
            f"Idempotency-Key must be one string of 1 to {MAX_KEY} printable ASCII characters.",
        )
    return "http-" + hashlib.sha256(key.encode()).hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a JSON body: its schema, and how its value is read (ValueError: it is none)."""

    schema: Mapping[str, Any]
    read: Callable[[Any], Any]


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON
    if not isinstance(value, str):
        raise ValueError("must be a text")  # noqa: TRY004 - one kind of error for one answer
    return value


def _flag(value: Any) -> bool:  # noqa: ANN401 - any JSON
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - as above
    return value


def _ids(value: Any) -> dict[str, str]:  # noqa: ANN401 - any JSON
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise ValueError("must be an object of texts, system.object to id")
    return value


def time_of(value: Any) -> int:  # noqa: ANN401 - any JSON
    """Milliseconds since 1970 of ISO 8601 with a zone, 'ever', or a whole number of them."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if value == "ever":
        return EVER
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("it has no zone")  # noqa: TRY301 - as unusable
        return int(moment.timestamp() * 1_000)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            "must be a time: ISO 8601 with a zone, 'ever', or milliseconds since 1970"
        ) from error


TEXT: Final = Member({"type": "string", "maxLength": MAX_TEXT}, _text)
LONG: Final = Member({"type": "string", "maxLength": MAX_WHY}, _text)
FLAG: Final = Member({"type": "boolean"}, _flag)
IDS: Final = Member(
    {
        "type": "object",
        "additionalProperties": {"type": "string", "maxLength": MAX_TEXT},
        "description": "system.object to its id there; '' takes one away.",
    },
    _ids,
)
TIME: Final = Member(
    {
        "type": ["string", "integer"],
        "description": "ISO 8601 with a zone, 'ever', or milliseconds since 1970 (UTC).",
    },
    time_of,
)


async def members_of(request: Request, members: Mapping[str, Member]) -> dict[str, Any]:
    """The JSON object of a request; Problem where a member is unknown or unusable."""
    raw = await body_of(request, "application/json", MAX_BODY)
    try:
        given = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Problem(
            HTTPStatus.BAD_REQUEST, "json", f"The body is not JSON: {error.msg}."
        ) from error
    if not isinstance(given, dict):
        raise Problem(HTTPStatus.BAD_REQUEST, "json", "The body must be a JSON object.")
    out = {}
    for name, value in given.items():
        member = members.get(name)
        if member is None:
            raise Problem(
                HTTPStatus.BAD_REQUEST,
                "unknown_field",
                f"There is no field {name[:80]!r} here: choose among {', '.join(members)}.",
                field=name[:80],
            )
        if value is None:
            continue
        try:
            out[name] = member.read(value)
        except ValueError as error:
            raise Problem(
                HTTPStatus.BAD_REQUEST, "invalid", f"{name} {error}.", field=name
            ) from error
    return out
