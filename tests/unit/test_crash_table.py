from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

from rich.console import Console

from tests.crash.checker import Finding, Flaw
from tests.crash.model import Verdict
from tests.crash.pauses import Round
from tests.crash.plan import SHORT, Fault, Kind, Plan, Wait
from tests.crash.runner import Outcome
from tests.crash.table import OUTSIDE, kinds, save, show


def fault(number: int, kind: Kind, wait: Wait) -> Fault:
    return Fault(number=number, kind=kind, worker=0, after_s=0.5, for_s=0.0, wait=wait, rest_s=0.0)


def outcome(*findings: Finding) -> Outcome:
    """Two kills with a pause of 2 s and of 4 s, then a join that the next fault overlaps."""
    faults = (
        fault(0, Kind.KILL, Wait.FLOW),
        fault(1, Kind.KILL, Wait.QUIET),
        fault(2, Kind.JOIN, Wait.NOTHING),
    )
    rounds = [
        Round(fault=f, begun_ms=at - 500, struck_ms=at, ended_ms=at, until_ms=at + 9_000)
        for f, at in zip(faults, (10_000, 20_000, 30_000), strict=True)
    ]
    gaps = {10_000: 2_000, 20_000: 4_000}
    times = [t for t in range(0, 40_000, 100) if not any(a < t < a + gaps[a] for a in gaps)]
    return Outcome(
        plan=Plan(1, faults),
        rounds=rounds,
        findings=list(findings),
        fresh_ms={0: times, 1: list(range(0, 40_000, 100))},
        logged_ms={(0, 1): 12_000, (0, 2): 31_000, (0, 3): 100},
        verdicts=Counter(dict.fromkeys(Verdict, 5)),
        restarts=Counter({"killed by a fault": 2}),
        events=3,
    )


def test_a_run_without_findings_is_right() -> None:
    assert outcome().ok
    assert [row["kind"] for row in kinds(outcome())] == ["kill -9", "a worker joins", "all"]


def test_a_finding_counts_for_the_round_in_which_its_message_was_sent() -> None:
    found = outcome(
        Finding(Flaw.LOST, 3, (0, 1), "gone"),
        Finding(Flaw.DOUBLED, 2, (0, 2), "twice"),
        Finding(Flaw.WRONG, 1, (0, 3), "before any fault"),
        Finding(Flaw.EVENTS_LOST, 1, None, "nobody knows where"),
    )
    assert not found.ok
    rows = {row["kind"]: row for row in kinds(found)}
    assert rows["kill -9"]["lost"] == 3
    assert rows["a worker joins"]["doubled"] == 2
    assert rows[OUTSIDE]["wrong_verdicts"] == rows[OUTSIDE]["events_lost"] == 1
    total = rows["all"]
    assert [total[flaw.value.replace(" ", "_")] for flaw in Flaw] == [3, 2, 1, 1, 0, 0]


def test_pauses_are_those_of_the_worst_partition_where_no_fault_overlaps() -> None:
    rows = {row["kind"]: row for row in kinds(outcome())}
    assert (rows["kill -9"]["median_s"], rows["kill -9"]["worst_s"]) == (3.0, 4.0)
    assert rows["a worker joins"]["worst_s"] is None


def test_a_run_that_proved_nothing_is_not_right() -> None:
    calm, idle = outcome(), outcome()
    calm.events = 0
    idle.verdicts = Counter({Verdict.FRESH: 9})
    assert not calm.ok
    assert not idle.ok
    assert idle.unproven == ["no sample was duplicate", "no sample was too late"]


def test_a_run_that_stood_still_is_not_right() -> None:
    stuck = outcome()
    stuck.stalled.append("round 1: never came back")
    assert not stuck.ok


def test_the_table_and_the_json_tell_the_same(tmp_path: Path) -> None:
    found = outcome(Finding(Flaw.LOST, 3, (0, 1), "gone [sic]"))
    text = io.StringIO()
    show(found, Console(file=text, width=160))
    assert "gone [sic]" in text.getvalue()
    save(found, tmp_path / "deep" / "crash.json")
    told = json.loads((tmp_path / "deep" / "crash.json").read_text(encoding="utf-8"))
    assert told["kinds"] == kinds(found)
    assert told["findings"] == ["lost: 3 (readings 0/1) gone [sic]"]
    assert [r["pauses_s"]["0"] for r in told["rounds"]][:2] == [2.0, 4.0]
    assert set(SHORT) > {Kind(r["kind"]) for r in told["rounds"]}
