"""What the lake's writer and its store say to each other and to the caller: all values.

flush  ├── Flushed  offsets up to `last_offset` are safe to commit
       ├── Wait     a range claimed by someone needs messages up to `until` first
       ├── Retry    the store did not do it, or may not have: call again later
       └── Halt     retrying cannot mend it: a person must look
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """The object was not there and is now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exists:
    """An object of that name was there already; whose it is remains to be verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Bytes of an object, or the end of them."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """The store answered: there is no such object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """One page of object names, rising; `more` where it was cut short."""

    names: tuple[str, ...]
    more: bool


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
