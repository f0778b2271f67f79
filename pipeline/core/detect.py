"""The detect agent's decision: messages in; kept samples and events out, state moved on.

One Detection is one partition. Its state is arrays changed in place (pipeline.core.fleet),
but what comes out depends on nothing else than the messages applied so far, in order: not
on how they were cut into rounds, and not on how often a suffix is applied again, because
each device's state carries the offset that it includes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core import dedup, drift, kernel, series
from pipeline.core.detectors import geofence, silent
from pipeline.core.detectors.storm import Storm
from pipeline.core.detectors.table import DETECTORS
from pipeline.core.fleet import (
    C_FENCES,
    C_LAST_RECEIVED,
    C_PLACED,
    C_SILENT,
    C_UNTIL,
    Fleet,
)
from pipeline.core.moments import Teller
from pipeline.core.plans import Plans
from pipeline.core.remainder import without_duplicates
from pipeline.core.telemetry import DeduplicatedBatch, TelemetryBatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pipeline.core.events import BusinessEvent
    from pipeline.core.registry import Devices
    from pipeline.core.rules import Rules

    Floats = npt.NDArray[np.float64]
    I64 = npt.NDArray[np.int64]

_MOST_ALARMS = kernel.GROUPS + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """Coordinates of the message being decided."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one message comes to."""

    deduplicated: DeduplicatedBatch
    events: tuple[BusinessEvent, ...]


