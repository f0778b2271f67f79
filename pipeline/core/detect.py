"""The detect agent's decision: one message in; changed states, kept samples and events out.

Work goes device by device and, within a device, sample by sample in order of arrival, with
all metrics of a sample at once as columns. Nothing looks across samples of a message, so
how the bridge happened to cut messages cannot change an event.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core import anomaly, dedup, episodes
from pipeline.core.events import Source
from pipeline.core.rules import GROUPS
from pipeline.core.telemetry import DeduplicatedBatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from pipeline.core.events import BusinessEvent
    from pipeline.core.registry import Devices
    from pipeline.core.rules import Columns, Rules
    from pipeline.core.telemetry import TelemetryBatch

    Floats = npt.NDArray[np.float64]
    Indices = npt.NDArray[np.int64]

MAX_METRICS = 1_024
"""Metrics of one device that are watched; further ones are archived only."""

_SKIPPED = 255
"""In place of a verdict: the device had this message applied before."""

NEVER = -1
"""`partition` and `offset` of a device that no message was applied to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """Coordinates of the message being decided."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviceState:
    """All that detection remembers of one device; never changed, only replaced.

    `offset` is that of the last message applied, on `partition`. `series` has shape
    (anomaly.FIELDS, metrics), in the order of `metrics`: first seen, first placed.
    """

    partition: int = NEVER
    offset: int = NEVER
    seen: dedup.Seen = field(default_factory=dedup.Seen)
    metrics: tuple[str, ...] = ()
    series: Floats = field(default_factory=lambda: anomaly.fresh(0))
    episodes: episodes.Episodes = field(default_factory=lambda: episodes.fresh(0))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DeviceState):
            return NotImplemented
        return (
            (self.partition, self.offset, self.seen, self.metrics, self.episodes)
            == (other.partition, other.offset, other.seen, other.metrics, other.episodes)
        ) and np.array_equal(self.series, other.series)

    __hash__ = None  # type: ignore[assignment]  # it holds arrays

    def applied(self, at: At) -> bool:
        """True where the device's samples of that message are in this state already.

        Offsets of different partitions say nothing of each other: after a change of the
        partition count dedup alone stands against repetition.
        """
        return self.partition == at.partition and at.offset <= self.offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one message comes to. `states` holds only the devices that changed."""

    states: dict[str, DeviceState]
    deduplicated: DeduplicatedBatch
    events: tuple[BusinessEvent, ...]


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a sample's readings go: `take` from the sample, `slots` in the device's columns.

    None stands for "all, in order", the usual case, which needs no copying about.
    """

    take: Indices | None
    slots: Indices | None
    columns: Columns


def decide(
    states: Mapping[str, DeviceState],
    batch: TelemetryBatch,
    at: At,
    rules: Rules,
    registry: Devices,
    window: int,
) -> Decision:
    """Apply one message. `window` is the dedup window in sequence numbers.

    `states` holds the devices known; nothing given is changed. On a first application the
    readings add up: accepted + late + duplicates = batch.readings.

    A device whose state has this offset or a later one is skipped altogether: its samples
    are absent from `deduplicated` and not counted as duplicates. That is right because of
    the order emit, store, acknowledge: a state that has the offset was stored after a
    DeduplicatedBatch with all of this message had been acknowledged by Kafka, so every
    reader has seen this source_offset and skips the repetition, whatever is in it. For a
    device whose state was not stored the same samples and events come out again, and the
    events have the same ids.
    """
    work = _Message(batch, at, rules, registry)
    verdict = np.full(batch.samples, _SKIPPED, dtype=np.uint8)
    changed: dict[str, DeviceState] = {}
    for device_id, samples in work.by_device():
        state = states.get(device_id) or DeviceState()
        if state.applied(at):
            continue
        judged, seen = work.dedup(state.seen, samples, window)
        verdict[samples] = judged
        device = _Device(device_id, state, work)
        for sample, found in zip(samples.tolist(), judged.tolist(), strict=True):
            if found == dedup.FRESH:
                device.watch(sample)
        changed[device_id] = device.state(seen, at)
    keep = (verdict == dedup.FRESH) | (verdict == dedup.TOO_LATE)
    deduplicated = DeduplicatedBatch(
        source_topic=at.topic,
        source_partition=at.partition,
        source_offset=at.offset,
        batch=batch.keep(keep),
        late=(verdict == dedup.TOO_LATE)[keep],
        duplicates=int(batch.sample_readings[verdict == dedup.DUPLICATE].sum()),
    )
    return Decision(states=changed, deduplicated=deduplicated, events=work.raised())


class _Message:
    """One message while it is worked on: its columns as Python numbers, and shared layouts."""

    def __init__(self, batch: TelemetryBatch, at: At, rules: Rules, registry: Devices) -> None:
        self.batch = batch
        self.at = at
        self.rules = rules
        self.registry = registry
        self.starts = batch.starts().tolist()
        self.session = batch.sample_session.tolist()
        self.sequence = batch.sample_seq.tolist()
        self.time_ms = batch.sample_time_ms.tolist()
        self.scorable = np.abs(batch.reading_value) <= anomaly.MAX_VALUE  # false for NaN too
        self.all_scorable = bool(self.scorable.all())
        self.layouts: dict[tuple[str, ...], dict[bytes, _Layout]] = {}
        self.events: list[tuple[int, BusinessEvent]] = []
        self._contents: dict[bytes, tuple[bytes, Indices]] = {}

    def by_device(self) -> list[tuple[str, Indices]]:
        """Device ids with the indices of their samples in order of arrival."""
        order = np.argsort(self.batch.sample_device, kind="stable")
        if not len(order):
            return []
        sorted_devices = self.batch.sample_device[order]
        cuts = np.flatnonzero(np.diff(sorted_devices)) + 1
        found: dict[str, Indices] = {}
        for part in np.split(order, cuts):
            device_id = self.batch.devices[self.batch.sample_device[part[0]]]
            # Another producer's dictionary may name a device twice.
            before = found.get(device_id)
            found[device_id] = part if before is None else np.sort(np.append(before, part))
        return list(found.items())

    def dedup(
        self, seen: dedup.Seen, samples: Indices, window: int
    ) -> tuple[npt.NDArray[np.uint8], dedup.Seen]:
        chosen = samples.tolist()
        sequences = [self.sequence[i] for i in chosen]
        return dedup.judge(
            seen,
            [self.session[i] for i in chosen],
            sequences,
            [self.time_ms[i] for i in chosen],
            [self._content(i) if s < 0 else 0 for i, s in zip(chosen, sequences, strict=True)],
            window,
        )

    def _content(self, sample: int) -> int:
        readings = slice(self.starts[sample], self.starts[sample + 1])
        metrics = self.batch.reading_metric[readings]
        key = metrics.tobytes()
        if key not in self._contents:
            names = self.names(metrics)
            order = sorted(range(len(names)), key=names.__getitem__)
            blob = "\x1f".join(names[i] for i in order).encode()
            self._contents[key] = (blob, np.array(order, dtype=np.int64))
        blob, canonical = self._contents[key]
        values = self.batch.reading_value[readings][canonical]
        return dedup.content_hash(self.time_ms[sample], blob, values)

    def names(self, metrics: npt.NDArray[np.int32]) -> tuple[str, ...]:
        return tuple(self.batch.metrics[i] for i in metrics.tolist())

    def raised(self) -> tuple[BusinessEvent, ...]:
        """Events in order of their samples, numbered so that a replay numbers them alike.

        A replay may leave out devices, so an event's number is its sample's place in the
        message and its group's (one event per group and sample), not a count.
        """
        numbered = (
            (sample * len(GROUPS) + GROUPS.index(event.detector), event)
            for sample, event in self.events
        )
        return tuple(
            replace(event, source=replace(event.source, index=index))
            for index, event in sorted(numbered, key=lambda pair: pair[0])
        )


class _Device:
    """One device while a message is worked on."""

    def __init__(self, device_id: str, state: DeviceState, message: _Message) -> None:
        self._id = device_id
        self._message = message
        self._metrics = state.metrics
        # Both belong to the old state until the first change: copied then, not before.
        self._series, self._own_series = state.series, False
        self._episodes, self._own_episodes = state.episodes, False
        self._layouts = message.layouts.setdefault(self._metrics, {})

    def state(self, seen: dedup.Seen, at: At) -> DeviceState:
        return DeviceState(
            partition=at.partition,
            offset=at.offset,
            seen=seen,
            metrics=self._metrics,
            series=self._series,
            episodes=self._episodes,
        )

    def watch(self, sample: int) -> None:
        """Feed one fresh sample to the detectors."""
        message = self._message
        first, end = message.starts[sample], message.starts[sample + 1]
        metrics = message.batch.reading_metric[first:end]
        values = message.batch.reading_value[first:end]
        if not message.all_scorable:
            scorable = message.scorable[first:end]
            metrics, values = metrics[scorable], values[scorable]
        layout = self._layouts.get(metrics.tobytes()) or self._arrange(metrics)
        if layout.take is not None:
            values = values[layout.take]
        slots = layout.slots
        series = self._series if slots is None else self._series[:, slots]
        updated, zscore = anomaly.update(series, values, layout.columns)
        if slots is None:
            self._series, self._own_series = updated, True
        else:
            if not self._own_series:
                self._series, self._own_series = self._series.copy(), True
            self._series[:, slots] = updated
        scores = episodes.lane_scores(zscore, anomaly.limit_score(values, layout.columns))
        if self._episodes.idle and not (scores >= layout.columns.enter).any():
            return
        self._follow(sample, layout, values, scores, zscore)

    def _follow(
        self, sample: int, layout: _Layout, values: Floats, scores: Floats, zscore: Floats
    ) -> None:
        now, rules = self._private_episodes(), self._message.rules
        place = slice(None) if layout.slots is None else layout.slots
        now.streak[:, place], now.active[:, place] = episodes.hysteresis(
            now.streak[:, place], now.active[:, place], scores, layout.columns
        )
        everything = rules.columns(self._metrics)
        warm = self._series[anomaly.COUNT] > everything.warm_up
        for lane in episodes.lanes_to_raise(
            now, warm=int(warm.sum()), agree=rules.agree, cool_down=rules.cool_down
        ):
            # The metric furthest out speaks for the device, among those over in this sample.
            over = now.active[lane, place] & (scores[lane] >= layout.columns.enter[lane])
            if over.any():
                best = int(np.argmax(np.where(over, scores[lane], -np.inf)))
                names = _names_of(self._metrics, layout.slots)
                event = episodes.business_event(
                    lane,
                    names[best],
                    float(values[best]),
                    self._moment(sample, names, zscore, warm[place]),
                    now,
                    rules,
                    self._message.registry,
                )
                self._message.events.append((sample, event))
        now.settle()

    def _private_episodes(self) -> episodes.Episodes:
        if not self._own_episodes:
            self._episodes, self._own_episodes = self._episodes.copy(), True
        return self._episodes

    def _moment(
        self, sample: int, names: tuple[str, ...], zscore: Floats, warm: npt.NDArray[np.bool_]
    ) -> episodes.Moment:
        message = self._message
        readings = slice(message.starts[sample], message.starts[sample + 1])
        values = message.batch.reading_value[readings].tolist()
        metrics = message.names(message.batch.reading_metric[readings])
        place = {name: slot for slot, name in enumerate(self._metrics)}
        baseline = self._series[anomaly.BASELINE].tolist()
        level = self._series[anomaly.LEVEL].tolist()
        return episodes.Moment(
            device_id=self._id,
            time_ms=message.time_ms[sample],
            received_ms=int(message.batch.sample_received_ms[sample]),
            source=Source(
                topic=message.at.topic,
                partition=message.at.partition,
                offset=message.at.offset,
                index=0,  # known once the whole message is done
                session=message.session[sample],
                sequence=message.sequence[sample],
            ),
            readings=tuple(
                (name, value)
                for name, value in zip(metrics, values, strict=True)
                if math.isfinite(value)
            ),
            scores={
                name: episodes.Score(
                    baseline=baseline[place[name]], level=level[place[name]], zscore=score
                )
                for name, score, known in zip(names, zscore.tolist(), warm.tolist(), strict=True)
                if known
            },
        )

    def _arrange(self, metrics: npt.NDArray[np.int32]) -> _Layout:
        """The layout of a sample with these metrics (indices into the batch's dictionary)."""
        names = self._message.names(metrics)
        place = {name: slot for slot, name in enumerate(self._metrics)}
        new = [n for n in dict.fromkeys(names) if n not in place][: MAX_METRICS - len(place)]
        if new:
            self._metrics = (*self._metrics, *new)
            place |= {name: slot for slot, name in enumerate(self._metrics)}
            self._series = np.concatenate([self._series, anomaly.fresh(len(new))], axis=1)
            self._own_series = True
            self._private_episodes().grow(len(self._metrics))
            self._layouts = self._message.layouts.setdefault(self._metrics, {})
        # A metric twice in one sample: its last reading is the one that is watched.
        last = {name: i for i, name in enumerate(names) if name in place}
        watched = tuple(last)
        take = np.array(list(last.values()), dtype=np.int64)
        slots = np.array([place[name] for name in watched], dtype=np.int64)
        layout = _Layout(
            None if len(take) == len(names) else take,
            None if watched == self._metrics else slots,
            self._message.rules.columns(watched),
        )
        self._layouts[metrics.tobytes()] = layout
        return layout


def _names_of(metrics: tuple[str, ...], slots: Indices | None) -> tuple[str, ...]:
    return metrics if slots is None else tuple(metrics[slot] for slot in slots.tolist())
