from __future__ import annotations

import json

from rich.console import Console

from tests.faults import table
from tests.faults.checker import Finding, Flaw, Struck
from tests.faults.plan import SHORT, Kind, make_plan
from tests.faults.runner import Outcome
from tests.faults.world import ERP, OTHER


def outcome(*findings: Finding) -> Outcome:
    """A run in which everything of the short plan struck."""
    plan = make_plan(1, 1, short=True)
    struck = [
        Struck(kind=f.kind, begun_ms=f.number, ended_ms=f.number, hits=2) for f in plan.faults
    ]
    return Outcome(
        plan=plan,
        struck=struck,
        findings={ERP: list(findings), OTHER: []},
        delays_s={Kind.KILL: [1.0, 12.34], None: [0.5]},
        other_p99_ms={"before": (40.0, 300), "during": (44.0, 3_000)},
        catch_up_per_s=57.1,
        hits=2 * len(struck),
        events=100,
    )


def test_the_table_has_a_row_for_each_kind_that_struck_and_the_json_the_same() -> None:
    lost = Finding(flaw=Flaw.LOST, kind=Kind.DNS, event_id="e1", text="e1 [bold]is nowhere")
    ran = outcome(lost)
    assert not ran.ok
    console = Console(width=160, record=True, quiet=True)
    table.show(ran, console)
    told = json.loads(json.dumps(table.as_json(ran)))
    assert told["injected"] == len(SHORT)
    assert (told["lost"], told["doubled"], told["out_of_order"]) == (1, 0, 0)
    assert told["by_fault"][Kind.DNS]["lost"] == 1
    assert told["by_fault"][Kind.KILL]["longest_s"] == 12.3
    assert set(told["by_fault"]) == {*SHORT, table.NONE}
    assert told["other_sink_p99_ms"] == {"before": 40.0, "during": 44.0}
    assert told["catch_up_per_s"] == 57.1
    assert told["findings"] == [{"flaw": "lost", "kind": Kind.DNS, "text": lost.text}]


def test_a_run_is_well_only_when_nothing_is_wrong_and_every_kind_struck() -> None:
    assert outcome().ok
    less = outcome()
    less.struck = [s for s in less.struck if s.kind is not Kind.REPLAY]
    assert less.unproven == [f"never struck: {Kind.REPLAY}"]
    assert not less.ok
    late = outcome()
    late.stalled = ["the end: 1 events have no result"]
    assert not late.ok
