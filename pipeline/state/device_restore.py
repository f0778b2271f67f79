"""Stored devices back into the fleet: what `pipeline.state.device_state` encodes.

Where rules or detectors have changed since, what still has a place is taken over.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.core.dedup import Hashes
from pipeline.core.detectors.table import DETECTORS
from pipeline.core.episodes import Raised
from pipeline.core.fleet import (
    C_INSIDE,
    C_LAST,
    C_OPEN,
    C_SESSIONS,
    C_UNTIL,
    NEVER,
    SESSIONS,
    STORED,
    W_FLOOR,
    W_HIGH,
    WINDOW_COLUMNS,
)
from pipeline.core.plans import ACTIVE, P_DETECTOR, P_STATE, P_WORD
from pipeline.state.device_state import (
    BUCKET,
    DISPOSITIONS,
    EPISODES,
    GROUPS,
    HEAD,
    LAYOUT,
    RAISED,
    RAISED_VERSION,
    SHORT,
    VERSION,
    StateError,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from pipeline.core.detect import Detection
    from pipeline.core.episodes import Lanes
    from pipeline.core.fleet import Fleet
    from pipeline.state.device_state import Signature


_NOTHING = np.empty(0)


class _Series(NamedTuple):
    """One series in a stored row: which detector's fields and lanes lie where, in float64."""

    metric: str
    signature: Signature
    fields: tuple[tuple[int, int, int], ...]
    """Detector, place of its state, and how many."""
    lanes: tuple[tuple[int, int], ...]
    """Lane and place of its word."""
    width: int


@lru_cache(maxsize=65_536)
def _read_tail(tail: bytes) -> tuple[_Series, ...]:
    out, at = [], 0
    while at < len(tail):
        length = SHORT.unpack_from(tail, at)[0]
        name = tail[at + 2 : at + 2 + length].decode()
        at += 2 + length
        count = tail[at]
        at += 1
        signature, fields, lanes, place = [], [], [], 0
        for _ in range(count):
            number, mask = tail[at], tail[at + 1]
            at += 2
            own = tuple(3 * number + n for n in range(3) if mask >> n & 1)
            signature.append((number, own))
            fields.append((number, place, DETECTORS[number].fields))
            place += DETECTORS[number].fields
            for lane in own:
                lanes.append((lane, place))
                place += 1
        out.append(_Series(name, tuple(signature), tuple(fields), tuple(lanes), place))
    return tuple(out)


def _decode(
    fleet: Fleet, device_id: str, data: bytes, partition: int
) -> tuple[int, bytes | None, int]:
    """All but the series: the row, what describes the series, and where they begin.

    None where detectors have changed since and the series start anew.
    """
    version, sessions, buckets, busy, layout, words, named, _, stored, _, _ = HEAD.unpack_from(data)
    at = HEAD.size
    row = fleet.add_device(device_id)
    arrays = fleet.arrays
    columns = arrays.columns[row]
    kept = columns[STORED]
    kept[:] = np.frombuffer(data, "<i8", len(kept), at)
    at += 8 * len(kept)
    # Offsets of different partitions say nothing of each other: after a change of the
    # partition count dedup alone stands against repetition.
    columns[C_UNTIL] = columns[C_LAST] if stored == partition else NEVER
    if sessions > SESSIONS:
        raise ValueError(f"{sessions} sequence windows, at most {SESSIONS}")
    size = sessions * WINDOW_COLUMNS
    columns[C_SESSIONS] = sessions
    arrays.windows[row, :sessions] = np.frombuffer(data, "<i8", size, at).reshape(
        sessions, WINDOW_COLUMNS
    )
    at += 8 * size
    bits = np.frombuffer(data, "<u8", sessions * words, at).reshape(sessions, words)
    at += 8 * sessions * words
    if words == arrays.bits.shape[2]:
        arrays.bits[row, :sessions] = bits
    else:
        _refill(arrays.windows[row], bits, arrays.bits[row])
    if busy:
        arrays.level[row] = np.frombuffer(data, "i1", GROUPS, at)
        arrays.quiet[row] = np.frombuffer(data, "<i4", GROUPS, at + GROUPS)
        arrays.since[row] = np.frombuffer(data, "<i8", GROUPS, at + 5 * GROUPS)
        at += EPISODES
        columns[C_OPEN] = np.count_nonzero(arrays.level[row])
    if version == RAISED_VERSION:
        at = _read_raised(fleet, row, data, at)
    if buckets:
        at = _read_hashes(fleet, row, data, at, buckets)
    fleet.correlation[row] = data[at : at + named].decode("ascii")
    at += named
    length = SHORT.unpack_from(data, at)[0]
    tail = data[at + 2 : at + 2 + length]
    return row, tail if layout == LAYOUT else None, at + 2 + length


