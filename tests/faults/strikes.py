"""What the fault proxy can do to a request, as data that also goes over the command socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

MOST_SECONDS: Final = 3_600.0
MOST_TIMES: Final = 1_000_000


class Way(StrEnum):
    """How a request is spoilt."""

    DELAY = "delay"
    """Passed on `seconds` late, also where the client has given up meanwhile."""
    RESET = "reset"
    """Never passed on: the client sees a reset."""
    CLOSE = "close"
    """Never passed on: the client sees the connection end in order, without an answer."""
    COMMIT_RESET = "commit_reset"
    """Passed on and answered; the client sees a reset before the first byte of the answer."""
    COMMIT_CLOSE = "commit_close"
    """The same with an end in order."""
    COMMIT_CUT = "commit_cut"
    """Passed on and answered; the client gets a part of the answer, then a reset."""
    SILENT = "silent"
    """Never passed on and never answered: half-open."""
    COMMIT_SILENT = "commit_silent"
    """Passed on and answered; the client gets nothing."""
    COMMIT_STALL = "commit_stall"
    """Passed on and answered; the client gets a part of the answer, then nothing."""
    SLOW = "slow"
    """Passed on; the answer comes at `rate` bytes a second."""
    NARROW = "narrow"
    """Request and answer both at `rate` bytes a second."""
    ANSWER = "answer"
    """The client gets `words` instead of the target's answer."""
    REFUSE = "refuse"
    """Nothing listens at the proxy's port; what is open is reset. Strikes no single request."""


class Words(StrEnum):
    """What is said in the target's place."""

    ERROR_500 = "500"
    UNAVAILABLE_503 = "503"
    LIMIT_429 = "429"
    """With Retry-After, `seconds` rounded up."""
    EXPIRED_401 = "401"
    HTML_200 = "html"
    GARBAGE = "garbage"
    """Bytes that are no HTTP."""
    BROKEN_GZIP = "broken_gzip"
    """200, said to be gzip, and it is not."""
    TRUNCATED = "truncated"
    """200 with the beginning of a JSON document, whole by its Content-Length."""
    EMPTY_200 = "empty"
    FLOOD = "flood"
    """200 with more bytes than anybody should read."""


class Aim(StrEnum):
    """Which requests are struck."""

    WRITES = "writes"
    READS = "reads"
    ANY = "any"


COMMITTING: Final = frozenset(
    {Way.COMMIT_RESET, Way.COMMIT_CLOSE, Way.COMMIT_CUT, Way.COMMIT_SILENT, Way.COMMIT_STALL}
)
"""The target has done what it was asked, and the client cannot know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One fault for the proxy.

    `times`: how many requests it strikes, 0 for all until it is lifted. `seconds`: length of a
    delay or a silence, or the wish of a 429. `part`: share of the answer that is let through.
    `passed_on`, for ANSWER: the target gets the request all the same. ValueError where a figure
    is out of bounds.
    """

    way: Way
    aim: Aim = Aim.ANY
    times: int = 1
    seconds: float = 1.0
    rate: int = 1_024
    part: float = 0.5
    words: Words = Words.ERROR_500
    passed_on: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.times <= MOST_TIMES:
            raise ValueError(f"times is from 0 to {MOST_TIMES}.")
        if not 0 <= self.seconds <= MOST_SECONDS:
            raise ValueError(f"seconds is from 0 to {MOST_SECONDS:.0f}.")
        if self.rate < 1:
            raise ValueError("rate is at least 1 byte a second.")
        if not 0 <= self.part < 1:
            raise ValueError("part is from 0 to less than 1.")

    def as_json(self) -> dict[str, Any]:
        """For the command socket."""
        return asdict(self)


def from_json(given: Mapping[str, Any]) -> Strike:
    """The strike of such a document; ValueError or TypeError where it is none."""
    fields = dict(given)
    for name, kind in (("way", Way), ("aim", Aim), ("words", Words)):
        if name in fields:
            fields[name] = kind(fields[name])
    return Strike(**fields)
