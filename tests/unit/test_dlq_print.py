from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipeline.cli.dlq_print import TOP, as_json, by_cause, everything, listing
from pipeline.cli.dlq_select import agreed
from pipeline.cli.words import plain
from pipeline.core.dlq import State
from pipeline.core.ledger import Note
from pipeline.core.ledger import Row as LedgerRow
from pipeline.core.ledger import State as Row
from pipeline.ops.audit import Act
from pipeline.ops.dlq_states import Standing
from pipeline.settings import SettingsError
from pipeline.wire.avro import Codec
from pipeline.wire.records import encode_event
from tests.unit.examples import event
from tests.unit.test_dlq_entries import NOW, entry

CODEC = Codec()


def screen(columns: int = 80) -> Console:
    return Console(file=io.StringIO(), width=columns, highlight=False)


def text_of(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def standing(state: State = State.OPEN, **fields: object) -> Standing:
    return Standing(entry=entry(**fields), state=state)  # type: ignore[arg-type]  # any field


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_fit_whatever_is_in_them(columns: int) -> None:
    long = "x" * 300
    rows = [
        standing(State.OPEN, key=f"acme/{long}", message=long, code=f"tryton.{long}"),
        replace(standing(State.DELIVERED), entry=replace(entry(), sink="webhook")),
    ]
    console = screen(columns)
    for part in listing(rows, 7):
        console.print(part)
    console.print(by_cause(rows))
    lines = text_of(console).splitlines()
    assert max(map(len, lines)) <= columns
    assert any("2 dead letters of 7, the oldest" in line for line in lines)


def test_the_summary_has_the_ten_most_common_causes_and_counts_the_rest() -> None:
    rows = [standing(code=f"c.{n:02d}") for n in range(TOP + 3) for _ in range(n + 1)]
    console = screen()
    console.print(by_cause(rows))
    text = text_of(console)
    assert "c.12" in text
    assert "c.03" in text
    assert "c.02" not in text
    assert "3 others" in text


def test_everything_is_shown_in_the_order_in_which_it_happened() -> None:
    def note(after_ms: int, state: Row) -> Note:
        return Note(at_ms=NOW + after_ms, state=state, code="", owner="deliver-tryton/0")

    history = [{"at_ms": NOW - 5, "state": "in_flight", "code": "", "owner": "deliver-tryton/0"}]
    row = LedgerRow(
        state=Row.SUCCEEDED,
        payload_hash="",
        attempt=2,
        fence=2,
        target_id="17",
        code="",
        at_ms=NOW,
        history=(note(-5, Row.IN_FLIGHT), note(9_000, Row.SUCCEEDED)),
    )
    act = Act(
        id="r",
        at_ms=NOW + 5_000,
        who="ana",
        why="mended",
        action="replay",
        sink="tryton",
        event_id=event().id,
        changes={"summary": "old → new"},
    )
    console = screen()
    shown = Standing(entry=entry(history=history), state=State.DELIVERED, row=row, acts=[act])
    everything(console, shown, CODEC)
    text = text_of(console)
    places = [text.index(word) for word in ("in flight", "given up", "replayed", "succeeded")]
    assert places == sorted(places)
    assert text.count("in flight") == 1, "a note that both have is shown once"
    assert "delivered, as 17" in text
    assert "- old" in text


def test_nothing_from_outside_is_markup_or_steers_the_terminal() -> None:
    bad = "[red]x[/nothing]\x1b[2J\r\nnext"
    row = standing(
        message=bad, key=bad, code=bad, answer=bad, tenant=bad, headers={bad: b"\x1b[2J"}
    )
    console = screen(200)
    for part in listing([row], 1):
        console.print(part)
    console.print(by_cause([row]))
    everything(console, row, CODEC)
    assert "\x1b" not in text_of(console)
    assert "[red]x[/nothing]" in text_of(console)


@given(st.text(max_size=60), st.binary(max_size=60), st.integers(-(2**63), 2**63 - 1))
def test_any_record_can_be_shown(text: str, content: bytes, number: int) -> None:
    row = standing(
        message=text,
        key=text,
        tenant=text,
        code=text,
        answer=text,
        payload=content,
        at_ms=number,
        headers={text: content},
        event_id=text,
        traceparent=text,
        source_topic=text,
    )
    console = screen()
    for part in listing([row], 1):
        console.print(part)
    everything(console, row, CODEC)
    json.dumps(as_json(row, CODEC))


def test_json_has_the_event_and_no_secrets() -> None:
    payload = encode_event(CODEC, event(summary="hot"))
    found = as_json(standing(payload=payload, answer="password=hunter2"), CODEC)
    assert found["event"]["summary"] == "hot"
    assert bytes.fromhex(found["payload"]) == payload
    assert "hunter2" not in json.dumps(found)


def test_a_text_from_outside_is_one_line() -> None:
    assert plain("a\n\tb\x07[b]") == r"a b \[b]"


def test_more_than_twenty_need_a_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert agreed(20, what="discard", yes=False)
    assert agreed(5_000, what="discard", yes=True)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(SettingsError, match="discard 21 dead letters: say --yes"):
        agreed(21, what="discard", yes=False)
