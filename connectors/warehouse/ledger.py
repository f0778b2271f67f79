"""What is to be loaded, given what was: pure.

The rule is kept on spans, not on files: a file's rows are there where its spans were loaded for
its date. So it does not matter when the lake's files are compacted:

| spans of a new file that were loaded for its date | what is done |
|---|---|
| none | it is loaded |
| all | it holds rows that are there: only the ledger learns its name |
| some | no column of telemetry tells the spans apart, so its date is loaded anew |
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import pairwise

from connectors.warehouse.base import Entry, LakeFile, Listed, Step, Way
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_keep import Span

SPANS_MAX = 500
"""Spans told in one row of the ledger: Redshift holds 65,535 bytes of text."""


def position_column(dataset: Dataset) -> str:
    """The column whose sum is compared: a row's offset, which no evolution touches."""
    return "source_offset" if dataset is Dataset.TELEMETRY else "kafka_offset"


def united(spans: Sequence[Span]) -> tuple[Span, ...]:
    """The same offsets in the fewest spans, sorted."""
    out: list[Span] = []
    for span in sorted(spans):
        before = out[-1] if out else None
        if before and before[:2] == span[:2] and span.first <= before.last + 1:
            out[-1] = before._replace(last=max(before.last, span.last))
        else:
            out.append(span)
    return tuple(out)


class Cover(Enum):
    """How much of a file's rows are there."""

    NONE = auto()
    SOME = auto()
    ALL = auto()


def cover(spans: Sequence[Span], loaded: Sequence[Span]) -> Cover:
    """How much of `spans` lies in `loaded`; both united."""
    whole = all(_within(span, loaded) for span in spans)
    if whole:
        return Cover.ALL
    return Cover.SOME if any(_meet(a, b) for a in spans for b in loaded) else Cover.NONE


def _within(span: Span, loaded: Sequence[Span]) -> bool:
    return any(
        one[:2] == span[:2] and one.first <= span.first and span.last <= one.last for one in loaded
    )


def _meet(a: Span, b: Span) -> bool:
    return a[:2] == b[:2] and a.first <= b.last and b.first <= a.last


def unknown(files: Sequence[Listed], loaded: Sequence[Entry]) -> tuple[Listed, ...]:
    """Files that the ledger has not: a file does not change, so the others are done."""
    known = {entry.file for entry in loaded}
    return tuple(file for file in files if file.key not in known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of the files that the ledger does not know: names, and dates to load anew."""

    append: tuple[str, ...]
    note: tuple[str, ...]
    anew: tuple[str, ...]


def judge(new: Sequence[LakeFile], loaded: Sequence[Entry]) -> Verdict | str:
    """What becomes of `new` files; two of a date with the same rows are a fault: a sentence."""
    by_date: dict[str, list[Span]] = defaultdict(list)
    for entry in loaded:
        by_date[entry.date] += entry.spans
    there = {date: united(spans) for date, spans in by_date.items()}
    clash = _clash(new)
    if clash:
        return clash
    covers = {file.key: cover(file.spans, there.get(file.date, ())) for file in new}
    anew = {file.date for file in new if covers[file.key] is Cover.SOME}
    rest = [file for file in new if file.date not in anew]
    return Verdict(
        append=tuple(file.key for file in rest if covers[file.key] is Cover.NONE),
        note=tuple(file.key for file in rest if covers[file.key] is Cover.ALL),
        anew=tuple(sorted(anew)),
    )


def _clash(files: Sequence[LakeFile]) -> str:
    told = sorted((f.date, *span, f.key) for f in files for span in f.spans)
    for one, other in pairwise(told):
        if one[:3] == other[:3] and other[3] <= one[4]:
            return (
                f"The files {one[5]} and {other[5]} hold the same offsets of {one[1]}/{one[2]}: "
                "run `fieldline lake verify`, and load when it agrees."
            )
    return ""


def steps(
    verdict: Verdict,
    described: Mapping[str, LakeFile],
    of_dates: Mapping[str, Sequence[LakeFile]],
    *,
    most: int,
) -> tuple[Step, ...]:
    """The verdict as steps of at most `most` files, a date that is loaded anew being one whole."""
    out = [Step(way=Way.ANEW, files=tuple(of_dates[date])) for date in verdict.anew]
    for way, keys in ((Way.NOTE, verdict.note), (Way.APPEND, verdict.append)):
        files = sorted((described[key] for key in keys), key=lambda f: (f.date, f.key))
        out += [
            Step(way=way, files=tuple(files[at : at + most])) for at in range(0, len(files), most)
        ]
    return tuple(out)


def entries(step: Step, *, snapshot: int, at: str) -> tuple[Entry, ...]:
    """What the ledger says of a step. A file of many spans has several, its rows in the first."""
    out: list[Entry] = []
    for file in step.files:
        for start in range(0, len(file.spans), SPANS_MAX):
            first = start == 0
            out.append(
                Entry(
                    date=file.date,
                    file=file.key,
                    spans=file.spans[start : start + SPANS_MAX],
                    rows=file.rows if first else 0,
                    position_sum=file.position_sum if first else 0,
                    snapshot=snapshot,
                    at=at,
                )
            )
    return tuple(out)


def replaced(
    way: Way, told: Sequence[LakeFile | Entry], loaded: Sequence[Entry]
) -> tuple[str, ...]:
    """Files whose entries a step takes out of the ledger: what it told stands for their rows."""
    if way is Way.APPEND:
        return ()
    if way is Way.ANEW:
        dates = {one.date for one in told}
        return tuple(sorted({e.file for e in loaded if e.date in dates}))
    spans: dict[str, list[Span]] = defaultdict(list)
    for one in told:
        spans[one.date] += one.spans
    there = {date: united(found) for date, found in spans.items()}
    named: dict[str, list[Entry]] = defaultdict(list)
    for entry in loaded:
        named[entry.file].append(entry)
    return tuple(
        sorted(
            name
            for name, entered in named.items()
            if all(cover(e.spans, there.get(e.date, ())) is Cover.ALL for e in entered)
        )
    )


def after(way: Way, told: Sequence[Entry], loaded: Sequence[Entry]) -> list[Entry]:
    """The ledger after a step."""
    gone = set(replaced(way, told, loaded))
    return [*(entry for entry in loaded if entry.file not in gone), *told]
