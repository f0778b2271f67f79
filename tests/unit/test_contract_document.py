"""The idempotency contract: drawn from the code, and checked in as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from connectors import registry
from connectors.answers import Kind, Row
from connectors.base import Effect
from connectors.erpnext.system import SYSTEM
from connectors.system import CallSpec
from pipeline.ops import contract
from pipeline.settings import SettingsError

CHECKED_IN = Path("infra/docs/CONTRACT.md")


def cells(line: str) -> list[str]:
    """A table's line as Markdown reads it: an escaped bar does not divide."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def tables(text: str) -> list[list[list[str]]]:
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            found[-1].append(cells(line))
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


def test_the_document_that_is_checked_in_is_current() -> None:
    assert CHECKED_IN.exists(), "make it: fieldline connectors contract > infra/docs/CONTRACT.md"
    assert CHECKED_IN.read_text(encoding="utf-8") == contract.document(), (
        "it is out of date: fieldline connectors contract > infra/docs/CONTRACT.md"
    )


def test_every_connector_has_a_chapter_in_order_and_the_text_ends_with_one_line_end() -> None:
    text = contract.document()
    chapters = re.findall(r"(?m)^## .+ \(`(\w+)`\)$", text)
    assert chapters == list(registry.names())
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\n\n\n" not in text


@pytest.mark.parametrize("name", registry.names())
def test_every_call_object_and_answer_of_a_system_is_in_its_chapter(name: str) -> None:
    system, text = registry.system(name), contract.document([name])
    found = tables(text)
    assert all(len({len(row) for row in table}) == 1 for table in found), "a row is broken"
    writes = [call for call in system.calls if call.effect is not Effect.READ]
    assert [row[0] for row in found[0][2:]] == [f"`{call.step}`" for call in writes]
    for call in system.calls:
        assert f"`{call.step}`" in text
    assert "| - |" not in "".join("|".join(row) for row in found[0])
    rows = found[-1][2:]
    assert {row[1] for row in rows} == {f"`{row.code}`" for row in system.answers}
    for fact in system.unsure:
        assert fact in text


def test_one_connector_alone_can_be_asked_for() -> None:
    text = contract.document(["erpnext"])
    assert text.startswith(contract.HEAD)
    assert "## ERPNext (`erpnext`)" in text
    assert text.count("\n## ") == 1
    with pytest.raises(SettingsError, match="choose among"):
        contract.document(["erpnext", "nothing"])


def test_every_kind_of_answer_says_what_follows() -> None:
    assert set(contract._FOLLOWS) == set(Kind)  # noqa: SLF001 - the table itself


def test_texts_that_would_break_a_table_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = "a|b\nc  `d` \\| e"
    call = CallSpec(
        step="w|r", request="PUT /a|b", effect=Effect.WRITE, key=odd, once="", unknown="<b> __x__"
    )
    row = Row(kind=Kind.REFUSED, code="erpnext.o|dd", when=odd, source="s")
    bent = SYSTEM.__class__(
        name="erpnext",
        title="ERP|Next",
        settings=SYSTEM.settings,
        make=SYSTEM.make,
        objects={},
        calls=(call,),
        answers=(row, row),
        unsure=("is it | so?",),
    )
    monkeypatch.setattr(contract, "system", lambda _: bent)
    writes, answers = tables(contract.document(["erpnext"]))
    assert [len(line) for line in (*writes, *answers)] == [5] * 3 + [4] * 3
    assert writes[2][0] == "`w\\|r`"
    assert writes[2][3] == "-"
    assert writes[2][4] == "&lt;b> \\_\\_x\\_\\_"
    assert answers[2][0] == writes[2][2]
