"""Readings of a fleet, seeded: a daily wave with correlated noise, and a few real faults.

Block by block in the order of arrival. Each tick every device sends one sample, in an order
of its own; a share of the samples comes a second time, up to REPEAT_TICKS ticks later, as
after a lost acknowledgement.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tests.bench.shapes import DUPLICATES, METRICS, Shape

SESSION = 1_795_000_000
"""Every device booted then, seconds since the epoch."""
SERIES_STEP_MS = 10_000
"""Each series has a reading every ten seconds."""
REPEAT_TICKS = 20
"""Sequence numbers within which a repetition comes: inside the dedup window of 128."""
_BLOCK_SAMPLES = 200_000
_DAY_MS = 86_400_000
_PHI = 0.3
"""One-step correlation of the noise."""
_WAVE = 1.0
_SPREAD = 0.3
"""Daily amplitude, and how far devices lie apart: both in deviations of the noise."""
_FAULT_EVERY = 100_000
"""Readings per fault."""
_FAULT_SIZE = 8.0
_FAULT_READINGS = 60
_FAULT_AFTER = 150
"""A series has so many readings before its first fault, where the run is long enough."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured quantity: typical value, noise (standard deviation), digits of its sensor."""

    name: str
    base: float
    noise: float
    digits: int


FLEET = (
    Metric("T24", 640.0, 0.3, 2),
    Metric("T30", 1585.0, 2.0, 1),
    Metric("T50", 1400.0, 3.0, 1),
    Metric("P30", 554.5, 0.3, 2),
    Metric("Nc", 9060.0, 8.0, 1),
    Metric("Ps30", 47.2, 0.08, 2),
    Metric("BPR", 8.42, 0.03, 4),
    Metric("vibration", 2.4, 0.12, 3),
    Metric("oil_pressure", 412.0, 1.5, 1),
    Metric("oil_temperature", 348.0, 0.8, 2),
)
"""Names with and without limits in infra/config/rules.yaml; sound values stay inside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Samples in order of arrival; `value` has shape (samples, readings a sample).

    `metric` is the index of the sample's first metric; `again` marks what was sent before.
    """

    device: npt.NDArray[np.int64]
    tick: npt.NDArray[np.int64]
    again: npt.NDArray[np.bool_]
    metric: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.device)

    def take(self, index: npt.NDArray[np.generic]) -> Block:
        """The samples that a mask or an index chooses."""
        return Block(
            device=self.device[index],
            tick=self.tick[index],
            again=self.again[index],
            metric=self.metric[index],
            value=self.value[index],
        )


def join(blocks: list[Block]) -> Block:
    """Blocks one after another."""
    return Block(
        device=np.concatenate([b.device for b in blocks]),
        tick=np.concatenate([b.tick for b in blocks]),
        again=np.concatenate([b.again for b in blocks]),
        metric=np.concatenate([b.metric for b in blocks]),
        value=np.concatenate([b.value for b in blocks]),
    )


def device_name(index: int) -> str:
    """Id of a device of the bench."""
    return f"bench/device-{index:06d}"


def step_ms(shape: Shape) -> int:
    """Milliseconds from one sample of a device to its next."""
    return SERIES_STEP_MS * shape.per_sample // METRICS


