"""Reads everything that came out and says what is wrong with it. Pure.

A *finding* is one thing that must never happen, with the message of telemetry.readings that
it is about, where there is one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pipeline.core.events import BusinessEvent, fingerprint
from pipeline.core.telemetry import DeduplicatedBatch
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.records import decode_batch, decode_deduplicated, decode_event
from tests.crash.follow import Commit
from tests.crash.load import Sent
from tests.crash.model import Identity, Model, Verdict, samples


class Flaw(StrEnum):
    """What can be wrong."""

    LOST = "lost"
    DOUBLED = "doubled"
    WRONG = "wrong verdicts"
    EVENTS_LOST = "events lost"
    EVENTS_DOUBLED = "events doubled"
    ORDER = "committed too far"


Place = tuple[int, int]
"""Partition and offset in telemetry.readings."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`count` samples, events or commits with a flaw, all of the message at `place`."""

    flaw: Flaw
    count: int
    place: Place | None
    text: str


class Record(Protocol):
    """A Kafka message as read back; `timestamp` in ms since the epoch."""

    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...


Sample = tuple[Identity, bool]
"""A sample in the output and whether it is flagged late."""


@dataclass(slots=True)
class Truth:
    """What must become of one message: samples in order, and how many readings are left out."""

    samples: list[Sample]
    duplicates: list[Identity]

    @property
    def left_out(self) -> int:
        """Readings of duplicates."""
        return sum(len(sample.readings) for sample in self.duplicates)


def check_journal(journal: Iterable[Sent], log: Iterable[Record]) -> list[Finding]:
    """Everything that Kafka acknowledged is in the log, as it was sent."""
    values = {(m.partition, m.offset): m.value for m in log}
    return [
        Finding(
            Flaw.LOST,
            decode_batch(Codec(), sent.value).samples,
            (sent.partition, sent.offset),
            "acknowledged by Kafka, and not in telemetry.readings",
        )
        for sent in journal
        if values.get((sent.partition, sent.offset)) != sent.value
    ]


def expected(log: Iterable[Record], window: int) -> tuple[dict[Place, Truth], Counter[Verdict]]:
    """What the model makes of the log, message by message, and how often each verdict fell."""
    model, verdicts, codec = Model(window), Counter[Verdict](), Codec()
    out: dict[Place, Truth] = {}
    for message in _in_order(log):
        truth = out[message.partition, message.offset] = Truth([], [])
        for sample in samples(decode_batch(codec, message.value)):
            verdict = model.judge(sample)
            verdicts[verdict] += 1
            if verdict is Verdict.DUPLICATE:
                truth.duplicates.append(sample)
            else:
                truth.samples.append((sample, verdict is Verdict.TOO_LATE))
    return out, verdicts


def check_readings(truth: Mapping[Place, Truth], output: Iterable[Record]) -> list[Finding]:
    """telemetry.deduplicated against the model, after the reader's rule.

    What the rule skips is looked at too: a repetition may leave devices out, but what it
    says must be true, or the state that it was made from was not.
    """
    greatest: dict[int, int] = {}
    found: list[Finding] = []
    missing = dict(truth)
    for message in _in_order(output):
        try:
            batch = decode_deduplicated(Codec(), message.value)
        except UnreadableError as error:
            text = f"unreadable at offset {message.offset} of the output: {error}"
            found.append(Finding(Flaw.WRONG, 1, None, text))
            continue
        place = (message.partition, batch.source_offset)
        if batch.source_partition != message.partition or place not in truth:
            text = f"offset {message.offset} of the output names no message of the log"
            found.append(Finding(Flaw.DOUBLED, max(1, batch.batch.samples), None, text))
            continue
        if batch.source_offset <= greatest.get(message.partition, -1):
            found += _repetition(place, truth[place], batch)
            continue
        greatest[message.partition] = batch.source_offset
        found += _first(place, missing.pop(place), batch)
    for place, left in missing.items():
        if count := len(left.samples) + len(left.duplicates):
            found.append(Finding(Flaw.LOST, count, place, "its message has no output"))
    return found


