"""Who is let in: OAuth 2.0 client credentials with an assertion, and token-based authentication.

NetSuite help: The Request Token Structure; Token-based Authentication; RFC 5849.
"""

from __future__ import annotations

import secrets
import time
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from oauthlib.oauth1.rfc5849 import signature
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

ACCOUNT = "1234567_SB1"
CLIENT_ID = "fieldline-client"
CERTIFICATE_ID = "fieldline-certificate"
CONSUMER_KEY = "fieldline-consumer"
CONSUMER_SECRET = "consumer-secret-of-the-sandbox"
TOKEN_ID = "fieldline-token"
TOKEN_SECRET = "token-secret-of-the-sandbox"
_KEY = ec.derive_private_key(0x6669656C646C696E65 << 128 | 0x6E65747375697465, ec.SECP256R1())
"""The same in every process, so that the local stack's settings fit; worth nothing elsewhere."""
PRIVATE_KEY = _KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
LASTS_S = 3_600
ASSERTION_MAX_S = 3_600
CLOCK_S = 300
"""How far a signature's timestamp may be off."""
ALGORITHMS = ["PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TOKEN_PATH = "/services/rest/auth/oauth2/v1/token"


class Door:
    """Tokens that are good at the moment, and nonces that are used up."""

    def __init__(self) -> None:
        self._tokens: dict[str, float] = {}
        self._nonces: set[tuple[str, str]] = set()

    def expire(self) -> None:
        """Every token ends now; TBA's have no end."""
        self._tokens.clear()

    async def token(self, request: Request, base: str) -> Response:
        """POST …/auth/oauth2/v1/token."""
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        if form.get("grant_type") != "client_credentials":
            return _refused("unsupported_grant_type")
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            return _refused("invalid_request")
        assertion = str(form.get("client_assertion") or "")
        if not _good(assertion, f"{base}{TOKEN_PATH}"):
            return _refused("invalid_client")
        token = secrets.token_urlsafe(48)
        self._tokens[token] = time.time() + LASTS_S
        return JSONResponse(
            {"access_token": token, "expires_in": str(LASTS_S), "token_type": "bearer"}
        )

    def lets_in(self, request: Request) -> bool:
        """Whether a request of the REST services is authorised."""
        header = request.headers.get("authorization", "")
        kind, _, rest = header.partition(" ")
        if kind.lower() == "bearer":
            return self._tokens.get(rest, 0.0) > time.time()
        return kind.lower() == "oauth" and self._signed(request, header)

    def _signed(self, request: Request, header: str) -> bool:
        headers = {"Authorization": header}
        told = dict(
            signature.collect_parameters(
                headers=headers, exclude_oauth_signature=False, with_realm=True
            )
        )
        wanted = {
            "realm": ACCOUNT,
            "oauth_consumer_key": CONSUMER_KEY,
            "oauth_token": TOKEN_ID,
            "oauth_signature_method": "HMAC-SHA256",
            "oauth_version": "1.0",
        }
        if any(told.get(name) != value for name, value in wanted.items()):
            return False
        stamp, nonce = told.get("oauth_timestamp", ""), told.get("oauth_nonce", "")
        if not stamp.isdigit() or abs(int(stamp) - time.time()) > CLOCK_S:
            return False
        if not nonce or (stamp, nonce) in self._nonces:
            return False
        signed = SimpleNamespace(
            http_method=request.method,
            uri=str(request.url),
            params=signature.collect_parameters(uri_query=request.url.query, headers=headers),
            signature=told.get("oauth_signature", ""),
        )
        if not signature.verify_hmac_sha256(signed, CONSUMER_SECRET, TOKEN_SECRET):
            return False
        self._nonces.add((stamp, nonce))
        return True


def _good(assertion: str, audience: str) -> bool:
    try:
        header = jwt.get_unverified_header(assertion)
        claims: dict[str, Any] = jwt.decode(
            assertion,
            _KEY.public_key(),
            algorithms=ALGORITHMS,
            audience=audience,
            issuer=CLIENT_ID,
            options={"require": ["exp", "iat", "iss", "aud", "scope"]},
        )
    except (jwt.PyJWTError, TypeError, ValueError):
        return False
    scopes = claims["scope"]
    scopes = scopes.split(",") if isinstance(scopes, str) else scopes
    return (
        header.get("kid") == CERTIFICATE_ID
        and header.get("typ") == "JWT"
        and "rest_webservices" in [str(one).strip() for one in scopes]
        and claims["exp"] - claims["iat"] < ASSERTION_MAX_S
    )


def _refused(error: str) -> Response:
    return JSONResponse({"error": error}, 400 if error != "invalid_client" else 401)