class Detection:
    """Detection on one partition. Stored devices are put into `fleet` before the first message."""

    def __init__(
        self,
        rules: Rules,
        registry: Devices,
        *,
        window: int,
    ) -> None:
        self.fleet = Fleet(window)
        self.plans = Plans(rules)
        self.clock_ms = 0
        self.histories: dict[str, drift.History] = {}
        self._registry = registry
        self._window = window
        self._teller = Teller(self.fleet, self.plans, registry)
        self._name_hashes = np.zeros(0, dtype=np.uint64)
        self._stamp = 0

    def apply(
        self, messages: Sequence[tuple[At, TelemetryBatch]], trace: Floats | None = None
    ) -> list[Decision]:
        """Apply messages of this partition in order of offset; one Decision each.

        On a first application a message's readings add up: accepted + late + duplicates.

        A device whose stored state includes a message is skipped altogether: its samples are
        absent from `deduplicated` and not counted as duplicates. That is right because of
        the order emit, store, acknowledge: the state was stored after a DeduplicatedBatch
        with all of this message had been acknowledged by Kafka, so every reader has seen
        this source_offset and skips the repetition, whatever is in it. For a device whose
        state was not stored the same samples and events come out again, with the same ids.

        `trace`, zeros of shape (readings, 2) where given, gets each reading's greatest score as
        a share of its threshold (1 is an alarm) and the number of that detector.
        """
        if not messages:
            return []
        joined = _Joined(self, messages)
        if trace is not None:
            joined.trace = trace
        if joined.samples:
            self._judge_unnumbered(joined)
            self._resolve(joined)
            self._run(joined)
            self.clock_ms = max(self.clock_ms, int(joined.received_ms.max()))
            self._find_silent(joined)
            self._cross_fences(joined)
            self._watch_detectors(joined)
        return joined.decisions(self._teller)

    def rows(self, devices: Sequence[str]) -> npt.NDArray[np.int64]:
        """Fleet rows of devices, loaded or made where they are new."""
        known = self.fleet.rows
        found = list(map(known.get, devices))
        if None in found:
            for place, device in enumerate(devices):
                if found[place] is None:
                    found[place] = self._row(device)
        return np.array(found, dtype=np.int64)

    def _row(self, device: str) -> int:
        # The dictionary of another producer may name a device twice.
        row = self.fleet.rows.get(device)
        return self.fleet.add_device(device) if row is None else row

    def _judge_unnumbered(self, joined: _Joined) -> None:
        """Samples without a number go by content, in order: few devices are such."""
        unnumbered = np.flatnonzero(joined.sequence < 0)
        if not len(unnumbered):
            return
        names = self.fleet.metrics
        if len(self._name_hashes) < len(names):
            self._name_hashes = np.array([dedup.name_hash(n) for n in names], dtype=np.uint64)
        hashes = np.empty(joined.samples, dtype=np.uint64)
        dedup.content_hashes(
            joined.time_ms,
            joined.readings,
            joined.metric,
            self._name_hashes,
            (joined.value + 0.0).view(np.uint64),
            hashes,
        )
        until = self.fleet.arrays.columns[:, C_UNTIL]
        most = max(self._window, dedup.MIN_HASHES)
        for i in unnumbered.tolist():
            row = int(joined.device[i])
            if joined.offset[i] <= until[row]:
                continue
            seen = self.fleet.hashes.get(row)
            if seen is None:
                seen = self.fleet.hashes[row] = dedup.Hashes()
            joined.verdict[i] = seen.judge(int(joined.time_ms[i]), int(hashes[i]), most)

    def _resolve(self, joined: _Joined) -> None:
        """Find every reading's series, and make those that are new."""
        fleet = self.fleet
        missing = np.empty((joined.value.shape[0], 2), dtype=np.int64)
        while True:
            base, self._stamp = self._stamp, self._stamp + len(joined.value)
            lost = series.resolve(
                joined.device,
                joined.readings,
                joined.metric,
                joined.slot,
                fleet.arrays.columns,
                fleet.arrays.series_metric,
                fleet.stamp,
                base,
                missing,
            )
            made = 0
            # In order of first use, so that a replay places them alike.
            for row, metric in dict.fromkeys(map(tuple, missing[:lost].tolist())):
                made += self.add_series(row, metric) >= 0
            if not made:
                return

    def add_series(self, row: int, metric: int) -> int:
        """A series for one more metric of a device; -1 where it has too many."""
        plan = self._teller.plan(row, self.fleet.metrics[metric])
        return self.fleet.add_series(row, metric, plan, int(self.plans.tables.width[plan]))

    def kind(self, row: int) -> tuple[str, str]:
        """Tenant and device class of a device: with the metric, what rules go by."""
        return self._teller.kind(row)

    def _run(self, joined: _Joined) -> None:
        rule = self.plans.rules.silent
        silent_ms = int(rule.after_s * 1000) if rule else 0
        alarms = np.zeros((_MOST_ALARMS, 4))
        at = reading = 0
        while at < joined.samples:
            at, reading, count = kernel.run(
                at,
                reading,
                joined.device,
                joined.session,
                joined.sequence,
                joined.time_ms,
                joined.received_ms,
                joined.readings,
                joined.offset,
                joined.value,
                joined.slot,
                joined.verdict,
                self.fleet.arrays,
                self.plans.tables,
                self._window,
                silent_ms,
                alarms,
                joined.trace,
            )
            if count:
                sample = at - 1
                first = reading - int(joined.readings[sample])
                # What is over goes first: an alarm of the same sample may begin another trouble.
                for alarm in sorted(alarms[:count].tolist(), key=lambda row: row[1] != kernel.OVER):
                    if alarm[1] == kernel.OVER:
                        self._teller.over(joined, sample, first, reading, int(alarm[0]))
                        continue
                    joined.alarms.append((int(alarm[0]), first))
                    self._teller.alarm(joined, sample, first, reading, alarm)
                kernel.heard(
                    int(joined.device[sample]),
                    self.fleet.arrays.columns,
                    int(joined.session[sample]),
                    int(joined.sequence[sample]),
                    int(joined.time_ms[sample]),
                    int(joined.received_ms[sample]),
                )

    def _find_silent(self, joined: _Joined) -> None:
        rule = self.plans.rules.silent
        if rule is None:
            return
        columns = self.fleet.arrays.columns[: self.fleet.devices]
        rows = silent.overdue(
            columns[:, C_LAST_RECEIVED],
            columns[:, C_SILENT].astype(np.bool_),
            int(rule.after_s * 1000),
            self.clock_ms,
        )
        for row in rows.tolist():
            columns[row, C_SILENT] = 1
            self._teller.silent(joined, row, self.clock_ms)

    def _cross_fences(self, joined: _Joined) -> None:
        """Devices that report positions: which fences they have entered or left."""
        rule = self.plans.rules.geofence
        numbers = self.fleet.metric_numbers
        compiled = self.plans.fences
        if (
            rule is None
            or compiled is None
            or not {rule.latitude, rule.longitude} <= numbers.keys()
        ):
            return
        sample = np.repeat(np.arange(joined.samples), joined.readings)
        fresh = joined.verdict[sample] == dedup.FRESH
        position = np.full((2, joined.samples), np.nan)
        for axis, metric in enumerate((rule.latitude, rule.longitude)):
            chosen = fresh & (joined.metric == numbers[metric])
            position[axis, sample[chosen]] = joined.value[chosen]
        names = rule.fences.names
        # Bits mean these very fences in this order: others start anew.
        mark = dedup.name_hash("\x1f".join(names)) >> 1
        for at in np.flatnonzero(~np.isnan(position).any(axis=0)).tolist():
            columns = self.fleet.arrays.columns[joined.device[at]]
            known = int(columns[C_PLACED]) == mark
            before = int(columns[C_FENCES]) if known else 0
            found = np.array([geofence.inside(position[0, at], position[1, at], before, compiled)])
            if found[0] < 0:
                continue
            for _, bit, entered in geofence.crossings(before, found, known=known):
                self._teller.fence(joined, at, names[bit], entered=entered)
            columns[C_FENCES], columns[C_PLACED] = found[0], mark

    def _watch_detectors(self, joined: _Joined) -> None:
        """A detector whose alarms leave their own history raises an event about itself."""
        rule = self.plans.rules.drift
        if rule is None:
            return
        raised: dict[int, list[int]] = {}
        for number, reading in joined.alarms:
            raised.setdefault(number, []).append(reading)
        for number, detector in enumerate(DETECTORS):
            history, found = drift.observe(
                self.histories.get(detector.name, drift.History()),
                len(joined.value),
                raised.get(number, ()),
                rule,
            )
            self.histories[detector.name] = history
            for one in found:
                self._teller.drift(joined, number, one)

    def remembered(self) -> dict[str, bytes]:
        """What is kept beside the devices: storms and detectors' histories, by name."""
        kept = {f"storm/{kind}": storm.to_bytes() for kind, storm in self._teller.storms.items()}
        return kept | {f"drift/{name}": h.to_bytes() for name, h in self.histories.items()}

    def remember(self, kept: Mapping[str, bytes]) -> None:
        """Take over what `remembered` gave."""
        for name, data in kept.items():
            kind, _, of = name.partition("/")
            if kind == "storm" and of in self._teller.storms:
                self._teller.storms[of] = Storm.from_bytes(data)
            elif kind == "drift":
                self.histories[of] = drift.History.from_bytes(data)


