"""The lake's crash suite in its short form, on real parts: over the seeds every kind of fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.lake_plan import Kind, make_plan
from tests.integration.suite import told_by

ROUNDS = 7
SEEDS = (1, 153, 965)
LIMIT_S = 800
"""Many times what it takes on two idle cores."""


def test_the_short_runs_together_have_every_kind_of_fault() -> None:
    kinds = {fault.kind for seed in SEEDS for fault in make_plan(seed, ROUNDS).faults}
    assert kinds == set(Kind)


@pytest.mark.parts
@pytest.mark.timeout(LIMIT_S + 100)
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_strikes_the_archive_workers_every_row_is_in_the_lake_once(
    seed: int, tmp_path: Path
) -> None:
    told = told_by(
        "tests.crash.lake",
        *("--rounds", str(ROUNDS), "--seed", str(seed), "--root", ".local/crash-lake-short"),
        out=tmp_path / "lake.json",
        limit_s=LIMIT_S,
    )
    assert not any(told["flaws"].values())
    for counts in told["rows"].values():
        assert counts["Kafka"] > 0
        assert set(counts.values()) == {counts["Kafka"]}
        assert counts.keys() == {"Kafka", "DuckDB", "pyarrow", "pyiceberg"}
    # Each fault struck, and the oracle sees what was spoilt by hand.
    assert all(one["hit"] for one in told["rounds"])
    assert len(told["sabotage"]) > 1
    assert not any(told["sabotage"].values())
