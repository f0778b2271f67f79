"""The lake's crash suite itself: its plan, its door's eye, its oracle."""

from __future__ import annotations

import asyncio
import math
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.wire.avro import Codec
from tests.crash.lake_check import Flaw, check_objects, check_rows, check_swept, merged_in
from tests.crash.lake_door import Door, Stage, Way, Weather, stage_of
from tests.crash.lake_load import Feed, Out
from tests.crash.lake_oracle import Expected, bits, expected
from tests.crash.lake_plan import BLOCK, FIRST_WORKERS, MOST_WORKERS, Kind, make_plan
from tests.crash.lake_readers import Found
from tests.faults.http1 import Message as Request
from tests.faults.proxy import LOOPBACK

TOPIC = "delivery.results"


@dataclass(frozen=True)
class Kafka:
    topic: str
    partition: int
    offset: int
    value: bytes | None
    timestamp: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


@given(seed=st.integers(0, 10**6), rounds=st.integers(1, 60))
def test_a_plan_always_has_a_worker_to_strike_and_is_the_same_again(seed: int, rounds: int) -> None:
    plan = make_plan(seed, rounds)
    assert plan == make_plan(seed, rounds)
    assert len(plan.faults) == rounds
    members = set(FIRST_WORKERS)
    for fault in plan.faults:
        if fault.kind is Kind.JOIN:
            assert fault.worker not in members
            members.add(fault.worker or 0)
        elif fault.worker is not None:
            assert fault.worker in members
        if fault.kind in {Kind.LEAVE, Kind.GONE}:
            members.discard(fault.worker or 0)
        if fault.kind is Kind.ZOMBIE:
            assert len(members) > 1
        assert 1 <= len(members) <= MOST_WORKERS


def test_a_long_plan_has_every_kind_in_each_block() -> None:
    faults = make_plan(5, 2 * len(BLOCK)).faults
    for block in (faults[: len(BLOCK)], faults[len(BLOCK) :]):
        assert {fault.kind for fault in block} == set(Kind)


@pytest.mark.parametrize(
    ("line", "stage"),
    [
        ("PUT /b/events/_ranges/sink.lake/00001/00000000000000000007.json", Stage.CLAIM),
        ("PUT /b/events/_ranges/_conditional_put", Stage.OTHER),
        ("PUT /b/events/date=2026-11-22/sink.lake-00001-0.parquet", Stage.FILE),
        ("PUT /b/events/_iceberg/abc-m0.avro", Stage.MANIFEST),
        ("PUT /b/events/_iceberg/00001-abc.metadata.json", Stage.METADATA),
        ("PUT /b/events/_kept/replaced/0abc.json", Stage.NOTE),
        ("GET /b/events/_iceberg/00001-abc.metadata.json", Stage.READ),
        ("HEAD /b/events/date=2026-11-22/sink.lake-00001-0.parquet", Stage.READ),
        ("POST /b?delete", Stage.OTHER),
    ],
)
def test_the_door_knows_each_step_of_a_commit(line: str, stage: Stage) -> None:
    assert stage_of(Request(head=f"{line} HTTP/1.1\r\n\r\n".encode(), body=b"")) is stage


async def test_a_door_that_refuses_keeps_its_port_for_itself() -> None:
    door = Door((LOOPBACK, 9), seed=1)
    await door.start()
    port = door.port
    try:
        await door.brew(Weather(way=Way.REFUSE))
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(LOOPBACK, port)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((LOOPBACK, port))
        await door.clear()
        assert door.port == port
        _, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.close()
    finally:
        await door.stop()


def logged(outs: list[Out]) -> list[Kafka]:
    """As a topic's partition has them."""
    return [
        Kafka(
            one.topic,
            one.partition,
            offset,
            one.value,
            headers=() if one.replay is None else (("fieldline-replay", one.replay),),
        )
        for offset, one in enumerate(outs)
    ]


def made(topic: str, ticks: int = 6) -> list[Out]:
    feed = Feed(1, 0, 1_764_000_000_000)
    ticked = [feed.next(1_764_000_000_000 + n * 150, plain=True) for n in range(ticks)]
    return [one for tick in ticked for one in tick if one.topic == topic]


