"""Which samples were seen before: exact inside a bounded window, and nothing is lost.

**Numbered samples** follow the anti-replay window of RFC 6479: per (device, session) the
highest sequence number and a bitmap of the numbers up to `window` below it. A session is
a number that never falls; a reboot makes a greater one. The newest SESSIONS windows are kept.

*A reset without a new session*: a number below the window that is itself less than `window`,
from a sample whose event time is later than that of all samples of the window and is the
device's own (not the time of arrival), means that the device counts from the start again. It gets a
new window of the same session, which *starts* at that event time (or earlier, if an earlier
one of the first samples arrives later). Each sample of a session belongs to the window with
the latest start that is not after its event time.

**Samples without a number** are known by a 64-bit hash of their content (event time, metric
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
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from pipeline.core.fleet import (
    BEFORE_ALL,
    C_FLOOR_SESSION,
    C_FLOOR_START,
    C_SESSIONS,
    C_START,
    SESSIONS,
    W_FLOOR,
    W_HIGH,
    W_HIGH_TIME,
    W_SESSION,
    W_START,
)
from pipeline.core.jit import jit, jit_inline

if TYPE_CHECKING:
    import numpy.typing as npt

    I64 = npt.NDArray[np.int64]
    U64 = npt.NDArray[np.uint64]

BUCKETS: Final = 32
BUCKET_MS: Final = 10_000
MIN_HASHES: Final = 1_024


class Verdict(IntEnum):
    """What dedup says of one sample."""

    FRESH = 0
    DUPLICATE = 1
    TOO_LATE = 2


# Compiled code wants plain numbers, and looking enum members up is slow.
FRESH: Final = 0
DUPLICATE: Final = 1
TOO_LATE: Final = 2


@jit
def _advance(bits: U64, window: I64, sequence: int, size: int) -> None:
    """Move a session's window up to `sequence` and mark it seen."""
    ring = len(bits) * 64
    high = window[W_HIGH]
    if sequence - high >= ring:
        bits[:] = 0
    else:
        for number in range(high + 1, sequence + 1):
            place = number & ring - 1
            bits[place >> 6] &= ~(np.uint64(1) << np.uint64(place & 63))
    window[W_HIGH] = sequence
    window[W_FLOOR] = max(window[W_FLOOR], sequence - size + 1)
    place = sequence & ring - 1
    bits[place >> 6] |= np.uint64(1) << np.uint64(place & 63)


@jit
def _begin(
    row: I64,
    windows: I64,
    bits: U64,
    session: int,
    start: int,
    sequence: int,
    time_ms: int,
    size: int,
) -> int:
    """A window for a session (or for its new start after a reset): FRESH, or TOO_LATE."""
    at = row[C_SESSIONS]
    if at == SESSIONS:
        # The oldest goes; that is this very one where it lies below all kept.
        at = 0
        for other in range(1, SESSIONS):
            if windows[other, W_SESSION] < windows[at, W_SESSION] or (
                windows[other, W_SESSION] == windows[at, W_SESSION]
                and windows[other, W_START] < windows[at, W_START]
            ):
                at = other
        oldest, began = windows[at, W_SESSION], windows[at, W_START]
        if session < oldest or (session == oldest and start < began):
            row[C_FLOOR_SESSION], row[C_FLOOR_START] = session, start
            return TOO_LATE
        row[C_FLOOR_SESSION], row[C_FLOOR_START] = oldest, began
    else:
        row[C_SESSIONS] += 1
    windows[at, W_SESSION] = session
    windows[at, W_START] = start
    windows[at, W_HIGH] = sequence
    windows[at, W_FLOOR] = max(0, sequence - size + 1)
    windows[at, W_HIGH_TIME] = time_ms
    bits[at, :] = 0
    place = sequence & bits.shape[1] * 64 - 1
    bits[at, place >> 6] = np.uint64(1) << np.uint64(place & 63)
    row[C_START] = start
    return FRESH


