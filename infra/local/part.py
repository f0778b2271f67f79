"""What one part of the local stack is: a real server that we prepare, start and probe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class StackError(Exception):
    """The stack cannot do as asked; the text is one sentence: what is wrong and how to mend it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A process to start. `env` is added to the environment of the stack."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


class Part(Protocol):
    """One embedded server. Ports are given at construction, so a restart keeps them."""

    name: str
    """Also the name of its log, its data folder and its process entry."""
    port: int

    def prepare(self) -> None:
        """Make what it needs (configuration, data folder, database). May be called again."""
        ...

    def command(self) -> Command:
        """How to start it, once prepared."""
        ...

    def ready(self) -> bool:
        """Whether it answers a real request now (never raises)."""
        ...

    def after_start(self) -> None:
        """What can only be made while it runs (a bucket, a company). May be called again."""
        ...

    def settings(self) -> Mapping[str, str]:
        """Environment variables that point clients at it, as in pipeline/settings.py."""
        ...