class _Joined:
    """Messages as one set of columns, with what is found out about them.

    `slot`, shape (readings,), and `verdict`, shape (samples,), are filled on the way.
    """

    def __init__(self, detection: Detection, messages: Sequence[tuple[At, TelemetryBatch]]) -> None:
        self.messages = messages
        fleet = detection.fleet
        devices, metrics, offsets = [], [], []
        numbers: dict[tuple[str, ...], I64] = {}
        for at, batch in messages:
            devices.append(detection.rows(batch.devices)[batch.sample_device])
            found = numbers.get(batch.metrics)
            if found is None:
                found = np.array([fleet.metric(name) for name in batch.metrics], dtype=np.int64)
                numbers[batch.metrics] = found
            metrics.append(found[batch.reading_metric])
            offsets.append(at.offset)
        batches = [batch for _, batch in messages]
        counts = [batch.samples for batch in batches]
        self.device = np.concatenate(devices)
        self.metric = np.concatenate(metrics)
        self.session = np.concatenate([b.sample_session for b in batches])
        self.sequence = np.concatenate([b.sample_seq for b in batches])
        self.time_ms = np.concatenate([b.sample_time_ms for b in batches])
        self.received_ms = np.concatenate([b.sample_received_ms for b in batches])
        self.readings = np.concatenate([b.sample_readings for b in batches]).astype(np.int64)
        self.value = np.concatenate([b.reading_value for b in batches])
        self.offset = np.repeat(np.array(offsets, dtype=np.int64), counts)
        self.edges = np.cumsum([0, *counts])
        self.samples = int(self.edges[-1])
        self.slot = np.full(len(self.value), -1, dtype=np.int64)
        self.verdict = np.full(self.samples, kernel.UNDECIDED, dtype=np.uint8)
        self.events: dict[int, list[tuple[int, BusinessEvent]]] = {}
        self.trace = np.zeros((0, 2))
        self.alarms: list[tuple[int, int]] = []
        """Detector's number and first reading of the sample, of every alarm."""

    def place(self, sample: int) -> tuple[int, int]:
        """Message of a sample, and the sample's place in it."""
        message = int(np.searchsorted(self.edges, sample, side="right")) - 1
        return message, sample - int(self.edges[message])

    def add(self, message: int, number: int, event: BusinessEvent) -> None:
        """Note an event; `number` is its place among those its message can cause."""
        source = replace(event.source, index=number)
        self.events.setdefault(message, []).append((number, replace(event, source=source)))

    def decisions(self, teller: Teller) -> list[Decision]:
        """What each message comes to."""
        out = []
        for number, (at, batch) in enumerate(self.messages):
            verdict = self.verdict[self.edges[number] : self.edges[number + 1]]
            events = sorted(self.events.get(number, ()), key=lambda pair: pair[0])
            out.append(
                Decision(
                    deduplicated=_deduplicated(at, batch, verdict),
                    events=tuple(e for _, event in events for e in teller.release(event)),
                )
            )
        return out


def _deduplicated(
    at: At, batch: TelemetryBatch, verdict: npt.NDArray[np.uint8]
) -> DeduplicatedBatch:
    kept, late, duplicates = without_duplicates(batch, verdict)
    return DeduplicatedBatch(
        source_topic=at.topic,
        source_partition=at.partition,
        source_offset=at.offset,
        batch=kept,
        late=late,
        duplicates=duplicates,
    )
