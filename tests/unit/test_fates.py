from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.fates import (
    DAY_MS,
    EARLY_KEPT_MS,
    FATES_KEPT_MS,
    NOTHING,
    End,
    Fate,
    Fold,
    Index,
    StageLine,
    Weight,
    ended,
    parked,
    seen,
    stage_line,
)
from pipeline.core.routing import Route
from pipeline.ops.reconcile_fold import OTHERS, TENANTS_MAX, Reader
from pipeline.ops.reconcile_lines import is_total, make_lines, off_lines, oldest_ms
from pipeline.ops.reconcile_store import Store
from pipeline.ops.reconcile_upkeep import forget_old, lake_delivered
from pipeline.topology import EVENTS, LAKE, RESULTS, parked_topic
from pipeline.wire.avro import Codec
from pipeline.wire.records import encode_event
from tests.unit import books_world as world
from tests.unit.books_world import SINK, History, Shelf, histories, interleaved
from tests.unit.examples import event

# -- one row

BEFORE = {
    "nothing": None,
    "seen": seen(None, world.seen(0)),
    "parked": parked(seen(None, world.seen(0)), world.seen(0)),
    "ended before it was seen": ended(None, world.result(0, End.DELIVERED)),
    "dead letter": ended(seen(None, world.seen(0)), world.result(0, End.DEAD_LETTERED)),
}


@pytest.mark.parametrize(
    ("before", "then", "weight", "index"),
    [
        ("nothing", "seen", Weight(accepted=1, open=1), Index.OPEN),
        ("nothing", "delivered", NOTHING, Index.EARLY),
        ("nothing", "parked", NOTHING, None),
        ("seen", "seen", Weight(accepted=1, open=1), Index.OPEN),
        ("seen", "delivered", Weight(accepted=1, delivered=1), None),
        ("seen", "parked", Weight(accepted=1, open=1, parked=1), Index.PARKED),
        ("parked", "delivered", Weight(accepted=1, delivered=1), None),
        ("ended before it was seen", "seen", Weight(accepted=1, delivered=1), None),
        ("dead letter", "seen", Weight(accepted=1, dead_lettered=1), None),
        ("dead letter", "delivered", Weight(accepted=1, delivered=1), None),
        ("dead letter", "parked", Weight(accepted=1, dead_lettered=1), None),
    ],
)
def test_what_a_message_makes_of_a_row(
    before: str, then: str, weight: Weight, index: Index | None
) -> None:
    fate = BEFORE[before]
    after = {
        "seen": lambda: seen(fate, world.seen(0, offset=7)),
        "delivered": lambda: ended(fate, world.result(0, End.DELIVERED)),
        "parked": lambda: parked(fate, world.seen(0)),
    }[then]()
    assert (after.weight, after.index) == (weight, index)


@pytest.mark.parametrize("end", End)
def test_every_end_has_a_place_of_its_own(end: End) -> None:
    weight = ended(BEFORE["seen"], world.result(0, end)).weight
    assert weight == Weight(accepted=1)._replace(**{end.value: 1})


def test_a_row_is_kept_as_long_as_something_can_come_for_it() -> None:
    done = Fate(
        tenant="t", device_id="t/d", partition=0, offset=1, end=End.DELIVERED, ended_ms=DAY_MS
    )
    late = DAY_MS + FATES_KEPT_MS
    assert not done.forgettable(late)
    assert done.forgettable(late + 1)
    assert not replace(done, end=End.DEAD_LETTERED).forgettable(late * 9), "a person may yet act"
    assert not replace(done, end=None).forgettable(late * 9)
    early = replace(done, offset=-1)
    assert early.forgettable(DAY_MS + EARLY_KEPT_MS + 1)
    assert not early.forgettable(DAY_MS + EARLY_KEPT_MS)


# -- any order of the topics


