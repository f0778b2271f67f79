"""The fault suite in its short form: one fault of each family, on real parts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE, STDOUT

import pytest

from tests.faults.plan import SHORT

pytestmark = [pytest.mark.parts, pytest.mark.timeout(500)]

SEED = 5
LIMIT_S = 400
"""Three times what it took on two cores that others used too (135 s)."""
END_S = 60


def test_no_fault_between_us_and_the_erp_loses_doubles_or_swaps_an_event(tmp_path: Path) -> None:
    # A process of its own: it has parts of its own, whatever this one's settings point at.
    out = tmp_path / "faults.json"
    command = (
        *(sys.executable, "-m", "tests.faults", "--short", "--seed", str(SEED)),
        *("--root", ".local/faults-short", "--out", str(out)),
    )
    with subprocess.Popen(command, stdout=PIPE, stderr=STDOUT, text=True) as suite:
        try:
            said, _ = suite.communicate(timeout=LIMIT_S)
        except BaseException:  # Ctrl-C too: SIGKILL would leave its parts and workers behind
            suite.terminate()
            said, _ = suite.communicate(timeout=END_S)
            sys.stdout.write(said)
            raise
    assert suite.returncode == 0, said[-8_000:]
    told = json.loads(out.read_text(encoding="utf-8"))
    assert told["ok"]
    assert not told["findings"]
    # The run proves something: every family struck, and there were events to strike.
    assert {k for k, row in told["by_fault"].items() if row["injected"]} == {*SHORT}
    assert told["outcomes"]["tryton"]["delivered"] > 100
    assert told["restarts"]["killed by a fault"] >= 1