def _first(place: Place, truth: Truth, batch: DeduplicatedBatch) -> list[Finding]:
    got = _samples(batch)
    if got == truth.samples and batch.duplicates == truth.left_out:
        return []
    out: list[Finding] = []

    def note(flaw: Flaw, count: int, text: str) -> None:
        if count:
            out.append(Finding(flaw, count, place, text))

    has, wants = Counter(s for s, _ in got), Counter(s for s, _ in truth.samples)
    lost, more = wants - has, has - wants
    note(Flaw.LOST, lost.total(), f"not in the output: {_some(lost)}")
    note(Flaw.DOUBLED, more.total(), f"in the output though not first: {_some(more)}")
    flags = Counter(got) - Counter(truth.samples)
    wrong = flags.total() - more.total()
    note(Flaw.WRONG, wrong, "too late and in time are taken for each other")
    if batch.duplicates != truth.left_out:
        text = f"{batch.duplicates} readings counted as duplicates, {truth.left_out} are"
        note(Flaw.WRONG, max(1, lost.total() + more.total()), text)
    if not out:
        note(Flaw.WRONG, 1, "samples in another order than they came")
    return out


def _repetition(place: Place, truth: Truth, batch: DeduplicatedBatch) -> list[Finding]:
    wrong = Counter(_samples(batch)) - Counter(truth.samples)
    text = f"a repetition says otherwise of {_some(s for s, _ in wrong)}"
    return [Finding(Flaw.WRONG, wrong.total(), place, text)] if wrong else []


def check_events(
    truth: Mapping[str, Place], output: Iterable[Record]
) -> tuple[list[Finding], set[str]]:
    """events.business against what the core makes of the log; also the ids that are there."""
    found: list[Finding] = []
    told: dict[str, set[str]] = defaultdict(set)
    ids: dict[tuple[object, ...], set[str]] = defaultdict(set)
    places: dict[str, Place] = {}
    for message in output:
        try:
            event = decode_event(Codec(), message.value)
        except (UnreadableError, ValueError) as error:
            text = f"unreadable at offset {message.offset} of events.business: {error}"
            found.append(Finding(Flaw.EVENTS_LOST, 1, None, text))
            continue
        told[event.id].add(fingerprint(event))
        ids[_facts(event)].add(event.id)
        places[event.id] = (event.source.partition, event.source.offset)

    def note(flaw: Flaw, event_id: str, text: str) -> None:
        place = truth.get(event_id) or places.get(event_id)
        found.append(Finding(flaw, 1, place, f"event {event_id} {text}"))

    for event_id in truth.keys() - told.keys():
        note(Flaw.EVENTS_LOST, event_id, "is not in events.business")
    for event_id in told.keys() - truth.keys():
        note(Flaw.EVENTS_DOUBLED, event_id, "does not follow from the log")
    for event_id, prints in told.items():
        if len(prints) > 1:
            note(Flaw.EVENTS_DOUBLED, event_id, f"tells {len(prints)} different things")
    for same in ids.values():
        if len(same) > 1:
            note(Flaw.EVENTS_DOUBLED, min(same), f"has {len(same)} ids")
    return found, set(told)


def check_order(commits: Iterable[Commit], output: Iterable[Record]) -> list[Finding]:
    """At no moment was an offset committed whose output was not in Kafka."""
    greatest: dict[int, list[int]] = defaultdict(list)
    """By partition: greatest source_offset up to each message of the output."""
    offsets: dict[int, list[int]] = defaultdict(list)
    for message in _in_order(output):
        so_far = greatest[message.partition]
        try:
            source = decode_deduplicated(Codec(), message.value).source_offset
        except UnreadableError:
            source = -1  # check_readings has found it
        so_far.append(max(source, so_far[-1] if so_far else -1))
        offsets[message.partition].append(message.offset)
    found = []
    for commit in commits:
        there = bisect_left(offsets[commit.partition], commit.output_end)
        emitted = greatest[commit.partition][there - 1] if there else -1
        if commit.committed - 1 > emitted:
            text = f"offset {commit.committed} committed when {emitted} was the last to be emitted"
            found.append(Finding(Flaw.ORDER, 1, (commit.partition, emitted + 1), text))
    return found


def _facts(event: BusinessEvent) -> tuple[object, ...]:
    """What makes two events one and the same, the id left aside."""
    source = event.source
    what = (event.device_id, event.type, event.detector, event.metric, event.occurred_at_ms)
    return (*what, source.session, source.sequence, event.action, event.entity_id)


def _samples(batch: DeduplicatedBatch) -> list[Sample]:
    return list(zip(samples(batch.batch), map(bool, batch.late.tolist()), strict=True))


def _in_order(messages: Iterable[Record]) -> Sequence[Record]:
    return sorted(messages, key=lambda m: (m.partition, m.offset))


def _some(what: Iterable[Identity], most: int = 3) -> str:
    names = [f"{s.device} session {s.session} number {s.sequence}" for s in what]
    return "; ".join(names[:most]) + (f" and {len(names) - most} more" if names[most:] else "")
