"""The system's HTTP side: login, sessions with CSRF tokens, services, $batch, OAuth."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from tests.sandboxes.base import Sandbox
from tests.sandboxes.sap.gateway import Gateway
from tests.sandboxes.sap.model import SERVICES, Service, edmx
from tests.sandboxes.sap.odata import NO_SEGMENT, Refusal, Reply, malformed
from tests.sandboxes.sap.parts import Part, parse, render
from tests.sandboxes.sap.store import Store

USERNAME, PASSWORD = "FIELDLINE", "Welcome1-of-the-sap-sandbox"
CLIENT_ID, CLIENT_SECRET = "fieldline-client", "secret-of-the-sap-client"
CLIENT = "100"
EQUIPMENT, PLACE = "10000005", "1010-CWS-WCS-CWCP1"
"""Technical objects as in a recorded answer of the service."""
MISSING = "99999999"
"""A technical object that the system does not have; any other is taken to be there."""
ROOT = "/sap/opu/odata/sap"
_WRITES = frozenset({"POST", "PUT", "PATCH", "MERGE", "DELETE"})
_METHODS = ["GET", "HEAD", *sorted(_WRITES)]
_REQUEST_ID = re.compile(r"[0-9A-Fa-f]{32}")


class Sap(Sandbox):
    """One system with one user.

    `repeatability`: 'off' = the two headers are not looked at, 'on', or 'unsupported'.
    `csrf_s` and `token_s` are how long tokens are good for, seconds.
    """

    name = "sap"

    def __init__(
        self,
        *,
        missing: Collection[str] = (MISSING,),
        repeatability: Literal["off", "on", "unsupported"] = "off",
        csrf_s: float = 1_800.0,
        token_s: float = 3_600.0,
    ) -> None:
        super().__init__()
        self.store = Store(self, missing)
        self.gateway = Gateway(self.store, USERNAME)
        self.repeatability = repeatability
        self.csrf_check = True
        self._csrf_s, self._token_s = csrf_s, token_s
        self._sessions: dict[str, tuple[dict[str, str], float]] = {}
        self._tokens: dict[str, float] = {}
        self._done: dict[str, tuple[str, str, Reply]] = {}

    def routes(self) -> Sequence[BaseRoute]:
        """Token endpoint and services."""
        return [
            Route("/sap/bc/sec/oauth2/token", self._token, methods=["POST"]),
            Route(f"{ROOT}/{{service}}", self._no_slash, methods=_METHODS),
            Route(f"{ROOT}/{{service}}/{{path:path}}", self._serve_service, methods=_METHODS),
        ]

    def values(self) -> Mapping[str, Any]:
        """A connector's settings for it."""
        return {"url": self.base, "username": USERNAME, "password": PASSWORD}

    def forget(self) -> None:
        """No notification is there, and nobody is logged in."""
        self.store.clear()
        self.expire()
        self._done.clear()

    def expire(self) -> None:
        """All sessions and tokens end."""
        self._sessions.clear()
        self._tokens.clear()

    def over_limit(self, request: Request, reset_s: float) -> Response:
        """429 of SAP's API gateway, with Retry-After."""
        del request
        wait = {"retry-after": str(max(1, round(reset_s + 0.5)))}
        said = {"error": {"code": "429", "message": {"lang": "en", "value": "Quota exceeded"}}}
        return JSONResponse(said, 429, headers=wait)

    # -- login

    async def _token(self, request: Request) -> Response:
        given = _basic(request.headers.get("authorization", ""))
        form = dict(parse_qsl((await request.body()).decode("latin-1")))
        client = given or (form.get("client_id", ""), form.get("client_secret", ""))
        if not _same(client, (CLIENT_ID, CLIENT_SECRET)):
            return JSONResponse({"error": "invalid_client"}, 401)
        if form.get("grant_type") != "client_credentials":
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        token = secrets.token_urlsafe(32)
        self._tokens[token] = time.monotonic() + self._token_s
        return JSONResponse(
            {"access_token": token, "token_type": "Bearer", "expires_in": int(self._token_s)}
        )

    def _known(self, request: Request) -> bool:
        client = request.headers.get("sap-client") or request.query_params.get("sap-client")
        if client not in {None, "", CLIENT}:
            return False
        kind, _, held = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self._tokens.get(held, 0.0) > time.monotonic()
        return _same(_basic(f"{kind} {held}"), (USERNAME, PASSWORD))

    def _fetch(self) -> dict[str, list[str] | str]:
        """A new session: its CSRF token, and the cookies that it is bound to."""
        token = base64.b64encode(secrets.token_bytes(16)).decode()
        cookies = {
            f"SAP_SESSIONID_S4H_{CLIENT}": secrets.token_urlsafe(24) + "%3d",
            "sap-usercontext": f"sap-client={CLIENT}",
            "__VCAP_ID__": secrets.token_hex(8),
        }
        self._sessions[token] = (cookies, time.monotonic() + self._csrf_s)
        return {
            "token": token,
            "cookies": [f"{name}={value}; path=/; HttpOnly" for name, value in cookies.items()],
        }

    def _may_write(self, request: Request) -> bool:
        cookies, until = self._sessions.get(request.headers.get("x-csrf-token", ""), ({}, 0.0))
        pairs = (one.strip() for one in request.headers.get("cookie", "").split(";"))
        sent = dict(one.partition("=")[::2] for one in pairs)
        return until > time.monotonic() and all(sent.get(k) == v for k, v in cookies.items())

    # -- services

    async def _no_slash(self, request: Request) -> Response:
        """Without its last slash a service's root is elsewhere, and gives no token."""
        if not self._known(request):
            return _unauthorized()
        return RedirectResponse(f"{request.url.path}/", 307)

    async def _serve_service(self, request: Request) -> Response:
        if not self._known(request):
            return _unauthorized()
        fetched = {}
        if request.headers.get("x-csrf-token", "").lower() == "fetch" and self.csrf_check:
            fetched = self._fetch()
        try:
            answer = await self._answer(request)
        except Refusal as refusal:
            answer = _rendered(refusal.reply(self.requests), _wants_json(request))
        if fetched:
            answer.headers["x-csrf-token"] = str(fetched["token"])
            for cookie in fetched["cookies"]:
                answer.headers.append("set-cookie", cookie)
        return answer

    async def _answer(self, request: Request) -> Response:
        service = SERVICES.get(request.path_params["service"])
        if service is None:
            raise Refusal(
                404, "/IWFND/MED/170", f"No service found for {request.path_params['service']}"
            )
        if request.method in _WRITES and self.csrf_check and not self._may_write(request):
            text = "CSRF token validation failed"
            return Response(
                text, 403, headers={"x-csrf-token": "Required"}, media_type="text/plain"
            )
        path = request.path_params["path"]
        query = request.scope["query_string"].decode("latin-1")
        self.gateway.base = self.base
        if request.method in {"GET", "HEAD"} and path == "":
            return JSONResponse({"d": {"EntitySets": [service.set]}})
        if request.method in {"GET", "HEAD"} and path == "$metadata":
            return Response(edmx(service), media_type="application/xml")
        body = await request.body()
        headers = dict(request.headers)
        if path == "$batch" and request.method == "POST":
            return self._batch(service, headers.get("content-type", ""), body)
        # Starlette has decoded the path; what it was is in raw_path.
        raw = request.scope["raw_path"].decode("latin-1")
        route = raw.split(f"/{service.name}/", 1)[-1] if service.name in raw else path
        target = f"{route}?{query}" if query else route
        reply = self._repeatable(service, request.method, target, headers, body)
        return _rendered(reply, _wants_json(request))

    def _repeatable(
        self, service: Service, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        """SAP Gateway, idempotent services: the first answer again for a known RequestID."""
        number = headers.get("requestid", "")
        created = headers.get("repeatabilitycreation", "")
        if self.repeatability == "off" or not (number and created) or method not in _WRITES:
            return self._handled(service, method, target, headers, body)
        if self.repeatability == "unsupported" or not _REQUEST_ID.fullmatch(number):
            refusal = Refusal(501, "/IWBEP/CM_COS/001", "Repeatability is not supported")
            refusal.headers["RepeatabilityResult"] = "unsupported"
            raise refusal
        kept = self._done.get(number)
        if kept is not None and kept[:2] != (created, hashlib.sha256(body).hexdigest()):
            refusal = Refusal(400, "/IWBEP/CM_COS/005", "RequestID is outdated")
            refusal.headers["RepeatabilityResult"] = "rejected"
            raise refusal
        if kept is None:
            reply = self._handled(service, method, target, headers, body)
            kept = (created, hashlib.sha256(body).hexdigest(), reply)
            self._done[number] = kept
        reply = kept[2]
        more = {**reply.headers, "RepeatabilityResult": "accepted"}
        return Reply(status=reply.status, body=reply.body, headers=more)

    def _handled(
        self, service: Service, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        begun = self.store.begin()
        try:
            return self.gateway.handle(service, method, target, headers, body)
        except Refusal:
            self.store.undo(begun)
            raise

    # -- $batch

    def _batch(self, service: Service, content_type: str, body: bytes) -> Response:
        answers = [self._piece(service, piece) for piece in parse(content_type, body)]
        kind, content = render(answers)
        return Response(content, 202, headers={"content-type": kind, "dataserviceversion": "2.0"})

    def _piece(self, service: Service, piece: Part | list[Part]) -> Reply | list[Reply]:
        """A read, or a change set: that is done as a whole, or is one plain error."""
        begun = self.store.begin()
        try:
            if isinstance(piece, list):
                return [self._one(service, part) for part in piece]
            if piece.method != "GET":
                raise malformed("Modifying requests are only allowed within a changeset")
            return self._one(service, piece)
        except Refusal as refusal:
            self.store.undo(begun)
            return refusal.reply(self.requests)

    def _one(self, service: Service, part: Part) -> Reply:
        path = part.path.removeprefix(f"{ROOT}/{service.name}/").lstrip("/")
        if not path:
            raise Refusal(404, NO_SEGMENT, "Resource not found for the segment ''")
        return self.gateway.handle(service, part.method, path, part.headers, part.body)


def _same(given: tuple[str, str] | None, wanted: tuple[str, str]) -> bool:
    return given is not None and secrets.compare_digest(
        "\0".join(given).encode(), "\0".join(wanted).encode()
    )


def _basic(header: str) -> tuple[str, str] | None:
    kind, _, text = header.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
    except ValueError:
        return None
    return (name, password) if colon else None


def _unauthorized() -> Response:
    realm = f'Basic realm="SAP NetWeaver Application Server [S4H/{CLIENT}]"'
    page = "<html><head><title>Logon Error Message</title></head><body>Logon failed</body></html>"
    return HTMLResponse(page, 401, headers={"www-authenticate": realm})


def _wants_json(request: Request) -> bool:
    asked = request.headers.get("accept", "")
    return "json" in asked or request.query_params.get("$format") == "json"


def _rendered(reply: Reply, as_json: bool) -> Response:  # noqa: FBT001 - one place
    headers = {**reply.headers, "dataserviceversion": "2.0"}
    if reply.body is None:
        return Response(status_code=reply.status, headers=headers)
    error = reply.body.get("error") if isinstance(reply.body, dict) else None
    if error and not as_json:
        # The gateway's own format is XML, for those who do not ask for JSON.
        text = str(error["message"]["value"]).replace("&", "&amp;").replace("<", "&lt;")
        page = (
            '<?xml version="1.0" encoding="utf-8"?><error xmlns="http://schemas.microsoft.com/'
            f'ado/2007/08/dataservices/metadata"><code>{error["code"]}</code>'
            f'<message xml:lang="en">{text}</message></error>'
        )
        return Response(page, reply.status, headers=headers, media_type="application/xml")
    content = json.dumps(reply.body, ensure_ascii=False)
    return Response(content, reply.status, headers=headers, media_type="application/json")
