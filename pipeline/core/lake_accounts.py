"""Whether the lake holds what its claims promise: each row once, and which offsets are wrong.

The claims of a topic-partition are a chain from offset 0 that says how many rows, and of what
sum, each range has on each date. Files say which ranges they hold, and since sums add up it does
not matter how often they were merged: a file is compared with all claims of its ranges.

    claim parts  ──────┐                       ┌── live files
                       ├── joined by offsets ──┤
    dates rising ──────┘                       └── notes of what was dropped or forgotten

Rows that were forgotten on purpose, or dropped when their time was over, have a note that
says so; they count as held.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipeline.core.archive import Part
from pipeline.core.lake_keep import NO_ROWS, Span, Tally, joined, note_of, spans_of

Source = tuple[str, int]


class Wrong(StrEnum):
    """What can be wrong."""

    GAP = "gap"
    """No claim covers these offsets, and later ones are claimed."""
    OVERLAP = "overlap"
    """Two claims cover these offsets."""
    MISSING = "missing"
    """Claimed rows that no file holds."""
    DOUBLED = "doubled"
    """Rows that more files hold than should."""
    CHANGED = "changed"
    """As many rows as claimed, but not those."""
    UNCLAIMED = "unclaimed"
    """A file that no claim speaks of."""
    LOST = "lost"
    """The table names a file that the store does not have."""
    UNREADABLE = "unreadable"
    """An object that is not what its name says."""
    BEHIND_KAFKA = "behind_kafka"
    """Messages that Kafka has deleted before they were archived."""
    AHEAD_OF_KAFKA = "ahead_of_kafka"
    """Offsets archived, or committed, beyond what there is."""
    OTHER_THAN_KAFKA = "other_than_kafka"
    """The topic gives other rows for these offsets than the claim says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    `offsets` name ranges, `date` is empty where it is about no date, `rows` are those promised
    and those held, `file` is the name where it is about one.
    """

    wrong: Wrong
    offsets: str
    date: str = ""
    rows: tuple[int, int] | None = None
    file: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A claim without its memory: what verify needs, and what is kept of old ones."""

    topic: str
    partition: int
    first: int
    last: int
    files: tuple[Part, ...]

    @property
    def span(self) -> Span:
        """Its offsets."""
        return Span(self.topic, self.partition, self.first, self.last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What one file has, or had before it was dropped: rows of one date, of these ranges.

    `sum` is None where the file does not tell it and was not read. `forgotten` are rows that
    were taken out on purpose. One that is not `live` is a note of what was dropped.
    """

    key: str
    date: str
    spans: tuple[Span, ...]
    rows: int
    sum: int | None
    forgotten: Tally = NO_ROWS
    live: bool = True

    @property
    def accounted(self) -> int:
        """Rows that it answers for."""
        return self.rows + self.forgotten.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What `examine` says of one dataset: counts, what is wrong, and what is still to come."""

    claims: int
    files: int
    rows: int
    forgotten: int
    dropped: int
    sums: int
    """Rows whose sum was compared."""
    waiting: tuple[Span, ...]
    """Claimed and not yet complete: their writer is at it, or does it when it starts again."""
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class _Group:
    """Parts of claims and files that speak of the same offsets."""

    parts: list[tuple[Line, Part]]
    files: list[Holding]


def examine(
    lines: Iterable[Line], holdings: Sequence[Holding], standing: Mapping[Source, int]
) -> Account:
    """Compare the claims of a dataset with what files hold, and with what is gone on purpose.

    `standing` is the last offset of each topic-partition that should be there: a claim beyond
    it whose files are not all there may be under way.
    """
    by_source: dict[Source, list[Line]] = defaultdict(list)
    for line in lines:
        by_source[line.topic, line.partition].append(line)
    findings: list[Finding] = []
    waiting: list[Span] = []
    parts: dict[str, list[tuple[Line, Part]]] = defaultdict(list)
    for source, chain in sorted(by_source.items()):
        chain.sort(key=lambda line: line.first)
        findings += _broken(source, chain)
        for line in chain:
            if _under_way(line, holdings, standing):
                waiting.append(line.span)
                continue
            for part in line.files:
                parts[part.date].append((line, part))
    here: dict[str, list[Holding]] = defaultdict(list)
    for one in holdings:
        here[one.date].append(one)
    sums = 0
    for date in sorted({*parts, *here}):
        for group in _groups(parts.get(date, []), here.get(date, [])):
            found, compared = _compared(date, group, set(waiting))
            findings += found
            sums += compared
    live = [h for h in holdings if h.live]
    return Account(
        claims=sum(map(len, by_source.values())),
        files=len(live),
        rows=sum(h.rows for h in live),
        forgotten=sum(h.forgotten.rows for h in holdings),
        dropped=sum(h.rows for h in holdings if not h.live),
        sums=sums,
        waiting=tuple(waiting),
        findings=_told(findings),
    )


def _under_way(line: Line, holdings: Sequence[Holding], standing: Mapping[Source, int]) -> bool:
    """Whether its writer is still at a claim."""
    if line.first <= standing.get((line.topic, line.partition), -1):
        return False
    there = {h.date for h in holdings if line.span in h.spans}
    return any(part.date not in there for part in line.files)


def _broken(source: Source, chain: Sequence[Line]) -> Iterator[Finding]:
    """Where the chain does not go on at the offset after the one before."""
    expected = 0
    for line in chain:
        if line.first > expected:
            yield Finding(wrong=Wrong.GAP, offsets=str(Span(*source, expected, line.first - 1)))
        elif line.first < expected:
            end = min(expected - 1, line.last)
            yield Finding(wrong=Wrong.OVERLAP, offsets=str(Span(*source, line.first, end)))
        expected = max(expected, line.last + 1)


def _groups(parts: Sequence[tuple[Line, Part]], files: Sequence[Holding]) -> list[_Group]:
    """Parts of claims and files of one date, joined where they share an offset."""
    leader = list(range(len(parts) + len(files)))

    def lead(one: int) -> int:
        while leader[one] != one:
            leader[one] = leader[leader[one]]
            one = leader[one]
        return one

    of_source: dict[Source, list[tuple[int, int, int]]] = defaultdict(list)
    for number, (line, _) in enumerate(parts):
        of_source[line.topic, line.partition].append((line.last, line.first, number))
    for chain in of_source.values():
        chain.sort()
    for number, file in enumerate(files, len(parts)):
        for span in file.spans:
            for part in _touched(of_source.get((span.topic, span.partition), ()), span):
                leader[lead(part)] = lead(number)
    groups: dict[int, _Group] = defaultdict(lambda: _Group([], []))
    for number, claimed in enumerate(parts):
        groups[lead(number)].parts.append(claimed)
    for number, file in enumerate(files, len(parts)):
        groups[lead(number)].files.append(file)
    return list(groups.values())


def _touched(chain: Sequence[tuple[int, int, int]], span: Span) -> Iterator[int]:
    """Numbers of the parts (last offset, first, number), sorted, that share an offset with it."""
    for _, first, part in chain[bisect_left(chain, (span.first, -1, -1)) :]:
        if first > span.last:
            return
        yield part


def _compared(date: str, group: _Group, waiting: set[Span]) -> tuple[list[Finding], int]:
    """What is wrong with one group, and how many rows' sums were compared."""
    if not group.parts:
        return [
            Finding(wrong=Wrong.UNCLAIMED, offsets=note_of(h.spans), date=date, file=h.key)
            for h in group.files
            # The file of a claim that waits for the others of its range.
            if h.live and h.accounted and not waiting.issuperset(h.spans)
        ], 0
    promised = sum(part.rows for _, part in group.parts)
    held = sum(h.accounted for h in group.files)
    offsets = note_of(joined(line.span for line, _ in group.parts))
    if promised != held:
        return list(_differing(date, group, promised, held, offsets)), 0
    if any(h.sum is None for h in group.files):
        return [], 0
    wanted, found = Tally(), Tally()
    for _, part in group.parts:
        wanted = wanted.plus(Tally(part.rows, part.sum))
    for h in group.files:
        found = found.plus(Tally(h.rows, h.sum or 0)).plus(h.forgotten)
    if wanted == found:
        return [], promised
    names = " ".join(h.key for h in group.files)
    return [
        Finding(wrong=Wrong.CHANGED, offsets=offsets, date=date, rows=(promised, held), file=names)
    ], promised


def _differing(
    date: str, group: _Group, promised: int, held: int, offsets: str
) -> Iterator[Finding]:
    """The ranges that are missing or doubled, as closely as the files' own ranges tell."""
    told = False
    for line, part in group.parts:
        holders = [h for h in group.files if any(_share(line.span, span) for span in h.spans)]
        if len(holders) == 1 or not part.rows:
            continue
        told = True
        yield Finding(
            wrong=Wrong.DOUBLED if holders else Wrong.MISSING,
            offsets=str(line.span),
            date=date,
            rows=(part.rows, part.rows * len(holders)),
            file=" ".join(h.key for h in holders),
        )
    if not told:
        yield Finding(
            wrong=Wrong.MISSING if held < promised else Wrong.DOUBLED,
            offsets=offsets,
            date=date,
            rows=(promised, held),
            file=" ".join(h.key for h in group.files),
        )


def _share(one: Span, other: Span) -> bool:
    return one[:2] == other[:2] and one.first <= other.last and other.first <= one.last


def _told(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The same, with neighbouring offsets of a date that are missing told together."""
    missing: dict[str, dict[Span, tuple[int, int]]] = defaultdict(dict)
    out: list[Finding] = []
    for one in findings:
        spans = spans_of(one.offsets) or ()
        if one.wrong is Wrong.MISSING and not one.file and one.rows and len(spans) == 1:
            missing[one.date][spans[0]] = one.rows
        else:
            out.append(one)
    for date, ranges in missing.items():
        for whole in joined(ranges):
            rows = [counts[0] for span, counts in ranges.items() if _share(span, whole)]
            out.append(
                Finding(wrong=Wrong.MISSING, offsets=str(whole), date=date, rows=(sum(rows), 0))
            )
    return tuple(sorted(out, key=lambda f: (f.date, f.wrong.value, f.offsets)))