@pytest.mark.parametrize(
    ("dataset", "topic"), [("telemetry", "telemetry.deduplicated"), ("events", "sink.lake")]
)
def test_what_comes_again_after_a_crash_counts_once(dataset: str, topic: str) -> None:
    once = made(topic)
    truth = expected(dataset, logged([*once, *once[1:4], *once]))
    assert truth.rows == expected(dataset, logged(once)).rows
    assert truth.skipped == 3 + len(once)


def test_a_replayed_event_counts_once_by_its_id_though_its_place_is_old() -> None:
    once = made("sink.lake")
    replay = replace(once[0], replay=b"r1")
    truth = expected("events", logged([*once, replay, replay]))
    assert truth.rows.total() == len(once) + 1
    assert truth.skipped == 1


@pytest.mark.parametrize(
    ("at_ms", "date", "flag"),
    [
        (0, "1970-01-01", None),
        (-1, "1970-01-01", "clamped"),
        (86_399_999, "1970-01-01", None),
        (86_400_000, "1970-01-02", None),
        (253_402_300_799_999, "9999-12-31", None),
        (253_402_300_800_000, "9999-12-31", "clamped"),
    ],
)
def test_a_row_lies_in_the_date_of_its_time_within_what_a_calendar_has(
    at_ms: int, date: str, flag: str | None
) -> None:
    [row] = expected("deliveries", [result(0, at_ms)]).rows
    assert (row[-1], row[-4]) == (date, flag)


def test_every_nan_is_one_and_zeros_are_told_apart() -> None:
    assert bits(math.nan) == bits(-math.nan)
    assert bits(0.0) != bits(-0.0)
    assert bits(None) is None


def result(offset: int, at_ms: int = 1_764_000_000_000) -> Kafka:
    record: Mapping[str, Any] = {
        "event_id": f"e{offset}",
        "sink": "tryton",
        "tenant": "t",
        "device_id": "t/d",
        "outcome": "delivered",
        "code": "",
        "message": "",
        "attempts": 1,
        "latency_ms": 5,
        "at_ms": at_ms,
    }
    return Kafka(TOPIC, 0, offset, Codec().encode("delivery_result.v2", record))


def lake_of(ranges: list[tuple[int, int]]) -> tuple[Expected, Found]:
    """A sound lake of one partition, in ranges, and its topic."""
    end = ranges[-1][1]
    truth = expected("deliveries", [result(offset) for offset in range(end + 1)])
    [date] = {row[-1] for row in truth.rows}
    found = Found()
    for n, (first, last) in enumerate(ranges):
        note, rows = f"{TOPIC}/0/{first}-{last}", last - first + 1
        found.claims.setdefault((TOPIC, 0), []).append(
            {
                "first": first,
                "last": last,
                "messages": rows,
                "rows": rows,
                "files": {date: {"rows": rows}},
            }
        )
        name = f"date={date}/{TOPIC}-00000-{first:020d}.parquet"
        found.files[name] = (note, rows)
        found.in_table[name] = 1
        found.by_day[date] += rows
        found.snapshots.append((1_000 * n, note, last + 1))
    found.offsets[TOPIC, 0] = ranges[-1]
    return truth, found


RANGES = [(0, 3), (4, 4), (5, 9)]


def test_a_sound_lake_has_no_finding() -> None:
    truth, found = lake_of(RANGES)
    assert check_objects("deliveries", truth, found) == []
    assert check_rows("deliveries", "x", truth, truth.rows) == []


def test_a_sound_lake_whose_old_snapshots_are_dropped_has_no_finding() -> None:
    truth, found = lake_of(RANGES)
    del found.snapshots[0]
    found.history_cut = True
    assert check_objects("deliveries", truth, found) == []


def _gap(found: Found) -> None:
    del found.claims[TOPIC, 0][1]


def _overlap(found: Found) -> None:
    found.claims[TOPIC, 0][1]["last"] = 5


def _orphan(found: Found) -> None:
    found.files["date=2026-01-01/x.parquet"] = ("", 1)


def _absent(found: Found) -> None:
    del found.files[next(iter(found.files))]


def _listed_twice(found: Found) -> None:
    found.in_table[next(iter(found.files))] = 2


def _unlisted(found: Found) -> None:
    del found.in_table[next(iter(found.files))]


def _wrong_day(found: Found) -> None:
    found.by_day["2026-01-01"] += 1


def _behind(found: Found) -> None:
    found.offsets[TOPIC, 0] = (4, 4)


def _half(found: Found) -> None:
    time_ms, ranges, rows = found.snapshots[1]
    found.snapshots[1] = (time_ms, ranges, rows - 1)


