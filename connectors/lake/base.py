"""What the lake's writer and its store say to each other and to the caller: all values.

flush  ├── Flushed  offsets up to `last_offset` are safe to commit
       ├── Wait     a range claimed by someone needs messages up to `until` first
       ├── Retry    the store did not do it, or may not have: call again later
       └── Halt     retrying cannot mend it: a person must look
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow.parquet as pq

from pipeline.core.archive import Claim
from pipeline.core.lake_columns import Column
from pipeline.core.lake_records import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """The object was not there and is now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exists:
    """An object of that name was there already; whose it is remains to be verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Bytes of an object, or the end of them; `size` of the whole object, bytes."""

    data: bytes = field(repr=False)
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """The store answered: there is no such object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """One page of object names, rising; `more` where it was cut short."""

    names: tuple[str, ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """An object as a listing tells it: size in bytes, last change in milliseconds since 1970."""

    key: str
    size: int
    changed_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """One page of objects, names rising; `more` where it was cut short."""

    objects: tuple[Object, ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """No object of that name is there now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """No answer that we understand: it may or may not have happened. One sentence why."""

    reason: str


class ObjectStore(Protocol):
    """One bucket. Nothing here raises, except cancellation."""

    async def put_new(self, key: str, data: bytes) -> Created | Exists | Unavailable:
        """Write an object only where none of that name exists; atomic."""
        ...

    async def get(self, key: str) -> Content | Missing | Unavailable:
        """The whole object."""
        ...

    async def tail(self, key: str, size: int) -> Content | Missing | Unavailable:
        """The last `size` bytes of an object, all of it where it is smaller."""
        ...

    async def list_after(self, prefix: str, after: str) -> Names | Unavailable:
        """Names that start with `prefix` and sort after `after`: the first page."""
        ...


class KeepersStore(ObjectStore, Protocol):
    """What those who keep the lake need besides: writers never delete."""

    async def delete(self, key: str) -> Deleted | Unavailable:
        """Remove an object, whether it was there or not."""
        ...

    async def objects(self, prefix: str, after: str) -> Objects | Unavailable:
        """Objects whose names start with `prefix`, any text, and sort after `after`."""
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One date's file of a range, known to be in the store; `size` in bytes."""

    key: str
    date: str
    size: int
    metadata: pq.FileMetaData = field(repr=False)
    """Its footer: rows and statistics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The newest range that a table has of a topic-partition."""

    first: int
    last: int


class Table(Protocol):
    """One dataset as readers see it: ranges appear in it whole. Nothing here raises."""

    async def open(self) -> Shape | Retry | Halt:
        """Make sure it is there; its columns."""
        ...

    async def evolve(self, wanted: Sequence[Column]) -> Shape | Retry | Halt:
        """Give it room for rows with these columns; its columns then."""
        ...

    async def standing(self, topic: str, partition: int) -> Standing | Retry | Halt | None:
        """Its newest range of a topic-partition; None where it has none."""
        ...

    async def register(self, claim: Claim, files: Sequence[Written]) -> Retry | Halt | None:
        """Add the range and note its offsets in one step; None once it is so, by whomever.

        Its `files`, one for each date of the claim, are in the store by then. Ranges of one
        topic-partition are brought in the order of their offsets, and each joins the one before
        it: the first begins at offset 0. One that comes too early is a Halt; one that the table
        has already is None. They need not be waited for one by one, but after anything else
        than None the table is asked for its `standing` before a later range is brought. Between
        topic-partitions there is no order.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Flushed:
    """Offsets up to `last_offset`, included, are safe to commit; counts of this flush.

    It may lie below what the caller has read (-1 in an empty lake): then nothing new is safe.
    `files` and `size` (bytes) count what was put by us, `calls` requests to the store.
    """

    last_offset: int
    rows: int = 0
    files: int = 0
    size: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Offer more messages: the claimed range goes up to offset `until`."""

    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The store is away or refuses: call again later, nothing is lost."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """The lake and the topic contradict each other: stop this partition and tell a person."""

    reason: str


FlushResult = Flushed | Wait | Retry | Halt


@dataclass(slots=True, kw_only=True)
class Counters:
    """Totals of one writer since it started. `rows`, `files`, `size` as in Flushed."""

    ranges: int = 0
    rows: int = 0
    files: int = 0
    size: int = 0
    calls: int = 0
    skipped_repeated: int = 0
    skipped_already_in_lake: int = 0
    claims_lost: int = 0
    """Ranges where another writer's claim was there first."""
    retries: int = 0
    halts: int = 0
