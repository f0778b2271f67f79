"""What a load knows and says: values.

A *file* is one Parquet file of the lake's table as its current snapshot has it. Its *spans* are
the offset ranges of the topic whose rows it holds, so a row is known by its date and its place
in the topic, whatever file it lies in: compaction moves rows, spans stay.

load  ├── Loaded    rows are in the warehouse and in its ledger
      ├── Retry     the warehouse is away, busy or somebody else loads: call again, nothing is lost
      └── Halt      retrying cannot mend it: a person must look
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_keep import Span


class Warehouse(StrEnum):
    """Where the lake can be loaded to."""

    SNOWFLAKE = "snowflake"
    BIGQUERY = "bigquery"
    REDSHIFT = "redshift"
    SYNAPSE = "synapse"
    FABRIC = "fabric"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A file as the table's manifests have it. `key` is its name below the lake's root."""

    key: str
    date: str
    rows: int
    size: int


class FileColumn(NamedTuple):
    """A column of a file; `home` is the table's column of the same field id, '' where none is."""

    name: str
    type: pa.DataType
    home: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeFile:
    """A file with what its footer says.

    `position_sum` is the sum of its rows' offsets: what the warehouse is asked for afterwards.
    """

    key: str
    date: str
    rows: int
    size: int
    spans: tuple[Span, ...]
    columns: tuple[FileColumn, ...]
    position_sum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file in the ledger. `at` is when it was loaded, ISO 8601, UTC."""

    date: str
    file: str
    spans: tuple[Span, ...]
    rows: int
    position_sum: int
    snapshot: int
    at: str


class Way(StrEnum):
    """What a step does."""

    APPEND = "append"
    """Files none of whose rows are there."""
    ANEW = "anew"
    """One date, all of it: its rows go, and all its files come."""
    NOTE = "note"
    """Files all of whose rows are there: compaction wrote them again. The ledger alone changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is done in one transaction (BigQuery: one job)."""

    way: Way
    files: tuple[LakeFile, ...]

    @property
    def rows(self) -> int:
        """Rows that it brings."""
        return 0 if self.way is Way.NOTE else sum(file.rows for file in self.files)

    @property
    def dates(self) -> tuple[str, ...]:
        """Dates that it touches, rising."""
        return tuple(sorted({file.date for file in self.files}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Rows of one date and the sum of their offsets."""

    rows: int
    position_sum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A date whose rows in the warehouse are not those in the lake."""

    date: str
    lake: Measure
    warehouse: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What one run did to one dataset. `noted` are files that compaction had written again.

    `checked` dates were compared afterwards, and these `differences` found.
    """

    dataset: Dataset
    snapshot: int
    files: int = 0
    rows: int = 0
    anew: tuple[str, ...] = ()
    noted: int = 0
    checked: int = 0
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Call again later; one sentence why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """A person must look; one sentence what is wrong and how to mend it."""

    reason: str


Result = Loaded | Retry | Halt


class LakeSide(Protocol):
    """One dataset of the lake at one snapshot, as a load needs it. Trouble raises TroubleError."""

    dataset: Dataset
    snapshot: int

    def files(self) -> Sequence[Listed]:
        """Files of the snapshot, by date and name."""
        ...

    def describe(self, files: Sequence[Listed]) -> Sequence[LakeFile]:
        """The same with their footers read, in the same order."""
        ...

    def measures(self, dates: Sequence[str]) -> Mapping[str, Measure]:
        """Rows and offset sums of these dates."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write a small object below the lake's root, where none of that name is yet."""
        ...


class TroubleError(Exception):
    """The lake or the warehouse does not answer, or refuses what may pass: one sentence."""


class WrongError(Exception):
    """What retrying cannot mend: one sentence, what is wrong and how to mend it."""


class Session(Protocol):
    """A connection to a warehouse that speaks SQL. Its errors are TroubleError, WrongError."""

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """One statement; its rows, none where it has none."""
        ...

    def close(self) -> None:
        """End it; a transaction that is open is undone."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """A column that the warehouse's table has: its type in the warehouse's own words."""

    name: str
    type: str
    precision: int | None = field(default=None)
