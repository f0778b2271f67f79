"""The crash suite in its short form: one fault of each family, on real parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.plan import SHORT
from tests.integration.suite import told_by

pytestmark = [pytest.mark.parts, pytest.mark.timeout(400)]

SEED = 4
LIMIT_S = 300
"""Four times what it takes on two idle cores."""


def test_workers_that_crash_pause_join_and_leave_lose_and_double_nothing(tmp_path: Path) -> None:
    told = told_by(
        "tests.crash",
        *("--rounds", str(len(SHORT)), "--seed", str(SEED), "--root", ".local/crash-short"),
        out=tmp_path / "crash.json",
        limit_s=LIMIT_S,
    )
    assert {r["kind"] for r in told["rounds"]} == set(SHORT)
    # The run proves something: faults struck while there was work, and events were raised.
    assert told["events"] > 0
    assert all(told["verdicts"].values())
    assert told["restarts"]["killed by a fault"] >= 2
