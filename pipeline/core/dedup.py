"""Which samples were seen before: exact inside a bounded window, and nothing is lost.

Numbered samples follow the anti-replay window of RFC 6479: per (device, session) the
highest sequence number and a bitmap of the numbers up to `window` below it. A session is
a number that never falls; a reboot makes a greater one. The newest SESSIONS are kept.

Samples without a number are known by a 64-bit hash of their content (event time, metric
names, values), kept per BUCKET_MS of event time. The newest BUCKETS that hold anything are
kept, and at most `hashes` of them in all: then the oldest bucket goes. A single bucket
that is full takes no more: a device that fast should number its samples.

What lies before the kept window is TOO_LATE: it can no longer be told whether it was seen,
so a repeated late sample looks like a first one. It is archived with a flag and does not
feed detection. FRESH and DUPLICATE are exact (up to a collision of 64-bit hashes).

Whether something is "before the window" is decided by the newest thing evicted, never by
counting, so the answer stays exact when `window` is changed between runs. One wild
session number or clock costs one kept entry, not the whole window.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

SESSIONS: Final = 4
BUCKETS: Final = 32
BUCKET_MS: Final = 10_000
MIN_HASHES: Final = 1_024

BEFORE_ALL: Final = -(1 << 63)
"""Floor of a window that has evicted nothing."""


class Verdict(IntEnum):
    """What dedup says of one sample."""

    FRESH = 0
    DUPLICATE = 1
    TOO_LATE = 2


# Python 3.11 looks enum members up slowly, and these are asked for per sample.
FRESH, DUPLICATE, TOO_LATE = Verdict


@dataclass(frozen=True, slots=True)
class SessionWindow:
    """Numbers seen in one session: bit i of `bits` stands for `high` - i, down to `floor`.

    A number under `floor` is too late. Bits below the floor are 0.
    """

    session: int
    high: int
    floor: int
    bits: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """Contents seen in one stretch of event time: [number, number + 1) x BUCKET_MS."""

    number: int
    hashes: frozenset[int]


@dataclass(frozen=True, slots=True)
class Seen:
    """What dedup remembers of one device.

    `sessions` and `buckets` are in rising order. Sessions up to `session_floor` and
    buckets up to `bucket_floor` were evicted: what comes for them is too late.
    """

    sessions: tuple[SessionWindow, ...] = ()
    session_floor: int = BEFORE_ALL
    buckets: tuple[Bucket, ...] = ()
    bucket_floor: int = BEFORE_ALL


def content_hash(time_ms: int, names: bytes, values: npt.NDArray[np.float64]) -> int:
    """64-bit BLAKE2b of one sample's content, the same in every process.

    `names` are the metric names and `values` their values, both in one canonical order;
    0.0 and -0.0 count as equal.
    """
    digest = hashlib.blake2b(digest_size=8)
    digest.update(time_ms.to_bytes(8, "little", signed=True))
    digest.update(len(names).to_bytes(4, "little"))
    digest.update(names)
    digest.update((values + 0.0).astype("<f8", copy=False).tobytes())
    return int.from_bytes(digest.digest(), "little")


def judge(
    seen: Seen,
    sessions: Sequence[int],
    sequences: Sequence[int],
    times_ms: Sequence[int],
    contents: Sequence[int],
    window: int,
) -> tuple[npt.NDArray[np.uint8], Seen]:
    """Verdicts on one device's samples in order of arrival, shape (samples,), and what is seen.

    Sequence numbers below 0 mean that the sample has none: then its event time in
    milliseconds and its entry in `contents` (from content_hash) count; other entries of
    `contents` are not read. `window` is how many numbers of a session are remembered; it
    also bounds the hashes, which are at least MIN_HASHES.
    """
    numbered = _Numbered(seen, window)
    hashed = _Hashed(seen, max(window, MIN_HASHES))
    verdicts = np.empty(len(sequences), dtype=np.uint8)
    for i, sequence in enumerate(sequences):
        verdicts[i] = (
            numbered.judge(sessions[i], sequence)
            if sequence >= 0
            else hashed.judge(times_ms[i] // BUCKET_MS, contents[i])
        )
    return verdicts, Seen(
        sessions=numbered.frozen(),
        session_floor=numbered.floor,
        buckets=hashed.frozen(),
        bucket_floor=hashed.floor,
    )


class _Numbered:
    """Sessions of one device while a batch is worked on."""

    def __init__(self, seen: Seen, window: int) -> None:
        self._windows = {w.session: w for w in seen.sessions}
        self.floor = seen.session_floor
        self._window = window

    def judge(self, session: int, sequence: int) -> Verdict:
        if session <= self.floor:
            return TOO_LATE
        known = self._windows.get(session)
        if known is None:
            return self._begin(session, sequence)
        back = known.high - sequence
        if sequence < known.floor:
            return TOO_LATE
        if back >= 0 and known.bits >> back & 1:
            return DUPLICATE
        self._windows[session] = (
            SessionWindow(session, known.high, known.floor, known.bits | 1 << back)
            if back >= 0
            else self._advance(known, sequence)
        )
        return FRESH

    def _begin(self, session: int, sequence: int) -> Verdict:
        lowest = max(0, sequence - self._window + 1)
        self._windows[session] = SessionWindow(session, sequence, lowest, 1)
        if len(self._windows) > SESSIONS:
            # The oldest goes; that is this very one where it lies below all kept.
            self.floor = min(self._windows)
            del self._windows[self.floor]
        return FRESH if session > self.floor else TOO_LATE

    def _advance(self, known: SessionWindow, sequence: int) -> SessionWindow:
        floor = max(known.floor, sequence - self._window + 1)
        depth, step = sequence - floor + 1, sequence - known.high
        # A jump past the whole window must not build a number of that many bits first.
        bits = (known.bits << step) & ((1 << depth) - 1) if step < depth else 0
        return SessionWindow(known.session, sequence, floor, bits | 1)

    def frozen(self) -> tuple[SessionWindow, ...]:
        return tuple(self._windows[session] for session in sorted(self._windows))


class _Hashed:
    """Content hashes of one device while a batch is worked on."""

    def __init__(self, seen: Seen, most: int) -> None:
        self._kept = {b.number: b for b in seen.buckets}
        self._open: dict[int, set[int]] = {}
        self._size = sum(len(b.hashes) for b in seen.buckets)
        self.floor = seen.bucket_floor
        self._most = most

    def judge(self, number: int, content: int) -> Verdict:
        if number <= self.floor:
            return TOO_LATE
        hashes = self._bucket(number)
        if content in hashes:
            return DUPLICATE
        if len(hashes) >= self._most:
            return TOO_LATE
        hashes.add(content)
        self._size += 1
        while len(self._open.keys() | self._kept.keys()) > BUCKETS or self._size > self._most:
            self._evict_oldest()
        return FRESH if number > self.floor else TOO_LATE

    def _bucket(self, number: int) -> set[int]:
        if number not in self._open:
            kept = self._kept.pop(number, None)
            self._open[number] = set(kept.hashes) if kept else set()
        return self._open[number]

    def _evict_oldest(self) -> None:
        self.floor = min(self._open.keys() | self._kept.keys())
        kept = self._kept.pop(self.floor, None)
        self._size -= len(kept.hashes if kept else self._open.pop(self.floor))

    def frozen(self) -> tuple[Bucket, ...]:
        buckets = {n: Bucket(n, frozenset(h)) for n, h in self._open.items()} | self._kept
        return tuple(buckets[number] for number in sorted(buckets))
