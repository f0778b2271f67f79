"""Who is let in: Basic, or OAuth 2.0 client credentials of an identity domain."""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

USERNAME = "fieldline"
PASSWORD = "oracle-password-of-the-sandbox"
CLIENT_ID = "fieldline-client"
CLIENT_SECRET = "oracle-secret-of-the-sandbox"
SCOPE = "urn:opc:resource:consumer::all"
ORGANIZATION = "M1"
VERSION = "11.13.18.05"
TOKEN_PATH = "/oauth2/v1/token"
LASTS_S = 3_600


class Door:
    """Tokens that are good at the moment."""

    def __init__(self) -> None:
        self._tokens: dict[str, float] = {}

    def expire(self) -> None:
        """Tokens end; a password does not."""
        self._tokens.clear()

    async def token(self, request: Request) -> Response:
        """POST …/oauth2/v1/token."""
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        if not _basic(request, CLIENT_ID, CLIENT_SECRET):
            return JSONResponse({"error": "invalid_client"}, 401)
        if form.get("grant_type") != "client_credentials":
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        if form.get("scope") != SCOPE:
            return JSONResponse({"error": "invalid_scope"}, 400)
        token = secrets.token_urlsafe(32)
        self._tokens[token] = time.time() + LASTS_S
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": LASTS_S})

    def lets_in(self, request: Request) -> bool:
        """Whether a request to the resources is authorised."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        bearer = kind == "Bearer" and self._tokens.get(token, 0.0) > time.time()
        return bearer or _basic(request, USERNAME, PASSWORD)


def _basic(request: Request, user: str, password: str) -> bool:
    given = request.headers.get("authorization", "")
    wanted = base64.b64encode(f"{user}:{password}".encode()).decode()
    return hmac.compare_digest(given.encode(), f"Basic {wanted}".encode())
