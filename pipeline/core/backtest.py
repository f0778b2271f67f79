"""The detectors over history: the very code that runs live, reading by reading.

History has values and event times, no arrivals: silence, storms and dedup do not apply to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.detect import At, Detection
from pipeline.core.detectors.table import DETECTORS
from pipeline.core.events import Action
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
    Rows of one device and one time are one sample: see `_samples`.
    """

    device: Sequence[str]
    metric: Sequence[str]
    time_ms: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """What the rules make of a history, shape (rows,) each.

    `score` is the greatest detector's score as a share of its threshold: 1 and more is over
    it. `flagged` rows raised an event, one per episode (and one more where it grows graver; that
    it is over is no event here);
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
    order, first_of = _samples(device, metric, history.time_ms)
    edges = np.append(first_of, rows)
    sample_device = device[order[first_of]]
    sequence = _sequence(sample_device)
    flagged = np.zeros(rows, dtype=np.bool_)
    raised: dict[int, str] = {}
    events: list[BusinessEvent] = []
    first = 0
    while first < len(first_of):
        last = int(np.searchsorted(edges, edges[first] + ROWS_AT_ONCE, side="right")) - 1
        part = slice(first, max(last, first + 1))
        readings = slice(int(edges[part.start]), int(edges[part.stop]))
        chosen = order[readings]
        time_ms = history.time_ms[order[first_of[part]]]
        batch = TelemetryBatch(
            devices=devices,
            metrics=metrics,
            sample_device=sample_device[part],
            sample_session=np.ones(len(time_ms), dtype=np.int64),
            sample_seq=sequence[part],
            sample_time_ms=time_ms,
            sample_received_ms=time_ms,
            sample_readings=np.diff(edges[part.start : part.stop + 1]).astype(np.int32),
            reading_metric=metric[chosen],
            reading_value=history.value[chosen],
        )
        at = At(topic="history", partition=0, offset=first)
        [decision] = detection.apply([(at, batch)], trace[readings])
        if decision.events:
            # Device, number among its samples and metric name the row.
            names = zip(
                np.repeat(sample_device[part], batch.sample_readings).tolist(),
                np.repeat(sequence[part], batch.sample_readings).tolist(),
                batch.reading_metric.tolist(),
                strict=True,
            )
            place = {
                (devices[d], n, metrics[m]): row
                for (d, n, m), row in zip(names, chosen.tolist(), strict=True)
            }
            begins = {
                (devices[d], n): int(order[row])
                for d, n, row in zip(
                    sample_device[part].tolist(),
                    sequence[part].tolist(),
                    first_of[part].tolist(),
                    strict=True,
                )
            }
            for event in decision.events:
                if event.action is Action.CLEAR:
                    continue  # the end of what was flagged where it began
                sample = event.device_id, event.source.sequence
                # A fence is crossed by the device as a whole: its sample's first row tells it.
                row = place.get((*sample, event.metric), begins[sample])
                flagged[row] = True
                raised.setdefault(row, event.detector)
                events.append(event)
        progress(readings.stop)
        first = part.stop
    score, number = np.empty(rows), np.empty(rows, dtype=np.int64)
    score[order], number[order] = trace[:, 0], trace[:, 1]
    table = [detector.name for detector in DETECTORS]
    detector = [table[n] if over else "" for n, over in zip(number, score > 0, strict=True)]
    for row, name in raised.items():
        detector[row] = name
    return Backtest(score=score, flagged=flagged, detector=detector, events=events)


def _samples(
    device: npt.NDArray[np.int32], metric: npt.NDArray[np.int32], time_ms: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows in the order in which they are judged, and where in it each sample begins.

    Metrics of one device at one time are one sample, as live: rules may ask how many metrics
    agree. Files often have one metric after the other; so rows go by time, unless that would
    change the order within a series (local clocks fall back an hour in autumn): then all stay
    as they came.
    """
    rows = len(device)
    came = np.arange(rows)
    if not rows or len(np.unique(metric)) == 1:
        return came, came
    series = device.astype(np.int64) * (int(metric.max()) + 1) + metric
    by_series = np.argsort(series, kind="stable")
    again = series[by_series[1:]] == series[by_series[:-1]]
    later = np.diff(time_ms[by_series])
    # A series that has a time twice in a row: its second reading is of another sample.
    turn = np.zeros(rows, dtype=np.int64)
    twice = again & (later == 0)
    if twice.any():
        starts = np.maximum.accumulate(np.where(np.append(False, twice), 0, came))
        turn[by_series] = came - starts
    sorts = not (again & (later < 0)).any()
    order = np.lexsort((turn, device, time_ms)) if sorts else came
    fresh = np.ones(rows, dtype=np.bool_)
    fresh[1:] = False
    for column in (device, time_ms, turn):
        held = column[order]
        fresh[1:] |= held[1:] != held[:-1]
    return order, np.flatnonzero(fresh)


def _numbered(names: Sequence[str]) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    known: dict[str, int] = {}
    numbers = [known.setdefault(name, len(known)) for name in names]
    return tuple(known), np.array(numbers, dtype=np.int32)


def _sequence(device: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Each sample's number among its device's samples."""
    order = np.argsort(device, kind="stable")
    counts = np.bincount(device) if len(device) else np.zeros(0, dtype=np.int64)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    out = np.empty(len(device), dtype=np.int64)
    out[order] = np.arange(len(device)) - starts
    return out
