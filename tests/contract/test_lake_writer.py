"""The lake's promise, on a model: any crash, any replay, two writers at once, each row once.

The real LakeWriter runs against the model store of tests/contract/lake_model.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.lake import base, mapping
from connectors.lake.writer import LakeWriter
from pipeline.core import archive
from pipeline.core.archive import Claim, Decision, Part, Seen
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_rows import telemetry_tables
from pipeline.wire.lake import columns_of
from tests.contract.lake_messages import batch, event, record
from tests.contract.lake_model import TOPIC, Bucket, Fate, Plain, Shown, play, world

WORKER = st.integers(0, 1)
FATE = st.sampled_from([None, Fate.LOST, Fate.ANSWER_LOST])
ACTIONS = st.one_of(
    st.tuples(st.just("bring"), WORKER, st.integers(0, 4), st.sampled_from([0, 1, 1, 2, 3]), FATE),
    st.tuples(st.just("bring"), WORKER, st.integers(1, 4), st.just(100), st.none()),
    st.tuples(st.just("offer"), WORKER, st.integers(1, 5)),
    st.tuples(st.just("start"), WORKER, st.integers(0, 4)),
    st.tuples(st.just("crash"), WORKER, st.booleans()),
    st.tuples(st.just("late"), st.integers(0, 5)),
)
# A script is long even on average: short ones seldom have two ranges in the lake.
SCRIPTS = st.lists(ACTIONS, min_size=16, max_size=50)
STEPS = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from([1, 1, 1, 2, -2, -1, 0])), min_size=8, max_size=30
)


@st.composite
def topics(draw: st.DrawFn) -> list[tuple[int, int]]:
    """(topic offset, source offset): with gaps, and going back as after an upstream crash."""
    out: list[tuple[int, int]] = []
    offset, source = draw(st.integers(0, 3)), 0
    for ahead, onward in draw(STEPS):
        out.append((offset, source))
        offset += ahead
        source = max(0, source + onward)
    return out


DAYS = ((20_000,), (20_000, 20_001), (19_999, 20_000, 20_002), ())


@pytest.mark.parametrize("table", [False, True], ids=["files alone", "with a table"])
@settings(max_examples=200, deadline=None)
@given(offsets=topics(), script=SCRIPTS)
def test_telemetry_is_in_the_lake_once_whatever_happens(
    table: bool,  # noqa: FBT001 - pytest gives it
    offsets: list[tuple[int, int]],
    script: list[tuple[Any, ...]],
) -> None:
    topic = [(at, batch(source, DAYS[source % 4])) for at, source in offsets]
    expected: dict[float, int] = {}  # value to the topic offset that must bring it
    greatest = -1
    for at, message in topic:
        if message.source_offset > greatest:
            greatest = message.source_offset
            expected |= dict.fromkeys(message.batch.reading_value.tolist(), at)

    async def run() -> None:
        lake = world(topic, Dataset.TELEMETRY, table=table)

        def check() -> None:
            assert all(count == 1 for count in Counter(lake.bucket.column("value")).values())
            have = Counter(lake.visible("value"))
            assert all(count == 1 for count in have.values()), "a row is there twice"
            safe = {value for value, at in expected.items() if at < lake.committed}
            assert safe <= set(have), "an offset was called safe before its rows were there"

        await play(lake, script, check)
        assert sorted(lake.visible("value")) == sorted(expected)
        assert sorted(lake.bucket.column("value")) == sorted(expected)
        assert sum(claim.rows for claim in lake.bucket.claims()) == len(expected)

    asyncio.run(run())


@pytest.mark.parametrize("table", [False, True], ids=["files alone", "with a table"])
@settings(max_examples=100, deadline=None)
@given(offsets=topics(), script=SCRIPTS)
def test_events_are_in_the_lake_once_whatever_happens(
    table: bool,  # noqa: FBT001 - pytest gives it
    offsets: list[tuple[int, int]],
    script: list[tuple[Any, ...]],
) -> None:
    # Some ids come with two sources: within a range the first counts, across ranges each.
    told = [(at, event(s // 2, s % 2, f"e{s - s % 5 // 4}")) for at, s in offsets]
    topic = [(at, record(at, one)) for at, one in told]

    async def run() -> None:
        lake = world(topic, Dataset.EVENTS, table=table)

        def check() -> None:
            sources = zip(lake.visible("source_offset"), lake.visible("source_index"), strict=True)
            have = Counter(sources)
            assert all(count == 1 for count in have.values()), "an event is there twice"
            greatest, safe = (-1, -1), set()
            for at, one in told:
                position = (one.source.offset, one.source.index)
                if at < lake.committed and position > greatest:
                    greatest = position
                    safe.add(one.id)
            assert safe <= set(lake.visible("id")), "safe, and not there"

        await play(lake, script, check)

    asyncio.run(run())


def writer(store: Plain, dataset: Dataset = Dataset.TELEMETRY) -> LakeWriter:
    return LakeWriter(store, dataset=dataset, flush_rows=100, flush_s=5.0)


async def test_two_writers_that_cut_elsewhere_agree_on_the_first_claim() -> None:
    store = Plain(Bucket())
    first, second = writer(store), writer(store)
    assert await first.open(TOPIC, 3) == await second.open(TOPIC, 3)
    for at in range(4):
        first.offer(3, at, batch(at))
    for at in range(10):
        second.offer(3, at, batch(at))
    assert isinstance(await first.flush(3), base.Flushed)
    won = await second.flush(3)
    assert won == base.Flushed(last_offset=3, calls=4)  # claim, read it, file, verify it
    assert second.counters.claims_lost == 1
    rest = await second.flush(3)
    assert isinstance(rest, base.Flushed)
    assert (rest.last_offset, rest.rows, rest.files, rest.calls) == (9, 6, 1, 2)
    first.offer(3, 4, batch(4))
    assert await first.flush(3) == base.Wait(until=9)


async def test_a_store_that_is_away_is_a_value_and_the_range_stays_as_claimed() -> None:
    store = Plain(Bucket())
    lake = writer(store)
    store.away = True
    assert await lake.open(TOPIC, 3) == base.Retry(reason="away")
    store.away = False
    await lake.open(TOPIC, 3)
    lake.offer(3, 0, batch(0))
    held = lake.size(3)
    store.away = True
    assert await lake.flush(3) == base.Retry(reason="away")
    assert lake.size(3) == lake.held == held > 0
    store.away = False
    assert isinstance(await lake.flush(3), base.Flushed)
    assert lake.size(3) == lake.held == 0
    assert lake.counters.retries == 2


async def test_a_range_is_due_at_its_rows_or_its_age() -> None:
    lake = writer(Plain(Bucket()))
    await lake.open(TOPIC, 3)
    assert not lake.due(3, 0.0)
    lake.offer(3, 0, batch(0))
    assert not lake.due(3, 1.0)
    assert not lake.due(3, 5.9)
    assert lake.due(3, 6.0)
    await lake.flush(3)
    assert not lake.due(3, 100.0)
    for at in range(1, 101):
        lake.offer(3, at, batch(at))
    assert lake.due(3, 100.0)


async def test_messages_already_in_the_lake_are_skipped_after_kafka_went_back() -> None:
    store = Plain(Bucket())
    lake = writer(store)
    await lake.open(TOPIC, 3)
    for at in range(3):
        lake.offer(3, at, batch(at))
    await lake.flush(3)
    again = writer(store)
    resumed = await again.open(TOPIC, 3)
    assert isinstance(resumed, archive.Resume)
    assert (resumed.next_offset, resumed.redo) == (3, None)
    decisions = [again.offer(3, at, batch(min(at, 2))) for at in range(4)]
    assert decisions == [Decision.SKIP_ALREADY_IN_LAKE] * 3 + [Decision.SKIP_REPEATED]
    assert again.due(3, 0.0) is False
    assert again.due(3, 5.0) is True
    # Nothing to write: no request, and the offsets are safe.
    assert await again.flush(3) == base.Flushed(last_offset=3)
    assert (again.counters.skipped_already_in_lake, again.counters.skipped_repeated) == (3, 1)


async def test_a_file_of_another_range_under_our_name_halts_instead_of_counting_as_done() -> None:
    store = Plain(Bucket())
    other = Claim(
        topic=TOPIC,
        partition=3,
        first=0,
        last=7,
        seen_before=Seen(),
        seen=Seen(),
        messages=1,
        files=(Part("2024-10-04", 1, 0),),
    )
    name = mapping.file_key(Dataset.TELEMETRY, other, "2024-10-04")
    schema = Shown(columns=columns_of(Dataset.TELEMETRY)).evolve(()).schema()
    (_, table), *_ = telemetry_tables([batch(0)], schema)
    note = mapping.range_note(other)
    store.bucket.objects[name] = mapping.parquet(Dataset.TELEMETRY, table, note)
    lake = writer(store)
    await lake.open(TOPIC, 3)
    lake.offer(3, 0, batch(0))
    result = await lake.flush(3)
    assert isinstance(result, base.Halt)
    assert name in result.reason
    assert lake.counters.halts == 1


async def test_a_claimed_range_that_the_topic_no_longer_gives_halts() -> None:
    store = Plain(Bucket())
    lake = writer(store)
    await lake.open(TOPIC, 3)
    for at in range(3):
        lake.offer(3, at, batch(at))
    await lake.flush(3)
    files = [key for key in store.bucket.objects if key.endswith(".parquet")]
    del store.bucket.objects[files[0]]  # as if it had died after the claim
    again = writer(store)
    resumed = await again.open(TOPIC, 3)
    assert isinstance(resumed, archive.Resume)
    assert resumed.redo is not None
    again.offer(3, 1, batch(1))
    again.offer(3, 2, batch(2))
    result = await again.flush(3)
    assert isinstance(result, base.Halt)
    assert "reset the consumer group to offset 0" in result.reason


async def test_a_store_that_ignores_conditional_writes_is_refused() -> None:
    class Forgetful(Plain):
        async def put_new(self, key: str, data: bytes) -> Any:  # noqa: ANN401 - as Plain
            self.bucket.objects[key] = data
            return base.Created()

    result = await writer(Forgetful(Bucket())).open(TOPIC, 3)
    assert isinstance(result, base.Halt)
    assert "If-None-Match" in result.reason


async def test_a_topic_that_was_made_anew_halts_at_open() -> None:
    store = Plain(Bucket())
    lake = writer(store)
    await lake.open(TOPIC, 3)
    lake.offer(3, 41, batch(0))
    await lake.flush(3)
    assert isinstance(await writer(store).open(TOPIC, 3, end_offset=42), archive.Resume)
    assert isinstance(await writer(store).open(TOPIC, 3, end_offset=41), base.Halt)


async def test_an_operators_replay_is_taken_once_though_its_source_is_old() -> None:
    store = Plain(Bucket())
    lake = writer(store, Dataset.EVENTS)
    await lake.open("sink.lake", 3)
    lake.offer(3, 0, record(0, event(5)))
    assert lake.offer(3, 1, record(1, event(2)), replay=True) is Decision.TAKE
    await lake.flush(3)
    again = writer(store, Dataset.EVENTS)
    await again.open("sink.lake", 3)
    assert again.offer(3, 2, record(2, event(2)), replay=True) is Decision.SKIP_REPEATED
    assert again.offer(3, 3, record(3, event(4))) is Decision.SKIP_REPEATED
    assert again.offer(3, 4, record(4, event(6))) is Decision.TAKE


async def test_calls_for_a_partition_that_is_not_open_are_harmless() -> None:
    lake = writer(Plain(Bucket()))
    assert lake.offer(3, 0, batch(0)) is None
    assert not lake.due(3, 1.0)
    assert lake.size(3) == 0
    assert isinstance(await lake.flush(3), base.Retry)
    lake.drop(3)


async def test_a_range_of_messages_without_rows_still_carries_what_was_seen() -> None:
    store = Plain(Bucket())
    lake = writer(store)
    await lake.open(TOPIC, 3)
    lake.offer(3, 0, batch(8, ()))
    assert await lake.flush(3) == base.Flushed(last_offset=0, calls=1)
    again = writer(store)
    await again.open(TOPIC, 3)
    assert again.offer(3, 1, batch(8, ())) is Decision.SKIP_REPEATED
