"""Tokens and requests: a token for the conversation, renewed once where it has ended. Pure.

The answer of the token endpoint names the instance to talk to (`instance_url`). That is input
as well: a host that the settings do not allow gets neither our token nor our data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
import orjson

from connectors.answers import Kind, clean, hide, message_of
from connectors.auth import Token, Tokens
from connectors.base import Call, Conversation, Effect, Reply
from connectors.salesforce.answers import INSTANCE, NAME, TITLE, Failure, early, unlike
from connectors.salesforce.config import SalesforceSettings
from connectors.settings import host_of, web_address
from pipeline.core.outcome import Retryable, Scope

EXP_S = 120.0
"""How long a JWT is good for: Salesforce takes three minutes at most ('OAuth 2.0 JWT Bearer
Flow for Server-to-Server Integration'), and clocks differ."""
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
JSON, CSV = "application/json", "text/csv; charset=UTF-8"


class Session:
    """One user's session. `clock` gives seconds since the Unix epoch."""

    def __init__(self, settings: SalesforceSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._tokens = Tokens(NAME, self._ask, clock=clock)
        self._data = f"/services/data/v{settings.api_version}"

    def path(self, rest: str) -> str:
        """The path of a resource of the API's version."""
        return f"{self._data}/{rest}"

    def call(
        self,
        step: str,
        method: str,
        path: str,
        effect: Effect,
        *,
        body: Any = None,  # noqa: ANN401 - JSON
        csv: bytes | None = None,
        accept: str = JSON,
    ) -> Conversation[Reply | Failure]:
        """One request, with a new token once where the first has ended.

        A Failure is a token that could not be had: nothing was sent then. Answers are cleaned
        of our secrets.
        """
        spent: Token | None = None
        while True:
            where = yield from self._token()
            if isinstance(where, Failure):
                return where
            token, base = where
            headers = {"authorization": f"Bearer {token.text}", "accept": accept}
            content = csv
            if csv is not None:
                headers["content-type"] = CSV
            elif body is not None:
                headers["content-type"] = JSON
                content = orjson.dumps(body)
            request = httpx.Request(method, f"{base}{path}", headers=headers, content=content)
            reply = yield Call(step=step, request=request, effect=effect)
            reply = clean(reply, (token.text, *self._settings.secrets()))
            over = isinstance(reply, httpx.Response) and (
                self.failure(reply).row.kind is Kind.EXPIRED
            )
            if not over or spent is not None:
                return reply
            self._tokens.spent(token)
            spent = token

    def failure(self, reply: Reply) -> Failure:
        """The failure that an answer tells of which is not what was hoped for."""
        return unlike(reply, self._clock())

    # -- tokens

    def _token(self) -> Conversation[tuple[Token, str] | Failure]:
        """A token, and where it is good: scheme and host."""
        token = yield from self._tokens.get()
        if isinstance(token, Retryable):
            return early(token)
        # It is told of below: an endpoint that repeats a secret there has named no address.
        base = hide(
            token.fields.get("instance_url") or self._settings.url, self._settings.secrets()
        )
        try:
            base = web_address(base, path=False)
        except ValueError:
            base = ""
        if host_of(base) in self._settings.hosts():
            return token, base
        self._tokens.spent(token)
        said = f"the token is for {host_of(base) or 'no usable address'}"
        return early(
            Retryable(
                code=INSTANCE.code,
                message=message_of(TITLE, INSTANCE, said),
                scope=Scope.SYSTEM,
            )
        )

    def _ask(self, now_s: float) -> httpx.Request:
        settings = self._settings
        if settings.uses_jwt:
            claims = {
                "iss": settings.client_id,
                "sub": settings.username,
                "aud": settings.audience,
                "exp": int(now_s + EXP_S),
            }
            key = settings.private_key.get_secret_value()
            form = {
                "grant_type": JWT_BEARER,
                "assertion": jwt.encode(claims, key, algorithm="RS256"),
            }
        else:
            form = {
                "grant_type": "client_credentials",
                "client_id": settings.client_id,
                "client_secret": settings.client_secret.get_secret_value(),
            }
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": JSON}
        return httpx.Request(
            "POST", settings.token_url, headers=headers, content=urlencode(form).encode()
        )
