"""Real workers of one role, kept alive, and the ways to hurt them."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from infra.local import processes
from infra.local.part import Command
from infra.local.processes import Child
from infra.local.supervisor import FIRST_PAUSE_S, GRACE_S, because


class _Member:
    """One worker that belongs to the group: its process, and the thread that restarts it."""

    def __init__(self, start: Callable[[], Child]) -> None:
        self.start = start
        self.child = start()
        self.leaving = threading.Event()
        self.down = threading.Lock()
        """Held while it must stay down."""
        self.thread: threading.Thread | None = None


class Group:
    """Workers `fieldline worker ROLE --instance N` in one consumer group.

    One that ends unasked is started again after FIRST_PAUSE_S, as the product's supervisor
    does for the first death; that one waits longer for a worker that keeps dying, which
    here would say how often we killed it. Methods block; they belong to one thread at a time.
    """

    def __init__(
        self,
        role: str,
        root: Path,
        env: Mapping[str, str],
        say: Callable[[str], None],
        *,
        own: Callable[[int], Mapping[str, str]] = lambda _: {},
    ) -> None:
        """`own` gives what an instance's environment has besides."""
        self.role = role
        self._own = own
        self.restarts: Counter[str] = Counter()
        """How often a worker was started again, by why it had ended."""
        self._root = root.absolute()
        self._env = dict(env)
        self._say = say
        self._members: dict[int, _Member] = {}
        self._struck: set[int] = set()
        """Process ids that ended because we killed them."""

    @property
    def members(self) -> tuple[int, ...]:
        """Instance numbers of the workers that belong to the group now."""
        return tuple(sorted(self._members))

    def join(self, number: int) -> None:
        """Start a worker and keep it alive."""
        member = _Member(lambda: self._spawn(number))
        self._members[number] = member
        member.thread = threading.Thread(
            target=self._keep, args=(number, member), name=f"keep-{number}", daemon=True
        )
        member.thread.start()

    def leave(self, number: int) -> None:
        """End a worker in order with SIGTERM; it is not started again."""
        member = self._members.pop(number)
        member.leaving.set()
        with member.down:  # not between a death and its restart
            member.child.end(GRACE_S)
        self._join_thread(member)

    def kill(self, number: int) -> None:
        """SIGKILL; it is started again."""
        child = self._members[number].child
        self._struck.add(child.record.pid)
        child.kill()

    def kill_for_good(self, number: int) -> None:
        """SIGKILL; it is not started again, and leaves the group without a word."""
        member = self._members.pop(number)
        member.leaving.set()
        with member.down:
            member.child.kill()
        self._join_thread(member)

    def lose_state(self, number: int) -> None:
        """SIGKILL, and its RocksDB folder is gone before it is started again."""
        with self._members[number].down:
            self.kill(number)
            shutil.rmtree(self.folder(number), ignore_errors=True)

    def stop(self, number: int) -> int:
        """SIGSTOP; returns the process id, for `go_on`."""
        pid = self._members[number].child.record.pid
        with suppress(ProcessLookupError):  # it just died by itself: nothing to stop
            os.kill(pid, signal.SIGSTOP)
        return pid

    @staticmethod
    def go_on(pid: int) -> None:
        """SIGCONT to a worker that was stopped; nothing where it is dead by now."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def end(self, *, in_order: bool = True) -> None:
        """End all of them."""
        members, self._members = list(self._members.values()), {}
        for member in members:
            member.leaving.set()
            self.go_on(member.child.record.pid)
            if in_order:
                member.child.ask()
        for member in members:
            with member.down:
                member.child.end(GRACE_S if in_order else 0.0)
            self._join_thread(member)

    def folder(self, number: int) -> Path:
        """Where a worker keeps its tables."""
        return Path(self._env["FIELDLINE_DATA_DIR"]) / f"{self.role}-{number}"

    def _spawn(self, number: int) -> Child:
        fieldline = str(Path(sys.executable).with_name("fieldline"))
        argv = (fieldline, "worker", self.role, "--instance", str(number))
        command = Command(argv=argv, env={**self._env, **self._own(number)})
        return processes.spawn(self._root, f"{self.role}-{number}", processes.WORKER, command)

    def _keep(self, number: int, member: _Member) -> None:
        while True:
            code = member.child.wait()
            if member.leaving.is_set():
                return
            self._note(number, member.child.record.pid, code)
            if member.leaving.wait(FIRST_PAUSE_S):
                return
            with member.down:
                if member.leaving.is_set():
                    return
                member.child = member.start()

    def _note(self, number: int, pid: int, code: int | None) -> None:
        if pid in self._struck:
            self.restarts["killed by a fault"] += 1
            return
        log = self._root / "log" / f"{self.role}-{number}.log"
        why = f"ended by itself with code {code}{because(log)}"
        self.restarts[why] += 1
        self._say(f"     {self.role} {number} {why}; starting it again")

    @staticmethod
    def _join_thread(member: _Member) -> None:
        if member.thread is not None:
            member.thread.join(GRACE_S)