@jit
def judge(
    row: I64,
    windows: I64,
    bits: U64,
    session: int,
    sequence: int,
    time_ms: int,
    received_ms: int,
    size: int,
) -> int:
    """The verdict on one numbered sample: see the module's docstring.

    `row` is the device's of fleet.Arrays.columns, `windows` and `bits` its windows; all are
    changed in place. `size` is the window in sequence numbers.
    """
    at = -1
    later = -1
    for other in range(row[C_SESSIONS]):
        if windows[other, W_SESSION] != session:
            continue
        if windows[other, W_START] <= time_ms:
            if at < 0 or windows[other, W_START] > windows[at, W_START]:
                at = other
        elif later < 0 or windows[other, W_START] < windows[later, W_START]:
            later = other
    if at < 0:
        if later >= 0 or session <= row[C_FLOOR_SESSION]:
            return TOO_LATE
        return _begin(row, windows, bits, session, BEFORE_ALL, sequence, time_ms, size)
    window = windows[at]
    if sequence < window[W_FLOOR]:
        if sequence >= size or time_ms <= window[W_HIGH_TIME] or time_ms == received_ms:
            return TOO_LATE
        # Counted from the start again, and measured after all it had numbered before: the
        # device was reset and kept its session.
        if later < 0:
            return _begin(row, windows, bits, session, time_ms, sequence, time_ms, size)
        # One of the first samples after a reset that a later one has shown.
        at = later
        window = windows[at]
        window[W_START] = time_ms
        if sequence < window[W_FLOOR]:
            return TOO_LATE
    row[C_START] = window[W_START]
    if sequence > window[W_HIGH]:
        _advance(bits[at], window, sequence, size)
        window[W_HIGH_TIME] = max(window[W_HIGH_TIME], time_ms)
        return FRESH
    place = sequence & bits.shape[1] * 64 - 1
    mask = np.uint64(1) << np.uint64(place & 63)
    if bits[at, place >> 6] & mask:
        return DUPLICATE
    bits[at, place >> 6] |= mask
    # A clock may be set back after a boot: the newest time counts, whatever its number.
    window[W_HIGH_TIME] = max(window[W_HIGH_TIME], time_ms)
    return FRESH


@jit_inline
def follows(
    d: int,
    session: int,
    sequence: int,
    time_ms: int,
    columns: I64,
    windows: I64,
    bits: U64,
    size: int,
) -> bool:
    """Whether this is the next number of the device's only session: then it is noted as seen.

    What nearly every sample is; the same as `judge` comes to.
    `columns`, `windows` and `bits` are fleet.Arrays', `d` the device's row.
    """
    if (
        columns[d, C_SESSIONS] != 1
        or windows[d, 0, W_SESSION] != session
        or windows[d, 0, W_HIGH] + 1 != sequence
        or windows[d, 0, W_START] > time_ms
    ):
        return False
    place = sequence & (bits.shape[2] * 64 - 1)
    bits[d, 0, place >> 6] |= np.uint64(1) << np.uint64(place & 63)
    windows[d, 0, W_HIGH] = sequence
    windows[d, 0, W_FLOOR] = max(windows[d, 0, W_FLOOR], sequence - size + 1)
    windows[d, 0, W_HIGH_TIME] = max(windows[d, 0, W_HIGH_TIME], time_ms)
    columns[d, C_START] = windows[d, 0, W_START]
    return True


@jit
def _mix(number: np.uint64) -> np.uint64:
    """Finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every bit moves every other."""
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return number ^ (number >> np.uint64(31))


@jit
def content_hashes(
    time_ms: I64, readings: I64, metric: I64, names: U64, value_bits: U64, out: U64
) -> None:
    """64-bit hash of each sample's content into `out`, the same in every process.

    `names` are name_hash of the metrics that `metric`, shape (readings,), points at;
    `value_bits` are the values' bits (0.0 and -0.0 made equal). The order of a sample's
    readings does not matter.
    """
    reading = 0
    for i in range(len(time_ms)):
        total = _mix(np.uint64(time_ms[i]) ^ np.uint64(readings[i]) << np.uint64(52))
        for k in range(reading, reading + readings[i]):
            total += _mix(names[metric[k]] ^ _mix(value_bits[k]))
        reading += readings[i]
        out[i] = _mix(total)


def name_hash(metric: str) -> int:
    """64-bit BLAKE2b of a metric's name."""
    return int.from_bytes(hashlib.blake2b(metric.encode(), digest_size=8).digest(), "little")


@dataclass(slots=True)
class Hashes:
    """Contents seen of one device that does not number its samples.

    `buckets`: hashes by stretch of event time, [number, number + 1) x BUCKET_MS. Buckets up
    to `floor` were evicted: what comes for them is too late.
    """

    buckets: dict[int, set[int]] = field(default_factory=dict)
    floor: int = BEFORE_ALL

    def judge(self, time_ms: int, content: int, most: int) -> int:
        """The verdict on one sample; at most `most` hashes are kept."""
        number = time_ms // BUCKET_MS
        if number <= self.floor:
            return TOO_LATE
        hashes = self.buckets.setdefault(number, set())
        if content in hashes:
            return DUPLICATE
        if len(hashes) >= most:
            return TOO_LATE
        hashes.add(content)
        while len(self.buckets) > BUCKETS or sum(map(len, self.buckets.values())) > most:
            self.floor = min(self.buckets)
            del self.buckets[self.floor]
        return FRESH if number > self.floor else TOO_LATE
