"""What is to be merged, dropped and swept in the lake: decisions, made of values alone.

No clock and no store here: times are arguments, and what the answer names is done by
connectors/lake/{compact,expire,forget}.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final, NamedTuple

from pipeline.core.lake_sum import MODULUS

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
SETTLE_MS: Final = DAY_MS
"""An object younger than this may belong to work under way, and a claim to a writer that is slow:
neither is swept."""
COMMIT_WITHIN_MS: Final = 6 * HOUR_MS
"""Rewritten files must be shown to the table within this time of their making, well before
somebody sweeps them for orphans."""
MOST_FILES: Final = 10_000
"""Files of one date that are merged into one at most."""
DOUBTED_AHEAD: Final = 1
DOUBTED_BEHIND: Final = 400
"""A date so many days after, or before, its rows' arrival is a clock that lies (core.lake_times):
retention then counts from the arrival, so that a row dated 1970 is kept as long as any."""

_FILE: Final = re.compile(
    r"(?P<topic>[\w.-]+)-(?P<partition>\d{5,})-(?P<first>\d{20})\.(?:\w+\.)?parquet"
)


class Span(NamedTuple):
    """Offsets `first` to `last`, both included, of a topic-partition."""

    topic: str
    partition: int
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.first}-{self.last}"


class Tally(NamedTuple):
    """So many rows and their sum (core.lake_sum)."""

    rows: int = 0
    sum: int = 0

    def plus(self, other: Tally) -> Tally:
        """Of both together."""
        return Tally(self.rows + other.rows, (self.sum + other.sum) % MODULUS)


NO_ROWS: Final = Tally()


@dataclass(frozen=True, slots=True, kw_only=True)
class Small:
    """A live file as compaction sees it; `place` says which of the topic's rows it begins with."""

    key: str
    size: int
    place: tuple[str, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A snapshot of a table: when it was made (ms since 1970).

    One that is `held` has a branch or a tag standing on it.
    """

    id: int
    made_ms: int
    held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An object of the store, and when it was last changed (ms since 1970)."""

    key: str
    size: int
    changed_ms: int


def spans_of(note: str) -> tuple[Span, ...] | None:
    """The ranges that a file's metadata names; None where it names none that we understand."""
    spans = []
    for text in note.split(" "):
        source, _, offsets = text.rpartition("/")
        topic, _, partition = source.rpartition("/")
        first, dash, last = offsets.partition("-")
        numbers = (partition, first, last)
        if not (topic and dash) or not all(n.isascii() and n.isdigit() for n in numbers):
            return None
        spans.append(Span(topic, int(partition), int(first), int(last)))
    return tuple(spans)


def note_of(spans: Sequence[Span]) -> str:
    """The same as text: what `fieldline.range` holds."""
    return " ".join(map(str, spans))


def joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same offsets in as few spans as can be, sorted: neighbours become one."""
    out: list[Span] = []
    for span in sorted(spans):
        before = out[-1] if out else None
        if before and before[:2] == span[:2] and before.last + 1 == span.first:
            out[-1] = before._replace(last=span.last)
        else:
            out.append(span)
    return tuple(out)


def place_of(key: str) -> tuple[str, int, int] | None:
    """Topic, partition and first offset in a file's name; None where it is not one of ours."""
    found = _FILE.fullmatch(key.rpartition("/")[2])
    return found and (found["topic"], int(found["partition"]), int(found["first"]))


def kept_name(key: str, token: str) -> str:
    """Name of a file that takes the place of `key` and others: nobody had it before."""
    folder, _, name = key.rpartition("/")
    topic, partition, first = place_of(key) or (name.partition(".")[0], 0, 0)
    return f"{folder}/{topic}-{partition:05d}-{first:020d}.{token}.parquet"


def bins(files: Sequence[Small], target: int) -> tuple[tuple[Small, ...], ...]:
    """Which of one date's files are merged together: each group into one file of about `target`.

    A file of half the target or more is left alone, or a late row would have its whole date
    rewritten. The order is that of topic, partition and offset, so that a group holds few
    devices: a device has one partition.
    """
    small = sorted((f for f in files if f.size * 2 < target), key=lambda f: (f.place, f.key))
    groups: list[list[Small]] = []
    size = 0
    for file in small:
        if not groups or size + file.size > target or len(groups[-1]) >= MOST_FILES:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += file.size
    return tuple(tuple(group) for group in groups if len(group) > 1)


def settled(day: int, today: int, after_days: int) -> bool:
    """Whether a date is over for `after_days` days, or lies in the future; days since 1970."""
    return day < today - after_days or day > today + DOUBTED_AHEAD


def kept_since(day: int, arrived_day: int | None) -> int:
    """The day that retention counts from, for rows of event date `day` that arrived then."""
    if arrived_day is None or -DOUBTED_AHEAD <= arrived_day - day <= DOUBTED_BEHIND:
        return day
    return arrived_day


def outlived(day: int, arrived_day: int | None, today: int, keep_days: int) -> bool:
    """Whether a file of this date is to be dropped; `keep_days` 0 = never."""
    return keep_days > 0 and kept_since(day, arrived_day) < today - keep_days


def expirable(versions: Sequence[Version], now_ms: int, grace_ms: int) -> tuple[int, ...]:
    """Ids of the snapshots that nobody can still be reading.

    A reader that planned the moment before a snapshot was replaced is still at it, so the
    grace counts from when the next one was made. Snapshots with a branch or tag stay.
    """
    line = sorted(versions, key=lambda v: v.made_ms)
    return tuple(
        old.id for old, new in pairwise(line) if not old.held and new.made_ms < now_ms - grace_ms
    )


def sweepable(
    found: Iterable[Found],
    *,
    needed: frozenset[str],
    replaced_ms: Mapping[str, int],
    now_ms: int,
    grace_ms: int,
) -> Iterator[Found]:
    """Objects that can go.

    `needed` are those that a snapshot names or a claim awaits. `replaced_ms` says when others
    took their rows, ms since 1970: from then on counts the grace of readers. Of what is in
    neither nobody knows: the leavings of something that died, once they are settled.
    """
    for one in found:
        if one.key in needed:
            continue
        since, wait = replaced_ms.get(one.key), grace_ms
        if since is None:
            since, wait = one.changed_ms, SETTLE_MS
        if since + wait <= now_ms:
            yield one


def foldable(
    claims: Sequence[Found], firsts: Mapping[str, int], standing: int, now_ms: int
) -> tuple[Found, ...]:
    """Claims of a topic-partition that no writer asks for any more, in the order of offsets.

    `firsts` has the first offset of each, `standing` is that of the newest one that the table
    has: it and all after it stay. Only an unbroken run from the oldest on is taken.
    """
    out = []
    for one in sorted(claims, key=lambda c: firsts[c.key]):
        if firsts[one.key] >= standing or one.changed_ms >= now_ms - SETTLE_MS:
            break
        out.append(one)
    return tuple(out)


def by_date(files: Iterable[tuple[str, Small]]) -> dict[str, tuple[Small, ...]]:
    """(date, file) as files of each date, dates rising."""
    ordered = sorted(files, key=lambda f: (f[0], f[1].place, f[1].key))
    return {
        date: tuple(small for _, small in group) for date, group in groupby(ordered, lambda f: f[0])
    }
