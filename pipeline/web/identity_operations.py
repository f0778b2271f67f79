"""The operations of the identity map's API: each in OPERATIONS, and nowhere else."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pipeline.core.identity import Kind, is_device_id, key_of
from pipeline.core.identity_commands import (
    AnyCommand,
    Describe,
    Move,
    Own,
    Provision,
    Retire,
)
from pipeline.ops import identity as ops
from pipeline.ops.identity_import import When, bring_in
from pipeline.settings import SettingsError
from pipeline.state.registry import Line, Wrong, read_lines
from pipeline.web.identity_api import API, Api, Make, Operation
from pipeline.web.openapi import document
from pipeline.web.problems import Problem
from pipeline.web.requests import (
    FLAG,
    IDS,
    LONG,
    MAX_FILE,
    TEXT,
    TIME,
    Member,
    body_of,
    time_of,
)

_COMMON: Final[Mapping[str, Member]] = {"who": TEXT, "why": LONG, "at": TIME, "past": FLAG}
_SPAN: Final = {**_COMMON, "until": TIME}


def _device(params: Mapping[str, str]) -> str:
    device = f"{params['tenant']}/{params['device']}"
    if not is_device_id(device):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "invalid",
            "The path must name TENANT/DEVICE, each of A-Z a-z 0-9 _ . : -.",
            field="device_id",
        )
    return device


def _change(
    members: Mapping[str, Member], make: Make
) -> Callable[[Api, Request], Awaitable[Response]]:
    async def do(api: Api, request: Request) -> Response:
        return await api.run(request, members, make)

    return do


async def _show(api: Api, request: Request) -> Response:
    device = _device(request.path_params)
    at_ms = _time(request, "at")
    entries = await api.desk.read([key_of(Kind.DEVICE, device)])
    plain = ops.device_plain(entries, device, ops.now_ms() if at_ms is None else at_ms)
    return JSONResponse(_found(plain, device))


async def _history(api: Api, request: Request) -> Response:
    device = _device(request.path_params)
    entries = ops.about(await api.desk.read([key_of(Kind.DEVICE, device)]), device)
    _found(entries or None, device)
    return JSONResponse(
        {
            "entries": [ops.entry_plain(one) for one in entries],
            "changes": ops.history_plain(entries),
        }
    )


def _found(what: Any, device: str) -> Any:  # noqa: ANN401 - whatever was looked for
    if what is None:
        raise Problem(
            HTTPStatus.NOT_FOUND, "unknown", f"{device} is not in the identity map: provision it."
        )
    return what


async def _find(api: Api, request: Request) -> Response:
    text = request.query_params.get("q", "").strip()
    if not text or len(text) > 300:  # noqa: PLR2004 - a name and an id
        raise Problem(HTTPStatus.BAD_REQUEST, "invalid", "Give q, what to look for.", field="q")
    found = await ops.find(api.desk, text)
    return JSONResponse({"found": [ops.entry_plain(one) for one in found], "most": ops.MAX_FOUND})


def _time(request: Request, name: str) -> int | None:
    text = request.query_params.get(name, "")
    try:
        return time_of(int(text) if text.isdigit() else text) if text else None
    except ValueError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "invalid", f"{name} {error}.", field=name) from error


async def _import(api: Api, request: Request) -> Response:
    raw = await body_of(request, "text/csv", MAX_FILE)
    flags = {}
    for name in ("dry_run", "past"):
        text = request.query_params.get(name, "false")
        if text not in {"true", "false"}:
            raise Problem(
                HTTPStatus.BAD_REQUEST, "invalid", f"{name} must be true or false.", field=name
            )
        flags[name] = text == "true"
    when = When(
        now_ms=ops.now_ms(),
        who=API,
        why="imported over HTTP",
        at_ms=_time(request, "at"),
        past=flags["past"],
    )
    done = await bring_in(api.desk, _lines(raw), when, dry=flags["dry_run"])
    status = HTTPStatus.MULTI_STATUS if done.wrong else HTTPStatus.OK
    return JSONResponse(ops.imported_plain(done, dry=flags["dry_run"]), status_code=status)


def _lines(raw: bytes) -> Iterator[Line | Wrong]:
    """Lines of a registry file; Problem where it is unusable as a whole."""
    try:
        yield from read_lines(io.StringIO(raw.decode("utf-8-sig"), newline=""), "the body")
    except UnicodeDecodeError as error:
        raise Problem(
            HTTPStatus.BAD_REQUEST, "invalid", "The body is not UTF-8 text: send UTF-8."
        ) from error
    except SettingsError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "invalid", str(error)) from error


async def _openapi(_: Api, request: Request) -> Response:
    del request
    return JSONResponse(document(OPERATIONS))


async def _health(api: Api, request: Request) -> Response:
    del request
    return JSONResponse({"offset": await api.desk.settle()})


_PROVISION: Final = {
    **_SPAN,
    "asset_id": TEXT,
    "asset_name": TEXT,
    "customer_id": TEXT,
    "customer_name": TEXT,
    "customer_tax_id": TEXT,
    "device_class": TEXT,
    "site": TEXT,
    "region": TEXT,
    "active": FLAG,
    "ids": IDS,
}
_MOVE: Final = {**_SPAN, "asset_id": TEXT}
_OWN: Final = {**_SPAN, "customer_id": TEXT, "site": TEXT, "region": TEXT}
_RETIRE: Final = {**_COMMON, "back": FLAG}
_ASSET: Final = {"who": TEXT, "why": LONG, "name": TEXT, "ids": IDS}
_CUSTOMER: Final = {**_ASSET, "tax_id": TEXT}

DEVICE: Final = "/v1/devices/{tenant}/{device}"


def _retiring(kind: Kind) -> Make:
    def make(params: Mapping[str, str], given: dict[str, Any]) -> AnyCommand:
        ident = _device(params) if kind is Kind.DEVICE else params["id"]
        return Retire(kind=kind, entry_id=ident, **given)

    return make


def _needed(given: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in given:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "invalid",
            f"{name} is missing: give it ('' = none).",
            field=name,
        )
    return given


def _changes(
    method: str, path: str, summary: str, members: Mapping[str, Member], make: Make
) -> Operation:
    return Operation(
        method=method, path=path, summary=summary, members=members, do=_change(members, make)
    )


OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation(method="GET", path="/openapi.json", summary="This API", do=_openapi, open=True),
    Operation(
        method="GET",
        path="/health",
        summary="How far the index is; 503 where it is not",
        do=_health,
    ),
    Operation(
        method="GET",
        path=DEVICE,
        summary="A device, its assets and their owners, and its row at an instant",
        do=_show,
        query={"at": "The instant: ISO 8601 with a zone, or milliseconds since 1970; else now."},
    ),
    Operation(
        method="GET",
        path=f"{DEVICE}/history",
        summary="Who owned its assets when, and who changed what",
        do=_history,
    ),
    _changes(
        "PUT",
        DEVICE,
        "Make a device known, or change what is known of it; what is left out stays",
        _PROVISION,
        lambda params, given: Provision(device_id=_device(params), **given),
    ),
    _changes(
        "POST",
        f"{DEVICE}/move",
        "Put a device on another asset, or on none ('')",
        _MOVE,
        lambda params, given: Move(device_id=_device(params), **_needed(given, "asset_id")),
    ),
    _changes(
        "POST",
        f"{DEVICE}/retire",
        "Take a device out of service, or back",
        _RETIRE,
        _retiring(Kind.DEVICE),
    ),
    _changes(
        "PUT",
        "/v1/assets/{id:path}",
        "Name and ids of an asset",
        _ASSET,
        lambda params, given: Describe(kind=Kind.ASSET, entry_id=params["id"], **given),
    ),
    _changes(
        "POST",
        "/v1/assets/{id:path}/own",
        "Give an asset to another owner, or to nobody ('')",
        _OWN,
        lambda params, given: Own(asset_id=params["id"], **_needed(given, "customer_id")),
    ),
    _changes(
        "POST",
        "/v1/assets/{id:path}/retire",
        "Take an asset out of service, or back",
        _RETIRE,
        _retiring(Kind.ASSET),
    ),
    _changes(
        "PUT",
        "/v1/customers/{id:path}",
        "Name, tax number and ids of a customer",
        _CUSTOMER,
        lambda params, given: Describe(kind=Kind.CUSTOMER, entry_id=params["id"], **given),
    ),
    _changes(
        "POST",
        "/v1/customers/{id:path}/retire",
        "Take a customer out of service, or back",
        _RETIRE,
        _retiring(Kind.CUSTOMER),
    ),
    Operation(
        method="GET",
        path="/v1/find",
        summary="Devices, assets and customers by a part of an id or a name",
        do=_find,
        query={"q": "The part, or SYSTEM.OBJECT=ID exactly."},
    ),
    Operation(
        method="POST",
        path="/v1/import",
        summary="A registry file: wrong lines are told (207), the others go in; may be repeated",
        do=_import,
        file=True,
        query={
            "dry_run": "true: only say what would change.",
            "at": "From when on the lines hold; else now.",
            "past": "true: it may change what is recorded of the past.",
        },
    ),
)
