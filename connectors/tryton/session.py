"""Logging in, and calling with the session: the part of every conversation with Tryton.

Protocol (trytond 8.2): `common.db.login` with [user, {"password": …}] gives [user id,
token, …] (protocols/dispatcher.login); later calls carry `Authorization: Session` with
base64 of 'user:id:token' (protocols/wrappers.parse_session) and a context as last argument
(rpc.RPC.convert). A session that Tryton does not know is 401, before the method is called
(wsgi.auth_required), so that even a write is safely sent again after a new login.

After a login the user's company and rights are read, so that a user who cannot do the work
halts the sink with a clear code; were it left to the first create, every event would be
refused with a UserError, as if it were the event's fault.

Tryton's sentence for a number that is taken is read too, in the user's language. Tryton
numbers new works itself; on SQLite, which has neither sequences nor row locks, two creates
at once may draw the same number (ir/sequence.py `_get_many`; backend/sqlite `lock`), and one
of them is refused with that sentence. We never send a number, so it is never about our data.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx

from connectors.answers import clean
from connectors.base import Call, Conversation, Effect, Reply
from connectors.tryton.answers import (
    NO_COMPANY,
    NO_RIGHTS,
    NUMBER_RACE,
    Failure,
    Kind,
    Result,
    read_reply,
)
from connectors.tryton.config import TrytonSettings

ACCESS = ("project.work", "party.party")
"""Models to read and create in."""
LEADS = ("sale.opportunity",)
ASSETS = ("product.template", "product.product")
CHANGED = "project.work"
"""Model that updates and clears write to."""
NUMBER_TAKEN = ("project", "msg_work_number_unique")
"""Module and id of the sentence (trytond/modules/project/message.xml)."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Login:
    """A session and what the calls under it need. Without repr: the header is a secret."""

    header: str
    company: int
    language: str
    number_taken: str
    """'' where this Tryton does not tell."""

    @property
    def context(self) -> dict[str, Any]:
        """Tryton's context: the company of new records, the language of its sentences."""
        return {"company": self.company, "language": self.language}


def _halt(code: str, message: str) -> Failure:
    return Failure(kind=Kind.BUSY, code=f"tryton.{code}", message=message)


