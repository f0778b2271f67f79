"""The crash suite in its short form: one fault of each family, on real parts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE, STDOUT

import pytest

from tests.crash.plan import SHORT

pytestmark = [pytest.mark.parts, pytest.mark.timeout(400)]

SEED = 4
LIMIT_S = 300
"""Four times what it takes on two idle cores."""
END_S = 60


def test_workers_that_crash_pause_join_and_leave_lose_and_double_nothing(tmp_path: Path) -> None:
    # A process of its own: it has a broker of its own, whatever this one's settings point at.
    out = tmp_path / "crash.json"
    command = (
        *(sys.executable, "-m", "tests.crash", "--rounds", str(len(SHORT))),
        *("--seed", str(SEED), "--root", ".local/crash-short", "--out", str(out)),
    )
    with subprocess.Popen(command, stdout=PIPE, stderr=STDOUT, text=True) as suite:
        try:
            said, _ = suite.communicate(timeout=LIMIT_S)
        except BaseException:  # Ctrl-C too: SIGKILL would leave its broker and workers behind
            suite.terminate()
            said, _ = suite.communicate(timeout=END_S)
            sys.stdout.write(said)
            raise
    assert suite.returncode == 0, said[-8_000:]
    told = json.loads(out.read_text(encoding="utf-8"))
    assert told["ok"]
    assert not told["findings"]
    assert {r["kind"] for r in told["rounds"]} == set(SHORT)
    # The run proves something: faults struck while there was work, and events were raised.
    assert told["events"] > 0
    assert all(told["verdicts"].values())
    assert told["restarts"]["killed by a fault"] >= 2
