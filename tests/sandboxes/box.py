"""A far end as a test holds it: started, told what to do wrong, asked what it has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import httpx

from tests.sandboxes.base import Sandbox
from tests.sandboxes.serve import running


class FarEnd(Protocol):
    """What the contract suite needs of a far end, HTTP or not (tests/sandboxes/knobs.py)."""

    url: str

    def journal(self) -> list[dict[str, Any]]: ...
    def stats(self) -> dict[str, Any]: ...
    def faults(self, *faults: dict[str, Any]) -> None: ...
    def errors(self, *errors: dict[str, Any]) -> None: ...
    def limit(self, requests: int, window_s: float) -> None: ...
    def expire(self) -> None: ...
    def clear(self) -> None: ...


class Box:
    """A sandbox that is served at `url`."""

    def __init__(self, url: str, client: httpx.Client) -> None:
        self.url = url
        self._client = client

    def journal(self) -> list[dict[str, Any]]:
        """Effects in order: place, op, kind, key, id, fields (journal.Effect)."""
        found: list[dict[str, Any]] = self._done("GET", "/journal").json()
        return found

    def stats(self) -> dict[str, Any]:
        """Counts: requests, limited, max_at_once, times, and one for each op."""
        found: dict[str, Any] = self._done("GET", "").json()
        return found

    def faults(self, *faults: dict[str, Any]) -> None:
        """These (fields of knobs.Fault) and no others."""
        self._done("PUT", "/faults", list(faults))

    def errors(self, *errors: dict[str, Any]) -> None:
        """These (fields of knobs.ItemError) and no others."""
        self._done("PUT", "/errors", list(errors))

    def limit(self, requests: int, window_s: float) -> None:
        """So many requests in each window; 0 = no limit."""
        wanted = {"requests": requests, "window_s": window_s} if requests else None
        self._done("PUT", "/limit", wanted)

    def expire(self) -> None:
        """Every token ends."""
        self._done("POST", "/expire")

    def clear(self) -> None:
        """Forget everything."""
        self._done("DELETE", "")

    def _done(self, method: str, path: str, body: object = None) -> httpx.Response:
        content = None if method in {"GET", "DELETE"} else json.dumps(body)
        answer = self._client.request(method, f"{self.url}/_control{path}", content=content)
        answer.raise_for_status()
        return answer


@contextmanager
def boxed(sandbox: Sandbox) -> Iterator[Box]:
    """That sandbox, served in a thread for the length of the block."""
    with running(sandbox) as url, httpx.Client(timeout=10, trust_env=False) as client:
        yield Box(url, client)


Start = Callable[[], AbstractContextManager[FarEnd]]
