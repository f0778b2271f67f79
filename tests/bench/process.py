"""A process under test: started with a record, watched through /proc, ended by us."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.local import processes
from infra.local.files import tail
from infra.local.part import Command
from tests.bench.broker import BenchError

_GRACE_S = 20.0
_MB = 1024


class Process:
    """One running program of the bench; its output goes to ROOT/log/NAME.log.

    Leaving the block ends it, unless `end` or `kill` did so before.
    """

    def __init__(
        self, root: Path, name: str, argv: tuple[str, ...], env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._log = root / "log" / f"{name}.log"
        command = Command(argv=argv, env=dict(env or {}))
        self._child = processes.spawn(root, name, processes.WORKER, command)
        self.pid = self._child.record.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._child.code() is None:
            self._child.end(_GRACE_S)
        else:
            self._child.forget()

    def end(self) -> None:
        """SIGTERM, and SIGKILL where that is not enough."""
        self._child.end(_GRACE_S)

    def kill(self) -> None:
        """SIGKILL."""
        self._child.kill()

    def wait(self, seconds: float) -> int | None:
        """Its exit code, or None where it still runs then."""
        return self._child.wait(seconds)

    def check(self) -> None:
        """BenchError where it has ended."""
        code = self._child.code()
        if code is not None:
            raise BenchError(
                f"{self.name} ended with code {code}: mend what {self._log} says "
                f"({tail(self._log)})."
            )

    def stuck(self, what: str) -> BenchError:
        """The error for when it does nothing more."""
        return BenchError(f"{self.name} {what}: see {self._log} ({tail(self._log)}).")

    def answer(self) -> dict[str, float]:
        """The last line of its output, as JSON with numbers."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        try:
            found = json.loads(lines[-1])
            return {str(name): float(value) for name, value in found.items()}
        except (IndexError, ValueError, TypeError, AttributeError) as error:
            raise self.stuck("gave no answer") from error

    def peak_rss_mb(self) -> float:
        """Most memory it ever held, MiB (VmHWM of proc(5)); 0 where the system does not say."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return 0.0
        found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(found[0]) / _MB if found else 0.0

    def cpu_s(self) -> float:
        """Processor time it used so far, seconds (utime + stime of proc(5)); 0 as above."""
        return cpu_s(self.pid)


def cpu_s(pid: int) -> float:
    """Processor time of a process, seconds (utime + stime of proc(5)); 0 where unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    fields = stat.rpartition(")")[2].split()  # the name before it may hold blanks
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def others_s(*ours: int) -> float:
    """Processor time of the machine since its start, but for these processes and this one."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()
    except OSError:
        return 0.0
    user, nice, system, _idle, _wait, irq, softirq = (int(field) for field in first[1:8])
    busy = (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    return busy - sum(cpu_s(pid) for pid in (*ours, os.getpid()))
