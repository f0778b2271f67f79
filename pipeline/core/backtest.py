"""The detectors over history: the very code that runs live, reading by reading.

History has values and event times, no arrivals: silence, storms and dedup do not apply to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.detect import At, Detection
from pipeline.core.detectors.table import DETECTORS
from pipeline.core.telemetry import TelemetryBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from pipeline.core.events import BusinessEvent
    from pipeline.core.registry import Devices
    from pipeline.core.rules import Rules

ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Readings in the order in which they came, shape (rows,) each.

    `time_ms` is event time, ms since the Unix epoch; a value that is not finite is a gap.
    """

    device: Sequence[str]
    metric: Sequence[str]
    time_ms: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """What the rules make of a history, shape (rows,) each.

    `score` is the greatest detector's score as a share of its threshold: 1 and more is over
    it. `flagged` rows raised an event, one per episode (and one more where it grows graver);
    `detector` is the one that raised it, else the one with the greatest score, '' for none.
    """

    score: npt.NDArray[np.float64]
    flagged: npt.NDArray[np.bool_]
    detector: list[str]
    events: list[BusinessEvent]


def backtest(
    history: History,
    rules: Rules,
    registry: Devices,
    *,
    progress: Callable[[int], None] = lambda _rows: None,
) -> Backtest:
    """Run `rules` over `history`; `progress` is told the rows done so far."""
    rows = len(history.value)
    rules = replace(rules, silent=None, storm_asset=None, storm_site=None, drift=None)
    detection = Detection(rules, registry, window=64)
    trace = np.zeros((rows, 2))
    devices, device = _numbered(history.device)
    metrics, metric = _numbered(history.metric)
    order = _sequence(device)
    flagged = np.zeros(rows, dtype=np.bool_)
    raised: dict[int, str] = {}
    events: list[BusinessEvent] = []
    for first in range(0, rows, ROWS_AT_ONCE):
        part = slice(first, min(first + ROWS_AT_ONCE, rows))
        size = part.stop - part.start
        batch = TelemetryBatch(
            devices=devices,
            metrics=metrics,
            sample_device=device[part],
            sample_session=np.ones(size, dtype=np.int64),
            sample_seq=order[part],
            sample_time_ms=history.time_ms[part],
            sample_received_ms=history.time_ms[part],
            sample_readings=np.ones(size, dtype=np.int32),
            reading_metric=metric[part],
            reading_value=history.value[part],
        )
        at = At(topic="history", partition=0, offset=first)
        [decision] = detection.apply([(at, batch)], trace[part])
        # A device's rows are numbered from 0: with the device, that names the row.
        place = (
            {(devices[device[row]], int(order[row])): row for row in range(part.start, part.stop)}
            if decision.events
            else {}
        )
        for event in decision.events:
            row = place[event.device_id, event.source.sequence]
            flagged[row] = True
            raised.setdefault(row, event.detector)
            events.append(event)
        progress(part.stop)
    names = [
        raised.get(row) or (DETECTORS[int(number)].name if score > 0 else "")
        for row, (score, number) in enumerate(trace.tolist())
    ]
    return Backtest(score=trace[:, 0], flagged=flagged, detector=names, events=events)


def _numbered(names: Sequence[str]) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    known: dict[str, int] = {}
    numbers = [known.setdefault(name, len(known)) for name in names]
    return tuple(known), np.array(numbers, dtype=np.int32)


def _sequence(device: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Each row's number among its device's rows."""
    order = np.argsort(device, kind="stable")
    counts = np.bincount(device) if len(device) else np.zeros(0, dtype=np.int64)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    out = np.empty(len(device), dtype=np.int64)
    out[order] = np.arange(len(device)) - starts
    return out
