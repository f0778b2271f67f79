"""Far ends for systems that cannot be installed: the tests' own sandboxes, as parts.

What they keep is in memory: a new start is an empty system.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import httpx

from infra.local.part import Command, StackError

CHECKOUT = Path(__file__).resolve().parents[2]
_PROBE_TIMEOUT_S = 2.0


class SandboxPart:
    """One sandbox of tests/sandboxes, by its system's name."""

    def __init__(self, *, name: str, port: int) -> None:
        self.name = name
        self.port = port

    def prepare(self) -> None:
        """Nothing."""

    def command(self) -> Command:
        """Its server."""
        argv = (sys.executable, "-m", "tests.sandboxes", "--stay", f"{self.name}={self.port}")
        return Command(argv=argv, cwd=CHECKOUT)

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            return self._control("").is_success
        except httpx.HTTPError:
            return False

    def after_start(self) -> None:
        """Nothing: it has its credentials."""

    def settings(self) -> Mapping[str, str]:
        """Address and credentials for the connector, as the sandbox tells them."""
        try:
            told: Mapping[str, str] = self._control("/settings").raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise StackError(f"The {self.name} sandbox does not answer: start again.") from error
        return told

    def _control(self, path: str) -> httpx.Response:
        return httpx.get(
            f"http://127.0.0.1:{self.port}/_control{path}",
            timeout=_PROBE_TIMEOUT_S,
            trust_env=False,
        )
