"""The checker finds each thing that must never happen, in a log that has just that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from pipeline.core.events import BusinessEvent
from pipeline.core.remainder import without_duplicates
from pipeline.core.telemetry import DeduplicatedBatch, pack
from pipeline.topology import READINGS
from pipeline.wire.avro import Codec
from pipeline.wire.records import (
    decode_batch,
    decode_deduplicated,
    encode_batch,
    encode_deduplicated,
    encode_event,
)
from tests.crash.checker import (
    Finding,
    Flaw,
    Place,
    Truth,
    check_events,
    check_journal,
    check_order,
    check_readings,
    expected,
)
from tests.crash.follow import Commit, Seen
from tests.crash.load import Bridges, Sent
from tests.crash.model import Model, Verdict, samples
from tests.unit.examples import event

WINDOW = 64
CODEC = Codec()


@dataclass(frozen=True)
class Message:
    partition: int
    offset: int
    value: bytes
    timestamp: int = 0


@cache
def log() -> tuple[Message, ...]:
    """1,000 messages over two partitions."""
    bridges = Bridges(3, 2, 1_790_000_000_000)
    return tuple(
        Message(n % 2, n // 2, encode_batch(CODEC, pack(bridges.next(n % 2, n))))
        for n in range(1_000)
    )


@cache
def truth() -> tuple[dict[Place, Truth], Counter[Verdict]]:
    return expected(log(), WINDOW)


@cache
def verdicts() -> dict[Place, list[Verdict]]:
    model = Model(WINDOW)
    return {
        (m.partition, m.offset): [model.judge(s) for s in samples(decode_batch(CODEC, m.value))]
        for m in log()
    }


def told(message: Message, found: list[Verdict]) -> Message:
    """The output for a message of the log, with these verdicts on its samples."""
    batch = decode_batch(CODEC, message.value)
    keep = np.array([v is not Verdict.DUPLICATE for v in found])
    late = np.array([v is Verdict.TOO_LATE for v in found])
    result = DeduplicatedBatch(
        source_topic=READINGS,
        source_partition=message.partition,
        source_offset=message.offset,
        batch=without_duplicates(batch, np.where(keep, 0, 1).astype(np.uint8))[0],
        late=late[keep],
        duplicates=int(batch.sample_readings[~keep].sum()),
    )
    return replace(message, value=encode_deduplicated(CODEC, result))


@cache
def output() -> tuple[Message, ...]:
    """What a detect worker without a flaw writes."""
    return tuple(told(m, verdicts()[m.partition, m.offset]) for m in log())


def place_with(verdict: Verdict) -> tuple[int, list[Verdict], int]:
    """A message of the log that has this verdict: its index, its verdicts, and the sample's."""
    for n, message in enumerate(log()):
        found = verdicts()[message.partition, message.offset]
        if n > 100 and verdict in found:
            return n, found, found.index(verdict)
    raise AssertionError(verdict)


def with_verdict(was: Verdict, becomes: Verdict) -> list[Message]:
    """The true output, but one sample got another verdict than is right."""
    n, found, at = place_with(was)
    wrong = [*found[:at], becomes, *found[at + 1 :]]
    return [*output()[:n], told(log()[n], wrong), *output()[n + 1 :]]


def numbered(messages: Iterable[Message]) -> list[Message]:
    """The same with offsets of their own, in the order given."""
    ends = Counter[int]()
    out = []
    for message in messages:
        out.append(replace(message, offset=ends[message.partition]))
        ends[message.partition] += 1
    return out


def readings(messages: Iterable[Message]) -> Counter[Flaw]:
    """What the checker finds in this output, counted."""
    return count(check_readings(truth()[0], numbered(messages)))


def count(findings: Iterable[Finding]) -> Counter[Flaw]:
    found = Counter[Flaw]()
    for finding in findings:
        found[finding.flaw] += finding.count
    return found


def test_an_output_without_a_flaw_has_no_findings() -> None:
    assert not readings(output())
    assert set(truth()[1]) == set(Verdict)


