"""A device's detection state as bytes: what RocksDB and the changelog keep per device.

Little-endian. A head of fixed size, then sequence windows, open episodes where there are any,
what these have raised and will clear, content hashes, the correlation id, what lies in the
series' rows (metric names, detectors, lanes), and the rows themselves as float64. Rows are
stored as the detectors keep them, so encoding is copying; where rules or detectors have changed
since, decoding takes over what still has a place.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from pipeline.core.dedup import Hashes
from pipeline.core.detectors.table import DETECTORS
from pipeline.core.events import Disposition
from pipeline.core.fleet import C_COUNT, C_FIRST, C_SESSIONS, STORED
from pipeline.core.jit import jit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pipeline.core.episodes import Lanes
    from pipeline.core.fleet import Fleet
    from pipeline.core.plans import Plans
    from pipeline.state.seal import Seal

    Signature = tuple[tuple[int, tuple[int, ...]], ...]

VERSION: Final = 2
RAISED_VERSION: Final = 3
"""Of a row with events that will be cleared: a program that does not know them must not read it."""

HEAD = struct.Struct("<BBBBIHHHIIQ")
"""Version, windows, buckets, episodes?, layout of detectors, words a window, length of the
correlation id, metrics, partition; number of the checkpoint, and the seal of the row before
(see pipeline.state.seal)."""
BUCKET = struct.Struct("<qI")
SHORT = struct.Struct("<H")
GROUPS: Final = len(DETECTORS)
EPISODES: Final = GROUPS * (1 + 4 + 8)
RAISED = struct.Struct("<BBqHH")
"""Lane, place in DISPOSITIONS, event time in ms, lengths of the event's id and of the metric."""
DISPOSITIONS: Final = (Disposition.DELIVER, Disposition.REVIEW, Disposition.SUPPRESSED)
"""Their places are stored: new ones go to the end."""
LAYOUT: Final = int.from_bytes(
    hashlib.sha256(repr([(d.name, d.fields) for d in DETECTORS]).encode()).digest()[:4], "little"
)
"""Changes when a detector's state does: older rows then keep dedup and start the series anew."""


class StateError(ValueError):
    """Stored bytes that are no device state; the text says what to do."""


@jit
def _gather(
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    series_base: npt.NDArray[np.int64],
    series_rule: npt.NDArray[np.int64],
    width: npt.NDArray[np.int64],
    pool: npt.NDArray[np.float64],
    edges: npt.NDArray[np.int64],
    out: npt.NDArray[np.float64],
) -> int:
    """Series' rows of devices one after another; `edges` says where each device's begin.

    Returns how many float64 there are; when that is more than `out` takes, nothing is copied.
    """
    total = 0
    for i in range(len(rows)):
        edges[i] = total
        first = columns[rows[i], C_FIRST]
        for slot in range(first, first + columns[rows[i], C_COUNT]):
            total += width[series_rule[slot]]
    edges[len(rows)] = total
    if total > len(out):
        return total
    at = 0
    for i in range(len(rows)):
        first = columns[rows[i], C_FIRST]
        for slot in range(first, first + columns[rows[i], C_COUNT]):
            base = series_base[slot]
            wide = width[series_rule[slot]]
            out[at : at + wide] = pool[base : base + wide]
            at += wide
    return total


