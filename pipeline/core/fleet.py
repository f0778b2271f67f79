"""What detection remembers of the devices of one partition, as arrays.

A row of `columns` and of its siblings is a device; a slot of `series_*` is a series, and a
device's slots lie side by side; `pool` holds the series' rows (pipeline.core.plans). All
grow by doubling. Nothing here decides anything: pipeline.core.kernel does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.detectors.table import DETECTORS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.core.dedup import Hashes
    from pipeline.core.episodes import Lanes

SESSIONS: Final = 4
"""Sequence windows kept per device."""
BEFORE_ALL: Final = -(1 << 63)
"""Floor of a window that has evicted nothing, and start of a session's first window."""
NEVER: Final = -1
"""Offset of a device that no message was applied to."""
MAX_METRICS: Final = 1_024
"""Metrics of one device that are watched; further ones are archived only."""

(
    C_UNTIL,
    C_DIRTY,
    C_SESSIONS,
    C_FIRST,
    C_COUNT,
    C_ROOM,
    C_INSIDE,
    C_OPEN,
    C_LAST,
    C_FLOOR_SESSION,
    C_FLOOR_START,
    C_START,
    C_LAST_RECEIVED,
    C_LAST_SESSION,
    C_LAST_SEQUENCE,
    C_LAST_TIME,
    C_CORRELATED,
    C_SILENT,
    C_FENCES,
    C_PLACED,
) = range(20)
"""Columns of a device, int64.

UNTIL: what was stored includes messages up to this offset: they are not applied again.
LAST: offset of the last message applied. DIRTY: offset of the first one that is not stored
yet, -1 for none. SESSIONS: windows in use; FLOOR_*: the newest window evicted. START: start
of the window that the last sample fell into. LAST_*: the sample that arrived last (times in
ms). FIRST, COUNT, ROOM: its slots. INSIDE: series-lanes that are in; OPEN: episodes open;
CORRELATED: whether the correlation id is one of an open episode. SILENT: silence was
reported. FENCES, PLACED: the fences it is in (bits), and whether a position is known.
"""
COLUMNS: Final = 20
STORED: Final = slice(C_LAST, COLUMNS)
"""The columns that are stored as they are."""

W_SESSION, W_START, W_HIGH, W_FLOOR, W_HIGH_TIME = range(5)
"""Columns of a sequence window: see pipeline.core.dedup."""
WINDOW_COLUMNS: Final = 5

_FIRST_DEVICES: Final = 64
_FIRST_SLOTS: Final = 256
_FIRST_POOL: Final = 4_096
_FIRST_ROOM: Final = 4


class Arrays(NamedTuple):
    """The state as the kernel takes it; G is the number of detectors.

    columns (D, COLUMNS), windows (D, SESSIONS, WINDOW_COLUMNS), bits (D, SESSIONS, words): ring
    of 64 x words sequence numbers; inside (D, 3 G): series in each lane; level, quiet, since
    (D, G): the gravest severity raised in the open episode (1 + place, 0 for none), samples
    since a series was in, and when the first came in (event time, ms). series_* (slots,): row's
    place in `pool`, plan, and metric.
    """

    columns: npt.NDArray[np.int64]
    windows: npt.NDArray[np.int64]
    bits: npt.NDArray[np.uint64]
    inside: npt.NDArray[np.int16]
    level: npt.NDArray[np.int8]
    quiet: npt.NDArray[np.int32]
    since: npt.NDArray[np.int64]
    series_base: npt.NDArray[np.int64]
    series_rule: npt.NDArray[np.int64]
    series_metric: npt.NDArray[np.int64]
    pool: npt.NDArray[np.float64]