def test_repetitions_after_a_crash_are_no_flaw() -> None:
    again = [*output()[:300], *output()[260:330], *output()[300:]]
    assert not readings(again)


def test_a_repetition_may_leave_out_devices_that_were_stored() -> None:
    n, found, _ = place_with(Verdict.FRESH)
    less = told(log()[n], [Verdict.DUPLICATE] * len(found))
    assert not readings([*output()[: n + 2], less, *output()[n + 2 :]])


def test_a_message_without_output_is_lost_with_all_its_samples() -> None:
    n, found, _ = place_with(Verdict.FRESH)
    assert readings([*output()[:n], *output()[n + 1 :]]) == {Flaw.LOST: len(found)}


def test_an_output_that_comes_after_a_later_one_is_lost_to_every_reader() -> None:
    n, found, _ = place_with(Verdict.FRESH)
    # Partitions take turns: the next message of the same one is two further on.
    late = [*output()[:n], *output()[n + 1 : n + 3], output()[n], *output()[n + 3 :]]
    assert readings(late) == {Flaw.LOST: len(found)}


def test_a_sample_that_fell_out_of_a_message_is_lost() -> None:
    n, _, _ = place_with(Verdict.FRESH)
    whole = decode_deduplicated(CODEC, output()[n].value)
    keep = np.arange(whole.batch.samples) > 0
    cut = replace(
        whole,
        batch=without_duplicates(whole.batch, np.where(keep, 0, 1).astype(np.uint8))[0],
        late=whole.late[keep],
    )
    wrong = replace(output()[n], value=encode_deduplicated(CODEC, cut))
    assert readings([*output()[:n], wrong, *output()[n + 1 :]]) == {Flaw.LOST: 1}


def test_a_fresh_sample_taken_for_a_duplicate_is_lost_and_a_wrong_verdict() -> None:
    wrong = with_verdict(Verdict.FRESH, Verdict.DUPLICATE)
    assert readings(wrong) == {Flaw.LOST: 1, Flaw.WRONG: 1}


def test_a_duplicate_let_through_is_doubled_and_a_wrong_verdict() -> None:
    wrong = with_verdict(Verdict.DUPLICATE, Verdict.FRESH)
    assert readings(wrong) == {Flaw.DOUBLED: 1, Flaw.WRONG: 1}


@pytest.mark.parametrize(
    ("was", "becomes"),
    [(Verdict.FRESH, Verdict.TOO_LATE), (Verdict.TOO_LATE, Verdict.FRESH)],
)
def test_too_late_and_in_time_taken_for_each_other_is_a_wrong_verdict(
    was: Verdict, becomes: Verdict
) -> None:
    assert readings(with_verdict(was, becomes)) == {Flaw.WRONG: 1}


def test_a_repetition_that_says_otherwise_is_a_wrong_verdict() -> None:
    n, found, at = place_with(Verdict.DUPLICATE)
    wrong = told(log()[n], [*found[:at], Verdict.FRESH, *found[at + 1 :]])
    assert readings([*output()[: n + 2], wrong, *output()[n + 2 :]]) == {Flaw.WRONG: 1}


def test_samples_in_another_order_are_found() -> None:
    n = next(n for n, m in enumerate(log()) if decode_batch(CODEC, m.value).samples > 1)
    whole = decode_deduplicated(CODEC, output()[n].value)
    order = np.arange(whole.batch.samples)[::-1]
    starts = whole.batch.starts()
    picked = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in order])
    columns = {
        name: getattr(whole.batch, name)[picked if name.startswith("reading_") else order]
        for name in (
            *("sample_device", "sample_session", "sample_seq", "sample_time_ms"),
            *("sample_received_ms", "sample_readings", "reading_metric", "reading_value"),
        )
    }
    turned = replace(whole, batch=replace(whole.batch, **columns), late=whole.late[order])
    wrong = replace(output()[n], value=encode_deduplicated(CODEC, turned))
    assert readings([*output()[:n], wrong, *output()[n + 1 :]]) == {Flaw.WRONG: 1}


