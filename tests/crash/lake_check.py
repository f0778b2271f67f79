"""Compares a lake with what Kafka says it must hold, and says what is wrong. Pure.

Rows are compared whole, as multisets, for each reader. Beside that the claims must be a chain
without gap or overlap, every file must be what claims say, the table must list each range of them
once and exactly the files that a glob finds, and at each of its snapshots it must have held whole
ranges only. A compaction leaves files in the bucket that the table does not list; `expire` takes
them away, and then a glob finds the table's again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tests.crash.lake_oracle import Expected, Place, Row
from tests.crash.lake_readers import Found

BACK_MS: Final = 60_000
"""Iceberg's readers in Java, Rust and Go refuse a table whose snapshots go back by more than a
minute (TableMetadata, "Expected sorted snapshot log entries")."""
TEXT: Final = 300
"""Characters of a row that are shown."""


class Flaw(StrEnum):
    """What can be wrong."""

    LOST = "lost"
    DOUBLED = "doubled"
    WRONG = "wrong"
    CHAIN = "chain"
    FILES = "files"
    TABLE = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`count` rows or objects with a flaw; `place` is a message that it is about, if any."""

    flaw: Flaw
    dataset: str
    by: str
    """Who sees it: a reader, or what was looked at."""
    count: int
    text: str
    place: Place | None = None


def compare(
    dataset: str, truth: Expected, found: Found, rows: Mapping[str, Counter[Row]]
) -> list[Finding]:
    """All that is wrong with a dataset; `rows` are by reader."""
    wrong = check_objects(dataset, truth, found)
    for reader, some in rows.items():
        wrong += check_rows(dataset, reader, truth, some)
    return wrong


def check_rows(dataset: str, by: str, truth: Expected, rows: Counter[Row]) -> list[Finding]:
    """Lost and doubled rows, one finding for each message; rows that Kafka has not are wrong."""
    told: dict[tuple[Flaw, Place | None], list[Row]] = {}
    for row, count in (truth.rows - rows).items():
        told.setdefault((Flaw.LOST, truth.origin[row]), []).extend([row] * count)
    for row, count in (rows - truth.rows).items():
        place = truth.origin.get(row)
        flaw = Flaw.DOUBLED if place else Flaw.WRONG
        told.setdefault((flaw, place), []).extend([row] * count)
    return [
        Finding(
            flaw=flaw,
            dataset=dataset,
            by=by,
            count=len(some),
            text=str(some[0])[:TEXT],
            place=place,
        )
        for (flaw, place), some in told.items()
    ]


def check_objects(dataset: str, truth: Expected, found: Found) -> list[Finding]:
    """Claims, files and table against each other and against the topic."""
    return [
        Finding(flaw=flaw, dataset=dataset, by=by, count=1, text=text)
        for flaw, by, text in (
            *_chains(truth, found),
            *_files(found),
            *_table(found),
            *_days(truth, found),
            *_offsets(found),
            *_snapshots(found),
        )
    ]


def check_swept(dataset: str, found: Found) -> list[Finding]:
    """After `expire`: the bucket has the files of the table, and no others."""
    apart = sorted(found.files.keys() ^ found.in_table.keys())
    return [
        Finding(
            flaw=Flaw.FILES,
            dataset=dataset,
            by="bucket",
            count=1,
            text=f"{name} is {'left' if name in found.files else 'gone'} after expire",
        )
        for name in apart
    ]


Told = tuple[Flaw, str, str]
Range = tuple[str, str]
"""A date, and offsets as TOPIC/PARTITION/FIRST-LAST."""
_MERGED: Final = re.compile(r"date=([^/]+)/.+-\d{5,}-\d{20}\.\w+\.parquet")
"""Of a file that a compaction made (connectors/lake/compact): a word of its own before the end."""


def _chains(truth: Expected, found: Found) -> Iterator[Told]:
    for source, end in truth.ends.items():
        next_first = 0
        for claim in found.claims.get(source, []):
            first, last = int(claim["first"]), int(claim["last"])
            if first != next_first or last < first:
                yield Flaw.CHAIN, "claims", f"{source}: {first}-{last} follows {next_first - 1}"
            next_first = last + 1
            dates: Counter[str] = Counter()
            messages = 0
            for offset in range(first, last + 1):
                taken = truth.dates.get((*source, offset))
                messages += taken is not None
                dates += taken or Counter()
            said = {date: part["rows"] for date, part in claim["files"].items()}
            if (said, claim["messages"]) != (dict(dates), messages):
                text = f"{source}: {first}-{last} says {said}, the topic has {dict(dates)}"
                yield Flaw.CHAIN, "claims", text
        newest = max((o for t, p, o in truth.dates if (t, p) == source), default=-1)
        if not newest < next_first <= end + 1:
            text = f"{source}: ends at {next_first - 1}, the topic at {end}, its rows at {newest}"
            yield Flaw.CHAIN, "claims", text
    for source in found.claims.keys() - truth.ends.keys():
        yield Flaw.CHAIN, "claims", f"{source}: there is no such topic-partition"


def merged_in(names: Iterable[str]) -> list[str]:
    """Those that a compaction made."""
    return sorted(name for name in names if _MERGED.fullmatch(name))


