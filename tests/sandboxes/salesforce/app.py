"""The org as a server: the token endpoint, sessions, the daily limit, REST."""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

import jwt
import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.sandboxes.base import Sandbox
from tests.sandboxes.salesforce.asked import Answered, parsed
from tests.sandboxes.salesforce.rest import Rest
from tests.sandboxes.salesforce.store import Refusal

CLIENT_ID = "3MVG9fieldline.sandbox"
CLIENT_SECRET = "7C0FFEE5ECRE7OF7HE5ANDB0X"
USERNAME = "fieldline@acme.example"
VERSIONS = [f"{number}.0" for number in range(31, 69)]
DAILY = 100_000
JWT_MOST_S = 180
LEEWAY_S = 5
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
METHODS = ["GET", "POST", "PATCH", "PUT", "DELETE"]


class Salesforce(Sandbox):
    """One org with one user and one app. `public_key` (PEM) is what the app's JWTs are
    checked with; without it only client credentials are taken."""

    name = "salesforce"

    def __init__(self, public_key: str = "") -> None:
        self._public_key = public_key
        self.instance_url = ""
        """What token answers name; its own address where empty."""
        self.used = 0
        self._tokens: set[str] = set()
        super().__init__()
        self.rest = self._new()

    def routes(self) -> Sequence[BaseRoute]:
        """OAuth and REST."""
        return [
            Route("/services/oauth2/token", self._token, methods=["POST"]),
            Route("/services/data", self._versions),
            Route("/services/data/", self._versions),
            Route("/services/data/{rest:path}", self._data, methods=METHODS),
        ]

    def values(self) -> Mapping[str, Any]:
        """A connector's settings for it."""
        return {"url": self.base, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}

    def forget(self) -> None:
        """An empty org."""
        self.rest = self._new()
        self.used = 0
        self.expire()

    def expire(self) -> None:
        """All sessions end."""
        self._tokens.clear()

    def over_limit(self, request: Request, reset_s: float) -> Response:
        """As Salesforce says it: 403, and no word of when."""
        del request, reset_s
        message = "ConcurrentRequests (Concurrent API Requests) Limit exceeded."
        return JSONResponse([{"message": message, "errorCode": "REQUEST_LIMIT_EXCEEDED"}], 403)

    def session(self) -> str:
        """A session id, as a login would give it."""
        token = f"00D{secrets.token_hex(6)}!AQ{secrets.token_urlsafe(48)}"
        self._tokens.add(token)
        return token

    def _new(self) -> Rest:
        return Rest(
            lambda text: self.knobs.error(text),  # noqa: PLW0108 - the control room makes new ones
            lambda: self.journal,
            lambda: {"Max": DAILY, "Remaining": max(0, DAILY - self.used)},
        )

    # -- OAuth

    async def _token(self, request: Request) -> Response:
        form = {k: v[0] for k, v in parse_qs((await request.body()).decode()).items()}
        grant = form.get("grant_type")
        if grant == JWT_BEARER:
            wrong = self._wrong_jwt(form.get("assertion", ""))
        elif grant == "client_credentials":
            wrong = _wrong_client(request, form)
        else:
            wrong = ("unsupported_grant_type", "grant type not supported")
        if wrong is not None:
            return JSONResponse({"error": wrong[0], "error_description": wrong[1]}, 400)
        instance = self.instance_url or self.base
        return JSONResponse(
            {
                "access_token": self.session(),
                "scope": "api",
                "instance_url": instance,
                "id": f"{instance}/id/00D000000000001AAA/005000000000001AAA",
                "token_type": "Bearer",
                "issued_at": str(int(time.time() * 1000)),
            },
            headers={"cache-control": "no-cache, no-store"},
        )

    def _wrong_jwt(  # noqa: PLR0911 - one after the other
        self, assertion: str
    ) -> tuple[str, str] | None:
        try:
            claims = jwt.decode(
                assertion,
                self._public_key,
                algorithms=["RS256"],
                options={"verify_aud": False, "require": ["iss", "sub", "aud", "exp"]},
            )
        except jwt.ExpiredSignatureError:
            return "invalid_grant", "expired authorization code"
        except (jwt.PyJWTError, ValueError):
            return "invalid_grant", "invalid assertion"
        if int(claims["exp"]) > time.time() + JWT_MOST_S + LEEWAY_S:
            return "invalid_grant", "invalid assertion"
        if claims["aud"] not in {
            "https://login.salesforce.com",
            "https://test.salesforce.com",
            self.base,
        }:
            return "invalid_grant", "audience is invalid"
        if claims["iss"] != CLIENT_ID:
            return "invalid_client_id", "client identifier invalid"
        if claims["sub"] != USERNAME:
            return "invalid_grant", "user hasn't approved this consumer"
        return None

    # -- REST

    async def _versions(self, request: Request) -> Response:
        del request
        return JSONResponse(
            [{"label": v, "url": f"/services/data/v{v}", "version": v} for v in VERSIONS]
        )

    async def _data(self, request: Request) -> Response:
        self.used += 1
        usage = {"sforce-limit-info": f"api-usage={self.used}/{DAILY}"}
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme not in {"Bearer", "OAuth"} or token not in self._tokens:
            over = Refusal("INVALID_SESSION_ID", "Session expired or invalid")
            return _response(Answered(status=401, body=_plain(over)), usage)
        raw = request.scope["raw_path"].decode("latin-1")
        query = request.scope["query_string"].decode("latin-1")
        asked = parsed(request.method, f"{raw}?{query}", await request.body())
        if asked is None or asked.version not in VERSIONS:
            missing = Refusal("NOT_FOUND", "The requested resource does not exist")
            return _response(Answered(status=404, body=_plain(missing)), usage)
        return _response(self.rest.handle(asked), usage)


def _wrong_client(request: Request, form: dict[str, str]) -> tuple[str, str] | None:
    client, secret = form.get("client_id", ""), form.get("client_secret", "")
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme == "Basic":
        client, _, secret = base64.b64decode(text).decode("utf-8", "replace").partition(":")
    if client != CLIENT_ID:
        return "invalid_client_id", "client identifier invalid"
    if not hmac.compare_digest(secret.encode(), CLIENT_SECRET.encode()):
        return "invalid_client", "invalid client credentials"
    return None


def _plain(refusal: Refusal) -> Any:  # noqa: ANN401 - JSON
    return [{"message": refusal.message, "errorCode": refusal.code}]


def _response(answer: Answered, headers: dict[str, str]) -> Response:
    headers = headers | dict(answer.headers)
    if isinstance(answer.body, str):
        return Response(answer.body, answer.status, headers=headers)
    if answer.body is None:
        return Response(b"", answer.status, headers=headers)
    content = orjson.dumps(answer.body)
    return Response(
        content, answer.status, headers=headers, media_type="application/json;charset=UTF-8"
    )


def make() -> Salesforce:
    """With the standard credentials."""
    return Salesforce()