def test_an_output_for_no_message_of_the_log_is_doubled() -> None:
    beyond = told(replace(log()[0], offset=10_000), verdicts()[0, 0])
    found = readings([*output(), beyond])
    assert found == {Flaw.DOUBLED: len(verdicts()[0, 0])}


def test_an_unreadable_output_is_found_and_its_samples_are_lost() -> None:
    n, found, _ = place_with(Verdict.FRESH)
    wrong = replace(output()[n], value=b"\xc3\x01 this is no record")
    assert readings([*output()[:n], wrong, *output()[n + 1 :]]) == {
        Flaw.WRONG: 1,
        Flaw.LOST: len(found),
    }


def test_what_kafka_acknowledged_and_the_log_has_not_is_lost() -> None:
    journal = [Sent(partition=m.partition, offset=m.offset, at_ms=0, value=m.value) for m in log()]
    assert not check_journal(journal, log())
    samples_of_last = decode_batch(CODEC, log()[-1].value).samples
    assert count(check_journal(journal, log()[:-1])) == {Flaw.LOST: samples_of_last}
    other = replace(log()[-1], value=log()[0].value)
    assert count(check_journal(journal, [*log()[:-1], other])) == {Flaw.LOST: samples_of_last}


FIRST = event(id="a")
SECOND = event(id="b", occurred_at_ms=FIRST.occurred_at_ms + 1)
TRUTH = {"a": (1, 7), "b": (1, 7)}


def events(*there: BusinessEvent) -> Counter[Flaw]:
    """What the checker finds in these events, where FIRST and SECOND are right."""
    messages = [Message(1, n, encode_event(CODEC, e)) for n, e in enumerate(there)]
    return count(check_events(TRUTH, messages)[0])


def test_events_that_follow_from_the_log_have_no_findings_however_often_told() -> None:
    assert not events(FIRST, SECOND, FIRST, FIRST)


def test_an_event_that_is_not_there_is_lost() -> None:
    assert events(FIRST) == {Flaw.EVENTS_LOST: 1}


def test_an_event_that_does_not_follow_from_the_log_is_doubled() -> None:
    extra = event(id="c", occurred_at_ms=0)
    assert events(FIRST, SECOND, extra) == {Flaw.EVENTS_DOUBLED: 1}


def test_one_id_that_tells_two_things_is_doubled() -> None:
    other = event(id="b", occurred_at_ms=5)
    assert events(FIRST, SECOND, other) == {Flaw.EVENTS_DOUBLED: 1}


def test_one_happening_with_two_ids_is_doubled() -> None:
    # Not in the log by this id, and the same as the first: both are found.
    assert events(FIRST, SECOND, event(id="c")) == {Flaw.EVENTS_DOUBLED: 2}


def test_an_unreadable_event_is_lost() -> None:
    found, _ = check_events({}, [Message(0, 0, b"?")])
    assert count(found) == {Flaw.EVENTS_LOST: 1}


def test_a_commit_ahead_of_the_output_is_found() -> None:
    there = [m for m in numbered(output()) if m.partition == 0][:10]
    right = [Commit(partition=0, committed=n, output_end=n) for n in range(11)]
    assert not check_order(right, there)
    assert not check_order([Commit(partition=1, committed=0, output_end=0)], there)
    ahead = Commit(partition=0, committed=6, output_end=5)
    assert count(check_order([*right, ahead], there)) == {Flaw.ORDER: 1}


def test_repetitions_count_as_emitted_for_the_order_rule() -> None:
    first = [m for m in output() if m.partition == 0][:6]
    again = numbered([*first, *first[2:4]])
    assert not check_order([Commit(partition=0, committed=6, output_end=8)], again)


def test_the_follower_counts_new_output_and_skips_repetitions() -> None:
    seen = Seen()
    for at_ms, source_offset in enumerate((0, 1, 2, 1, 2, 3)):
        seen.take(5, source_offset, at_ms)
    assert seen.fresh_ms == {5: [0, 1, 2, 5]}
    assert seen.repeated == 2
    assert seen.covers({5: 3})
    assert not seen.covers({5: 4})
    assert not seen.covers({5: 3, 6: 0})