class Encoder:
    """Rows of one partition's devices as bytes; remembers what does not change."""

    def __init__(self, fleet: Fleet, plans: Plans, partition: int) -> None:
        self._fleet = fleet
        self._plans = plans
        self._partition = partition
        self._tails: dict[int, tuple[int, bytes]] = {}
        self._shared: dict[tuple[tuple[str, int], ...], bytes] = {}

    def encode(self, rows: Sequence[int], seal: Seal | None = None) -> dict[str, bytes]:
        """Device id → its state now, for devices given by their fleet rows.

        With a `seal` they are rows of its checkpoint under way, and it takes note of them.
        """
        fleet, arrays = self._fleet, self._fleet.arrays
        chosen = np.asarray(rows, dtype=np.int64)
        edges = np.empty(len(rows) + 1, dtype=np.int64)
        series = np.empty(0)
        for _ in range(2):
            total = _gather(
                chosen,
                arrays.columns,
                arrays.series_base,
                arrays.series_rule,
                self._plans.tables.width,
                arrays.pool,
                edges,
                series,
            )
            if total > len(series):
                series = np.empty(total)
        raw, cuts = memoryview(series.view(np.uint8)), (edges * 8).tolist()  # type: ignore[arg-type]
        columns = arrays.columns[chosen]
        kept = np.ascontiguousarray(columns[:, STORED])
        counts, sessions = columns[:, C_COUNT].tolist(), columns[:, C_SESSIONS].tolist()
        busy = (arrays.level[chosen] != 0).any(axis=1) | (arrays.since[chosen] != 0).any(axis=1)
        words = arrays.bits.shape[2]
        out = {}
        for i, row in enumerate(chosen.tolist()):
            hashes = fleet.hashes.get(row)
            correlation = fleet.correlation[row].encode("ascii")
            raised = fleet.raised.get(row)
            parts = [
                HEAD.pack(
                    RAISED_VERSION if raised else VERSION,
                    sessions[i],
                    len(hashes.buckets) if hashes else 0,
                    bool(busy[i]),
                    LAYOUT,
                    words,
                    len(correlation),
                    counts[i],
                    self._partition,
                    seal.checkpoint if seal else 0,
                    seal.before(fleet.ids[row]) if seal else 0,
                ),
                kept[i].tobytes(),
                arrays.windows[row, : sessions[i]].tobytes(),
                arrays.bits[row, : sessions[i]].tobytes(),
            ]
            if busy[i]:
                parts += [
                    arrays.level[row].tobytes(),
                    arrays.quiet[row].tobytes(),
                    arrays.since[row].tobytes(),
                ]
            if raised:
                parts.append(_raised(raised))
            if hashes:
                parts.append(_hashes(hashes))
            parts += [correlation, self._tail(row, counts[i]), raw[cuts[i] : cuts[i + 1]]]
            stored = out[fleet.ids[row]] = b"".join(parts)
            if seal:
                seal.write(fleet.ids[row], stored)
        return out

    def _tail(self, row: int, count: int) -> bytes:
        """What lies in the series' rows: the same until a metric is added."""
        known = self._tails.get(row)
        if known is not None and known[0] == count:
            return known[1]
        arrays = self._fleet.arrays
        slots = self._fleet.slots_of(row)
        key = tuple(
            (self._fleet.metrics[int(arrays.series_metric[s])], int(arrays.series_rule[s]))
            for s in slots
        )
        tail = self._shared.get(key)
        if tail is None:
            parts = [b"".join(_described(name, self._plans.signature(p)) for name, p in key)]
            tail = self._shared[key] = SHORT.pack(len(parts[0])) + parts[0]
        self._tails[row] = (count, tail)
        return tail


def _described(name: str, signature: Signature) -> bytes:
    encoded = name.encode()
    detectors = b"".join(
        bytes((number, sum(1 << lane % 3 for lane in lanes))) for number, lanes in signature
    )
    return SHORT.pack(len(encoded)) + encoded + bytes((len(signature),)) + detectors


def _raised(lanes: Lanes) -> bytes:
    out = [bytes((len(lanes),))]
    for lane, one in sorted(lanes.items()):
        name, metric = one.id.encode(), one.metric.encode()
        place = DISPOSITIONS.index(one.disposition)
        out += (RAISED.pack(lane, place, one.raised_ms, len(name), len(metric)), name, metric)
    return b"".join(out)


def _hashes(hashes: Hashes) -> bytes:
    out = [struct.pack("<q", hashes.floor)]
    for number, contents in sorted(hashes.buckets.items()):
        out.append(BUCKET.pack(number, len(contents)))
        out.append(np.array(sorted(contents), dtype="<u8").tobytes())
    return b"".join(out)
