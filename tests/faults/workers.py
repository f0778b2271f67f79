"""Deliver workers as processes, kept alive, and the ways to hurt them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from infra.local import processes
from infra.local.part import Command
from infra.local.processes import Child
from infra.local.supervisor import because
from tests.crash.group import Group


class Workers(Group):
    """The crash suite's group, for another role: `fieldline worker ROLE --instance N`."""

    def __init__(
        self, role: str, root: Path, env: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        super().__init__(root, env, say)
        self.role = role

    def folder(self, number: int) -> Path:
        """Where a worker keeps its tables."""
        return Path(self._env["FIELDLINE_DATA_DIR"]) / f"{self.role}-{number}"

    def _spawn(self, number: int) -> Child:
        fieldline = str(Path(sys.executable).with_name("fieldline"))
        argv = (fieldline, "worker", self.role, "--instance", str(number))
        command = Command(argv=argv, env=self._env)
        return processes.spawn(self._root, f"{self.role}-{number}", processes.WORKER, command)

    def _note(self, number: int, pid: int, code: int | None) -> None:
        if pid in self._struck:
            self.restarts["killed by a fault"] += 1
            return
        why = f"ended by itself with code {code}{because(self._log(number))}"
        self.restarts[why] += 1
        self._say(f"     {self.role} {number} {why}; starting it again")

    def _log(self, number: int) -> Path:
        return self._root / "log" / f"{self.role}-{number}.log"
