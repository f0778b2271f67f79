"""The fault suite in its short form: one fault of each family, on real parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.plan import SHORT
from tests.integration.suite import told_by

pytestmark = [pytest.mark.parts, pytest.mark.timeout(500)]

SEED = 5
LIMIT_S = 400
"""Three times what it took on two cores that others used too (135 s)."""


def test_no_fault_between_us_and_the_erp_loses_doubles_or_swaps_an_event(tmp_path: Path) -> None:
    told = told_by(
        "tests.faults",
        *("--short", "--seed", str(SEED), "--root", ".local/faults-short"),
        out=tmp_path / "faults.json",
        limit_s=LIMIT_S,
    )
    # The run proves something: every family struck, and there were events to strike.
    assert {k for k, row in told["by_fault"].items() if row["injected"]} == {*SHORT}
    assert told["outcomes"]["tryton"]["delivered"] > 100
    assert told["restarts"]["killed by a fault"] >= 1
