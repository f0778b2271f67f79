"""Both doors: POST /json/2/{model}/{method} (addons/rpc/controllers/json2.py), and /jsonrpc."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.sandboxes.base import Sandbox
from tests.sandboxes.odoo.errors import OdooError
from tests.sandboxes.odoo.methods import RECORD, method_of
from tests.sandboxes.odoo.models import MODELS
from tests.sandboxes.odoo.orm import Database, Orm

DATABASE, LOGIN, READER = "erp", "fieldline", "reader"
API_KEY, READER_KEY = "odoo-key-of-the-sandbox", "odoo-key-of-a-reader"
USERS = {LOGIN: (2, API_KEY), READER: (3, READER_KEY)}
DENIED = {2: frozenset({"unlink"}), 3: frozenset({"create", "write", "unlink"})}
VERSION = {
    "server_version": "19.0",
    "server_version_info": [19, 0, 0, "final", 0, ""],
    "server_serie": "19.0",
    "protocol_version": 1,
}


class Odoo(Sandbox):
    """One database; two users, of whom one may only read."""

    name = "odoo"

    def __init__(self) -> None:
        super().__init__()
        self.db = Database()

    def routes(self) -> Sequence[BaseRoute]:
        """What addons/rpc and addons/web serve."""
        return [
            Route("/json/2/{model}/{method}", self._json2, methods=["POST"]),
            Route("/json/2/{rest:path}", self._nothing),
            Route("/jsonrpc", self._jsonrpc, methods=["POST"]),
            Route("/web/webclient/version_info", self._version, methods=["POST"]),
        ]

    def forget(self) -> None:
        """Only what the modules bring."""
        self.db = Database()

    def expire(self) -> None:
        """API keys have no session."""

    # -- JSON-2

    async def _nothing(self, request: Request) -> Response:
        del request
        return _refusal(
            OdooError("werkzeug.exceptions.NotFound", "Did you mean POST /json/2/<model>/<method>?")
        )

    async def _json2(self, request: Request) -> Response:
        try:
            with self.db.savepoint():
                uid = _bearer(request)
                named = await _body(request)
                orm = Orm(self.db, self.knobs, uid, DENIED[uid], dict(named.pop("context", {})))
                result = self._call(orm, request, named)
            orm.commit(self.journal)
        except OdooError as error:
            return _refusal(error)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            return _refusal(OdooError(f"builtins.{type(error).__name__}", str(error)))
        return JSONResponse(result)

    def _call(self, orm: Orm, request: Request, named: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        model, method = request.path_params["model"], request.path_params["method"]
        if request.headers.get("x-odoo-database", DATABASE) != DATABASE:
            raise OdooError("werkzeug.exceptions.NotFound", "no such database")
        if model not in MODELS:
            raise OdooError("werkzeug.exceptions.NotFound", f"the model {model!r} does not exist")
        ids = named.pop("ids", ())
        call = _found(orm, model, method)
        if ids and method not in RECORD:
            why = f"cannot call {model}.{method} with ids"
            raise OdooError("werkzeug.exceptions.UnprocessableEntity", why)
        result = _bound(call, [list(ids)] if method in RECORD else [], named)()
        # A recordset goes out as its ids.
        return [result] if method == "create" and isinstance(result, int) else result

    # -- JSON-RPC

    async def _version(self, request: Request) -> Response:
        asked = await _body(request)
        return JSONResponse({"jsonrpc": "2.0", "id": asked.get("id"), "result": VERSION})

    async def _jsonrpc(self, request: Request) -> Response:
        try:
            asked = await _body(request)
        except OdooError:
            return Response("Invalid JSON data", 400)
        params = asked.get("params") or {}
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": asked.get("id")}
        try:
            result = self._service(params.get("service"), params.get("method"), params["args"])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            told = OdooError(f"builtins.{type(error).__name__}", str(error))
            return JSONResponse(answer | {"error": _envelope(told)})
        except OdooError as error:
            return JSONResponse(answer | {"error": _envelope(error)})
        # JsonRPCDispatcher._response leaves the member out where the value is None.
        return JSONResponse(answer if result is None else answer | {"result": result})

    def _service(self, service: str | None, method: str | None, args: Sequence[Any]) -> Any:  # noqa: ANN401 - JSON
        if service == "common":
            if method == "version":
                return VERSION
            if method in {"login", "authenticate"}:
                db, login, password = args[:3]
                uid, key = USERS.get(login, (0, ""))
                return uid if db == DATABASE and uid and key == password else False
        if service == "object" and method in {"execute", "execute_kw"}:
            db, uid, password, model, name, *rest = args
            if db != DATABASE or (uid, password) not in USERS.values():
                raise OdooError("odoo.exceptions.AccessDenied", "Access Denied")
            positional, named = rest, {}
            if method == "execute_kw":
                positional, named = rest[0], dict(rest[1]) if len(rest) > 1 and rest[1] else {}
            return self._execute(uid, model, name, list(positional), named)
        raise OdooError("builtins.NameError", f"Method not available {service}.{method}")

    def _execute(
        self, uid: int, model: str, name: str, args: list[Any], named: dict[str, Any]
    ) -> Any:  # noqa: ANN401 - JSON
        if model not in MODELS:
            raise OdooError("odoo.exceptions.UserError", f"Object {model} doesn't exist")
        with self.db.savepoint():
            context = named.pop("context", None) or {}
            orm = Orm(self.db, self.knobs, uid, DENIED[uid], dict(context))
            if name in RECORD and args and isinstance(args[0], int):
                args[0] = [args[0]]
            result = _bound(_found(orm, model, name), args, named)()
        orm.commit(self.journal)
        return result


def _bearer(request: Request) -> int:
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    for uid, key in USERS.values():
        if kind.lower() == "bearer" and given == key:
            return uid
    raise OdooError("werkzeug.exceptions.Unauthorized", "Invalid apikey")


def _found(orm: Orm, model: str, name: str) -> Callable[..., Any]:
    if name.startswith("_"):
        raise OdooError(
            "odoo.exceptions.AccessError",
            f"Private methods (such as {model}.{name}) cannot be called remotely.",
        )
    call = method_of(orm, model, name)
    if call is None:
        why = f"The method '{model}.{name}' does not exist"
        raise OdooError("werkzeug.exceptions.NotFound", why)
    return call


def _bound(
    call: Callable[..., Any], args: Sequence[Any], named: Mapping[str, Any]
) -> Callable[[], Any]:
    try:
        inspect.signature(call).bind(*args, **named)
    except TypeError as error:
        raise OdooError("werkzeug.exceptions.UnprocessableEntity", str(error)) from error
    return lambda: call(*args, **named)


async def _body(request: Request) -> dict[str, Any]:
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise OdooError("werkzeug.exceptions.BadRequest", "Request is not application/json")
    try:
        given = orjson.loads(await request.body() or b"{}")
    except orjson.JSONDecodeError as error:
        why = f"could not parse the body as json: {error}"
        raise OdooError("werkzeug.exceptions.BadRequest", why) from error
    if not isinstance(given, dict):
        raise OdooError("werkzeug.exceptions.BadRequest", "the body is no object")
    return given


def _refusal(error: OdooError) -> Response:
    more = {"www-authenticate": "bearer"} if error.status == 401 else {}
    return JSONResponse(error.as_json(), error.status, headers=more)


def _envelope(error: OdooError) -> dict[str, Any]:
    if error.name == "werkzeug.exceptions.NotFound":
        return {"code": 404, "message": "404: Not Found", "data": error.as_json()}
    return {"code": 0, "message": "Odoo Server Error", "data": error.as_json()}
