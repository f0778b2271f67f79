"""What a time-series store and its caller say to each other: all values.

write  ├── Written  the points are there; some may have been refused for good
       └── Retry    the store is away, or a person must mend it: call again, nothing is lost

put    ├── Done     all points of this request are there
       ├── Refuse   something in it can never be taken: fewer at a time tell which
       └── Retry
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from connectors.timeseries.points import Points


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Points that the store can never take. `example` shows the first of them as JSON."""

    points: int
    reason: str
    device_id: str
    example: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """`points` are in the store, `refused` are not; each is one or the other."""

    points: int
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """One sentence why, and the store's own wish for a wait, seconds."""

    reason: str
    wait_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """It is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """The store's words on what cannot be taken."""

    reason: str


class Store(Protocol):
    """One store. Nothing here raises, except cancellation.

    A point's key is its series and time: put again, it is written over, so a repetition after
    a crash changes nothing.
    """

    name: str
    most: int
    """Most points in one request."""
    first_ms: int
    last_ms: int
    """Times that it can keep, milliseconds since the Unix epoch."""
    by_sequence: bool
    """Whether session and sequence belong to the key of a point."""

    def takes(self, name: str) -> bool:
        """Whether it can keep a device or metric of that name."""
        ...

    async def put(self, points: Points) -> Done | Refuse | Retry:
        """Write points with keys that differ (points.keyed)."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
