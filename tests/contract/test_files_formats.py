"""Rows as bytes: whole, the same each time, and read back by a reader that trusts nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Delivery
from connectors.fields import Policy
from connectors.files.formats import encode, manifest, name_of
from connectors.files.mapping import COLUMNS, ROW, to_row
from pipeline.core.outcome import Rejected
from tests.contract.case import RECORD
from tests.contract.world import event
from tests.sandboxes.files_reader import POSITIONS, BadFileError, Reader, rows_of
from tests.sandboxes.journal import Journal

FORMS = ("csv", "xml", "flat")


def row(form: str = "csv", *, record: Any = RECORD, **changes: Any) -> dict[str, str]:  # noqa: ANN401 - any field
    made = event(**changes)
    told = to_row(Delivery(event=made, key=made.id, record=record), flat=form == "flat")
    assert not isinstance(told, Rejected), told
    return told


def name(rows: list[dict[str, str]]) -> str:
    return name_of([one["key"] for one in rows])


@pytest.mark.parametrize("form", FORMS)
@given(
    summaries=st.lists(st.text(max_size=200), max_size=5),
    asset=st.text(st.characters(max_codepoint=255), max_size=64),
)
def test_what_is_written_is_read_back(form: str, summaries: list[str], asset: str) -> None:
    rows = [
        row(form, name=f"e{n}", summary=text, record=replace(RECORD, asset_id=asset), asset_id=None)
        for n, text in enumerate(summaries)
    ]
    data = encode(form, name(rows), rows)
    read = rows_of(form, name(rows), data)
    columns = POSITIONS if form == "flat" else COLUMNS
    assert [{c: one.get(c, "") for c in columns} for one in read] == [
        {c: one[c].rstrip(" ") if form == "flat" else one[c] for c in columns} for one in rows
    ]
    assert data == encode(form, name(rows), rows)


@pytest.mark.parametrize("form", FORMS)
@given(cut=st.integers(0, 10_000), data=st.data())
def test_a_file_that_is_cut_or_changed_is_not_read(form: str, cut: int, data: Any) -> None:  # noqa: ANN401 - hypothesis
    rows = [row(form, name=f"e{n}", device_id=f"acme/t{n}") for n in range(3)]
    whole = encode(form, name(rows), rows)
    told = manifest(form, name(rows), "data/x", rows, whole)
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    for wrong in (whole[: cut % len(whole)], changed):
        journal = Journal()
        with pytest.raises(BadFileError):
            Reader(journal).take(told, read={"data/x": wrong}.__getitem__)
        assert not journal.effects
    Reader(Journal()).take(told, read={"data/x": whole}.__getitem__)


def test_a_manifest_says_all_that_a_reader_needs() -> None:
    rows = [row(name="a"), row(name="b")]
    data = encode("csv", "n", rows)
    told = json.loads(manifest("csv", "n", "data/d/n.csv", rows, data))
    assert told["keys"] == [event("a").id, event("b").id]
    assert told["columns"] == list(COLUMNS)
    assert (told["rows"], told["files"][0]["bytes"]) == (2, len(data))


def test_a_name_comes_from_the_keys_and_their_order_alone() -> None:
    assert name_of(["a", "b"]) == name_of(["a", "b"])
    names = {name_of(keys) for keys in (["a", "b"], ["b", "a"], ["ab"], ["a"], ["a", "b", "c"])}
    assert len(names) == 5
    assert all(len(one) == 27 for one in names)


def test_every_column_fits_its_place_in_a_fixed_width_record() -> None:
    long = row("flat", summary="s" * 900, metric="m" * 900, rule="r" * 900)
    for column, (start, end) in POSITIONS.items():
        assert len(long[column]) <= end - start
    assert sum(one.limit or 0 for one in ROW) + 10 == 1274


def refused(change: Callable[[Delivery], Delivery], *, flat: bool = False) -> Rejected:
    one = event()
    told = to_row(change(Delivery(event=one, key=one.id, record=RECORD)), flat=flat)
    assert isinstance(told, Rejected)
    return told


def test_what_a_file_cannot_say_is_refused_before_anything_is_sent() -> None:
    named = {
        "key": lambda d: replace(d, key="../../x"),
        "entity": lambda d: replace(d, event=replace(d.event, entity_id="a b")),
        "asset": lambda d: replace(
            d,
            record=replace(RECORD, asset_id="x" * 65),
            event=replace(d.event, asset_id=None),
        ),
        "occurred_at": lambda d: replace(d, event=replace(d.event, occurred_at_ms=2**62)),
    }
    for column, change in named.items():
        why = refused(change)
        assert why.code.startswith("mapping.")
        assert f"Field {column} " in why.message


def test_a_reference_that_a_fixed_width_file_cannot_write_is_refused_and_a_text_is_not() -> None:
    def chinese(one: Delivery) -> Delivery:
        record = replace(RECORD, asset_id="車-1", asset_name="冷凍車")
        return replace(one, record=record, event=replace(one.event, asset_id=None))

    why = refused(chinese, flat=True)
    assert why.code == "mapping.unusable"
    assert "Field asset " in why.message
    assert row("flat", record=replace(RECORD, asset_name="冷凍車"))["asset_name"] == "???"
    assert row("csv", record=replace(RECORD, asset_name="冷凍車"))["asset_name"] == "冷凍車"


def test_what_the_policy_withholds_is_in_no_row() -> None:
    one = event()
    told = to_row(
        Delivery(event=one, key=one.id, record=RECORD),
        flat=False,
        policy=Policy(withheld=frozenset({"personal"})),
    )
    assert not isinstance(told, Rejected)
    assert (told["customer_name"], told["customer_tax_id"]) == ("", "")
    assert told["customer"] == "C-1"
