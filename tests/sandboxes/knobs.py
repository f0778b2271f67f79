"""What a sandbox can be told to do wrong, and for how many requests."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Mode = Literal[
    "answer",
    "hang",
    "drop_before",
    "drop_after",
    "truncate",
    "html",
    "add_field",
    "drop_field",
    "expire",
    "echo",
]


@dataclass(slots=True, kw_only=True)
class Fault:
    """One switch; the first that fits a request is used.

    It fits where `method` (regex, whole), `path` (regex, anywhere in path and query) and
    `body` (text anywhere in the body) all do; it passes over `skip` fitting requests, then
    works `times` times (None = for ever). `delay_s` comes first, then `mode`:

    - answer: `status`, `headers`, `body_text` in the system's place; status 0 = the true answer;
    - echo: as answer, with the request's own headers and body as the text;
    - html: the page of a proxy, with `status`;
    - hang: never answer; drop_before: close without a word, nothing done;
    - drop_after: do it, then close without a word; truncate: do it, answer half of the body;
    - add_field, drop_field: do it, answer with a member 'x_new' in every JSON object, or
      without the members named in `fields`;
    - expire: every token ends now, then go on as usual.
    """

    mode: Mode = "answer"
    method: str = ".*"
    path: str = ""
    body: str = ""
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body_text: str = ""
    fields: tuple[str, ...] = ()
    delay_s: float = 0.0
    skip: int = 0
    times: int | None = 1
    used: int = 0

    def fits(self, method: str, path: str, body: str) -> bool:
        """Whether it is for this request."""
        return (
            self.times != 0
            and re.fullmatch(self.method, method) is not None
            and re.search(self.path, path) is not None
            and self.body in body
        )


@dataclass(slots=True, kw_only=True)
class ItemError:
    """The next `times` records whose text holds `key` are refused with the system's `code`."""

    code: str
    key: str = ""
    times: int | None = 1


@dataclass(slots=True, kw_only=True)
class Limit:
    """`requests` in each `window_s` seconds, windows as they fall."""

    requests: int
    window_s: float
    _began: float = 0.0
    _used: int = 0

    def spend(self) -> tuple[bool, int, float]:
        """Whether one more passes, how many are left, and seconds to the next window."""
        now = time.monotonic()
        if now - self._began >= self.window_s:
            self._began, self._used = now, 0
        passed = self._used < self.requests
        self._used += passed
        return passed, self.requests - self._used, max(0.0, self._began + self.window_s - now)


class Knobs:
    """Everything that is set at the moment."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.errors: list[ItemError] = []
        self.limit: Limit | None = None

    def set_faults(self, faults: Iterable[Mapping[str, Any]]) -> None:
        """These and no others."""
        self.faults = [Fault(**dict(one)) for one in faults]

    def set_errors(self, errors: Iterable[Mapping[str, Any]]) -> None:
        """These and no others."""
        self.errors = [ItemError(**dict(one)) for one in errors]

    def fault(self, method: str, path: str, body: str) -> Fault | None:
        """The fault for this request, counted."""
        for one in self.faults:
            if one.fits(method, path, body):
                if one.skip:
                    one.skip -= 1
                    return None
                one.used += 1
                if one.times is not None:
                    one.times -= 1
                return one
        return None

    def error(self, text: str) -> str | None:
        """The system's code that this record is to be refused with, counted."""
        for one in self.errors:
            if one.times != 0 and one.key in text:
                if one.times is not None:
                    one.times -= 1
                return one.code
        return None
