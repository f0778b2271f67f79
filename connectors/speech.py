"""From a table's row and the answer to an outcome with a sentence, free of secrets. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx

from connectors.answers import (
    Row,
    clean,
    hide,
    message_of,
    outcome_of,
    retry_after,
    retryable,
    says,
)
from connectors.base import Checked, Reply
from pipeline.core.outcome import Outcome, Retryable


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """How one system's answers are told.

    `title` is the system's name for people, `secrets` all that must not be repeated, `words`
    finds what the system says to a person, `clock` gives seconds since the Unix epoch.
    """

    title: str
    secrets: Sequence[str] = field(repr=False)
    words: Callable[[Reply], str]
    clock: Callable[[], float]

    def outcome(self, row: Row, reply: Reply, *, keyed: bool) -> Outcome:
        """What a row means for one event, after a request that could have an effect."""
        return outcome_of(
            row,
            keyed=keyed,
            message=self.message(row, reply),
            answer=says(clean(reply, self.secrets)),
            retry_after_s=self.wish(reply),
        )

    def again(self, row: Row, reply: Reply) -> Retryable:
        """What a row means after a request that only reads, or that comes before the write."""
        return retryable(row, message=self.message(row, reply), retry_after_s=self.wish(reply))

    def checked(self, what: str, row: Row | None, reply: Reply) -> Checked:
        """One line of a check; `row` None = it is well."""
        if row is None:
            return Checked(what=what, ok=True, detail=f"{self.title} answers.")
        return Checked(what=what, ok=False, detail=self.message(row, reply))

    def message(self, row: Row, reply: Reply) -> str:
        """One sentence."""
        status = reply.status_code if isinstance(reply, httpx.Response) else 0
        # Hidden again: words may have been written in a way that no pattern finds.
        said = hide(self.words(clean(reply, self.secrets)), self.secrets)
        return message_of(self.title, row, said, status)

    def wish(self, reply: Reply) -> float | None:
        """The answer's Retry-After, seconds."""
        if isinstance(reply, httpx.TransportError):
            return None
        return retry_after(reply.headers.get("retry-after"), self.clock())
