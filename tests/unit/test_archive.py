from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.lake import mapping
from connectors.lake.mapping import Dataset
from pipeline.core import archive, lake_rows
from pipeline.core.archive import Arrival, Cut, Decision, Limits, RangeBuffer, Seen, Selection
from pipeline.core.events import BusinessEvent, Severity, SnapshotEntry, Source
from pipeline.core.telemetry import DeduplicatedBatch, Sample, pack

START = archive.resume(None, complete=True)
LIMITS = Limits(rows=10, age_ms=1000, dates=3)
DAY = lake_rows.DAY_MS


def arrival(
    offset: int, *, rows: int = 1, event_id: str | None = None, replay: bool = False, day: int = 0
) -> Arrival:
    return Arrival(
        source=("telemetry.readings", 0),
        position=(offset, 0),
        rows=rows,
        days=frozenset((day,)),
        event_id=event_id,
        replay=replay,
    )


def claim_of(selection: Selection[str]) -> archive.Claim:
    return archive.Claim(
        topic="t",
        partition=0,
        first=selection.first,
        last=selection.last,
        seen_before=selection.seen_before,
        seen=selection.seen,
        messages=len(selection.messages),
        files=(("1970-01-01", len(selection.messages)),),
    )


def selected(buffer: RangeBuffer[str]) -> Selection[str]:
    selection = buffer.selection()
    assert isinstance(selection, Selection)
    return selection


ARRIVALS = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from([None, "a", "b", "c"]), st.booleans()),
    min_size=1,
    max_size=25,
)


@given(ARRIVALS, st.integers(0, 24), st.integers(0, 24))
def test_memory_after_an_offset_does_not_depend_on_where_ranges_are_cut(
    items: list[tuple[int, str | None, bool]], first_cut: int, second_cut: int
) -> None:
    def memory_with(cuts: set[int]) -> Seen:
        buffer: RangeBuffer[str] = RangeBuffer(START, LIMITS)
        for at, (position, event_id, replay) in enumerate(items):
            buffer.add(at, f"m{at}", arrival(position, event_id=event_id, replay=replay))
            if at in cuts and isinstance(buffer.selection(), Selection):
                buffer.advance(claim_of(selected(buffer)))
        rest = buffer.selection()
        return rest.seen if isinstance(rest, Selection) else buffer.seen_before

    assert memory_with({first_cut}) == memory_with({second_cut}) == memory_with(set())


@given(ARRIVALS, st.data())
def test_a_range_rebuilt_from_its_claim_takes_the_same_messages(
    items: list[tuple[int, str | None, bool]], data: st.DataObject
) -> None:
    whole: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    last = data.draw(st.integers(0, len(items) - 1))
    short: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    for at, (position, event_id, replay) in enumerate(items):
        whole.add(at, f"m{at}", arrival(position, event_id=event_id, replay=replay))
        if at <= last:
            short.add(at, f"m{at}", arrival(position, event_id=event_id, replay=replay))
    cut_short = selected(short)
    whole.adopt(claim_of(cut_short))
    assert selected(whole) == cut_short


def test_a_source_position_not_above_the_greatest_is_a_repetition() -> None:
    buffer: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    decisions = [buffer.add(at, "m", arrival(source)) for at, source in enumerate((5, 5, 4, 6))]
    assert decisions == [
        Decision.TAKE,
        Decision.SKIP_REPEATED,
        Decision.SKIP_REPEATED,
        Decision.TAKE,
    ]


def test_an_event_id_counts_once_in_a_range_and_again_in_the_next() -> None:
    buffer: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    assert buffer.add(0, "m0", arrival(1, event_id="a")) is Decision.TAKE
    assert buffer.add(1, "m1", arrival(2, event_id="a")) is Decision.SKIP_REPEATED
    # Another writer cut after offset 0: then offset 1 begins a range of its own.
    buffer.adopt(replace(claim_of(selected(buffer)), last=0))
    buffer.advance(claim_of(selected(buffer)))
    assert selected(buffer).messages == ("m1",)


def test_an_offset_offered_again_is_recognised() -> None:
    buffer: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    buffer.add(0, "m", arrival(0))
    assert buffer.add(0, "m", arrival(0)) is Decision.SKIP_BUFFERED
    buffer.advance(claim_of(selected(buffer)))
    assert buffer.add(0, "m", arrival(0)) is Decision.SKIP_ALREADY_IN_LAKE


@given(st.permutations(range(8)), st.lists(st.integers(0, 5), min_size=8, max_size=8))
def test_the_order_in_which_offsets_are_offered_does_not_change_the_range(
    order: list[int], positions: list[int]
) -> None:
    rising: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    mixed: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    for at in range(8):
        rising.add(at, f"m{at}", arrival(positions[at], event_id=f"e{at}"))
    for at in order:
        mixed.add(at, f"m{at}", arrival(positions[at], event_id=f"e{at}"))
        assert mixed.add(at, f"m{at}", arrival(positions[at])) is Decision.SKIP_BUFFERED
    assert selected(mixed) == selected(rising)
    assert mixed.rows == rising.rows


