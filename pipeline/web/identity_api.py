"""The identity map over HTTP: the same functions as `fieldline identity`, behind a token.

Every operation stands in identity_operations.OPERATIONS; routes and the OpenAPI document are
made from it. Changes take an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07): the
same key with the same request changes nothing again, with another it is 422, while the first is
under way 409. The key is kept with what it changed, for as long as that remembers it
(identity.MAX_LOG changes).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import structlog
from aiokafka.errors import KafkaError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.core.identity_commands import (
    AnyCommand,
    Refused,
)
from pipeline.ops import identity as ops
from pipeline.settings import Settings, SettingsError
from pipeline.state.identities_index import IdentitiesUnavailable
from pipeline.state.identities_writer import Desk
from pipeline.web.problems import HEADERS, Problem, refusal
from pipeline.web.requests import (
    Gate,
    Member,
    idempotency_key,
    members_of,
)

log = structlog.get_logger(__name__)

_RENAMED: Final = {"at": "at_ms", "until": "until_ms"}
API: Final = "api"
"""Who it was, where a request does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation. `members` of its body, where it changes; `query` names and what they mean."""

    method: str
    path: str
    summary: str
    do: Callable[[Api, Request], Awaitable[Response]]
    members: Mapping[str, Member] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    file: bool = False
    open: bool = False


Make = Callable[[Mapping[str, str], dict[str, Any]], AnyCommand]


class Api:
    """What answers go by: a desk, a token, and the keys of requests that are under way."""

    def __init__(self, desk: Desk, settings: Settings) -> None:
        """SettingsError where there is no usable token."""
        self.desk = desk
        self.gate = Gate(settings.api_token)
        self.under_way: set[str] = set()

    def app(self, operations: Iterable[Operation]) -> Starlette:
        """The application with these operations."""
        return Starlette(
            routes=[
                Route(one.path, self._endpoint(one), methods=[one.method]) for one in operations
            ],
            exception_handlers={HTTPException: _plain_error, Exception: _defect},
        )

    def _endpoint(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                if not operation.open:
                    self.gate.check(request)
                response = await operation.do(self, request)
            except Problem as problem:
                return problem.response()
            except (IdentitiesUnavailable, KafkaError, OSError, SettingsError) as error:
                log.warning("identity API cannot answer", detail=str(error)[:300])
                return Problem(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "unavailable",
                    "The identity map cannot be asked now: send it again, with the same key.",
                    headers={"Retry-After": "1"},
                ).response()
            except ClientDisconnect:
                return Response(status_code=HTTPStatus.BAD_REQUEST)
            response.headers.update(HEADERS)
            return response

        return endpoint

    async def run(self, request: Request, members: Mapping[str, Member], make: Make) -> Response:
        """Do one command."""
        key = idempotency_key(request)
        given = await members_of(request, members)
        given = {_RENAMED.get(name, name): value for name, value in given.items()}
        command = make(request.path_params, {"who": API, **given, "id": key})
        if key in self.under_way:
            raise Problem(
                HTTPStatus.CONFLICT, "under_way", "A request with that key is under way: wait."
            )
        if key:
            self.under_way.add(key)
        try:
            [outcome] = await self.desk.run([command], ops.now_ms())
        finally:
            self.under_way.discard(key)
        if isinstance(outcome, Refused):
            raise refusal(outcome)
        return JSONResponse(ops.outcome_plain(outcome))


async def _defect(_: Request, error: Exception) -> Response:
    """What only we can mend. Starlette raises it again, so that the server logs where it was."""
    del error
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "defect", "That is a defect of ours."
    ).response()


async def _plain_error(_: Request, error: Exception) -> Response:
    """Starlette's own answers (no such path, wrong method) as problems."""
    status = HTTPStatus(getattr(error, "status_code", 500))
    headers = getattr(error, "headers", None)
    return Problem(
        status, status.name.lower(), f"{status.phrase}: see /openapi.json.", headers=headers
    ).response()
