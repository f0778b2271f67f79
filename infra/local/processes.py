"""Processes that outlive a crash of ours: started with a record, ended only if truly ours.

A pid alone names whoever has it now. A record therefore also holds the process's birth (the
boot and the tick at which it started), and a process is ours only while both agree. Besides,
each process inherits a lock on run/NAME.lock, so that no second server is ever started on
data that a first one, however lost, still writes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.local.files import write_private
from infra.local.part import Command, StackError

PART = "part"
WORKER = "worker"
LOG_BYTES = 32 * 1024 * 1024
"""A log larger than this is put aside as NAME.log.1 before the next start."""
LOCK_WAIT_S = 5.0
POLL_S = 0.02
KILL_WAIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A process we started. `birth` with `pid` is its identity; `kind` is PART or WORKER."""

    name: str
    kind: str
    pid: int
    birth: str


def birth(pid: int) -> str | None:
    """When the live process `pid` was born, as an opaque text; None where none is alive.

    Linux: field 22 of /proc/PID/stat (proc(5)) with the boot's id. Elsewhere: ps.
    A zombie counts as dead.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None if Path("/proc/self").exists() else birth_by_ps(pid)
    except ProcessLookupError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold blanks
    if fields[0] in {"Z", "X"}:
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}:{fields[19]}"


def birth_by_ps(pid: int) -> str | None:
    """The same, as ps tells it: to the second."""
    answer = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    state, _, started = answer.partition(" ")
    return started.strip() if started and not state.startswith("Z") else None


def is_running(record: Record) -> bool:
    """Whether the very process of this record is alive."""
    return birth(record.pid) == record.birth


def records(root: Path) -> list[Record]:
    """Every process recorded in root/run, alive or not."""
    found = []
    for path in sorted((root / "run").glob("*.json")):
        with contextlib.suppress(ValueError, TypeError, KeyError, OSError):
            found.append(Record(**json.loads(path.read_text(encoding="utf-8"))))
    return found


class Child:
    """A process this orchestrator started."""

    def __init__(self, record: Record, popen: subprocess.Popen[bytes], root: Path) -> None:
        self.record = record
        self._popen = popen
        self._root = root

    def code(self) -> int | None:
        """Its exit code (negative: the signal that ended it); None while it runs."""
        return self._popen.poll()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Its exit code, or None where it still runs after `timeout_s` seconds."""
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def ask(self) -> None:
        """SIGTERM: end in order."""
        self._popen.terminate()

    def kill(self) -> None:
        """SIGKILL to it and all it started, and wait for its end."""
        if self._popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.record.pid, signal.SIGKILL)  # it leads its own session
        self._popen.wait()
        self.forget()

    def end(self, grace_s: float) -> None:
        """SIGTERM, wait up to `grace_s`, then SIGKILL."""
        self.ask()
        if self.wait(grace_s) is None:
            self.kill()
        self.forget()

    def forget(self) -> None:
        """Remove its record."""
        _forget(self._root, self.record)


def spawn(root: Path, name: str, kind: str, command: Command) -> Child:
    """Start a process in its own session, its output added to root/log/NAME.log.

    StackError where its program is missing or an earlier process still holds its lock.
    """
    run, log = root / "run", root / "log" / f"{name}.log"
    run.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    handle = _hold(run / f"{name}.lock", name)
    try:
        with log.open("ab") as output:
            popen = subprocess.Popen(
                command.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **command.env},
                cwd=command.cwd,
                start_new_session=True,
                pass_fds=(handle,),
            )
    except OSError as error:
        raise StackError(
            f"{name} cannot be started ({error.strerror}): check that {command.argv[0]} is there."
        ) from error
    finally:
        os.close(handle)  # the child keeps the lock with its own copy
    record = Record(name=name, kind=kind, pid=popen.pid, birth=birth(popen.pid) or "ended")
    write_private(run / f"{name}.json", json.dumps(asdict(record)) + "\n")
    return Child(record, popen, root)


def end_recorded(root: Path, grace_s: float) -> list[Record]:
    """End every process recorded in root/run that is still alive: workers, then parts.

    Returns those that were. For leftovers of a run that died; they are not our children.
    """
    ended = []
    for kind in (WORKER, PART):
        alive = [r for r in records(root) if r.kind == kind and is_running(r)]
        for record in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(record.pid, signal.SIGTERM)
        _wait_gone(alive, grace_s)
        for record in alive:
            if is_running(record):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(record.pid, signal.SIGKILL)
        _wait_gone(alive, KILL_WAIT_S)
        ended += alive
    for record in records(root):
        if is_running(record):
            raise StackError(
                f"Process {record.pid} ({record.name}) does not end: end it with "
                f"`kill -9 {record.pid}` and start again."
            )
        _forget(root, record)
    return ended


def _wait_gone(some: list[Record], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while any(is_running(r) for r in some) and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _forget(root: Path, record: Record) -> None:
    path = root / "run" / f"{record.name}.json"
    with contextlib.suppress(OSError, ValueError):
        if json.loads(path.read_text(encoding="utf-8")) == asdict(record):
            path.unlink()


def _hold(path: Path, name: str) -> int:
    """An open, locked file for the child to inherit."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # A killed server's helper (Redis rewriting its log) may need a moment to end.
            if time.monotonic() >= deadline:
                os.close(handle)
                raise StackError(
                    f"An earlier process of {name} still holds {path}: find it with "
                    f"`fuser {path}`, end it and start again."
                ) from error
            time.sleep(POLL_S)
        else:
            return handle
