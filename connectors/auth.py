"""Tokens: asked for in the conversation that needs one, kept until they are about to end. Pure.

A token belongs to the connector, so to one worker. Two conversations may ask at the same
time; the later answer stays. No clock of the system's is trusted: what matters is how long
the token is good for from now.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import httpx

from connectors.answers import (
    Kind,
    Row,
    hide,
    json_of,
    message_of,
    retry_after,
    retryable,
    transport_row,
)
from connectors.base import Call, Conversation, Effect, Reply
from pipeline.core.outcome import Retryable

SPARE_S = 30.0
"""A token is not used in its last seconds: the request has to get there yet."""
DEFAULT_S = 600.0
"""How long a token is kept whose answer does not say how long it is good for."""
LONGEST_S = 86_400.0
_VISIBLE = re.compile(r"[\x20-\x7e]+")
_SECRETS = frozenset(
    {"client_secret", "client_assertion", "assertion", "password", "refresh_token"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """`text` goes after 'Bearer '; `fields` is whatever else the answer had (instance_url)."""

    text: str = field(repr=False)
    until_s: float
    fields: dict[str, str] = field(default_factory=dict, repr=False)


class Tokens:
    """One token, renewed when needed: OAuth 2.0's token endpoint (RFC 6749, 4.4 and 5).

    `ask` makes the request, given the time in seconds since the Unix epoch; `system` begins
    the codes. Errors of a token endpoint never reject an event: credentials are mended by
    people, and until then the system is as good as away.
    """

    def __init__(
        self, system: str, ask: Callable[[float], httpx.Request], *, clock: Callable[[], float]
    ) -> None:
        self._system = system
        self._ask = ask
        self._clock = clock
        self._token: Token | None = None

    def get(self) -> Conversation[Token | Retryable]:
        """The token, asked for where there is none that lasts."""
        kept = self._token
        if kept is not None and self._clock() < kept.until_s - SPARE_S:
            return kept
        request = self._ask(self._clock())
        reply = yield Call(step="token", request=request, effect=Effect.READ)
        made = self._read(reply, secrets_of(request))
        if isinstance(made, Token):
            self._token = made
        return made

    def spent(self, token: Token) -> None:
        """The system does not take it any more: the next one is asked for."""
        if self._token is token:
            self._token = None

    def _read(self, reply: Reply, secrets: Iterable[str]) -> Token | Retryable:
        name = self._system
        if isinstance(reply, httpx.TransportError):
            row = transport_row(name, reply)
            return retryable(row, message=message_of(name, row))
        body = json_of(reply)
        fields = body if isinstance(body, dict) else {}
        text = fields.get("access_token")
        # RFC 6749, A.12: visible ASCII. Anything else could not stand in a header.
        if reply.is_success and isinstance(text, str) and _VISIBLE.fullmatch(text):
            told = {k: v for k, v in fields.items() if isinstance(v, str) and k != "access_token"}
            return Token(text=text, until_s=self._clock() + _lasts(fields), fields=told)
        row = token_rows(name)[0 if reply.is_client_error and reply.status_code != 429 else 1]  # noqa: PLR2004
        said = fields.get("error_description") or fields.get("error") or ""
        return retryable(
            row,
            message=message_of(name, row, hide(str(said), secrets), reply.status_code),
            retry_after_s=retry_after(reply.headers.get("retry-after"), self._clock()),
        )


def secrets_of(request: httpx.Request) -> tuple[str, ...]:
    """What a request for a token must keep to itself: an answer may repeat it."""
    form = parse_qsl(request.content.decode("utf-8", "replace"))
    values = [value for name, value in form if name in _SECRETS]
    _, _, credentials = request.headers.get("authorization", "").partition(" ")
    return tuple(filter(None, (*values, credentials)))


def token_rows(system: str) -> tuple[Row, Row]:
    """What a token endpoint's refusals mean: our credentials, or its own trouble."""
    return (
        Row(
            kind=Kind.BUSY,
            code=f"{system}.credentials",
            when="4xx of the token endpoint",
            source="RFC 6749, 5.2; a credential is mended by people, not in the DLQ",
            advice="check the client, its key and its rights",
        ),
        Row(
            kind=Kind.BUSY,
            code=f"{system}.token_unavailable",
            when="429, 5xx or no token from the token endpoint",
            source="RFC 6749, 5",
        ),
    )


def _lasts(fields: dict[str, object]) -> float:
    told = fields.get("expires_in")
    try:
        seconds = float(str(told)) if told is not None else DEFAULT_S
    except ValueError:
        seconds = DEFAULT_S
    return min(max(seconds, 0.0), LONGEST_S) if math.isfinite(seconds) else DEFAULT_S