class Fleet:
    """The devices of one partition. `window`: sequence numbers that dedup remembers."""

    def __init__(self, window: int) -> None:
        # A power of two, so that a number's place in the ring is a mask and not a division.
        words = 1 << max(0, -(-window // 64) - 1).bit_length()
        groups = len(DETECTORS)
        self.ids: list[str] = []
        self.rows: dict[str, int] = {}
        self.correlation: list[str] = []
        self.hashes: dict[int, Hashes] = {}
        """Content hashes of devices that do not number their samples, by row."""
        self.raised: dict[int, Lanes] = {}
        """By row, what has been raised and will be cleared; no row without any."""
        self.metrics: list[str] = []
        self.metric_numbers: dict[str, int] = {}
        self.slots = 0
        self.pooled = 0
        self.stamp = np.full(_FIRST_SLOTS, -1, dtype=np.int64)
        self.arrays = Arrays(
            columns=np.zeros((_FIRST_DEVICES, COLUMNS), dtype=np.int64),
            windows=np.zeros((_FIRST_DEVICES, SESSIONS, WINDOW_COLUMNS), dtype=np.int64),
            bits=np.zeros((_FIRST_DEVICES, SESSIONS, words), dtype=np.uint64),
            inside=np.zeros((_FIRST_DEVICES, 3 * groups), dtype=np.int16),
            level=np.zeros((_FIRST_DEVICES, groups), dtype=np.int8),
            quiet=np.zeros((_FIRST_DEVICES, groups), dtype=np.int32),
            since=np.zeros((_FIRST_DEVICES, groups), dtype=np.int64),
            series_base=np.zeros(_FIRST_SLOTS, dtype=np.int64),
            series_rule=np.zeros(_FIRST_SLOTS, dtype=np.int64),
            series_metric=np.full(_FIRST_SLOTS, -1, dtype=np.int64),
            pool=np.zeros(_FIRST_POOL),
        )

    @property
    def devices(self) -> int:
        """How many devices."""
        return len(self.ids)

    def add_device(self, device_id: str) -> int:
        """A row for a device that nothing is known of."""
        row = len(self.ids)
        arrays = self.arrays
        if row == len(arrays.columns):
            self._grow(("columns", "windows", "bits", "inside", "level", "quiet", "since"), 2 * row)
        columns = self.arrays.columns[row]
        columns[[C_UNTIL, C_LAST, C_DIRTY]] = NEVER
        columns[[C_FLOOR_SESSION, C_FLOOR_START, C_START]] = BEFORE_ALL
        self.ids.append(device_id)
        self.rows[device_id] = row
        self.correlation.append("")
        return row

    def metric(self, name: str) -> int:
        """Number of a metric's name."""
        found = self.metric_numbers.get(name)
        if found is None:
            found = self.metric_numbers[name] = len(self.metrics)
            self.metrics.append(name)
        return found

    def add_series(self, row: int, metric: int, plan: int, width: int) -> int:
        """A slot for one more metric of a device, its row `width` zeros; -1 beyond MAX_METRICS."""
        columns = self.arrays.columns[row]
        count = int(columns[C_COUNT])
        if count >= MAX_METRICS:
            return -1
        if count == columns[C_ROOM]:
            self._move(row, max(_FIRST_ROOM, 2 * count))
        slot = int(columns[C_FIRST]) + count
        if self.pooled + width > len(self.arrays.pool):
            self._grow(("pool",), 2 * (self.pooled + width))
        arrays = self.arrays
        arrays.series_base[slot] = self.pooled
        arrays.series_rule[slot] = plan
        arrays.series_metric[slot] = metric
        self.pooled += width
        arrays.columns[row, C_COUNT] = count + 1
        return slot

    def add_block(
        self,
        row: int,
        metrics: npt.NDArray[np.int64],
        plans: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
        width: int,
    ) -> int:
        """All series of a device that has none, in one stretch of the pool; where it begins."""
        count = len(metrics)
        self._move(row, count)
        if self.pooled + width > len(self.arrays.pool):
            self._grow(("pool",), 2 * (self.pooled + width))
        arrays, base = self.arrays, self.pooled
        first = int(arrays.columns[row, C_FIRST])
        arrays.series_base[first : first + count] = base + offsets
        arrays.series_rule[first : first + count] = plans
        arrays.series_metric[first : first + count] = metrics
        arrays.columns[row, C_COUNT] = count
        self.pooled += width
        return base

    def _move(self, row: int, room: int) -> None:
        """Give a device a longer stretch of slots, at the end."""
        if self.slots + room > len(self.arrays.series_base):
            more = 2 * (self.slots + room)
            self._grow(("series_base", "series_rule", "series_metric"), more)
            self.stamp = np.concatenate(
                [self.stamp, np.full(more - len(self.stamp), -1, dtype=np.int64)]
            )
        columns = self.arrays.columns[row]
        first, count = int(columns[C_FIRST]), int(columns[C_COUNT])
        for name in ("series_base", "series_rule", "series_metric"):
            array = getattr(self.arrays, name)
            array[self.slots : self.slots + count] = array[first : first + count]
        columns[C_FIRST], columns[C_ROOM] = self.slots, room
        self.slots += room

    def _grow(self, names: Iterable[str], size: int) -> None:
        grown: dict[str, Any] = {}
        for name in names:
            old = getattr(self.arrays, name)
            grown[name] = np.zeros((size, *old.shape[1:]), dtype=old.dtype)
            grown[name][: len(old)] = old
        self.arrays = self.arrays._replace(**grown)

    def slots_of(self, row: int) -> range:
        """Slots of a device's series."""
        first = int(self.arrays.columns[row, C_FIRST])
        return range(first, first + int(self.arrays.columns[row, C_COUNT]))
