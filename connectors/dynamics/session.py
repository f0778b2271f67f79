"""Being let in, and asking: tokens, requests, and what is told of the answers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import httpx

from connectors.answers import Row
from connectors.auth import Tokens
from connectors.base import Call, Checked, Conversation, Effect, Reply
from connectors.dynamics.answers import BROKEN, NAME, trouble, words
from connectors.dynamics.config import DynamicsSettings
from connectors.dynamics.odata import Ask, answers, request
from connectors.speech import Speech
from pipeline.core.outcome import Outcome, Retryable

TITLE = "Dataverse"
Said = Reply | Retryable | None
"""What came of one ask: an answer, our own trouble with the token, or nothing in the batch."""


class Session:
    """One application user. `clock` gives seconds since the Unix epoch."""

    def __init__(self, settings: DynamicsSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._tokens = Tokens(NAME, self._ask_token, clock=clock)
        self._secrets: list[str] = list(settings.secrets())
        self._clock = clock

    def talk(self, step: str, asks: Sequence[Ask], effect: Effect) -> Conversation[list[Said]]:
        """One answer per ask. A token that has ended is renewed once."""
        for last in (False, True):
            token = yield from self._tokens.get()
            if isinstance(token, Retryable):
                return [token] * len(asks)
            self._secrets = [*self._settings.secrets(), token.text]
            made = request(self._settings.api, asks, token.text)
            reply = yield Call(step=step, request=made, effect=effect)
            ended = (
                isinstance(reply, httpx.Response) and reply.status_code == httpx.codes.UNAUTHORIZED
            )
            if last or not ended:
                break
            self._tokens.spent(token)
        return list(answers(reply, asks))

    def _ask_token(self, now_s: float) -> httpx.Request:
        del now_s
        fields = {
            "grant_type": "client_credentials",
            "client_id": self._settings.client_id,
            "client_secret": self._settings.client_secret.get_secret_value(),
            "scope": f"{self._settings.url}/.default",
        }
        return httpx.Request("POST", self._settings.login, data=fields)

    @property
    def _speech(self) -> Speech:
        return Speech(title=TITLE, secrets=self._secrets, words=words, clock=self._clock)

    def outcome(self, row: Row | None, reply: Said) -> Outcome:
        """What an ask came to, where it was to write. `row` None: it cannot be read."""
        if isinstance(reply, Retryable):
            return reply
        return self._speech.outcome(row or BROKEN, _told(reply), keyed=True)

    def again(self, row: Row, reply: Reply | None) -> Retryable:
        """What an ask came to that only read."""
        return self._speech.again(row, _told(reply))

    def checked(self, what: str, answer: Said) -> Checked:
        """One line of a check."""
        if isinstance(answer, Retryable):
            return Checked(what=what, ok=False, detail=answer.message)
        return self._speech.checked(what, meaning(answer), _told(answer))


def _told(reply: Reply | None) -> Reply:
    """The answer to tell of; a batch that says nothing of an ask was itself a success."""
    return httpx.Response(httpx.codes.OK) if reply is None else reply


def meaning(reply: Said) -> Row | None:
    """What an answer means; a missing one is not readable, one of ours has spoken already."""
    if isinstance(reply, Retryable):
        return None
    return BROKEN if reply is None else trouble(reply)
