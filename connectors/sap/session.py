"""Requests to SAP's services: login, CSRF token and cookies, $batch. Pure.

A write needs a CSRF token, and a token is good only with *all* cookies that came with it. Both
are kept as one pair for each service until SAP asks for a new one (403, x-csrf-token:
Required), which is then fetched once. HEAD of the service's root is asked first, GET where
that gives no token; the token counts whatever the status (SAP Cloud SDK, S). Where a good
answer has none, the check is switched off for the service, and none is sent.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import httpx

from connectors.answers import Kind, clean
from connectors.auth import Token, Tokens
from connectors.base import Call, Conversation, Effect, Reply
from connectors.sap.answers import (
    CREDENTIALS,
    CSRF,
    NAME,
    UNEXPECTED,
    Trouble,
    trouble_of,
    words,
)
from connectors.sap.batch import Op, decode, encode
from connectors.sap.config import SapSettings
from connectors.speech import Speech
from pipeline.core.outcome import Outcome, Retryable, Unknown

TITLE = "SAP"
COOKIES_MAX = 32
_SENT_MAX = 64
"""Secrets of requests under way that are remembered, so that no answer repeats them."""
_SECRET_MIN = 8
"""A cookie's value shorter than this is no secret, but may well be part of an id."""
_OF_ONE = frozenset({Kind.REFUSED, Kind.HELD, Kind.RACED})
_READS = frozenset({"GET", "HEAD"})

Answer = httpx.Response | Trouble | Retryable
"""A success, an answer that is none, or why nothing was sent (no token from OAuth)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Csrf:
    token: str = field(repr=False)
    cookies: str = field(repr=False)

    def secrets(self) -> tuple[str, ...]:
        pairs = (one.partition("=")[2] for one in self.cookies.split("; "))
        return (self.token, self.cookies, *pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Login:
    """Headers that say who we are; `token` where they are OAuth's."""

    headers: dict[str, str] = field(repr=False)
    token: Token | None = field(default=None, repr=False)

    def secrets(self) -> tuple[str, ...]:
        held = self.headers.get("authorization", "")
        return (held, held.partition(" ")[2])


