"""What can come of one attempt to deliver one event: a closed set.

    Outcome
    ├── Delivered   the target has it: finish
    ├── Rejected    the target (or the mapping, before anything was sent) refuses it for a
    │               business reason: a person decides, or policy says nobody needs to
    ├── Retryable   it was certainly not taken: wait, then send again
    └── Unknown     it may or may not have been taken: look it up before anything else

Anything a connector does not recognise is Unknown after a write and Retryable after a
read, never Delivered.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """Whose trouble a Retryable is: it decides whether retries end."""

    SYSTEM = "system"
    """The target as a whole (down, throttling, locked out): wait as long as it takes."""
    ITEM = "item"
    """This event only: the retry budget applies, then a person decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The target holds the event's effect. `created` is False where it was there before."""

    target_id: str
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Refused for a business reason.

    `code` is from the connector's table ('mapping.*' when refused before sending);
    `message` is one sentence; `answer` the target's words without secrets, at most 4,096
    characters; `final` is True where policy says that no person needs to decide.
    """

    code: str
    message: str
    answer: str | None = None
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Retryable:
    """Certainly not taken. `retry_after_s` is the target's own wish, in seconds."""

    code: str
    message: str
    scope: Scope
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """May have been taken: a write went out and no answer that we understand came back."""

    code: str
    message: str


Outcome = Delivered | Rejected | Retryable | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Look-up by business key: the target has it."""

    target_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFound:
    """Look-up by business key: the target answered, and has it not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecidable:
    """Look-up by business key: the target cannot be asked, so a person decides."""

    code: str
    message: str


LookUp = Found | NotFound | Undecidable | Retryable
"""A look-up only reads, so whatever fails in it is Retryable."""