class _Fleet:
    """The true values, tick by tick."""

    def __init__(self, shape: Shape, ticks: int, rng: np.random.Generator) -> None:
        self._shape = shape
        self._rng = rng
        self._base = np.array([m.base for m in FLEET])
        self._noise = np.array([m.noise for m in FLEET])
        size = (shape.devices, METRICS)
        self._offset = rng.normal(0.0, _SPREAD, size)
        self._phase = rng.uniform(0.0, 2 * np.pi, (shape.devices, 1))
        self._ar = rng.normal(0.0, 1.0, size)
        self._fault = np.zeros(size)
        self._changes = self._plan(ticks)

    def _plan(self, ticks: int) -> dict[int, list[tuple[int, int, float]]]:
        """Tick → (device, metric, change of the level)."""
        shape, rng = self._shape, self._rng
        lap = METRICS // shape.per_sample  # ticks from one reading of a series to its next
        count = ticks * shape.devices * shape.per_sample // _FAULT_EVERY
        first = min(_FAULT_AFTER * lap, ticks * 6 // 10)
        starts = rng.integers(first, max(first + 1, ticks * 95 // 100), count)
        changes: dict[int, list[tuple[int, int, float]]] = defaultdict(list)
        for start in starts.tolist():
            device, metric = int(rng.integers(shape.devices)), int(rng.integers(METRICS))
            size = _FAULT_SIZE * (1.0 if rng.random() < 0.5 else -1.0)
            changes[start].append((device, metric, size))
            changes[start + _FAULT_READINGS * lap].append((device, metric, -size))
        return changes

    def values(self, tick: int) -> tuple[int, npt.NDArray[np.float64]]:
        """First metric of this tick and everybody's values, shape (devices, per_sample)."""
        for device, metric, change in self._changes.get(tick, ()):
            self._fault[device, metric] += change
        count = self._shape.per_sample
        first = tick * count % METRICS
        chosen = slice(first, first + count)
        ar = self._ar[:, chosen]
        fresh = self._rng.standard_normal(ar.shape)
        ar *= _PHI
        ar += np.sqrt(1 - _PHI * _PHI) * fresh
        angle = 2 * np.pi * (tick * step_ms(self._shape) / _DAY_MS) + self._phase
        deviations = ar + self._offset[:, chosen] + self._fault[:, chosen] + _WAVE * np.sin(angle)
        values = self._base[chosen] + self._noise[chosen] * deviations
        for column in range(count):
            np.round(values[:, column], FLEET[first + column].digits, out=values[:, column])
        return first, values


def play(shape: Shape, readings: int, *, seed: int = 1) -> Iterator[Block]:
    """About so many readings: exactly shape.ticks(readings) first samples of each device."""
    rng = np.random.default_rng(seed)
    ticks = shape.ticks(readings)
    fleet = _Fleet(shape, ticks, rng)
    reach = min(REPEAT_TICKS, max(1, ticks // 4))
    share = DUPLICATES / (1 - DUPLICATES)
    late: Block | None = None
    late_key = np.empty(0)
    step = max(1, _BLOCK_SAMPLES // shape.devices)
    for start in range(0, ticks, step):
        end = min(start + step, ticks)
        fresh = _fresh(fleet, shape, range(start, end))
        key = fresh.tick + rng.random(len(fresh))
        chosen = np.flatnonzero(rng.random(len(fresh)) < share)
        copies = fresh.take(chosen)
        copies.again[:] = True
        copy_key = copies.tick + rng.integers(1, reach + 1, len(copies)) + rng.random(len(copies))
        parts = [fresh, copies] if late is None else [fresh, copies, late]
        everything, keys = join(parts), np.concatenate([key, copy_key, late_key])
        order = np.argsort(keys, kind="stable")
        # What is due after the last tick comes with the last block.
        due = len(order) if end == ticks else int(np.searchsorted(keys[order], float(end)))
        yield everything.take(order[:due])
        late, late_key = everything.take(order[due:]), keys[order[due:]]


def _fresh(fleet: _Fleet, shape: Shape, ticks: range) -> Block:
    made = [fleet.values(tick) for tick in ticks]
    devices = np.arange(shape.devices, dtype=np.int64)
    count = len(ticks)
    return Block(
        device=np.tile(devices, count),
        tick=np.repeat(np.arange(ticks.start, ticks.stop, dtype=np.int64), shape.devices),
        again=np.zeros(count * shape.devices, dtype=np.bool_),
        metric=np.repeat(np.array([m for m, _ in made], dtype=np.int64), shape.devices),
        value=np.concatenate([v for _, v in made]),
    )
