"""Workers kept alive: one that ends is started again, later and later while it keeps ending."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from infra.local import processes
from infra.local.files import last_lines
from infra.local.part import Command, StackError
from infra.local.processes import Child

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
STEADY_S = 60.0
"""A worker that lived so long starts again without the pauses of its earlier deaths."""
_TAIL_BYTES = 64 * 1024
_BECAUSE_CHARACTERS = 300
GRACE_S = 20.0
"""From SIGTERM to SIGKILL: a Faust worker leaves its group and closes its tables."""


def pause_s(failures: int) -> float:
    """Seconds before the restart after `failures` earlier short lives: 0.5, 1, 2 ... 10."""
    return min(FIRST_PAUSE_S * 2.0 ** min(failures, 16), LONGEST_PAUSE_S)


class _Worker:
    def __init__(self, name: str, argv: tuple[str, ...]) -> None:
        self.name = name
        self.argv = argv
        self.stopping = threading.Event()
        self.gate = threading.Lock()
        """Held to start it and to ask it to stop, so that a stopped one is not started."""
        self.child: Child | None = None
        self.thread: threading.Thread | None = None


class Supervisor:
    """Runs named worker processes in `root`, beside the stack's parts.

    env is added to the environment of each. Output goes to root/log/NAME.log; records to
    root/run, so that the next start or `stop` finds what a killed orchestrator left.
    """

    def __init__(self, root: Path, env: Mapping[str, str], say: Callable[[str], None]) -> None:
        self.restarts: dict[str, int] = {}
        """How often each worker was started again after it ended unasked."""
        self._root = root.absolute()
        self._env = dict(env)
        self._say = say
        self._workers: dict[str, _Worker] = {}

    def start(self, name: str, argv: Sequence[str]) -> None:
        """Start a worker and keep it alive. StackError where it runs or cannot be started."""
        if name in self._workers:
            raise StackError(f"Worker {name} runs already: stop it first.")
        worker = _Worker(name, tuple(argv))
        worker.child = self._spawn(worker)
        self.restarts.setdefault(name, 0)
        self._workers[name] = worker
        worker.thread = threading.Thread(
            target=self._keep, args=(worker,), name=f"keep-{name}", daemon=True
        )
        worker.thread.start()

    def kill(self, name: str) -> None:
        """SIGKILL a worker and all it started; it will be started again."""
        child = self._worker(name).child
        if child is not None:
            child.kill()

    def stop(self, name: str, grace_s: float = GRACE_S) -> None:
        """End a worker in order (SIGKILL after the grace) and do not start it again."""
        worker = self._worker(name)
        self._ask(worker)
        self._finish(worker, time.monotonic() + grace_s)

    def stop_all(self, grace_s: float = GRACE_S) -> None:
        """End all workers together, the last started first. May be called again."""
        workers = list(reversed(self._workers.values()))
        for worker in workers:
            self._ask(worker)
        deadline = time.monotonic() + grace_s
        for worker in workers:
            self._finish(worker, deadline)

    def alive(self) -> dict[str, bool]:
        """For every worker not stopped: whether its process runs now."""
        return {name: _runs(worker) for name, worker in self._workers.items()}

    def pid(self, name: str) -> int | None:
        """Process id of a worker now; None while it waits to be started again."""
        worker = self._worker(name)
        child = worker.child
        return child.record.pid if child is not None and child.code() is None else None

    def _worker(self, name: str) -> _Worker:
        if name not in self._workers:
            raise StackError(f"There is no worker {name}: name one of {', '.join(self._workers)}.")
        return self._workers[name]

    def _spawn(self, worker: _Worker) -> Child:
        command = Command(argv=worker.argv, env=self._env)
        return processes.spawn(self._root, worker.name, processes.WORKER, command)

    def _keep(self, worker: _Worker) -> None:
        failures = 0
        while (child := worker.child) is not None:
            begun = time.monotonic()
            code = child.wait()
            child.forget()
            if worker.stopping.is_set():
                return
            failures = 0 if time.monotonic() - begun >= STEADY_S else failures
            self.restarts[worker.name] += 1
            log = self._root / "log" / f"{worker.name}.log"
            self._say(
                f"{worker.name} ended with code {code}{because(log)}; "
                f"starting it again in {pause_s(failures):g} s."
            )
            worker.child = self._again(worker, failures)
            failures += 1

    def _again(self, worker: _Worker, failures: int) -> Child | None:
        """The restarted process, however often that takes; None where it was asked to stop."""
        while not worker.stopping.wait(pause_s(failures)):
            with worker.gate:
                if worker.stopping.is_set():
                    return None
                try:
                    return self._spawn(worker)
                except (StackError, OSError) as error:  # a full disk must not end the watch
                    self._say(f"{worker.name} cannot be started again yet: {error}")
            failures += 1
        return None

    def _ask(self, worker: _Worker) -> None:
        with worker.gate:
            worker.stopping.set()
            if worker.child is not None:
                worker.child.ask()

    def _finish(self, worker: _Worker, deadline: float) -> None:
        if worker.child is not None:
            worker.child.end(max(0.0, deadline - time.monotonic()))
        if worker.thread is not None:
            worker.thread.join(GRACE_S)
        self._workers.pop(worker.name, None)


def _runs(worker: _Worker) -> bool:
    return worker.child is not None and worker.child.code() is None


def because(log: Path) -> str:
    """What a worker's last grave log line says, as a clause; empty where there is none."""
    for line in reversed(last_lines(log, _TAIL_BYTES)):
        with suppress(ValueError, TypeError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("level") == "critical":
                said = entry.get("detail") or entry.get("reason") or entry.get("event") or ""
                text = " ".join(str(said).split())
                return f" ({text[:_BECAUSE_CHARACTERS]})" if text else ""
    return ""
