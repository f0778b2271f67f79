from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.fates import (
    ALL,
    EVERY_PARTITION,
    NOTHING,
    End,
    Fold,
    Weight,
    stage_line,
)
from pipeline.core.reconcile import (
    HOUR_MS,
    Finding,
    Item,
    Kind,
    Record,
    State,
    hour_seed,
    missing_at_target,
    not_closing,
    not_listed_by_us,
    probes,
    settle,
)
from pipeline.ops.reconcile_reviews import RESOLVE, Reviews, decode_item, encode_item
from pipeline.ops.reconcile_sample import sampled
from pipeline.ops.reconcile_store import Store
from pipeline.topology import AUDIT, REVIEW
from pipeline.wire.avro import Codec
from tests.unit import books_world as world
from tests.unit.books_world import SINK

# -- what is looked at


def test_the_sample_is_the_same_within_the_hour_and_another_one_later() -> None:
    now_ms = 480_000 * HOUR_MS
    first = probes(hour_seed(now_ms), SINK, 50)
    assert first == probes(hour_seed(now_ms + HOUR_MS - 1), SINK, 50)
    assert first != probes(hour_seed(now_ms + HOUR_MS), SINK, 50)
    assert first != probes(hour_seed(now_ms), "crm", 50)
    assert len(set(first)) == 50


@given(st.integers(0, 2**40), st.integers(1, 30))
@settings(max_examples=20, deadline=None)
def test_a_sample_has_only_delivered_events_each_once(seed: int, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "db")
        fold = Fold(store)
        for event in range(12):
            fold.seen(SINK, world.seen(event))
            if event % 3:
                fold.ended(SINK, world.result(event, End.DELIVERED))
        store.commit()
        names = [name for name, _ in sampled(store, SINK, seed, count)]
        assert len(names) == len(set(names)) <= count
        assert set(names) <= {f"e{event}" for event in range(12) if event % 3}
        assert names
        store.close()


@pytest.mark.parametrize(
    ("record", "kinds"),
    [
        (Record(key="known", id=7), []),
        (Record(key="strange", id=7), [Kind.UNKNOWN_AT_LEDGER]),
        (Record(key="strange", id=4), []),
        (Record(key="twice", id=7), [Kind.DOUBLED_AT_TARGET]),
        (Record(key="twice", id=4), [Kind.DOUBLED_AT_TARGET]),
        (Record(key="twice", id=3), []),
    ],
)
def test_a_listed_record_is_ours_or_strange_or_a_double(record: Record, kinds: list[Kind]) -> None:
    """Records below 5 are older than the books."""
    found = not_listed_by_us(
        SINK,
        [record],
        known=lambda key: key in {"known", "twice"},
        first=lambda r: 3 if r.key == "twice" else r.id,
        since=5,
    )
    assert [finding.kind for finding in found] == kinds


# -- what is said of it

FOUND = missing_at_target(SINK, "e1", "101", "raise")
OPEN = Item(finding=FOUND, state=State.OPEN, at_ms=10)
GONE = Item(finding=FOUND, state=State.GONE, at_ms=10)
OTHER = replace(FOUND, detail="another thing")


@pytest.mark.parametrize(
    ("known", "found", "looked", "resolved_ms", "written"),
    [
        (None, FOUND, True, None, State.OPEN),
        (None, None, True, None, None),
        (OPEN, FOUND, True, None, None),
        (OPEN, OTHER, True, None, State.OPEN),
        (OPEN, None, True, None, State.GONE),
        (OPEN, None, False, None, None),
        (GONE, FOUND, True, None, State.OPEN),
        (GONE, None, True, None, None),
        (GONE, FOUND, True, 10, None),
        (GONE, OTHER, True, 10, State.OPEN),
        (GONE, None, True, 10, State.GONE),
        (GONE, FOUND, True, 9, State.OPEN),
    ],
    ids=[
        "new",
        "nothing",
        "still there",
        "says something else",
        "not found any more",
        "not looked at",
        "back again",
        "still gone",
        "resolved and still there",
        "resolved and something else now",
        "resolved and gone indeed",
        "resolved, gone, and back again",
    ],
)
def test_what_is_written_after_a_look(
    known: Item | None,
    found: Finding | None,
    looked: bool,  # noqa: FBT001 - a column of the table
    resolved_ms: int | None,
    written: State | None,
) -> None:
    out = settle(
        {FOUND.id: known} if known else {},
        [found, found] if found else [],
        looked=lambda _: looked,
        resolved={FOUND.id: resolved_ms} if resolved_ms is not None else {},
        now_ms=99,
    )
    assert [item.state for item in out] == ([written] if written else [])
    assert all(item.at_ms == 99 for item in out)


def test_the_same_mismatch_has_the_same_id_whatever_is_said_of_it() -> None:
    assert FOUND.id == OTHER.id
    assert len({FOUND.id, replace(FOUND, sink="crm").id, replace(FOUND, subject="e2").id}) == 3
    assert len(FOUND.id) == 24


def test_a_line_that_does_not_close_says_which_way_and_names_events() -> None:
    line = stage_line(SINK, "a", 1, counted=Weight(accepted=3, open=3), lost=2)
    finding = not_closing(line, "sink.erp a/1", ["e1", "e2"])
    assert "2 of 3 events" in finding.detail
    assert "e1, e2" in finding.detail
    more = stage_line(
        SINK, ALL, EVERY_PARTITION, counted=NOTHING, strays=Weight(accepted=1, delivered=1)
    )
    assert "1 results more" in not_closing(more, "sink.erp", []).detail


# -- reviews


@pytest.mark.parametrize("audit_first", [True, False])
def test_what_a_person_resolved_is_not_opened_again_whichever_topic_is_read_first(
    audit_first: bool,  # noqa: FBT001 - a column of the table
) -> None:
    codec, reviews = Codec(), Reviews(Codec())
    act = {
        **dict.fromkeys(("who", "why", "sink", "event_id"), "x"),
        "id": FOUND.id,
        "at_ms": 50_000,
        "action": RESOLVE,
        "dlq_offset": -1,
    }
    gone = Item(finding=FOUND, state=State.GONE, at_ms=50_000)
    messages = [
        (AUDIT, codec.encode("operator_action.v1", act)),
        (REVIEW, encode_item(codec, gone)),
    ]

    def look(now_ms: int) -> list[Item]:
        return reviews.settle([FOUND], looked=lambda _: True, now_ms=now_ms)

    first, second = messages if audit_first else reversed(messages)
    reviews.take(*first)
    if not audit_first:
        assert look(50_001) == [], "word of who did it may be on its way"
    reviews.take(*second)
    assert look(50_002) == []
    assert look(90_000) == []
    assert reviews.standing([FOUND]) == []
    assert reviews.open() == {}
    # It went indeed, and came back: that is another matter.
    [written] = reviews.settle([], looked=lambda _: True, now_ms=91_000)
    reviews.take(REVIEW, encode_item(codec, written))
    [again] = look(190_000)
    assert again.state is State.OPEN


def test_a_review_that_is_none_is_passed_over() -> None:
    reviews = Reviews(Codec())
    for value in (None, b"", b"junk", Codec().encode("review_item.v1", strange_item())):
        reviews.take(REVIEW, value)
        reviews.take(AUDIT, value)
    assert reviews.items == {}


def strange_item() -> dict[str, object]:
    texts = ("id", "kind", "sink", "subject", "detail", "state")
    return {**dict.fromkeys(texts, "x"), "at_ms": 1}


def test_an_item_goes_through_its_topic_unchanged() -> None:
    assert decode_item(Codec(), encode_item(Codec(), OPEN)) == OPEN