def _refill(
    windows: npt.NDArray[np.int64], old: npt.NDArray[np.uint64], new: npt.NDArray[np.uint64]
) -> None:
    """Bitmaps of another window size: the ring is another, the numbers are the same."""
    for n, bits in enumerate(old):
        high = int(windows[n, W_HIGH])
        least = max(int(windows[n, W_FLOOR]), high - 64 * min(len(bits), new.shape[1]) + 1)
        windows[n, W_FLOOR] = least
        for number in range(least, high + 1):
            place = number % (64 * len(bits))
            if int(bits[place >> 6]) >> (place & 63) & 1:
                place = number % (64 * new.shape[1])
                new[n, place >> 6] |= np.uint64(1 << (place & 63))


def _read_raised(fleet: Fleet, row: int, data: bytes, at: int) -> int:
    lanes: Lanes = {}
    count, at = data[at], at + 1
    for _ in range(count):
        lane, place, raised_ms, named, metric = RAISED.unpack_from(data, at)
        at += RAISED.size
        if at + named + metric > len(data):
            raise ValueError("a raised event is cut short")
        lanes[lane] = Raised(
            id=data[at : at + named].decode("ascii"),
            metric=data[at + named : at + named + metric].decode(),
            raised_ms=raised_ms,
            disposition=DISPOSITIONS[place],
        )
        at += named + metric
    fleet.raised[row] = lanes
    return at


def _read_hashes(fleet: Fleet, row: int, data: bytes, at: int, buckets: int) -> int:
    hashes = fleet.hashes[row] = Hashes(floor=struct.unpack_from("<q", data, at)[0])
    at += 8
    for _ in range(buckets):
        number, count = BUCKET.unpack_from(data, at)
        at += BUCKET.size
        hashes.buckets[number] = set(np.frombuffer(data, "<u8", count, at).tolist())
        at += 8 * count
    return at


def mark_of(data: bytes) -> tuple[int, int]:
    """Number of the checkpoint that wrote a row, and its device's hash in the note before."""
    try:
        checkpoint, before = HEAD.unpack_from(data)[-2:]
    except struct.error:
        return 0, 0
    return checkpoint, before


class _Placed(NamedTuple):
    """Where a stored device's series go under today's rules, the same for many devices."""

    metrics: npt.NDArray[np.int64]
    plans: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    """Of each series' row in the device's stretch of the pool."""
    width: int
    stored: int
    """Numbers in a stored row."""
    moves: tuple[tuple[int, int, int], ...]
    """What is copied: from, to, and how many float64."""
    words: npt.NDArray[np.int64]
    lanes: npt.NDArray[np.int64]
    """Places of the lanes' words in the new stretch, and the lanes' numbers."""