class Session:
    """The session of one connector, shared by its conversations; each may renew it."""

    def __init__(self, config: TrytonSettings) -> None:
        self._config = config
        self._secrets = config.secrets()
        self._access = (
            *ACCESS,
            *(LEADS if config.lead_severity else ()),
            *(ASSETS if config.assets else ()),
        )
        self._login: Login | None = None

    def ask(
        self,
        step: str,
        method: str,
        params: Sequence[Any],
        effect: Effect,
        context: Mapping[str, Any] | None = None,
    ) -> Conversation[Result | Failure]:
        """Call a method; logs in first where needed, and once more where the session ended.

        `context` is added to the session's own.
        """
        answer: Result | Failure = _halt("session", "Tryton gives no session.")
        for _ in range(2):
            login = yield from self.ensure()
            if isinstance(login, Failure):
                return login
            full = {**login.context, **(context or {})}
            request = self._request(method, [*params, full], login.header)
            reply = yield Call(step=step, request=request, effect=effect)
            answer = self._read_reply(reply, login.header)
            if isinstance(answer, Result):
                return answer
            if answer.kind is Kind.BUSINESS and login.number_taken == answer.answer:
                return replace(answer, kind=NUMBER_RACE.kind, code=NUMBER_RACE.code)
            if answer.kind is not Kind.EXPIRED:
                return answer
            if self._login is login:  # another conversation may have renewed it meanwhile
                self._login = None
        return answer

    def ensure(self) -> Conversation[Login | Failure]:
        """The session, new where there is none. A Failure here means: nothing was sent."""
        if self._login is None:
            login = yield from self._log_in()
            if isinstance(login, Failure):
                return login
            self._login = login
        return self._login

    def forget(self) -> None:
        """The next conversation logs in anew."""
        self._login = None

    def check_rights(self, *, change: bool = False) -> Conversation[Failure | None]:
        """A Failure where the user may not, or no longer, create what orders are made of.

        With `change`: or may not write orders, which only updates and clears need.
        """
        login = yield from self.ensure()
        if isinstance(login, Failure):
            return login
        return (yield from self._rights(login.header, login.context, change=change))

    def _log_in(self) -> Conversation[Login | Failure]:
        header = yield from self._header()
        if isinstance(header, Failure):
            return header
        preferences = yield from self._read(
            "preferences", "model.res.user.get_preferences", [True, {}], header
        )
        if isinstance(preferences, Failure):
            return preferences
        found = preferences.value if isinstance(preferences.value, dict) else {}
        company = yield from self._company(found, header)
        if isinstance(company, Failure):
            return company
        language = found.get("language")
        login = Login(
            header=header,
            company=company,
            language=language if isinstance(language, str) else "en",
            number_taken="",
        )
        failure = yield from self._rights(header, login.context)
        if failure is not None:
            return failure
        sentence = yield from self._sentence(header, login.context)
        if isinstance(sentence, Failure):
            return sentence
        return replace(login, number_taken=sentence)

    def _header(self) -> Conversation[str | Failure]:
        user, password = self._config.user, self._config.password.get_secret_value()
        given = yield from self._read("login", "common.db.login", [user, {"password": password}])
        if isinstance(given, Failure):
            if given.code == "tryton.session":  # 401 here is the password
                return _halt(
                    "credentials",
                    f"Tryton refuses user {user}: check TRYTON_USER and TRYTON_PASSWORD.",
                )
            return given
        match given.value:
            case [int(user_id), str(token), *_]:
                plain = f"{user}:{user_id}:{token}"
                return "Session " + base64.b64encode(plain.encode()).decode()
        return _halt("garbled", "Tryton's answer to a login cannot be read.")

    def _company(self, preferences: dict[str, Any], header: str) -> Conversation[int | Failure]:
        wanted = self._config.company
        if wanted is None:
            current = preferences.get("company")
            if isinstance(current, int):
                return current
            return NO_COMPANY.failure(
                f"user {self._config.user} has no current company: give it one"
            )
        domain = [["party.name", "=", wanted]]
        rows = yield from self._read(
            "company",
            "model.company.company.search_read",
            [domain, 0, 2, None, ["id"], {}],
            header,
        )
        if isinstance(rows, Failure):
            return rows
        match rows.value:
            case [{"id": int(company)}] if company in (preferences.get("companies") or ()):
                return company
        return NO_COMPANY.failure(
            f"there is not exactly one {wanted!r} open to user {self._config.user}: correct "
            "the name or the user's companies"
        )

    def _rights(
        self, header: str, context: dict[str, Any], *, change: bool = False
    ) -> Conversation[Failure | None]:
        answer = yield from self._read(
            "rights", "model.ir.model.access.get_access", [list(self._access), context], header
        )
        if isinstance(answer, Failure):
            return answer
        rights = answer.value if isinstance(answer.value, dict) else {}
        for model in self._access:
            may = rights.get(model)
            if not (isinstance(may, dict) and may.get("read") and may.get("create")):
                return NO_RIGHTS.failure(
                    f"user {self._config.user} may not read and create {model}: "
                    "add the user to a group that may"
                )
            if change and model == CHANGED and not may.get("write"):
                return NO_RIGHTS.failure(
                    f"user {self._config.user} may not write {model}, which clearing an order "
                    "takes: add the user to a group that may"
                )
        return None

    def _sentence(self, header: str, context: dict[str, Any]) -> Conversation[str | Failure]:
        found = yield from self._read(
            "sentence_id", "model.ir.model.data.get_id", [*NUMBER_TAKEN, context], header
        )
        if isinstance(found, Failure):
            return "" if found.code in {"tryton.fault", "tryton.user_error"} else found
        text = yield from self._read(
            "sentence", "model.ir.message.read", [[found.value], ["text"], context], header
        )
        if isinstance(text, Failure):
            return "" if text.code in {"tryton.fault", "tryton.user_error"} else text
        match text.value:
            case [{"text": str(sentence)}]:
                return sentence
        return ""

    def _read(
        self, step: str, method: str, params: list[Any], header: str | None = None
    ) -> Conversation[Result | Failure]:
        """A call outside ask(): every failure of it is one before anything was sent."""
        request = self._request(method, params, header)
        reply = yield Call(step=step, request=request, effect=Effect.READ)
        answer = self._read_reply(reply, header or "")
        if isinstance(answer, Failure):
            return Failure(
                kind=Kind.BUSY,
                code=answer.code,
                message=answer.message,
                retry_after_s=answer.retry_after_s,
            )
        return answer

    def _read_reply(self, reply: Reply, header: str) -> Result | Failure:
        """What it means, without our password and session in its words."""
        return read_reply(clean(reply, (*self._secrets, header, header.partition(" ")[2])))

    def _request(self, method: str, params: list[Any], header: str | None) -> httpx.Request:
        """One JSON-RPC request, with the time limit that the client's send() does not add.

        Accept-Encoding is not optional: a long answer says that it is gzip whether or not it
        is, and it is only when gzip was asked for (JSONProtocol.response).
        """
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        if header is not None:
            headers["Authorization"] = header
        return httpx.Request(
            "POST",
            self._config.rpc_url,
            json={"id": 1, "method": method, "params": params},
            headers=headers,
            extensions={"timeout": httpx.Timeout(self._config.timeout_s).as_dict()},
        )
