from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.balance import EventBooks, Line, ReadingBooks, SinkBooks
from pipeline.core.telemetry import DeduplicatedBatch, Sample, pack


def result(offset: int, *, accepted: int, late: int, duplicates: int) -> DeduplicatedBatch:
    samples = [Sample("a/b", 1, n, 1, 1, (("x", 1.0),)) for n in range(accepted + late)]
    return DeduplicatedBatch(
        source_topic="telemetry.readings",
        source_partition=0,
        source_offset=offset,
        batch=pack(samples),
        late=np.array([n >= accepted for n in range(accepted + late)], dtype=np.bool_),
        duplicates=duplicates,
    )


def test_a_line_closes_when_nothing_is_missing() -> None:
    assert Line(name="x", went_in=3, places={"a": 1, "b": 2}).closes
    short = Line(name="x", went_in=3, places={"a": 1})
    assert (short.closes, short.difference) == (False, 2)
    assert Line(name="x", went_in=1, places={"a": 2}).difference == -1


batches = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), max_size=12)


@given(batches, st.data())
def test_readings_close_however_much_detect_repeats_and_wherever_it_stands(
    given_batches: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    books = ReadingBooks()
    for offset, counts in enumerate(given_batches):
        books.on_batch(0, offset, sum(counts))
    done = data.draw(st.integers(0, len(given_batches)))
    again = data.draw(st.integers(0, done))
    # A crash after emitting makes detect emit a suffix of its output a second time.
    for offset in [*range(done), *range(again, done)]:
        accepted, late, duplicates = given_batches[offset]
        books.on_deduplicated(result(offset, accepted=accepted, late=late, duplicates=duplicates))
    line = books.line()
    assert line.closes
    assert line.places["waiting"] == sum(sum(c) for c in given_batches[done:])
    assert line.places["accepted"] == sum(c[0] for c in given_batches[:done])


def test_a_batch_seen_after_its_result_does_not_wait() -> None:
    books = ReadingBooks()
    books.on_deduplicated(result(4, accepted=2, late=0, duplicates=1))
    books.on_batch(0, 4, 3)
    assert books.waiting == 0
    assert books.line().closes


def test_an_event_below_the_committed_offset_without_a_result_is_missing_not_waiting() -> None:
    books = SinkBooks()
    books.on_accepted("e1", 0, 10)
    books.on_accepted("e2", 0, 11)
    assert books.line("erp", {0: 10}).places["waiting"] == 2
    open_line = books.line("erp", {0: 11})
    assert open_line.places["waiting"] == 1
    assert open_line.difference == 1
    assert not open_line.closes


def test_the_last_result_of_an_event_holds_and_repetitions_count_once() -> None:
    books = SinkBooks()
    for _ in range(2):
        books.on_accepted("e1", 0, 1)
        books.on_result("e1", "dead_lettered")
    assert books.line("erp", {0: 2}).places["dead_lettered"] == 1
    books.on_result("e1", "delivered")
    line = books.line("erp", {0: 2})
    assert (line.places["delivered"], line.places["dead_lettered"]) == (1, 0)
    assert line.closes


def test_an_event_that_fan_out_passed_without_forwarding_is_missing() -> None:
    events, sink = EventBooks(), SinkBooks()
    events.on_event("e1", ("erp", "lake"), 0, 5)
    events.on_event("e2", ("lake",), 0, 6)
    assert events.line("erp", sink, {}).places == {"forwarded": 0, "waiting": 1}
    assert events.line("erp", sink, {0: 6}).difference == 1
    sink.on_accepted("e1", 0, 0)
    assert events.line("erp", sink, {0: 6}).closes


def test_parked_events_wait_though_their_worker_has_committed_past_them() -> None:
    books = SinkBooks()
    books.on_accepted("e1", 0, 10)
    books.on_parked(0, b"d\x0010", "e1")
    line = books.line("erp", {0: 11})
    assert (line.places["waiting"], line.parked, line.difference) == (1, 1, 0)
    books.on_result("e1", "superseded")
    books.on_parked(0, b"d\x0010", None)
    line = books.line("erp", {0: 11})
    assert (line.places["superseded"], line.places["waiting"], line.parked) == (1, 0, 0)
    assert line.closes


def test_an_event_that_comes_again_further_on_is_missing_where_it_came_first() -> None:
    books = SinkBooks()
    books.on_accepted("e1", 0, 5)
    books.on_accepted("e1", 0, 9)
    assert books.line("erp", {0: 7}).difference == 1


def test_a_discarded_event_has_a_place_of_its_own() -> None:
    books = SinkBooks()
    books.on_accepted("e1", 0, 1)
    books.on_result("e1", "dead_lettered")
    books.on_result("e1", "discarded")
    line = books.line("erp", {0: 2})
    assert (line.places["discarded"], line.places["dead_lettered"]) == (1, 0)
    assert line.closes