class Decoder:
    """Stored devices into one partition's fleet; remembers how rows are laid out."""

    def __init__(self, detection: Detection, partition: int) -> None:
        self._detection = detection
        self._partition = partition
        self._placed: dict[tuple[bytes, str, str], _Placed] = {}

    def decode(self, device_id: str, data: bytes) -> int:
        """Put a stored device into the fleet; its row. StateError where the bytes are no state."""
        if not data or data[0] not in {VERSION, RAISED_VERSION}:
            raise StateError(
                f"The stored state of {device_id} has version {data[0] if data else 'none'} and "
                f"this program knows {VERSION} and {RAISED_VERSION}: start the fieldline that "
                "wrote it, or clear the state and its changelog and replay the readings."
            )
        try:
            row, tail, at = _decode(self._detection.fleet, device_id, data, self._partition)
            if tail is not None:
                series = np.frombuffer(data, "<f8", -1, at) if at < len(data) else _NOTHING
                self._place(row, tail, series)
        except (struct.error, ValueError, IndexError) as error:
            raise StateError(
                f"The stored state of {device_id} is damaged ({error}): stop the worker and build "
                "its state again from the changelog with fieldline state rebuild."
            ) from error
        return row

    def _place(self, row: int, tail: bytes, series: npt.NDArray[np.float64]) -> None:
        fleet = self._detection.fleet
        tenant, device_class = self._detection.kind(row)
        placed = self._placed.get((tail, tenant, device_class))
        if placed is None:
            placed = _arrange(self._detection, tail, tenant, device_class)
            self._placed[tail, tenant, device_class] = placed
        if len(series) != placed.stored:
            raise ValueError(f"{len(series)} numbers where {placed.stored} belong")
        base = fleet.add_block(row, placed.metrics, placed.plans, placed.offsets, placed.width)
        pool = fleet.arrays.pool
        for source, to, count in placed.moves:
            pool[base + to : base + to + count] = series[source : source + count]
        if not fleet.arrays.since[row].any():
            return  # no lane is in where no episode has begun
        inside = pool[base + placed.words] >= ACTIVE
        if inside.any():
            np.add.at(fleet.arrays.inside[row], placed.lanes[inside], 1)
            fleet.arrays.columns[row, C_INSIDE] += int(inside.sum())


def _arrange(detection: Detection, tail: bytes, tenant: str, device_class: str) -> _Placed:
    metrics, plans, offsets, words, lanes = [], [], [], [], []
    moves: list[tuple[int, int, int]] = []
    source = to = 0
    for series in _read_tail(tail):
        plan = detection.plans.of(series.metric, tenant, device_class)
        metrics.append(detection.fleet.metric(series.metric))
        plans.append(plan)
        offsets.append(to)
        signature = detection.plans.signature(plan)
        states, own = _layout_of(detection.plans.tables.plan[plan].tolist(), signature)
        words += [to + place for place in own.values()]
        lanes += list(own)
        if signature == series.signature:
            moves.append((source, to, series.width))
        else:
            moves += [
                (source + place, to + states[number], count)
                for number, place, count in series.fields
                if number in states
            ]
            moves += [
                (source + place, to + own[lane], 1) for lane, place in series.lanes if lane in own
            ]
        source += series.width
        to += int(detection.plans.tables.width[plan])
    return _Placed(
        metrics=np.array(metrics, dtype=np.int64),
        plans=np.array(plans, dtype=np.int64),
        offsets=np.array(offsets, dtype=np.int64),
        width=to,
        stored=source,
        moves=_merged(moves),
        words=np.array(words, dtype=np.int64),
        lanes=np.array(lanes, dtype=np.int64),
    )


def _merged(moves: list[tuple[int, int, int]]) -> tuple[tuple[int, int, int], ...]:
    """Neighbouring moves as one: under unchanged rules a device is a single copy."""
    out: list[tuple[int, int, int]] = []
    for source, to, count in moves:
        if out and out[-1][0] + out[-1][2] == source and out[-1][1] + out[-1][2] == to:
            out[-1] = (out[-1][0], out[-1][1], out[-1][2] + count)
        else:
            out.append((source, to, count))
    return tuple(out)


def _layout_of(
    plan: list[list[int]], signature: Signature
) -> tuple[dict[int, int], dict[int, int]]:
    """Places of detectors' states and of lanes' words in a series' row."""
    states = {entry[P_DETECTOR]: entry[P_STATE] for entry in plan if entry[P_DETECTOR] >= 0}
    words = {}
    for entry, (_, lanes) in zip(plan, signature, strict=False):
        for n, lane in enumerate(lanes):
            words[lane] = entry[P_WORD] + n
    return states, words
