"""Being let in: Basic, or a token that is renewed once in a conversation. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from connectors.answers import Row
from connectors.auth import Tokens
from connectors.base import Call, Checked, Conversation, Effect, Reply
from connectors.dms.answers import NAME, words
from connectors.dms.config import DmsSettings
from connectors.speech import Speech
from pipeline.core.outcome import Outcome, Retryable


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One request to be made, still without its credentials."""

    step: str
    method: str
    url: str
    effect: Effect
    headers: Mapping[str, str]
    content: bytes | None = None


class Session:
    """One user. `title` is the store's name for people; `clock` gives seconds since 1970."""

    def __init__(self, settings: DmsSettings, title: str, clock: Callable[[], float]) -> None:
        self.settings = settings
        self._title = title
        self._clock = clock
        self._tokens = Tokens(NAME, self._ask_token, clock=clock) if settings.token_url else None
        self._sent: tuple[str, ...] = ()

    def talk(self, wanted: Wanted) -> Conversation[Reply | Retryable]:
        """The answer, or the trouble with the token. One that has ended is renewed once."""
        if self._tokens is None:
            given = self.settings.username, self.settings.password.get_secret_value()
            made = next(httpx.BasicAuth(*given).auth_flow(_request(wanted)))
            self._sent = (made.headers["authorization"].partition(" ")[2],)
            return (yield _call(wanted, made))
        token = yield from self._tokens.get()
        if isinstance(token, Retryable):
            return token
        reply = yield _call(wanted, self._bearing(wanted, token.text))
        if isinstance(reply, httpx.Response) and reply.status_code == httpx.codes.UNAUTHORIZED:
            self._tokens.spent(token)
            token = yield from self._tokens.get()
            if isinstance(token, Retryable):
                return token
            reply = yield _call(wanted, self._bearing(wanted, token.text))
        return reply

    def outcome(self, row: Row, reply: Reply | Retryable) -> Outcome:
        """What an answer means after a request that could write: all writes are keyed."""
        if isinstance(reply, Retryable):
            return reply
        return self._speech.outcome(row, reply, keyed=True)

    def again(self, row: Row, reply: Reply | Retryable) -> Retryable:
        """What an answer means after one that only read."""
        return reply if isinstance(reply, Retryable) else self._speech.again(row, reply)

    def checked(self, what: str, row: Row | None, reply: Reply | Retryable) -> Checked:
        """One line of a check."""
        if isinstance(reply, Retryable):
            return Checked(what=what, ok=False, detail=reply.message)
        return self._speech.checked(what, row, reply)

    @property
    def _speech(self) -> Speech:
        secrets = (*self.settings.secrets(), *self._sent)
        return Speech(title=self._title, secrets=secrets, words=words, clock=self._clock)

    def _bearing(self, wanted: Wanted, token: str) -> httpx.Request:
        self._sent = (token,)
        made = _request(wanted)
        made.headers["authorization"] = f"Bearer {token}"
        return made

    def _ask_token(self, now_s: float) -> httpx.Request:
        del now_s
        fields = {
            "grant_type": "client_credentials",
            "client_id": self.settings.client_id,
            "client_secret": self.settings.client_secret.get_secret_value(),
        }
        if self.settings.scope:
            fields["scope"] = self.settings.scope
        return httpx.Request("POST", self.settings.token_url, data=fields)


def _request(wanted: Wanted) -> httpx.Request:
    return httpx.Request(
        wanted.method, wanted.url, headers=dict(wanted.headers), content=wanted.content
    )


def _call(wanted: Wanted, request: httpx.Request) -> Call:
    return Call(step=wanted.step, request=request, effect=wanted.effect)
