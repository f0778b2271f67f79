"""The local stack: every part of ours prepared, started, probed and ended in order."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from infra.local import outside, ports, processes, tools
from infra.local.files import env_file, tail, write_private
from infra.local.lock import FolderLock
from infra.local.part import Part, StackError
from infra.local.parts import PARTS, Spec
from infra.local.processes import Child

READY_S = 120.0
"""Longest wait for a started part; Kafka needs 2 s on an idle machine."""
POLL_S = 0.05
STOP_S = 20.0
"""Grace for an ordered end, all parts together."""
PORT_TRIES = 5


class _PartDiedError(Exception):
    """The process of a part ended before it answered."""


class Stack:
    """The parts in one folder. One object, one run; its methods belong to one thread.

    root: folder of everything it keeps. say: where lines for a person go. only: names of
    the parts wanted (all by default). parts: what there is to choose from. Every method may
    raise StackError.
    """

    def __init__(
        self,
        root: Path,
        *,
        say: Callable[[str], None],
        only: Collection[str] | None = None,
        parts: Sequence[Spec] = PARTS,
    ) -> None:
        unknown = sorted(set(only or ()) - {spec.name for spec in parts})
        if unknown:
            raise StackError(
                f"There is no part {', '.join(unknown)}: name some of "
                f"{', '.join(spec.name for spec in parts)}."
            )
        self.root = root.absolute()
        self.seconds: dict[str, float] = {}
        """How long each part took to prepare, start and answer."""
        self._say = say
        self._specs = {s.name: s for s in parts if only is None or s.name in only}
        self._lock = FolderLock(self.root)
        self._ports: dict[str, int] = {}
        self._ports_lock = threading.Lock()
        self._parts: dict[str, Part] = {}
        self._children: dict[str, Child] = {}
        self._env: dict[str, str] = {}
        self._abort = threading.Event()

    @property
    def env(self) -> Mapping[str, str]:
        """What start() returned."""
        return self._env

    @property
    def pids(self) -> Mapping[str, int]:
        """Process id of every embedded part that was started and not stopped."""
        return {name: child.record.pid for name, child in self._children.items()}

    def start(self) -> dict[str, str]:
        """Bring up what is not configured; return the settings that point at everything.

        What an earlier run of this folder left alive is ended first. Nothing stays up where
        a part fails.
        """
        self._lock.acquire()
        try:
            return self._start()
        except BaseException:  # Ctrl-C too must leave nothing behind
            self._abort.set()
            self.stop()
            raise

    def _start(self) -> dict[str, str]:
        self._abort.clear()
        for record in processes.end_recorded(self.root, STOP_S):
            self._say(f"Ended {record.name}, left by an earlier run.")
        own: list[Spec] = []
        settings: dict[str, str] = {}
        for spec in self._specs.values():
            given = outside.values(spec.variables, os.environ)
            if given is None:
                own.append(spec)
                continue
            outside.check(spec.name, spec.variables[0], given[spec.variables[0]])
            self._say(f"{spec.name}: yours, as {spec.variables[0]} says.")
            settings |= given
        self._choose_ports([name for spec in own for name in spec.ports])
        self._parts = {spec.name: self._build(spec) for spec in own}
        needs = {tool for part in self._parts.values() for tool in _needs(part)}
        tools.install_missing(needs, log=self.root / "log" / "apt.log", say=self._say)
        self._bring_up_all(own)
        for part in self._parts.values():
            settings |= part.settings()
        settings["FIELDLINE_DATA_DIR"] = str(self.root / "state")
        settings["FIELDLINE_LOG_DIR"] = str(self.root / "log")
        write_private(self.root / "fieldline.env", env_file(settings))
        self._env = settings
        return dict(settings)

    def stop(self) -> None:
        """End every part in reverse order and free the folder. May be called again."""
        children = list(reversed(self._children.values()))
        for child in children:
            child.ask()
        deadline = time.monotonic() + STOP_S
        for child in children:
            child.end(max(0.0, deadline - time.monotonic()))
        self._children.clear()
        self._lock.release()

    def stop_part(self, name: str, *, kill: bool = False) -> None:
        """Take one part away, in order or with SIGKILL, as an outage would."""
        child = self._child(name)
        if kill:
            child.kill()
        else:
            child.end(STOP_S)
        del self._children[name]

    def start_part(self, name: str) -> None:
        """Bring a stopped or dead part back: same port, same data."""
        spec = self._spec(name)
        if name in self._children:
            if self._children[name].code() is None:
                return
            self._children.pop(name).forget()
        try:
            self._run(spec)
        except _PartDiedError as error:
            raise StackError(str(error)) from error

    def dead(self) -> dict[str, int]:
        """Parts that ended though nobody stopped them, with their exit codes."""
        codes = {name: child.code() for name, child in self._children.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def clean(self) -> None:
        """Stop, end what earlier runs left, and delete the folder with all its data."""
        self.stop()
        clean(self.root)

    def _spec(self, name: str) -> Spec:
        if name not in self._parts:
            raise StackError(
                f"{name} is not a part that runs here: name one of {', '.join(self._parts)}."
            )
        return self._specs[name]

    def _child(self, name: str) -> Child:
        self._spec(name)
        if name not in self._children:
            raise StackError(f"{name} does not run: start it first.")
        return self._children[name]

    def _build(self, spec: Spec) -> Part:
        folder = self.root / "parts" / spec.name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return spec.build(self._ports, folder, self.root / "log")

    def _choose_ports(self, names: list[str], *, keep: bool = True) -> None:
        """Give each name a port and remember it for the next start."""
        path = self.root / "stack.json"
        with self._ports_lock:
            kept = _remembered(path) | self._ports
            others = [port for name, port in kept.items() if name not in names]
            self._ports |= ports.choose(names, kept if keep else {}, taken=others)
            text = json.dumps({"ports": kept | self._ports}, indent=2, sort_keys=True)
            write_private(path, text + "\n")

    def _bring_up_all(self, own: list[Spec]) -> None:
        with ThreadPoolExecutor(max(1, len(own)), "stack") as pool:
            try:
                tasks = [pool.submit(self._bring_up, spec) for spec in own]
                done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
            except BaseException:  # also Ctrl-C: the other parts stop waiting
                self._abort.set()
                raise
            failed = next((e for task in done if (e := task.exception())), None)
            if failed is not None:
                self._abort.set()
                raise failed

    def _bring_up(self, spec: Spec) -> None:
        """Start one part, on other ports where its own were taken in the meantime."""
        for _ in range(PORT_TRIES):
            try:
                self._run(spec)
            except _PartDiedError as error:
                if all(ports.is_free(self._ports[name]) for name in spec.ports):
                    raise StackError(str(error)) from error
                self._say(f"{spec.name}: its port was taken in the meantime, trying another.")
                self._choose_ports(list(spec.ports), keep=False)
                self._parts[spec.name] = self._build(spec)
            else:
                return
        raise StackError(
            f"{spec.name} lost its port to another program {PORT_TRIES} times: start again."
        )

    def _run(self, spec: Spec) -> None:
        """Prepare, start, wait for the first answer, finish."""
        begun = time.monotonic()
        part = self._parts[spec.name]
        part.prepare()
        if self._abort.is_set():
            return
        child = processes.spawn(self.root, spec.name, processes.PART, part.command())
        self._children[spec.name] = child
        self._wait_ready(part, child)
        if self._abort.is_set():
            return
        part.after_start()
        self.seconds[spec.name] = time.monotonic() - begun
        self._say(f"{spec.name} is up on port {part.port} ({self.seconds[spec.name]:.1f} s).")

    def _wait_ready(self, part: Part, child: Child) -> None:
        log = self.root / "log" / f"{part.name}.log"
        deadline = time.monotonic() + READY_S
        while not self._abort.is_set():
            answers = part.ready()
            code = child.code()  # asked after: an answer may be another server's on that port
            if code is not None:
                child.forget()
                del self._children[part.name]
                raise _PartDiedError(
                    f"{part.name} ended with code {code} while starting: mend what {log} says "
                    f"({tail(log)})."
                )
            if answers:
                return
            if time.monotonic() > deadline:
                raise StackError(
                    f"{part.name} did not answer within {READY_S:.0f} s: mend what {log} says "
                    f"({tail(log)})."
                )
            time.sleep(POLL_S)


def clean(root: Path) -> None:
    """End every recorded process of a folder and delete it. Refuses while a run uses it."""
    if not root.exists():
        return
    if not any((root / name).exists() for name in ("lock", "stack.json", "run", "jars")):
        raise StackError(f"{root} is not a folder of the local stack: delete it by hand.")
    lock = FolderLock(root)
    lock.acquire()
    try:
        processes.end_recorded(root, STOP_S)
        shutil.rmtree(root)
    finally:
        lock.release()


def _needs(part: Part) -> tuple[str, ...]:
    """Programs a part wants from the system, where it says so."""
    asked = getattr(part, "needs", None)
    return tuple(asked()) if asked is not None else ()


def _remembered(path: Path) -> dict[str, int]:
    """Ports of the last start; none where there was none or the file is spoilt."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))["ports"]
        return {str(name): int(port) for name, port in kept.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
