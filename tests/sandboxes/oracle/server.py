"""Oracle Fusion's maintenanceWorkOrders, as far as documents tell: the weakest of all sandboxes.

From Oracle's REST API for Supply Chain (D): addresses, attributes, batch parts that are all or
nothing, the change indicator as ETag, 412 where it is stale. Assumed: an order's number is unique
in its organization, Upsert-Mode matches by it, and which status may follow which.

Traps: q= is read by framework version 2 and later only; errors are JSON from version 4 on, plain
text before; a refused batch names only the part that failed; a closed order does not open again.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.sandboxes.base import Sandbox
from tests.sandboxes.journal import Op
from tests.sandboxes.oracle.door import ORGANIZATION, PASSWORD, TOKEN_PATH, USERNAME, VERSION, Door
from tests.sandboxes.oracle.query import ATTRIBUTES, Refusal, matching

KIND = "maintenanceWorkOrders"
BATCH = "application/vnd.oracle.adf.batch+json"
ACTION = "application/vnd.oracle.adf.action+json"
MANDATORY = ("OrganizationCode", "AssetNumber", "WorkOrderTypeCode")
FINISHED = frozenset({"ORA_COMPLETED", "ORA_CLOSED"})
STATUSES = {"ORA_UNRELEASED", "ORA_RELEASED", "ORA_ON_HOLD", "ORA_CANCELED", *FINISHED}
TYPES = {"CORRECTIVE", "PREVENTIVE"}
Note = tuple[Op, str, str, dict[str, Any]]


class Oracle(Sandbox):
    """One environment with one organization. `assets` are numbers that exist."""

    name = "oracle"

    def __init__(self, assets: Sequence[str]) -> None:
        self.assets = set(assets)
        self.door = Door()
        super().__init__()
        self.forget()

    def routes(self) -> Sequence[BaseRoute]:
        """The REST framework's addresses, and an identity domain's token endpoint."""
        base = f"/fscmRestApi/resources/{VERSION}"
        act = f"{base}/{KIND}/action/createConditionBasedWorkOrders"
        return [
            Route(TOKEN_PATH, self._token, methods=["POST"]),
            Route(base, self._in(self._batch), methods=["POST"]),
            Route(f"{base}/", self._in(self._batch), methods=["POST"]),
            Route(act, self._in(self._act), methods=["POST"]),
            Route(f"{base}/{KIND}", self._in(self._many), methods=["GET", "POST"]),
            Route(f"{base}/{KIND}/{{id}}", self._in(self._one), methods=["GET", "PATCH"]),
        ]

    def values(self) -> Mapping[str, Any]:
        """A connector's settings for it."""
        return {
            "url": self.base,
            "username": USERNAME,
            "password": PASSWORD,
            "organization_code": ORGANIZATION,
        }

    def forget(self) -> None:
        """No orders."""
        self.orders: dict[int, dict[str, Any]] = {}
        self._numbers = itertools.count(300_100_000_000_001)
        self.expire()

    def expire(self) -> None:
        """Tokens end; a password does not."""
        self.door.expire()

    async def _token(self, request: Request) -> Response:
        return await self.door.token(request)

    def _in(self, handler: Callable[[Request, bytes], Response]) -> Callable[[Request], Any]:
        async def handle(request: Request) -> Response:
            if not self.door.lets_in(request):
                return Response(status_code=401, headers={"www-authenticate": "Basic"})
            try:
                return handler(request, await request.body())
            except Refusal as refusal:
                return _refused(request, refusal)

        return handle

    # -- orders

    def _many(self, request: Request, body: bytes) -> Response:
        if request.method == "GET":
            return self._query(request)
        given = _object(body)
        if ACTION in request.headers.get("content-type", "") and "name" in given:
            return self._wrapped(given)
        upsert = request.headers.get("upsert-mode", "").lower() == "true"
        own_id, status, notes = self._save(self.orders, given, upsert=upsert)
        self._commit(notes)
        return self._shown(own_id, status)

    def _one(self, request: Request, body: bytes) -> Response:
        own_id = request.path_params["id"]
        if not own_id.isdigit() or int(own_id) not in self.orders:
            raise Refusal(404, f"The work order {own_id} does not exist.")
        if request.method == "GET":
            return self._shown(int(own_id), 200)
        wanted = request.headers.get("if-match", "").strip('"')
        if wanted and wanted != _etag(self.orders[int(own_id)]):
            raise Refusal(412, "The resource was changed since it was read.", "FND-412")
        self._commit(self._update(self.orders, int(own_id), _object(body)))
        return self._shown(int(own_id), 200)

    def _save(
        self, orders: dict[int, dict[str, Any]], given: dict[str, Any], *, upsert: bool
    ) -> tuple[int, int, list[Note]]:
        """Create or upsert in these orders: id, status and what is to be noted."""
        number = given.get("WorkOrderNumber")
        same = [
            own_id
            for own_id, order in orders.items()
            if number and order["WorkOrderNumber"] == number
            if order["OrganizationCode"] == given.get("OrganizationCode")
        ]
        if same and upsert:
            return same[0], 200, self._update(orders, same[0], given)
        self._checked(given, given)
        if same:
            raise Refusal(400, f"The work order number {number} already exists.", "WIE-2920146")
        missing = [name for name in MANDATORY if not given.get(name)]
        if missing:
            raise Refusal(400, f"Enter a value for {missing[0]}.", "WIE-2920001")
        own_id = next(self._numbers)
        made = {"WorkOrderNumber": f"WO-{own_id % 100_000}", "WorkOrderStatusCode": "ORA_RELEASED"}
        orders[own_id] = made | given | _stamp({})
        key = str(orders[own_id]["WorkOrderNumber"])
        return own_id, 201, [("create", key, str(own_id), dict(given))]

    def _update(
        self, orders: dict[int, dict[str, Any]], own_id: int, given: dict[str, Any]
    ) -> list[Note]:
        before = orders[own_id]
        self._checked(given, before | given)
        was, now = before["WorkOrderStatusCode"], given.get("WorkOrderStatusCode")
        if now and was != now and (was == "ORA_CANCELED" or now not in _after(was)):
            raise Refusal(400, f"The status can't change from {was} to {now}.", "WIE-2920300")
        if all(before.get(name) == value for name, value in given.items()):
            return []
        orders[own_id] = before | given | _stamp(before)
        return [(_op(was, now or was), _key(before), str(own_id), dict(given))]

    def _checked(self, given: Mapping[str, Any], whole: Mapping[str, Any]) -> None:
        text = orjson.dumps(dict(whole), default=str).decode()
        if code := self.knobs.error(text):
            raise Refusal(int(code) if code.isdigit() else 400, f"{code}, as told.", code)
        for name, value in given.items():
            if name == "WorkOrderPriority":
                if not isinstance(value, int):
                    raise Refusal(400, "WorkOrderPriority is no number.")
            elif name not in ATTRIBUTES:
                raise Refusal(400, f"The attribute {name} is not defined.", "27520")
            elif not isinstance(value, str) or len(value) > ATTRIBUTES[name]:
                raise Refusal(400, f"{name} is over {ATTRIBUTES[name]} characters, or no text.")
        for name, allowed in (
            ("OrganizationCode", {ORGANIZATION}),
            ("AssetNumber", self.assets),
            ("WorkOrderTypeCode", TYPES),
            ("WorkOrderStatusCode", STATUSES),
        ):
            if name in given and given[name] not in allowed:
                raise Refusal(400, f"The value {given[name]} of {name} isn't valid.", "WIE-2920002")

    # -- by condition, in batches

    def _wrapped(self, given: dict[str, Any]) -> Response:
        """The form of the help's example: {"name": …, "parameters": [{…}, …]}."""
        if given["name"] != "createConditionBasedWorkOrders":
            raise Refusal(400, "There is no such action.")
        parameters: dict[str, Any] = {}
        for one in given.get("parameters") or []:
            parameters |= one
        return self._by_condition(parameters)

    def _act(self, request: Request, body: bytes) -> Response:
        if ACTION not in request.headers.get("content-type", ""):
            raise Refusal(415, f"An action takes {ACTION}.")
        return self._by_condition(_object(body))

    def _by_condition(self, given: Mapping[str, Any]) -> Response:
        if not given.get("conditionCode"):
            raise Refusal(400, "Enter a value for conditionCode.")
        number = str(given.get("documentNumber") or "")
        if number and not given.get("documentType"):
            raise Refusal(400, "Enter a value for documentType.")
        order = {
            "OrganizationCode": given.get("organizationCode"),
            "AssetNumber": given.get("assetNumber"),
            "WorkOrderTypeCode": given.get("workOrderTypeCode", "CORRECTIVE"),
            "WorkOrderDescription": f"Condition {given['conditionCode']}",
        }
        if code := self.knobs.error(number):
            raise Refusal(int(code) if code.isdigit() else 400, f"{code}, as told.", code)
        own_id, _, [(op, key, told_id, fields)] = self._save(self.orders, order, upsert=False)
        self.orders[own_id]["documents"] = [number] if number else []
        self._commit([(op, number or key, told_id, fields)])
        return JSONResponse({"result": f"Work orders created: {key}"})

    def _batch(self, request: Request, body: bytes) -> Response:
        if BATCH not in request.headers.get("content-type", ""):
            raise Refusal(415, f"A batch is {BATCH}.")
        parts = _object(body).get("parts")
        if not isinstance(parts, list) or not parts:
            raise Refusal(400, "parts is no list.", "27521")
        orders, notes, shown = copy.deepcopy(self.orders), list[Note](), list[dict[str, Any]]()
        for at, part in enumerate(parts):
            try:
                shown.append(self._part(orders, part, notes))
            except Refusal as refusal:
                return _refused(request, refusal, path=f"/parts/{at}")
        self.orders = orders
        self._commit(notes)
        for part in shown:
            part["payload"] = self._json(int(part["payload"]))
        return Response(orjson.dumps({"parts": shown}), media_type=BATCH)

    def _part(
        self,
        orders: dict[int, dict[str, Any]],
        part: object,
        notes: list[Note],
    ) -> dict[str, Any]:
        if not isinstance(part, dict) or part.get("path") != f"/{KIND}":
            raise Refusal(400, "The part's path is not valid.")
        if part.get("operation") not in {"create", "upsert"}:
            raise Refusal(400, "The part's operation is not valid.")
        payload = part.get("payload")
        if not isinstance(payload, dict):
            raise Refusal(400, "The part has no payload.")
        upsert = part["operation"] == "upsert"
        own_id, _, told = self._save(orders, payload, upsert=upsert)
        notes += told
        return {k: part[k] for k in ("id", "path", "operation")} | {"payload": own_id}

    # -- answers

    def _query(self, request: Request) -> Response:
        asked = request.query_params
        if "q" in asked and request.headers.get("rest-framework-version", "1") == "1":
            raise Refusal(400, "The query is not valid in framework version 1.")
        wanted = matching(asked.get("q", ""))
        rows = [
            self._json(own_id, asked.get("expand", ""))
            for own_id, order in sorted(self.orders.items())
            if wanted(order)
        ]
        limit, offset = int(asked.get("limit", 25)), int(asked.get("offset", 0))
        page = rows[offset : offset + limit]
        if names := [name for name in asked.get("fields", "").split(",") if name]:
            page = [{n: row[n] for n in (*names, "links") if n in row} for row in page]
        more = offset + len(page) < len(rows)
        shown = {"items": page, "count": len(page), "hasMore": more, "limit": limit}
        return JSONResponse(shown | {"offset": offset, "links": []})

    def _shown(self, own_id: int, status: int) -> Response:
        return JSONResponse(
            self._json(own_id), status, headers={"etag": f'"{_etag(self.orders[own_id])}"'}
        )

    def _json(self, own_id: int, expand: str = "") -> dict[str, Any]:
        order = dict(self.orders[own_id])
        documents, etag = order.pop("documents", []), _etag(order)
        del order["changes"]
        href = f"{self.base}/fscmRestApi/resources/{VERSION}/{KIND}/{own_id}"
        link = {"rel": "self", "href": href, "name": KIND, "kind": "item"}
        shown = {"WorkOrderId": own_id, **order}
        if expand in {"documentReference", "all"}:
            children = [{"DocumentNumber": number} for number in documents]
            shown["documentReference"] = {"items": children, "hasMore": False}
        return shown | {"links": [link | {"properties": {"changeIndicator": etag}}]}

    def _commit(self, notes: list[Note]) -> None:
        for op, key, own_id, fields in notes:
            self.journal.note(op, KIND, key, own_id, fields)


