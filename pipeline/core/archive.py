"""What of a topic-partition goes into which lake range: each message once.

The offsets of a topic-partition are covered by a chain of *ranges*, the first from offset
0 and each next from the offset after the one before, so two writers that try for the
same place in the chain collide on the same name (protocol: infra/adr/0005-lake-commit.md).
A range's rows are a pure function of its *claim* and of the topic, so anyone who has the
claim can write its files again and get the same.

Reader's rule (schemas/avro/deduplicated_batch): the topic may hold a source message twice
after a crash, so a message whose source position is not above the greatest seen is skipped.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

MAX_REPLAYED = 256
"""Operator replays whose event ids a claim carries: the last ones."""

M = TypeVar("M")


class Decision(StrEnum):
    """What became of one message offered."""

    TAKE = "take"
    SKIP_REPEATED = "skip_repeated"
    """The topic holds it a second time: its source position, or event id, was seen."""
    SKIP_ALREADY_IN_LAKE = "skip_already_in_lake"
    """Its offset lies in a range that is complete."""
    SKIP_BUFFERED = "skip_buffered"
    """Its offset is waiting in this buffer: the consumer went back."""


class Cut(StrEnum):
    """Whether, and why, a range should be flushed now."""

    NOT_YET = "not_yet"
    ROWS = "rows"
    SIZE = "size"
    DATES = "dates"
    AGE = "age"
    CLAIMED = "claimed"
    """A range that is claimed already has all its messages here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What the rules need to know of one message.

    `source` is (topic, partition) and `position` (offset, index) of the message that
    caused it. `days` are the event dates of its rows, in days since the Unix epoch.
    `replay` marks what an operator sent again from a DLQ: it keeps its old source
    position, so only its id tells whether it was taken. `size` is what it takes of memory
    while it waits, bytes.
    """

    source: tuple[str, int]
    position: tuple[int, int]
    rows: int
    days: frozenset[int]
    event_id: str | None = None
    replay: bool = False
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Memory that a claim carries on.

    `greatest` has (source topic, source partition, offset, index) of the greatest position
    seen per source, sorted; `replayed` the ids of the last MAX_REPLAYED replays, oldest first.
    """

    greatest: tuple[tuple[str, int, int, int], ...] = ()
    replayed: tuple[str, ...] = ()


class Part(NamedTuple):
    """One date's file of a range: YYYY-MM-DD, its rows and their sum (core.lake_sum)."""

    date: str
    rows: int
    sum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One range, decided: offsets `first` to `last`, both included.

    `seen_before` and `seen` are the memory before and after it, `messages` how many were
    taken, `files` one part for each date, sorted by date; a range whose messages have no
    rows has none.
    """

    topic: str
    partition: int
    first: int
    last: int
    seen_before: Seen
    seen: Seen
    messages: int
    files: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Rows of all its files."""
        return sum(part.rows for part in self.files)

    def differs_from(self, other: Claim) -> tuple[str, ...]:
        """Names of the fields in which the two are not equal."""
        return tuple(n for n in self.__slots__ if getattr(self, n) != getattr(other, n))


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Where the lake itself says to go on.

    Offsets below `next_offset` are in the lake. `redo` is the newest claim where its files
    are not all known complete: exactly that range must be written again, from `seen`.
    """

    next_offset: int
    redo: Claim | None
    seen: Seen


def resume(newest: Claim | None, *, complete: bool) -> Resume:
    """Resume of a topic-partition whose newest claim is this, None where it has none."""
    if newest is None:
        return Resume(next_offset=0, redo=None, seen=Seen())
    if complete:
        return Resume(next_offset=newest.last + 1, redo=None, seen=newest.seen)
    return Resume(next_offset=newest.first, redo=newest, seen=newest.seen_before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a range is cut: at so many rows, bytes in memory, event dates or milliseconds.

    Each date is a file of its own.
    """

    rows: int
    age_ms: int
    size: int = 2**62
    dates: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection(Generic[M]):
    """The messages of one range that are taken, in offset order, and the memory around them."""

    first: int
    last: int
    messages: tuple[M, ...]
    seen_before: Seen
    seen: Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaiting:
    """A claimed range needs the topic up to `offset` before it can be written."""

    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """Nothing to write: every offset up to `last` (-1: none) needs no row, or has its rows."""

    last: int


class _Memory:
    """The repetition rule. Positions and replays are remembered across ranges, ids within one.

    What is remembered across ranges must not depend on where they are cut, so a message
    skipped for its id moves it as one that is taken.
    """

    def __init__(self, seen: Seen) -> None:
        self._greatest = {(t, p): (offset, index) for t, p, offset, index in seen.greatest}
        self._replayed = dict.fromkeys(seen.replayed)
        self._ids: set[str] = set()

    def decide(self, arrival: Arrival) -> Decision:
        if arrival.replay and arrival.event_id is not None:
            if arrival.event_id in self._replayed:
                return Decision.SKIP_REPEATED
            self._replayed[arrival.event_id] = None
            if len(self._replayed) > MAX_REPLAYED:
                del self._replayed[next(iter(self._replayed))]
        else:
            if arrival.position <= self._greatest.get(arrival.source, (-1, -1)):
                return Decision.SKIP_REPEATED
            self._greatest[arrival.source] = arrival.position
        if arrival.event_id is not None:
            if arrival.event_id in self._ids:
                return Decision.SKIP_REPEATED
            self._ids.add(arrival.event_id)
        return Decision.TAKE

    def seen(self) -> Seen:
        return Seen(
            greatest=tuple(sorted((*source, *at) for source, at in self._greatest.items())),
            replayed=tuple(self._replayed),
        )


