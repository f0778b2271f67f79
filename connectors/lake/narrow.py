"""Which event times a query can need, by DuckDB's plan of it: pure.

DuckDB leaves out files by their folder, but to learn what times a file has it must open it. The
table knows them beforehand. So the plan is asked which conditions on the event time each
scan has, and files outside them all are not given to it. What is not understood narrows nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from connectors.lake.as_of import LiveFile
from connectors.lake.views import time_name
from pipeline.core.lake_columns import Dataset

SLACK: Final = timedelta(minutes=1)
"""now() is a little later when the query runs than when it was planned."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_CONDITION: Final = re.compile(r"\(?([\w.]+) (>=|>|<=|<|=) '([^']+)'::TIMESTAMP WITH TIME ZONE\)?")
_OPTIONAL: Final = re.compile(r"\(?optional: .*")


@dataclass(frozen=True, slots=True)
class Span:
    """Event times, microseconds since the Unix epoch, ends included; None = no end."""

    first_us: int | None
    last_us: int | None

    def meets(self, file: LiveFile) -> bool:
        """Whether the file may have rows in it."""
        begins, ends = _times(file)
        return not (
            (self.last_us is not None and begins is not None and begins > self.last_us)
            or (self.first_us is not None and ends is not None and ends < self.first_us)
        )


def needed(plan: str) -> Mapping[Dataset, tuple[Span, ...]]:
    """Spans of each dataset that the plan's scans read (EXPLAIN (FORMAT json)).

    Empty where a scan tells of no span on any event time: it may be of any dataset.
    """
    found: dict[Dataset, list[Span]] = {}
    for scan in _scans(json.loads(plan)):
        one = _scan_span(scan)
        if one is None:
            return {}
        found.setdefault(one[0], []).append(one[1])
    return {dataset: tuple(spans) for dataset, spans in found.items()}


def kept(files: Iterable[LiveFile], spans: tuple[Span, ...]) -> tuple[LiveFile, ...]:
    """Files that may have rows in one of the spans."""
    return tuple(file for file in files if any(span.meets(file) for span in spans))


def _scans(nodes: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for node in nodes:
        if "PARQUET" in str(node.get("name", "")).upper():
            yield node.get("extra_info", {})
        yield from _scans(node.get("children", ()))


def _scan_span(scan: Mapping[str, Any]) -> tuple[Dataset, Span] | None:
    told = scan.get("Filters", ())
    filters = [told] if isinstance(told, str) else list(told)
    by_name = {time_name(dataset): dataset for dataset in Dataset}
    dataset: Dataset | None = None
    first: int | None = None
    last: int | None = None
    for column, sign, at in (c for one in filters for c in _conditions(one)):
        of = by_name.get(column)
        if of is None or dataset not in (None, of):
            continue
        us = _microseconds(at)
        if us is None:
            continue
        dataset = of
        if sign in {">", ">=", "="}:
            first = us if first is None else max(first, us)
        if sign in {"<", "<=", "="}:
            last = us if last is None else min(last, us)
    if dataset is None:
        return None
    slack = SLACK // _MICROSECOND
    return dataset, Span(
        None if first is None else first - slack, None if last is None else last + slack
    )


def _conditions(told: str) -> Iterator[tuple[str, str, str]]:
    """Comparisons of which all must hold; none where the text may be anything else."""
    whole = told.strip()
    parts = whole[1:-1].split(" AND ") if whole.startswith("((") else [whole]
    out = []
    for part in parts:
        found = _CONDITION.fullmatch(part.strip())
        if found:
            out.append((found[1], found[2], found[3]))
        elif not _OPTIONAL.fullmatch(part.strip()):
            return
    yield from out


def _microseconds(at: str) -> int | None:
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return None
    return None if moment.tzinfo is None else (moment - _EPOCH) // _MICROSECOND


def _times(file: LiveFile) -> tuple[int | None, int | None]:
    if file.first_us is not None and file.last_us is not None:
        return file.first_us, file.last_us
    try:
        day = date.fromisoformat(file.date)
    except ValueError:
        return None, None
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC) - _EPOCH
    return begin // _MICROSECOND, (begin + timedelta(days=1)) // _MICROSECOND - 1