def _after(status: str) -> set[str]:
    return {"ORA_COMPLETED"} if status == "ORA_CLOSED" else STATUSES


def _op(was: str, now: str) -> Op:
    if (was in FINISHED) == (now in FINISHED):
        return "update"
    return "close" if now in FINISHED else "reopen"


def _key(order: Mapping[str, Any]) -> str:
    return str((order.get("documents") or [order["WorkOrderNumber"]])[0])


def _stamp(before: Mapping[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"LastUpdateDate": now, "changes": before.get("changes", 0) + 1}


def _etag(order: Mapping[str, Any]) -> str:
    return f"0{order['changes']:07X}"


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        given = None
    if not isinstance(given, dict):
        raise Refusal(400, "Unable to parse the provided payload.", "27521")
    return given


def _refused(request: Request, refusal: Refusal, path: str = "") -> Response:
    if request.headers.get("rest-framework-version", "1") not in {"4", "5", "6", "7", "8", "9"}:
        return Response(refusal.detail, refusal.status, media_type="text/plain")
    error: dict[str, Any] = {
        "title": "Bad Request",
        "status": str(refusal.status),
        "detail": refusal.detail,
        "o:errorCode": refusal.code,
    }
    if path:
        error |= {"detail": "The batch failed.", "o:errorCode": "27524"}
        told = {"detail": refusal.detail, "o:errorCode": refusal.code, "o:errorPath": path}
        error["o:errorDetails"] = [told]
    headers = {"retry-after": "1"} if refusal.status == 429 else {}
    return JSONResponse(error, refusal.status, headers=headers)