def test_only_so_many_replays_are_remembered() -> None:
    buffer: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    for at in range(archive.MAX_REPLAYED + 10):
        buffer.add(at, "m", arrival(0, event_id=f"e{at}", replay=True))
    replayed = selected(buffer).seen.replayed
    assert len(replayed) == archive.MAX_REPLAYED
    assert replayed[0] == "e10"


@pytest.mark.parametrize(
    ("arrivals", "now_ms", "cut"),
    [
        ([arrival(0)], 999, Cut.NOT_YET),
        ([arrival(0)], 1000, Cut.AGE),
        ([arrival(0, rows=10)], 0, Cut.ROWS),
        ([arrival(at, day=at) for at in range(3)], 0, Cut.DATES),
    ],
)
def test_a_range_is_cut_by_rows_dates_or_age(
    arrivals: list[Arrival], now_ms: int, cut: Cut
) -> None:
    buffer: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    assert buffer.cut(0) is Cut.NOT_YET
    for at, item in enumerate(arrivals):
        buffer.add(at, "m", item)
    if now_ms:
        assert buffer.cut(0) is Cut.NOT_YET
    assert buffer.cut(now_ms) is cut


def test_a_claimed_range_is_cut_only_at_its_end() -> None:
    buffer: RangeBuffer[str] = RangeBuffer(START, LIMITS)
    buffer.add(0, "m", arrival(0, rows=100))
    buffer.adopt(replace(claim_of(selected(buffer)), last=2))
    assert buffer.cut(10**9) is Cut.NOT_YET
    assert buffer.selection() == archive.Awaiting(offset=2)
    buffer.add(3, "m", arrival(3))
    assert buffer.cut(0) is Cut.CLAIMED


@settings(max_examples=300)
@given(st.sets(st.integers(0, archive.MAX_OFFSET), max_size=40), st.integers(1, 5))
def test_the_newest_claim_is_found_whatever_the_names(firsts: set[int], page_size: int) -> None:
    ordered = sorted(firsts)
    found, calls = search(ordered, page_size)
    assert found == (ordered[-1] if ordered else None)
    assert calls < 140


def test_the_newest_of_a_million_claims_takes_few_listings() -> None:
    found, calls = search(list(range(0, 208_000_000, 208)), 1000)
    assert found == 207_999_792
    assert calls <= 20


def search(ordered: list[int], page_size: int) -> tuple[int | None, int]:
    conversation = archive.newest_claim()
    above, calls = next(conversation), 0
    while True:
        calls += 1
        start = int(np.searchsorted(np.array(ordered, dtype=np.int64), above, side="right"))
        page = tuple(ordered[start : start + page_size])
        try:
            above = conversation.send(
                archive.Page(firsts=page, more=start + page_size < len(ordered))
            )
        except StopIteration as found:
            return found.value, calls


TIMES = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3 * DAY)
SAMPLES = st.lists(
    st.builds(
        Sample,
        device_id=st.sampled_from(["acme/b", "acme/a", "zeta/a"]),
        session=st.integers(0, 3),
        sequence=st.integers(-1, 9),
        time_ms=TIMES,
        received_ms=TIMES,
        readings=st.lists(
            st.tuples(st.sampled_from(["x", "y"]), st.floats(allow_nan=False)), max_size=3
        ).map(tuple),
    ),
    max_size=8,
)


def deduplicated(samples: list[Sample], offset: int = 7) -> DeduplicatedBatch:
    return DeduplicatedBatch(
        source_topic="telemetry.readings",
        source_partition=2,
        source_offset=offset,
        batch=pack(samples),
        late=np.array([s.sequence == 0 for s in samples], dtype=np.bool_),
        duplicates=0,
    )


def clamp(time_ms: int) -> int:
    return min(max(time_ms, 0), lake_rows.LAST_MS)


def when(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms // 1000, tz=UTC).replace(
        microsecond=time_ms % 1000 * 1000
    )


@given(st.lists(SAMPLES, max_size=4))
def test_telemetry_rows_are_those_of_a_plain_loop_sorted_and_split_by_date(
    messages: list[list[Sample]],
) -> None:
    expected: list[dict[str, Any]] = [
        {
            "tenant": s.device_id.partition("/")[0],
            "device_id": s.device_id,
            "metric": metric,
            "time": when(clamp(s.time_ms)),
            "value": value,
            "session": s.session,
            "sequence": s.sequence,
            "received_at": when(clamp(s.received_ms)),
            "late": s.sequence == 0,
            "source_partition": 2,
            "source_offset": offset,
        }
        for offset, samples in enumerate(messages)
        for s in samples
        for metric, value in s.readings
    ]
    expected.sort(key=lambda r: (r["time"].date(), r["device_id"], r["metric"], r["time"]))
    results = [deduplicated(samples, offset) for offset, samples in enumerate(messages)]
    tables = lake_rows.telemetry_tables(results)
    assert [row for _, table in tables for row in table.to_pylist()] == expected
    dates = [date for date, _ in tables]
    assert dates == sorted({row["time"].date().isoformat() for row in expected})
    for date, table in tables:
        assert {row["time"].date().isoformat() for row in table.to_pylist()} == {date}
        assert table.schema == lake_rows.TELEMETRY_SCHEMA


