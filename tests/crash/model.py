"""The rules of dedup once more, as plainly as they can be said: sets, and nothing forgotten.

Written from the rules that pipeline/core/dedup.py and schemas/avro state, not from their
code: the checker replays the log of readings through this and compares every verdict.
A model remembers all it ever saw and asks only how far back the product looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from pipeline.core.telemetry import TelemetryBatch

WINDOWS: Final = 4
"""The newest windows of a device that are looked into."""
BUCKETS: Final = 32
"""The newest stretches of event time, of those that hold anything, of unnumbered samples."""
BUCKET_MS: Final = 10_000
LEAST_CONTENTS: Final = 1_024
"""Contents kept of one device: this or the window, whichever is more."""


class Verdict(StrEnum):
    """What becomes of a sample."""

    FRESH = "fresh"
    DUPLICATE = "duplicate"
    TOO_LATE = "too late"


@dataclass(frozen=True, slots=True)
class Identity:
    """One sample as sent. `readings` are sorted by metric name; values are as on the wire."""

    device: str
    session: int
    sequence: int
    time_ms: int
    readings: tuple[tuple[str, float], ...]
    received_ms: int = field(default=0, compare=False)
    """Arrival: two bridges receive the same sample at different times."""


def samples(batch: TelemetryBatch) -> Iterator[Identity]:
    """The samples of a batch, in order."""
    names = [batch.metrics[i] for i in batch.reading_metric.tolist()]
    readings = list(zip(names, batch.reading_value.tolist(), strict=True))
    end = 0
    for device, session, sequence, time_ms, received_ms, count in zip(
        batch.sample_device.tolist(),
        batch.sample_session.tolist(),
        batch.sample_seq.tolist(),
        batch.sample_time_ms.tolist(),
        batch.sample_received_ms.tolist(),
        batch.sample_readings.tolist(),
        strict=True,
    ):
        start, end = end, end + count
        own = tuple(sorted(readings[start:end]))
        yield Identity(batch.devices[device], session, sequence, time_ms, own, received_ms)


BEFORE_ALL: Final = float("-inf")


@dataclass(slots=True, eq=False)
class _Window:
    """What was seen of one session since one start of its numbers."""

    session: int
    start_ms: float
    highest: int
    latest_ms: int
    """Latest event time of what was seen."""
    seen: set[int]

    @property
    def age(self) -> tuple[int, float]:
        return self.session, self.start_ms


@dataclass(slots=True)
class _Device:
    windows: list[_Window] = field(default_factory=list)
    """Those not given up, each with every number ever seen."""
    newest_given_up: tuple[int, float] | None = None
    contents: dict[int, set[tuple[object, ...]]] = field(default_factory=dict)
    """Every content, by stretch of event time, of the stretches not given up."""
    newest_bucket_given_up: int | None = None


class Model:
    """Verdicts on samples in the order of the log. `width` is FIELDLINE_DEDUP_WINDOW."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._most = max(width, LEAST_CONTENTS)
        self._devices: dict[str, _Device] = {}

    def judge(self, sample: Identity) -> Verdict:
        """The verdict on the next sample."""
        device = self._devices.setdefault(sample.device, _Device())
        if sample.sequence >= 0:
            return self._numbered(device, sample)
        return self._unnumbered(device, sample)

    def _numbered(self, device: _Device, sample: Identity) -> Verdict:
        own = sorted(
            (w for w in device.windows if w.session == sample.session), key=lambda w: w.age
        )
        before = [w for w in own if w.start_ms <= sample.time_ms]
        after = own[len(before) :]
        if not before:
            given_up = device.newest_given_up
            if after or (given_up is not None and sample.session <= given_up[0]):
                return Verdict.TOO_LATE
            return self._begin(device, sample, BEFORE_ALL)
        window = before[-1]
        if self._below(window, sample) and self._counts_anew(window, sample):
            if not after:
                return self._begin(device, sample, sample.time_ms)
            # The new start is known by a later sample: this one was before it.
            window = after[0]
            window.start_ms = sample.time_ms
        if self._below(window, sample):
            return Verdict.TOO_LATE
        if sample.sequence in window.seen:
            return Verdict.DUPLICATE
        window.seen.add(sample.sequence)
        window.highest = max(window.highest, sample.sequence)
        window.latest_ms = max(window.latest_ms, sample.time_ms)
        return Verdict.FRESH

    def _below(self, window: _Window, sample: Identity) -> bool:
        return sample.sequence <= window.highest - self._width

    def _counts_anew(self, window: _Window, sample: Identity) -> bool:
        """Whether a number below the window says that its device was reset in its session."""
        own_clock = sample.time_ms != sample.received_ms
        return sample.sequence < self._width and sample.time_ms > window.latest_ms and own_clock

    @staticmethod
    def _begin(device: _Device, sample: Identity, start_ms: float) -> Verdict:
        number, time_ms = sample.sequence, sample.time_ms
        new = _Window(sample.session, start_ms, number, time_ms, {number})
        device.windows.append(new)
        if len(device.windows) > WINDOWS:
            oldest = min(device.windows, key=lambda w: w.age)
            device.windows.remove(oldest)
            device.newest_given_up = oldest.age
            if oldest is new:
                return Verdict.TOO_LATE
        return Verdict.FRESH

    def _unnumbered(self, device: _Device, sample: Identity) -> Verdict:
        bucket = sample.time_ms // BUCKET_MS
        given_up = device.newest_bucket_given_up
        if given_up is not None and bucket <= given_up:
            return Verdict.TOO_LATE
        contents = device.contents.setdefault(bucket, set())
        content = (sample.time_ms, sample.readings)
        if content in contents:
            return Verdict.DUPLICATE
        if len(contents) >= self._most:
            return Verdict.TOO_LATE
        contents.add(content)
        while len(device.contents) > BUCKETS or self._kept(device) > self._most:
            device.newest_bucket_given_up = min(device.contents)
            del device.contents[device.newest_bucket_given_up]
        return Verdict.TOO_LATE if bucket not in device.contents else Verdict.FRESH

    @staticmethod
    def _kept(device: _Device) -> int:
        return sum(map(len, device.contents.values()))
