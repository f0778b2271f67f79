"""Errors over HTTP, as RFC 9457 has them: application/problem+json, one sentence in `detail`."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.responses import JSONResponse

from pipeline.core.identity_commands import Code, Refused

STATUS: Final[Mapping[Code, HTTPStatus]] = {
    Code.INVALID: HTTPStatus.BAD_REQUEST,
    Code.UNKNOWN: HTTPStatus.NOT_FOUND,
    Code.RETIRED: HTTPStatus.CONFLICT,
    Code.TAKEN: HTTPStatus.CONFLICT,
    Code.ID_TAKEN: HTTPStatus.CONFLICT,
    Code.PAST: HTTPStatus.CONFLICT,
    Code.FULL: HTTPStatus.CONFLICT,
    # draft-ietf-httpapi-idempotency-key-header-07, section 2.7: a key with another payload.
    Code.REUSED: HTTPStatus.UNPROCESSABLE_ENTITY,
}
HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer: it has personal data in it, and is what its type says."""


class Problem(Exception):  # noqa: N818 - an answer, not a failure of ours
    """An answer that is an error. `code` is ours, `field` the one that is wrong, if one is."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        *,
        field: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self._status = status
        self._code = code
        self._detail = detail
        self._field = field
        self._headers = headers or {}

    def response(self) -> JSONResponse:
        """As the client gets it."""
        body = {
            "type": "about:blank",
            "title": self._status.phrase,
            "status": self._status.value,
            "detail": self._detail,
            "code": self._code,
        }
        if self._field:
            body["field"] = self._field
        return JSONResponse(
            body,
            status_code=self._status.value,
            headers={**HEADERS, **self._headers},
            media_type="application/problem+json",
        )


def refusal(refused: Refused) -> Problem:
    """A refused command."""
    return Problem(STATUS[refused.code], refused.code.value, refused.message, field=refused.field)
