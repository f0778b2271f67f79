"""Requests as NetSuite lets them in: with a bearer token, or signed. Pure but for the nonce.

OAuth 2.0 client credentials (NetSuite help, The Request Token Structure; RFC 7523): the
assertion is signed with PS256 or ES256/384/512, has kid, iss, scope, aud, iat and an exp less
than 60 minutes later. Token-based authentication is OAuth 1.0a (RFC 5849) with HMAC-SHA256;
the realm is sent and, as the RFC says, not part of what is signed. Bodies are JSON, so they
are not part of it either.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal

import httpx
import jwt
import orjson
from oauthlib import oauth1

from connectors.auth import Tokens
from connectors.base import Call, Conversation, Effect, Reply
from connectors.netsuite.answers import NAME
from connectors.netsuite.config import NetsuiteSettings, algorithm_of
from pipeline.core.outcome import Retryable

Method = Literal["GET", "POST", "PUT", "PATCH"]
ASSERTION_S = 300
"""How long an assertion is good for; NetSuite allows less than 3,600 (D)."""
SCOPE = "rest_webservices"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
REMEMBERED = 64
"""How many of the last signatures and tokens are kept out of what is told."""


class Access:
    """One account's door. `clock` gives seconds since the Unix epoch."""

    def __init__(self, settings: NetsuiteSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._tokens = Tokens(NAME, self._ask, clock=clock)
        self._sent: deque[str] = deque(maxlen=REMEMBERED)

    def secrets(self) -> tuple[str, ...]:
        """All that an answer must not be repeated with."""
        return (*self._settings.secrets(), *self._sent)

    def token(self) -> Conversation[Retryable | None]:
        """Only the token, for a check; None where all is well, or where there is none."""
        if self._settings.uses_tba:
            return None
        token = yield from self._tokens.get()
        return token if isinstance(token, Retryable) else None

    def send(
        self,
        step: str,
        method: Method,
        path: str,
        *,
        effect: Effect,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Conversation[Reply | Retryable]:
        """The answer; Retryable where no token was to be had, so that nothing was sent.

        A token that is refused is renewed once.
        """
        url = httpx.URL(f"{self._settings.rest}{path}")
        content = orjson.dumps(body) if body is not None else None
        shown = {"accept": "application/json"} | dict(headers or {})
        if body is not None:
            shown.setdefault("content-type", "application/json")
        for last in (False, True):
            if self._settings.uses_tba:
                shown["authorization"] = self._signed(method, url)
                request = httpx.Request(method, url, headers=shown, content=content)
                return (yield Call(step=step, request=request, effect=effect))
            token = yield from self._tokens.get()
            if isinstance(token, Retryable):
                return token
            self._remember(token.text)
            shown["authorization"] = f"Bearer {token.text}"
            request = httpx.Request(method, url, headers=shown, content=content)
            reply = yield Call(step=step, request=request, effect=effect)
            refused = isinstance(reply, httpx.Response) and reply.status_code == 401  # noqa: PLR2004
            if not refused or last:
                return reply
            self._tokens.spent(token)
        raise AssertionError  # the loop returns

    def _ask(self, now_s: float) -> httpx.Request:
        settings = self._settings
        key = settings.private_key.get_secret_value()
        claims = {
            "iss": settings.client_id,
            "scope": [SCOPE],
            "aud": settings.token_url,
            "iat": int(now_s),
            "exp": int(now_s) + ASSERTION_S,
        }
        kid = {"kid": settings.certificate_id}
        assertion = jwt.encode(claims, key, algorithm=algorithm_of(key), headers=kid)
        self._remember(assertion)
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        return httpx.Request("POST", settings.token_url, data=form)

    def _signed(self, method: Method, url: httpx.URL) -> str:
        settings = self._settings
        client = oauth1.Client(
            settings.consumer_key,
            client_secret=settings.consumer_secret.get_secret_value(),
            resource_owner_key=settings.token_id,
            resource_owner_secret=settings.token_secret.get_secret_value(),
            signature_method=oauth1.SIGNATURE_HMAC_SHA256,
            realm=settings.realm,
            nonce=secrets.token_hex(16),
            timestamp=str(int(self._clock())),
        )
        _, headers, _ = client.sign(str(url), http_method=method)
        header = str(headers["Authorization"])
        self._remember(header.rpartition('oauth_signature="')[2].partition('"')[0])
        return header

    def _remember(self, text: str) -> None:
        if text not in self._sent:
            self._sent.append(text)