@given(st.data())
def test_the_counts_are_the_same_however_the_topics_are_interleaved(data: st.DataObject) -> None:
    history = data.draw(histories())
    shelf = Shelf()
    fold = Fold(shelf)
    at = dict.fromkeys(history.logs, 0)
    for log in interleaved(data.draw, history):  # type: ignore[arg-type]
        history.logs[log][at[log]](fold)
        at[log] += 1
    assert_books(history, shelf.lines, shelf.lists)
    # What comes again changes nothing, but for results: the last one holds.
    for log, steps in history.logs.items():
        if log[0] == "sink":
            for step in steps:
                step(fold)
    assert_books(history, shelf.lines, shelf.lists)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_restart_at_any_point_changes_nothing(data: st.DataObject) -> None:
    history = data.draw(histories())
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "db")
        for log in interleaved(data.draw, history):  # type: ignore[arg-type]
            take(store, history, log)
            if data.draw(st.booleans()):
                store.commit()
            if data.draw(st.integers(0, 9)) == 0:
                store.close()
                store = Store(Path(folder) / "db")
        for log, steps in history.logs.items():
            while store.offsets.get(log, 0) < len(steps):
                take(store, history, log)
        store.commit()
        for _ in range(2):  # the second time as the next process finds it
            lists = {
                index: {name for p in (0, 1) for name, _ in store.listed(index, SINK, p, 1 << 62)}
                for index in (Index.OPEN, Index.PARKED)
            }
            lists[Index.EARLY] = {name for name, _ in store.early(SINK)}
            assert_books(history, store.lines, lists)
            store.close()
            store = Store(Path(folder) / "db")
        store.close()


def take(store: Store, history: History, log: tuple[str, int]) -> None:
    at = store.offsets.get(log, 0)
    if at < len(history.logs[log]):
        history.logs[log][at](Fold(store))
        store.read_to(*log, at + 1)


def assert_books(
    history: History,
    lines: dict[tuple[str, str, int], Weight],
    lists: dict[Index, set[str]],
) -> None:
    counted = {line: weight for line, weight in lines.items() if weight != NOTHING}
    assert counted == history.counts()
    for index in Index:
        assert lists[index] == history.listed(index)
    for (stage, tenant, partition), weight in counted.items():
        assert stage_line(stage, tenant, partition, counted=weight).missing == 0


# -- lines


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "db")


def test_an_event_that_its_worker_passed_is_missing_until_it_is_parked_or_ends(
    store: Store,
) -> None:
    fold = Fold(store)
    fold.seen(SINK, world.seen(0, offset=3))
    assert total(store, {0: 3}).missing == 0
    lost = total(store, {0: 4})
    assert (lost.accepted, lost.waiting, lost.missing) == (1, 0, 1)
    fold.parked(SINK, b"row", world.seen(0))
    held = total(store, {0: 4})
    assert (held.waiting, held.parked, held.missing) == (1, 1, 0)
    fold.unparked(SINK, 0, b"row")
    assert total(store, {0: 4}).missing == 1, "found again below where the list was read last"
    fold.ended(SINK, world.result(0, End.DISCARDED))
    assert (total(store, {0: 4}).missing, total(store, {0: 4}).discarded) == (0, 1)


def test_a_result_of_an_event_that_never_comes_makes_the_balance_negative(store: Store) -> None:
    Fold(store).ended(SINK, world.result(0, End.DELIVERED, at_ms=5_000))
    assert total(store, {}, now_ms=5_000).missing == 0, "its event may come yet"
    line = total(store, {}, now_ms=5_001)
    assert (line.accepted, line.delivered, line.missing) == (0, 1, -1)
    assert total(store, {}, now_ms=5_001 + EARLY_KEPT_MS).missing == 0
    Fold(store).seen(SINK, world.seen(0))
    line = total(store, {}, now_ms=5_001)
    assert (line.accepted, line.delivered, line.missing) == (1, 1, 0)


def total(store: Store, committed: dict[int, int], now_ms: int = 0) -> StageLine:
    off = off_lines(store, (SINK,), {SINK: committed}, stray_before_ms=now_ms)
    lines = make_lines(store.lines, (SINK,), off)
    for line in lines:
        places = (line.delivered, line.rejected, line.superseded, line.waiting)
        more = (line.dead_lettered, line.discarded, line.missing)
        assert line.accepted == sum(places) + sum(more)
    return next(line for line in lines if is_total(line))


def test_lines_are_made_of_each_tenant_and_range_with_their_sums() -> None:
    counted = {
        (SINK, "a", 0): Weight(accepted=2, delivered=2),
        (SINK, "a", 1): Weight(accepted=1, open=1),
        (SINK, "b", 0): Weight(accepted=4, rejected=4),
        ("gone", "b", 0): Weight(accepted=4, rejected=4),
    }
    lines = {line.key: line for line in make_lines(counted, (SINK,), {})}
    assert {key: line.accepted for key, line in lines.items()} == {
        "erp/a/0": 2,
        "erp/a/1": 1,
        "erp/a/-1": 3,
        "erp/b/0": 4,
        "erp/b/-1": 4,
        "erp/*/-1": 7,
    }
    assert lines["erp/*/-1"].waiting == 1


