"""What is played: how many devices, how many readings a sample carries, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass

METRICS = 10
BATCH_READINGS = 1_000
"""Readings in one message, as the bridge's default cuts them."""
DUPLICATES = 0.05
"""Share of the samples sent that were sent before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A fleet: every device has METRICS metrics and sends `per_sample` of them at a time."""

    name: str
    devices: int
    per_sample: int
    says: str

    @property
    def series(self) -> int:
        """Metrics of devices."""
        return self.devices * METRICS

    def ticks(self, readings: int) -> int:
        """Samples of each device that make about so many readings, the repeated ones included."""
        return max(1, round(readings * (1 - DUPLICATES) / (self.devices * self.per_sample)))


SINGLE = Shape(
    name="single",
    devices=1_000,
    per_sample=1,
    says="1,000 devices x 10 metrics, one reading a sample",
)
TEN = Shape(
    name="ten",
    devices=1_000,
    per_sample=10,
    says="1,000 devices x 10 metrics, ten readings a sample",
)
MILLION = Shape(
    name="million",
    devices=100_000,
    per_sample=10,
    says="100,000 devices x 10 metrics, ten readings a sample",
)
SHAPES = {shape.name: shape for shape in (SINGLE, TEN, MILLION)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Readings played per run: enough for a steady state, and no engine waits for another."""

    ours: int
    million: int
    faust_naive: int
    quix: int
    bytewax: int

    def of(self, shape: Shape) -> int:
        """Readings in telemetry.readings."""
        return self.million if shape is MILLION else self.ours


FULL = Sizes(
    ours=12_000_000, million=24_000_000, faust_naive=200_000, quix=400_000, bytewax=1_000_000
)
"""The million series get 24 samples each: past the warm-up of the default rules."""
QUICK = Sizes(ours=3_000_000, million=6_000_000, faust_naive=30_000, quix=100_000, bytewax=250_000)