def test_a_key_too_wide_to_pack_sorts_the_same() -> None:
    generator = np.random.default_rng(5)
    columns = {
        "day": generator.integers(0, 3, 500),
        "code": generator.integers(0, 9, 500),
        "within_day": generator.integers(0, 40, 500),
    }
    packed = lake_rows._order(codes=9, **columns)  # noqa: SLF001 - both ways are one function
    assert (lake_rows._order(codes=2**50, **columns) == packed).all()  # noqa: SLF001 - the same


def event(**fields: object) -> BusinessEvent:
    plain = BusinessEvent(
        id="e1",
        type="fieldline.limit.exceeded",
        tenant="acme",
        device_id="acme/a",
        asset_id=None,
        customer_id="C-1",
        severity=Severity.CRITICAL,
        confidence=0.5,
        summary="Too hot.",
        detector="limit",
        metric="x",
        rule="hot@1",
        correlation_id="e1",
        occurred_at_ms=DAY + 1,
        observed_at_ms=DAY + 2,
        source=Source(topic="r", partition=1, offset=2, index=3, session=4, sequence=5),
        snapshot=(SnapshotEntry(metric="x", value=1.0, baseline=None, score=2.5),),
    )
    return replace(plain, **fields)  # type: ignore[arg-type]  # names are checked by replace


def test_event_rows_are_flat_and_keep_the_snapshot() -> None:
    tables = lake_rows.event_tables([event(occurred_at_ms=3 * DAY), event(id="e2")])
    assert [date for date, _ in tables] == ["1970-01-02", "1970-01-04"]
    (row,) = tables[0][1].to_pylist()
    assert row["id"] == "e2"
    assert row["occurred_at"] == when(DAY + 1)
    assert (row["source_topic"], row["source_offset"], row["source_index"]) == ("r", 2, 3)
    assert (row["session"], row["sequence"], row["severity"]) == (4, 5, "critical")
    assert row["snapshot"] == [{"metric": "x", "value": 1.0, "baseline": None, "score": 2.5}]


@given(
    st.builds(
        Seen,
        greatest=st.lists(
            st.tuples(st.text(max_size=5), st.integers(0, 9), st.integers(0), st.integers(0)),
            max_size=3,
        ).map(lambda entries: tuple(sorted(entries))),
        replayed=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    )
)
def test_a_claim_survives_its_json(seen: Seen) -> None:
    claim = archive.Claim(
        topic="t",
        partition=3,
        first=4,
        last=9,
        seen_before=Seen(),
        seen=seen,
        messages=2,
        files=(("2025-01-01", 1), ("2025-01-02", 3)),
    )
    assert mapping.decode_claim(mapping.encode_claim(claim)) == claim
    assert claim.rows == 4


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"topic": 1}', b"\xff", b"0" * 2_000_000])
def test_what_is_no_claim_is_not_taken_for_one(data: bytes) -> None:
    assert mapping.decode_claim(data) is None


def test_a_file_says_what_range_it_is_of() -> None:
    samples = [
        Sample(
            device_id="acme/a",
            session=1,
            sequence=1,
            time_ms=DAY,
            received_ms=DAY,
            readings=(("x", 1.0),),
        )
    ]
    ((date, table),) = Dataset.TELEMETRY.tables([deduplicated(samples)])
    claim = archive.Claim(
        topic="t",
        partition=3,
        first=4,
        last=9,
        seen_before=Seen(),
        seen=Seen(),
        messages=1,
        files=((date, 1),),
    )
    data = mapping.parquet(table, claim)
    assert mapping.footer(data) == mapping.Footer(range="t/3/4-9", rows=1)
    assert mapping.footer(data[-50:]) is None
    assert mapping.footer(b"") is None
    assert mapping.parquet(table, claim) == data
    assert pa.parquet.read_table(pa.BufferReader(data)).to_pylist() == table.to_pylist()
    name = mapping.file_key(Dataset.TELEMETRY, claim, date)
    assert name == "telemetry/date=1970-01-02/t-00003-00000000000000000004.parquet"
    key = mapping.claim_key(Dataset.TELEMETRY, "t", 3, 4)
    assert key == "telemetry/_ranges/t/00003/00000000000000000004.json"
    assert mapping.first_of_claim(key) == 4
