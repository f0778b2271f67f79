"""Telemetry as points of time series: columns, one entry per reading. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.telemetry import DeduplicatedBatch

Names = tuple[str, ...]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Readings as columns, all of shape (readings,).

    `device` and `metric` are places in `devices` and `metrics`. Times are milliseconds since
    the Unix epoch, UTC; values are in the metric's own unit; `late` as in DeduplicatedBatch.
    """

    devices: Names
    metrics: Names
    device: npt.NDArray[np.int32]
    metric: npt.NDArray[np.int32]
    time_ms: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    session: npt.NDArray[np.int64]
    sequence: npt.NDArray[np.int64]
    late: Mask

    def __len__(self) -> int:
        """How many."""
        return len(self.value)

    def take(self, which: npt.NDArray[np.int64] | Mask | slice) -> Points:
        """These of them."""
        return replace(self, **{name: getattr(self, name)[which] for name in _COLUMNS})


_COLUMNS = tuple(one.name for one in fields(Points) if one.name not in {"devices", "metrics"})


def points_of(batches: Sequence[DeduplicatedBatch]) -> Points:
    """Every reading of these messages, in their order."""
    devices: dict[str, int] = {}
    metrics: dict[str, int] = {}
    columns: dict[str, list[npt.NDArray[np.generic]]] = {name: [] for name in _COLUMNS}
    for one in batches:
        batch = one.batch
        sample = np.repeat(np.arange(batch.samples), batch.sample_readings)
        columns["device"].append(_placed(batch.devices, devices)[batch.sample_device][sample])
        columns["metric"].append(_placed(batch.metrics, metrics)[batch.reading_metric])
        columns["time_ms"].append(batch.sample_time_ms[sample])
        columns["value"].append(batch.reading_value)
        columns["session"].append(batch.sample_session[sample])
        columns["sequence"].append(batch.sample_seq[sample])
        columns["late"].append(one.late[sample])
    kinds = {"device": np.int32, "metric": np.int32, "value": np.float64, "late": np.bool_}
    made = {
        name: np.concatenate([*parts, np.empty(0, kinds.get(name, np.int64))])
        for name, parts in columns.items()
    }
    typed: dict[str, Any] = {
        name: column.astype(kinds.get(name, np.int64)) for name, column in made.items()
    }
    return Points(devices=tuple(devices), metrics=tuple(metrics), **typed)


def keyed(points: Points, *, by_sequence: bool) -> Points:
    """Sorted by device, time, metric, the last of each key only.

    `by_sequence`: session and sequence belong to the key. A device that sends two values of
    one metric for one millisecond has two points then, and one otherwise: the later.
    """
    keys: list[npt.NDArray[Any]] = [points.metric, points.time_ms, points.device]
    if by_sequence:
        keys = [points.sequence, points.session, *keys]
    # Stable, so that among equal keys the order of arrival stays.
    order = np.lexsort(keys)
    if not len(order):
        return points
    last = np.zeros(len(order), dtype=np.bool_)
    last[-1] = True
    for key in keys:
        column = key[order]
        last[:-1] |= column[1:] != column[:-1]
    return points.take(order[last])


def split_off(
    points: Points, *, takes: Callable[[str], bool], first_ms: int, last_ms: int
) -> tuple[Points, tuple[tuple[str, Points], ...]]:
    """Points that a store can keep, and those it cannot, by reason."""
    devices, metrics = _all_taken(points.devices, takes), _all_taken(points.metrics, takes)
    named, known = devices[points.device], metrics[points.metric]
    in_time = (points.time_ms >= first_ms) & (points.time_ms <= last_ms)
    finite = np.isfinite(points.value)
    left = np.ones(len(points), dtype=np.bool_)
    refused = []
    for reason, good in (
        ("a device's name that it cannot keep", named),
        ("a metric's name that it cannot keep", known),
        ("a time that it cannot keep", in_time),
        ("a value that is no finite number", finite),
    ):
        bad = left & ~good
        if bad.any():
            refused.append((reason, points.take(bad)))
        left &= good
    if not refused:
        return points, ()
    # A store may be given all names at once, so none that it cannot keep may stand among them.
    kept = replace(
        points.take(left),
        devices=_blanked(points.devices, devices),
        metrics=_blanked(points.metrics, metrics),
    )
    return kept, tuple(refused)


def _blanked(names: Names, fit: Mask) -> Names:
    return tuple(name if good else "" for name, good in zip(names, fit, strict=True))


def _placed(names: Sequence[str], known: dict[str, int]) -> npt.NDArray[np.int32]:
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int32)


def _all_taken(names: Sequence[str], takes: Callable[[str], bool]) -> Mask:
    return np.array([takes(name) for name in names], dtype=np.bool_)