def _twice(found: Found) -> None:
    time_ms, _, rows = found.snapshots[-1]
    found.snapshots.append((time_ms, found.snapshots[0][1], rows + 4))


def _clock(found: Found) -> None:
    _, ranges, rows = found.snapshots[-1]
    found.snapshots[-1] = (-60_000, ranges, rows)


@pytest.mark.parametrize(
    ("spoil", "flaw"),
    [
        (_gap, Flaw.CHAIN),
        (_overlap, Flaw.CHAIN),
        (_orphan, Flaw.FILES),
        (_absent, Flaw.FILES),
        (_listed_twice, Flaw.TABLE),
        (_unlisted, Flaw.TABLE),
        (_wrong_day, Flaw.TABLE),
        (_behind, Flaw.TABLE),
        (_half, Flaw.TABLE),
        (_twice, Flaw.TABLE),
        (_clock, Flaw.TABLE),
    ],
)
def test_each_way_to_spoil_a_lake_is_seen(spoil: Callable[[Found], None], flaw: Flaw) -> None:
    truth, found = lake_of(RANGES)
    spoil(found)
    assert flaw in {finding.flaw for finding in check_objects("deliveries", truth, found)}


def compacted_lake() -> tuple[Expected, Found, str]:
    """A sound lake whose first two files of three were merged; they are still there. The name."""
    truth, found = lake_of(RANGES)
    old = sorted(found.files)[:2]
    new = old[0].replace(".parquet", ".0abc.parquet")
    found.files[new] = (f"{TOPIC}/0/0-4", 5)
    for name in old:
        del found.in_table[name]
    found.in_table[new] = 1
    found.snapshots.append((2_001, "", 10))
    return truth, found, new


def test_a_compacted_lake_is_sound_before_and_after_its_old_files_are_taken_away() -> None:
    truth, found, new = compacted_lake()
    assert merged_in(found.files) == [new]
    found.files[new.replace("0abc", "0dead")] = (f"{TOPIC}/0/0-4", 5)  # and died
    assert check_objects("deliveries", truth, found) == []
    assert len(check_swept("deliveries", found)) == 3
    for name in found.files.keys() - found.in_table.keys():
        del found.files[name]
    assert check_swept("deliveries", found) == []
    del found.files[new]
    assert len(check_swept("deliveries", found)) == 1


def _replaced_listed(found: Found, new: str) -> None:
    found.in_table[new.replace(".0abc", "")] = 1


def _merged_unlisted(found: Found, new: str) -> None:
    del found.in_table[new]


def _merged_less(found: Found, new: str) -> None:
    found.files[new] = (f"{TOPIC}/0/0-4", 4)


def _merged_half_a_claim(found: Found, new: str) -> None:
    found.files[new] = (f"{TOPIC}/0/0-2 {TOPIC}/0/4-4", 5)


def _snapshot_less(found: Found, _new: str) -> None:
    found.snapshots[-1] = (2_001, "", 9)


@pytest.mark.parametrize(
    ("spoil", "flaw"),
    [
        (_replaced_listed, Flaw.TABLE),
        (_merged_unlisted, Flaw.TABLE),
        (_merged_less, Flaw.FILES),
        (_merged_half_a_claim, Flaw.FILES),
        (_snapshot_less, Flaw.TABLE),
    ],
)
def test_each_way_to_spoil_a_compaction_is_seen(
    spoil: Callable[[Found, str], None], flaw: Flaw
) -> None:
    truth, found, new = compacted_lake()
    spoil(found, new)
    assert flaw in {finding.flaw for finding in check_objects("deliveries", truth, found)}


def test_a_row_lost_doubled_or_unknown_to_kafka_is_told_with_its_message() -> None:
    truth, _ = lake_of(RANGES)
    rows = Counter(truth.rows)
    lost, doubled, *_ = sorted(rows, key=lambda row: row[-2])
    unknown = (*doubled[:-1], "2026-01-01")
    rows[lost] -= 1
    rows[doubled] += 1
    rows[unknown] += 1
    told = {
        (finding.flaw, finding.count, finding.place)
        for finding in check_rows("deliveries", "x", truth, +rows)
    }
    assert told == {
        (Flaw.LOST, 1, (TOPIC, 0, 0)),
        (Flaw.DOUBLED, 1, (TOPIC, 0, 1)),
        (Flaw.WRONG, 1, None),
    }