def test_the_oldest_that_waits_is_found_parked_or_not(store: Store) -> None:
    assert oldest_ms(store, SINK, [0, 1]) is None
    fold = Fold(store)
    fold.seen(SINK, world.seen(0, offset=5))
    fold.seen(SINK, world.seen(1, offset=3))
    assert oldest_ms(store, SINK, [0, 1]) == 1_003
    fold.parked(SINK, b"row", world.seen(1))
    assert oldest_ms(store, SINK, [0, 1]) == 1_003
    fold.ended(SINK, world.result(1, End.DELIVERED))
    assert oldest_ms(store, SINK, [0, 1]) == 1_005


async def test_what_the_lake_committed_is_delivered(store: Store) -> None:
    fold = Fold(store)
    for offset in range(3):
        fold.seen(LAKE, world.seen(2 * offset, offset=offset))
    await lake_delivered(store, {0: 2})
    assert store.lines[LAKE, "t0", 0] == Weight(accepted=3, delivered=2, open=1)
    await lake_delivered(store, {0: 2})
    assert store.lines[LAKE, "t0", 0] == Weight(accepted=3, delivered=2, open=1)


async def test_old_rows_go_and_their_counts_stay(store: Store) -> None:
    fold = Fold(store)
    for number, end in ((0, End.DELIVERED), (2, End.DEAD_LETTERED)):
        fold.seen(SINK, world.seen(number))
        fold.ended(SINK, world.result(number, end))
    fold.seen(SINK, world.seen(4))
    fold.ended(SINK, world.result(1, End.DELIVERED))
    store.commit()
    before = dict(store.lines)
    assert await forget_old(store, (SINK,), now_ms=10_000 + FATES_KEPT_MS) == 2
    assert store.lines == before
    assert [name for name, _ in store.fates(SINK)] == ["e2", "e4"]
    assert list(store.early(SINK)) == []


# -- messages


def test_messages_of_every_topic_find_their_stage_and_unreadable_ones_are_counted(
    store: Store,
) -> None:
    codec = Codec()
    reader = Reader(store, codec, (Route(sinks=("lake",)), Route(sinks=("erp",))))
    value = encode_event(codec, event())
    row = {
        "payload": value,
        "headers": {},
        "offset": 4,
        "due_ms": 1,
        "parked_ms": 1,
        "looks": -1,
        "sent_ms": 0,
        "own": 0,
        "outages": 0,
        "waited_s": 0.0,
        "code": "",
    }
    result = {
        "event_id": event().id,
        "sink": "erp",
        "tenant": "acme",
        "device_id": "acme/engine-001",
        "outcome": "delivered",
        "code": "",
        "message": "",
        "target_id": "7",
        "attempts": 1,
        "latency_ms": 1,
        "at_ms": 5,
    }

    def take(topic: str, value: bytes | None) -> dict[str, Weight]:
        reader.take(topic, 1, 4, at_ms=3, key=b"acme/engine-001\x004", value=value)
        return {stage: weight for (stage, _, _), weight in store.lines.items()}

    waits, done = Weight(accepted=1, open=1), Weight(accepted=1, delivered=1)
    assert take(EVENTS, value) == {"fanout:lake": waits, "fanout:erp": waits}
    assert take("sink.erp", value) == {"fanout:lake": waits, "fanout:erp": done, "erp": waits}
    parked_row = codec.encode("parked_event.v1", row)
    assert take(parked_topic("erp"), parked_row)["erp"].parked == 1
    assert take(parked_topic("erp"), None)["erp"] == waits
    assert take(RESULTS, codec.encode("delivery_result.v2", result))["erp"] == done
    assert reader.unreadable == 0
    before = dict(store.lines)
    for topic in (EVENTS, "sink.erp", RESULTS, parked_topic("erp")):
        take(topic, b"junk")
    take(RESULTS, None)
    assert (reader.unreadable, store.lines) == (5, before)
    assert store.offsets[RESULTS, 1] == 5


def test_tenants_beyond_the_most_have_one_line_together(store: Store) -> None:
    codec = Codec()
    reader = Reader(store, codec, (Route(sinks=("erp",)),))
    for number in range(TENANTS_MAX + 3):
        tenant = f"t{number}"
        made = event(id=f"e{number}", tenant=tenant, device_id=f"{tenant}/d")
        value = encode_event(codec, made)
        reader.take("sink.erp", 0, number, at_ms=1, key=None, value=value)
    assert len(store.lines) == TENANTS_MAX + 1
    assert store.lines["erp", OTHERS, 0].accepted == 3