class Session:
    """One system as one user. `clock` gives seconds since the Unix epoch."""

    def __init__(self, settings: SapSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._speech = Speech(title=TITLE, secrets=settings.secrets(), words=words, clock=clock)
        self._tokens = Tokens(NAME, self._ask_token, clock=clock) if settings.client_id else None
        self._csrf: dict[str, _Csrf] = {}
        self._sent: deque[str] = deque(maxlen=_SENT_MAX)
        self._common = {"accept": "application/json"}
        if settings.sap_client:
            self._common["sap-client"] = settings.sap_client
        if settings.sap_language:
            self._common["sap-language"] = settings.sap_language.upper()

    # -- what came of it

    def outcome(self, trouble: Trouble | Retryable, *, effect: Effect) -> Outcome:
        """What that means for one event whose request had that effect."""
        if isinstance(trouble, Retryable):
            return trouble
        if not trouble.sent or effect is Effect.READ:
            return self._speech.again(trouble.row, trouble.reply)
        return self._speech.outcome(trouble.row, trouble.reply, keyed=effect is not Effect.WRITE)

    def again(self, trouble: Trouble | Retryable) -> Retryable:
        """What that means after a request that only reads."""
        if isinstance(trouble, Retryable):
            return trouble
        return self._speech.again(trouble.row, trouble.reply)

    def unknown(self, reply: httpx.Response) -> Unknown:
        """A success that does not say what it must."""
        return Unknown(code=UNEXPECTED.code, message=self._speech.message(UNEXPECTED, reply))

    def unreadable(self, reply: httpx.Response) -> Trouble:
        """A good answer to a read that does not say what it must."""
        return Trouble(row=UNEXPECTED, reply=reply)

    # -- requests

    def read(self, step: str, service: str, path: str, accept: str = "") -> Conversation[Answer]:
        """GET of a path below the service's root."""
        op = Op(step=step, method="GET", path=path, headers={"accept": accept} if accept else {})
        return (yield from self._exchange(service, op, Effect.READ))

    def send(
        self,
        service: str,
        ops: Sequence[Op],
        *,
        effect: Effect,
        batch_step: str,
        apart: bool = False,
    ) -> Conversation[list[Answer]]:
        """One answer for each request, in order: one by itself, several in a $batch.

        An answer to a $batch that cannot be matched with what was asked is everybody's; one
        that refuses it as a whole, perhaps for one's sake, has them sent one by one. `apart`:
        so from the first.
        """
        if apart or len(ops) == 1:
            return (yield from self._apart(service, ops, effect))
        if not ops:
            return []
        kind, content = encode(ops)
        op = Op(step=batch_step, method="POST", path="$batch", headers={"content-type": kind})
        whole = yield from self._exchange(service, op, effect, content=content)
        if isinstance(whole, Trouble) and whole.sent and whole.row.kind in _OF_ONE:
            return (yield from self._apart(service, ops, effect))
        if not isinstance(whole, httpx.Response):
            return [whole] * len(ops)
        parts = decode(whole)
        if parts is None or len(parts) != len(ops):
            return [Trouble(row=UNEXPECTED, reply=clean(whole, self._sent))] * len(ops)
        return [self._judged(part) for part in parts]

    def _apart(self, service: str, ops: Sequence[Op], effect: Effect) -> Conversation[list[Answer]]:
        """One after the other; after trouble that is the system's the rest is not sent."""
        answers: list[Answer] = []
        for op in ops:
            answer = yield from self._exchange(service, op, effect)
            answers.append(answer)
            if isinstance(answer, Trouble) and answer.row.kind in _OF_ONE:
                continue
            if not isinstance(answer, httpx.Response):
                rest = replace(answer, sent=False) if isinstance(answer, Trouble) else answer
                answers += [rest] * (len(ops) - len(answers))
                break
        return answers

    def token(self, service: str) -> Conversation[Trouble | Retryable | None]:
        """Fetch a CSRF token, as before a write; None where that went well."""
        login = yield from self._login()
        if isinstance(login, Retryable):
            return login
        held = yield from self._fetched(service, login)
        return None if isinstance(held, _Csrf) else held

    def _exchange(
        self, service: str, op: Op, effect: Effect, *, content: bytes | None = None
    ) -> Conversation[Answer]:
        """One request with all that goes before it; token and CSRF are renewed once each."""
        left = {CREDENTIALS.code, CSRF.code}
        while True:
            login = yield from self._login()
            if isinstance(login, Retryable):
                return login
            held = self._csrf.get(service)
            answer: Answer | None = None
            if op.method not in _READS and held is None:
                fetched = yield from self._fetched(service, login)
                if isinstance(fetched, _Csrf):
                    held = fetched
                else:
                    answer = fetched
            if answer is None:
                answer = yield from self._once(service, op, effect, login, held, content)
            if not isinstance(answer, Trouble) or answer.row.code not in left:
                return answer
            if answer.row is CREDENTIALS:
                if self._tokens is None or login.token is None:
                    return answer
                self._tokens.spent(login.token)
            elif self._csrf.get(service) is held:
                self._csrf.pop(service, None)
            left.discard(answer.row.code)

    def _once(
        self,
        service: str,
        op: Op,
        effect: Effect,
        login: _Login,
        held: _Csrf | None,
        content: bytes | None,
    ) -> Conversation[httpx.Response | Trouble]:
        headers = self._common | login.headers | dict(op.headers)
        if op.body is not None:
            headers["content-type"] = "application/json"
        if held is not None and held.cookies:
            headers["cookie"] = held.cookies
        if held is not None and held.token and op.method not in _READS:
            headers["x-csrf-token"] = held.token
        request = httpx.Request(
            op.method,
            self._settings.service(service) + op.path,
            headers=headers,
            content=op.content() if content is None else content,
        )
        reply = yield Call(step=op.step, request=request, effect=effect)
        for secret in (*login.secrets(), *(held.secrets() if held else ())):
            if len(secret) >= _SECRET_MIN and secret not in self._sent:
                self._sent.append(secret)
        return self._judged(reply)

    def _judged(self, reply: Reply) -> httpx.Response | Trouble:
        row = trouble_of(reply)
        if row is None and isinstance(reply, httpx.Response):
            return reply
        return Trouble(row=row or UNEXPECTED, reply=clean(reply, self._sent))

    def _fetched(self, service: str, login: _Login) -> Conversation[_Csrf | Trouble]:
        trouble = Trouble(row=UNEXPECTED, reply=httpx.Response(204), sent=False)
        for method in ("HEAD", "GET"):
            op = Op(step="csrf", method=method, path="", headers={"x-csrf-token": "Fetch"})
            answer = yield from self._once(service, op, Effect.READ, login, None, None)
            reply = answer if isinstance(answer, httpx.Response) else answer.reply
            if isinstance(reply, httpx.TransportError):
                return Trouble(row=trouble_of(reply) or UNEXPECTED, reply=reply, sent=False)
            token = reply.headers.get("x-csrf-token", "")
            known = bool(token) and token.lower() not in {"required", "fetch"}
            if known or (method == "GET" and isinstance(answer, httpx.Response)):
                held = _Csrf(token=token if known else "", cookies=_cookies(reply))
                self._csrf[service] = held
                return held
            if isinstance(answer, Trouble):
                trouble = Trouble(row=answer.row, reply=reply, sent=False)
                if answer.row is CREDENTIALS:
                    break
        return trouble

    # -- who we are

    def _login(self) -> Conversation[_Login | Retryable]:
        settings = self._settings
        if self._tokens is not None:
            token = yield from self._tokens.get()
            if isinstance(token, Retryable):
                return token
            return _Login(headers={"authorization": f"Bearer {token.text}"}, token=token)
        if settings.username:
            name, password = settings.username, settings.password.get_secret_value()
            return _Login(headers={"authorization": _basic(name, password)})
        return _Login(headers={})  # the client certificate says it

    def _ask_token(self, now_s: float) -> httpx.Request:
        del now_s
        settings = self._settings
        form = {"grant_type": "client_credentials"}
        if settings.scope:
            form["scope"] = settings.scope
        login = _basic(settings.client_id, settings.client_secret.get_secret_value())
        headers = {"authorization": login, "accept": "application/json"}
        return httpx.Request("POST", settings.tokens_at, headers=headers, data=form)


def _basic(name: str, password: str) -> str:
    """RFC 7617, in UTF-8."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def _cookies(reply: httpx.Response) -> str:
    """All cookies that an answer sets, as they are sent back."""
    jar: dict[str, str] = {}
    for line in reply.headers.get_list("set-cookie")[:COOKIES_MAX]:
        name, equals, value = line.split(";", 1)[0].strip().partition("=")
        if equals and name and (name + value).isascii() and (name + value).isprintable():
            jar[name] = value
    return "; ".join(f"{name}={value}" for name, value in jar.items())