@dataclass(frozen=True, slots=True)
class _Entry(Generic[M]):
    offset: int
    message: M
    arrival: Arrival


class RangeBuffer(Generic[M]):
    """Messages of one topic-partition on their way into the next range.

    Pure bookkeeping: no clock, no I/O. Offsets may be offered again, and lower ones after
    higher ones as long as the range is not flushed. A flush makes all offsets up to its last
    count as being in the lake, so everything below must have been offered by then.
    `advance` moves to the next range, and nothing else does, so a flush that fails or is
    abandoned at any point can simply be tried again.
    """

    def __init__(self, start: Resume, limits: Limits) -> None:
        self._limits = limits
        self._entries: list[_Entry[M]] = []
        self._offsets: set[int] = set()
        self._first = start.next_offset
        self._offered = start.next_offset - 1
        self._before = start.seen
        self._claimed = start.redo
        self._unsettled = False
        self._since_ms: int | None = None
        self._refold()

    @property
    def first(self) -> int:
        """First offset of the next range: everything below is complete in the lake."""
        return self._first

    @property
    def seen_before(self) -> Seen:
        """Memory at the end of the last complete range."""
        return self._before

    @property
    def rows(self) -> int:
        """Rows waiting."""
        return self._rows

    @property
    def size(self) -> int:
        """Bytes of memory that what waits takes."""
        return self._size

    @property
    def claimed(self) -> Claim | None:
        """The claim this range must follow, where one is known."""
        return self._claimed

    @property
    def awaits(self) -> bool:
        """Whether it cannot be flushed before more was offered: somebody claimed further."""
        return self._claimed is not None and self._offered < self._claimed.last

    @property
    def dates(self) -> int:
        """How many event dates the rows that wait have."""
        return len(self._days)

    def add(self, offset: int, message: M, arrival: Arrival) -> Decision:
        """Buffer one message; what was decided about it."""
        self._unsettled = True
        if offset < self._first:
            return Decision.SKIP_ALREADY_IN_LAKE
        if offset in self._offsets:
            return Decision.SKIP_BUFFERED
        self._offsets.add(offset)
        entry = _Entry(offset, message, arrival)
        if offset < self._offered:
            # Not seen, though a later one was: a consumer that went back over a gap.
            insort(self._entries, entry, key=lambda e: e.offset)
            return self._refold()[offset]
        self._offered = offset
        decision = self._fold(entry)
        if decision is Decision.TAKE or arrival.event_id is not None:
            # A repeated id is kept too: in a range that is cut elsewhere it may count.
            self._entries.append(entry)
            self._size += arrival.size
        return decision

    def cut(self, now_ms: int) -> Cut:
        """Whether to flush at `now_ms` (any clock that does not go back), and why.

        Age counts from the first call after a message came.
        """
        if self._unsettled and self._since_ms is None:
            self._since_ms = now_ms
        if self._claimed is not None:
            return Cut.CLAIMED if self._offered >= self._claimed.last else Cut.NOT_YET
        if self._rows >= self._limits.rows:
            return Cut.ROWS
        if self._size >= self._limits.size:
            return Cut.SIZE
        if len(self._days) >= self._limits.dates:
            return Cut.DATES
        if self._since_ms is not None and now_ms - self._since_ms >= self._limits.age_ms:
            return Cut.AGE
        return Cut.NOT_YET

    def selection(self) -> Selection[M] | Awaiting | Nothing:
        """The next range: as claimed where it is, else all there is."""
        if self._claimed is None and not self._taken:
            return Nothing(last=self._offered)
        last = self._offered if self._claimed is None else self._claimed.last
        if self._offered < last:
            return Awaiting(offset=last)
        memory = _Memory(self._before)
        within = [entry for entry in self._entries if entry.offset <= last]
        taken = [e.message for e in within if memory.decide(e.arrival) is Decision.TAKE]
        return Selection(
            first=self._first,
            last=last,
            messages=tuple(taken),
            seen_before=self._before,
            seen=memory.seen(),
        )

    def adopt(self, claim: Claim) -> None:
        """From now on the next range is exactly this claim's, whoever wrote it."""
        self._claimed = claim

    def advance(self, claim: Claim) -> None:
        """The claim's range is complete: go on after it with what is left."""
        self._first = claim.last + 1
        self._before = claim.seen
        self._claimed = None
        self._entries = [entry for entry in self._entries if entry.offset > claim.last]
        self._offsets = {offset for offset in self._offsets if offset > claim.last}
        self._unsettled = self._offered > claim.last
        self._since_ms = None
        self._refold()

    def settle(self) -> None:
        """What was offered needed no row and its offsets were given back as safe.

        They need not be kept: repetitions of what is before the range stay so wherever it is cut.
        """
        self._unsettled = False
        self._since_ms = None
        self._entries.clear()
        self._offsets.clear()
        self._refold()

    def _refold(self) -> dict[int, Decision]:
        self._memory = _Memory(self._before)
        self._rows = 0
        self._size = sum(entry.arrival.size for entry in self._entries)
        self._taken = 0
        self._days: set[int] = set()
        return {entry.offset: self._fold(entry) for entry in self._entries}

    def _fold(self, entry: _Entry[M]) -> Decision:
        decision = self._memory.decide(entry.arrival)
        if decision is Decision.TAKE:
            self._taken += 1
            self._rows += entry.arrival.rows
            self._days |= entry.arrival.days
        return decision
