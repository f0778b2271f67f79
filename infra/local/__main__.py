"""python -m infra.local: the local stack from the command line.

Errors are one sentence on stderr and exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Collection
from pathlib import Path
from types import FrameType

from infra.local import lock, processes
from infra.local.part import StackError
from infra.local.parts import NAMES
from infra.local.processes import Record
from infra.local.run import run
from infra.local.stack import STOP_S, Stack, clean

ROOT = Path(".local")
END_S = 90.0
"""How long `stop` lets an orchestrator end its workers and parts in order."""
WATCH_S = 0.5


def say(line: str) -> None:
    """One line for a person, at once."""
    print(line, flush=True)


def up(root: Path, only: Collection[str] | None = None) -> None:
    """Start the parts alone and stay until Ctrl-C or SIGTERM; bring back a part that dies."""
    stack = Stack(root, say=say, only=only)
    try:
        stack.start()
        say(f"All parts are up; their addresses are in {root / 'fieldline.env'}. Ctrl-C ends them.")
        while True:
            time.sleep(WATCH_S)
            for name, code in stack.dead().items():
                say(f"{name} ended with code {code}; starting it again.")
                stack.start_part(name)
    except KeyboardInterrupt:
        say("Ending the parts.")
    finally:
        stack.stop()


def stop(root: Path) -> None:
    """End the orchestrator of this folder, then whatever recorded process is left."""
    pid = lock.holder(root)
    if pid is not None:
        say(f"Ending the run of process {pid}.")
        _end_orchestrator(root, pid)
    left = processes.end_recorded(root, STOP_S)
    for record in left:
        say(f"Ended {record.name} (process {record.pid}).")
    if pid is None and not left:
        say("Nothing runs here.")


def remove(root: Path) -> None:
    """Stop, then delete the folder with all its data."""
    stop(root)
    clean(root)


def status(root: Path) -> None:
    """What runs in this folder."""
    pid = lock.holder(root)
    say(f"Run by process {pid}." if pid else "No run.")
    for record in processes.records(root):
        say(f"{record.name:<20} {record.kind:<7} {_state(record)}")


def _end_orchestrator(root: Path, pid: int) -> None:
    """SIGTERM, then SIGKILL, to the holder of the folder's lock, until it is free."""
    for sign, limit_s in ((signal.SIGTERM, END_S), (signal.SIGKILL, STOP_S)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if lock.holder(root) != pid:
                return
            time.sleep(processes.POLL_S)
    raise StackError(f"Process {pid} does not end: end it with `kill -9 {pid}`.")


def _state(record: Record) -> str:
    if not processes.is_running(record):
        return "ended"
    return f"process {record.pid}"


def _interrupt(_sign: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def command_line() -> argparse.ArgumentParser:
    """The command line. Each command sets `do`, a function of its arguments."""
    parser = argparse.ArgumentParser(prog="python -m infra.local", description="The local stack.")
    parser.add_argument(
        "--root", type=Path, default=ROOT, help="folder of the stack (default: %(default)s)"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    whole = commands.add_parser("run", help="everything: parts, workers, the sample, the report")
    whole.add_argument("--once", action="store_true", help="end after the report")
    whole.set_defaults(do=lambda given: run(given.root, once=given.once))

    part = commands.add_parser("up", help="start the parts alone and stay until Ctrl-C")
    part.add_argument("part", nargs="*", help=f"only these: {', '.join(NAMES)}")
    part.set_defaults(do=lambda given: up(given.root, given.part or None))
    for name, text, function in (
        ("stop", "end what runs in this folder", stop),
        ("clean", "stop and delete the folder with all its data", remove),
        ("status", "say what runs in this folder", status),
    ):
        one = commands.add_parser(name, help=text)
        one.set_defaults(do=lambda given, function=function: function(given.root))
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, 130 after Ctrl-C, or 1 with one sentence on stderr."""
    given = command_line().parse_args(arguments)
    # The S3 client closes its connections after the loop: nothing that concerns a person.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = given.do(given)
    except KeyboardInterrupt:
        return 130
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"The stack's folder cannot be used ({error}): mend that and retry.", file=sys.stderr)
        return 1
    return code or 0


if __name__ == "__main__":
    sys.exit(main())