def _claimed(found: Found) -> dict[str, tuple[Range, int]]:
    """Files that writers were to make: what of, and rows."""
    return {
        f"date={date}/{topic}-{partition:05d}-{claim['first']:020d}.parquet": (
            (date, f"{topic}/{partition}/{claim['first']}-{claim['last']}"),
            part["rows"],
        )
        for (topic, partition), claims in found.claims.items()
        for claim in claims
        for date, part in claim["files"].items()
    }


def _merged(found: Found) -> dict[str, dict[Range, int]]:
    """Files that compactions made: rows of each range that they name, as claimed.

    Of one that names offsets other than of whole claims, nothing is claimed.
    """
    out: dict[str, dict[Range, int]] = {}
    for name in merged_in(found.files):
        date = name.partition("/")[0].removeprefix("date=")
        held: dict[Range, int] = {}
        for note in found.files[name][0].split():
            source, _, offsets = note.rpartition("/")
            topic, _, partition = source.rpartition("/")
            first, last = map(int, offsets.split("-"))
            within = [
                claim
                for claim in found.claims.get((topic, int(partition)), [])
                if first <= claim["first"] and claim["last"] <= last
            ]
            if sum(claim["last"] - claim["first"] + 1 for claim in within) != last - first + 1:
                held = {}
                break
            for claim in within:
                if date in claim["files"]:
                    of = (date, f"{source}/{claim['first']}-{claim['last']}")
                    held[of] = claim["files"][date]["rows"]
        out[name] = held
    return out


def _files(found: Found) -> Iterator[Told]:
    wanted = {name: (note, rows) for name, ((_, note), rows) in _claimed(found).items()}
    for name, held in _merged(found).items():
        wanted[name] = (found.files[name][0], sum(held.values()))
    for name in sorted(wanted.keys() | found.files.keys()):
        if name not in wanted:
            yield Flaw.FILES, "bucket", f"{name} belongs to no claim"
        elif name not in found.files:
            yield Flaw.FILES, "bucket", f"{name} is claimed and not there"
        elif wanted[name] != found.files[name]:
            text = f"{name} is {found.files[name]}, its claims say {wanted[name]}"
            yield Flaw.FILES, "bucket", text


def _table(found: Found) -> Iterator[Told]:
    claimed, merged = _claimed(found), _merged(found)
    listed: Counter[Range] = Counter()
    for name, count in found.in_table.items():
        if count != 1 or name not in found.files:
            there = "" if name in found.files else " and is not in the bucket"
            yield Flaw.TABLE, "pyiceberg", f"{name} is listed {count} times{there}"
        for one in [claimed[name][0]] if name in claimed else merged.get(name, {}):
            listed[one] += count
    for one, _ in claimed.values():
        if listed[one] != 1:
            yield Flaw.TABLE, "pyiceberg", f"{one} is listed {listed[one]} times"
    # What a compaction replaced, or made and did not live to show, awaits `expire`.
    aside = {name for name, (one, _) in claimed.items() if listed[one]} | merged.keys()
    for name in sorted(found.files.keys() - found.in_table.keys() - aside):
        yield Flaw.TABLE, "pyiceberg", f"{name} is in the bucket and not in the table"


def _days(truth: Expected, found: Found) -> Iterator[Told]:
    by_day: Counter[str] = Counter()
    for row, count in truth.rows.items():
        by_day[row[-1]] += count
    if by_day != found.by_day:
        text = f"rows by day are {dict(found.by_day - by_day)} too many, "
        yield Flaw.TABLE, "pyiceberg", text + f"{dict(by_day - found.by_day)} too few"


def _offsets(found: Found) -> Iterator[Told]:
    for source, claims in found.claims.items():
        newest = (claims[-1]["first"], claims[-1]["last"])
        if found.offsets.get(source) != newest:
            text = f"{source}: the table's offsets are {found.offsets.get(source)}, not {newest}"
            yield Flaw.TABLE, "offsets", text


def _snapshots(found: Found) -> Iterator[Told]:
    """Whoever read the table at any time saw whole ranges, each once.

    The table drops old snapshots; then what the oldest had counts as added by it.
    """
    rows = {
        f"{topic}/{partition}/{claim['first']}-{claim['last']}": claim["rows"]
        for (topic, partition), claims in found.claims.items()
        for claim in claims
    }
    listed: Counter[str] = Counter()
    total = before_ms = 0
    if found.history_cut:
        before_ms, _, total = found.snapshots[0]
        added = " ".join(ranges for _, ranges, _ in found.snapshots).split()
        listed.update(rows.keys() - set(added))
    for time_ms, ranges, records in found.snapshots[found.history_cut :]:
        listed.update(ranges.split())
        total += sum(rows.get(one, 0) for one in ranges.split())
        if total != records:
            text = (
                f"after {ranges or 'a compaction'} it had {records} rows, its ranges have {total}"
            )
            yield Flaw.TABLE, "snapshots", text
        if before_ms - time_ms > BACK_MS:
            text = f"{ranges} is dated {(before_ms - time_ms) / 1000:.0f} s before the one before"
            yield Flaw.TABLE, "snapshots", text
        before_ms = time_ms
    if found.history_cut:
        listed.update(found.snapshots[0][1].split())
    for one in sorted(listed.keys() | rows.keys()):
        if listed[one] != (one in rows):
            yield Flaw.TABLE, "snapshots", f"range {one} was added {listed[one]} times"


def total(findings: Iterable[Finding]) -> Mapping[Flaw, int]:
    """How much of each flaw."""
    counts: Counter[Flaw] = Counter()
    for finding in findings:
        counts[finding.flaw] += finding.count
    return counts
