"""Runs a suite that is a program of its own, with parts of its own, as one test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

END_S = 60


def told_by(module: str, *arguments: str, out: Path, limit_s: float) -> dict[str, Any]:
    """What `python -m module` wrote to `out`; AssertionError with its last words if it failed.

    It is a process, so that whatever this one's settings point at is not its own.
    """
    command = (sys.executable, "-m", module, *arguments, "--out", str(out))
    with subprocess.Popen(command, stdout=PIPE, stderr=STDOUT, text=True) as suite:
        try:
            said, _ = suite.communicate(timeout=limit_s)
        except BaseException:  # Ctrl-C too: SIGKILL would leave its parts and workers behind
            suite.terminate()
            said, _ = suite.communicate(timeout=END_S)
            sys.stdout.write(said)
            raise
    assert suite.returncode == 0, said[-8_000:]
    told: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    assert told["ok"]
    assert not told["findings"]
    return told
