"""From an alarm to a business event: told from the state at the very moment of the alarm."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from pipeline.core import kernel, telling
from pipeline.core.detectors.table import DETECTORS, DEVICE_EVENT_TYPES, GEOFENCE, NUMBER, SILENT
from pipeline.core.detectors.zscore import score_confidence
from pipeline.core.drift import Drift, Side
from pipeline.core.episodes import PLACES
from pipeline.core.events import (
    Action,
    BusinessEvent,
    Severity,
    SnapshotEntry,
    Source,
    episode_id,
    tenant_of,
)
from pipeline.core.fleet import (
    BEFORE_ALL,
    C_CORRELATED,
    C_DIRTY,
    C_LAST_RECEIVED,
    C_LAST_SEQUENCE,
    C_LAST_SESSION,
    C_LAST_TIME,
    C_START,
)
from pipeline.core.plans import P_DETECTOR, P_FIELDS, P_STATE
from pipeline.core.release import Gate, kind_of
from pipeline.core.rules import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from pipeline.core.detect import At
    from pipeline.core.fleet import Fleet
    from pipeline.core.plans import Plans
    from pipeline.core.registry import Devices
    from pipeline.core.telemetry import TelemetryBatch

_ZSCORE = NUMBER["zscore"]
_ROOM = 1 + PLACES
"""Numbers kept for a detector's events per sample: what it raises, or a clear per severity."""
_GROUPS = _ROOM * len(DETECTORS) + 2
"""All detectors', then silent and geofence: one event each per sample at most."""
DRIFT = "drift"
DRIFT_TYPE = "fieldline.detector.drift"
OURSELVES = "fieldline/detect"
"""The device of events about the pipeline itself."""


class Joined(Protocol):
    """What is asked of the messages being applied: see pipeline.core.detect."""

    messages: Sequence[tuple[At, TelemetryBatch]]
    device: npt.NDArray[np.int64]
    session: npt.NDArray[np.int64]
    sequence: npt.NDArray[np.int64]
    time_ms: npt.NDArray[np.int64]
    received_ms: npt.NDArray[np.int64]
    metric: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    slot: npt.NDArray[np.int64]

    def place(self, sample: int) -> tuple[int, int]:
        """Message of a sample, and the sample's place in it."""
        ...

    def add(self, message: int, number: int, event: BusinessEvent) -> None:
        """Note an event."""
        ...


class Teller:
    """Makes events for the devices of one partition."""

    def __init__(self, fleet: Fleet, plans: Plans, registry: Devices) -> None:
        self.fleet = fleet
        self.plans = plans
        self._registry = registry
        self._gate = Gate(fleet, plans, registry)
        self.storms = self._gate.storms

    def plan(self, row: int, metric: str) -> int:
        """The plan for a metric of a device."""
        return self.plans.of(metric, *self.kind(row))

    def kind(self, row: int) -> tuple[str, str]:
        """Tenant and device class of a device."""
        return kind_of(self.fleet.ids[row], self._registry)

    def alarm(
        self, joined: Joined, sample: int, first: int, end: int, alarm: Sequence[float]
    ) -> None:
        """The event of one row of the kernel's alarms, about a sample's readings first to end."""
        number = int(alarm[0])
        row = int(joined.device[sample])
        message, at = joined.place(sample)
        if number == kernel.SILENT:
            event = self._silence(joined, message, row, int(joined.received_ms[sample]))
        else:
            event = self._told(joined, sample, (first, end), alarm, message)
        joined.add(message, at * _GROUPS + _ROOM * number, event)

    def over(self, joined: Joined, sample: int, first: int, end: int, number: int) -> None:
        """The end of a detector's episode, of which `release` makes the clears."""
        row = int(joined.device[sample])
        if number not in self.plans.clearing and row not in self.fleet.raised:
            return
        message, at = joined.place(sample)
        event = self._made(
            row,
            detector=DETECTORS[number].name,
            metric="",
            severity=Severity.INFO,
            confidence=1.0,
            summary="",
            source=self._source(
                joined, message, int(joined.session[sample]), int(joined.sequence[sample])
            ),
            occurred_ms=int(joined.time_ms[sample]),
            observed_ms=int(joined.received_ms[sample]),
            snapshot=self._snapshot(joined, (first, end)),
        )
        number = at * _GROUPS + _ROOM * number + 1
        joined.add(message, number, replace(event, action=Action.CLEAR))

    def silent(self, joined: Joined, row: int, clock_ms: int) -> None:
        """The event of a device that is still silent after the last message."""
        message = len(joined.messages) - 1
        at, batch = joined.messages[message]
        columns = self.fleet.arrays.columns[row]
        if columns[C_DIRTY] < 0:
            columns[C_DIRTY] = at.offset
        number = (batch.samples + row) * _GROUPS + _ROOM * kernel.SILENT
        joined.add(message, number, self._silence(joined, message, row, clock_ms))

    def fence(self, joined: Joined, sample: int, name: str, *, entered: bool) -> None:
        """The event of a device that crossed a fence."""
        rule = self.plans.rules.geofence
        if rule is None:
            return
        message, at = joined.place(sample)
        row = int(joined.device[sample])
        session, sequence = int(joined.session[sample]), int(joined.sequence[sample])
        way = "entered" if entered else "left"
        time_ms = int(joined.time_ms[sample])
        event = self._begun(
            row,
            self._made(
                row,
                detector=GEOFENCE,
                metric=name,
                severity=rule.severity,
                confidence=1.0,
                summary=f"{self.fleet.ids[row]} {way} {name}",
                source=self._source(joined, message, session, sequence),
                occurred_ms=time_ms,
                observed_ms=int(joined.received_ms[sample]),
            ),
            episode=f"{GEOFENCE}-{way}",
        )
        joined.add(message, at * _GROUPS + _ROOM * kernel.SILENT + 1, event)

    def drift(self, joined: Joined, number: int, found: Drift) -> None:
        """The event of a detector about itself; `found.at` counts readings of these messages."""
        message = len(joined.messages) - 1
        at, batch = joined.messages[message]
        detector = DETECTORS[number].name
        way = "more" if found.side is Side.MORE else "fewer"
        event = BusinessEvent(
            id=episode_id(
                device_id=OURSELVES,
                session=at.partition,
                metric=detector,
                detector=DRIFT,
                sequence=at.offset,
            ),
            type=DRIFT_TYPE,
            tenant=tenant_of(OURSELVES),
            device_id=OURSELVES,
            asset_id=None,
            customer_id=None,
            severity=Severity.INFO,
            confidence=found.confidence,
            summary=f"Detector {detector} raised {found.alarms} alarms where its history has "
            f"{found.expected:.3g}: {way} than chance explains; see whether its rules still fit",
            detector=DRIFT,
            metric=detector,
            rule=self.plans.rules.label,
            correlation_id="",
            occurred_at_ms=int(joined.time_ms[-1]),
            observed_at_ms=int(joined.received_ms[-1]),
            source=self._source(joined, message, 0, -1),
            snapshot=(),
        )
        number = (batch.samples + self.fleet.devices) * _GROUPS + number
        joined.add(message, number, event)

    def release(self, event: BusinessEvent) -> list[BusinessEvent]:
        """What goes out for an event that was told, in the order of the samples."""
        return self._gate.release(event)

    def _told(
        self,
        joined: Joined,
        sample: int,
        readings: tuple[int, int],
        alarm: Sequence[float],
        message: int,
    ) -> BusinessEvent:
        number, place, reading = (int(column) for column in alarm[:3])
        slot = int(joined.slot[reading])
        rule = self.plans.metric_rules[int(self.fleet.arrays.series_rule[slot])]
        detector = DETECTORS[number].name
        one = rule.of(detector)
        if one is None:
            raise AssertionError(f"{detector} raised an alarm and has no rule")
        value = float(joined.value[reading])
        metric = self.fleet.metrics[int(joined.metric[reading])]
        row = int(joined.device[sample])
        severity = SEVERITIES[place]
        snapshot = self._snapshot(joined, readings)
        enter = next(lane.enter_samples for lane in one.lanes if lane.severity is severity)
        if number == _ZSCORE:
            sure = score_confidence([e.score for e in snapshot if e.score is not None])
        else:
            sure = telling.confidence(detector, alarm[3], enter)
        return self._begun(
            row,
            self._made(
                row,
                detector=detector,
                metric=metric,
                severity=severity,
                confidence=sure,
                summary=telling.summary(
                    detector, metric, rule, value, self._explained(slot, number, value)
                ),
                source=self._source(
                    joined, message, int(joined.session[sample]), int(joined.sequence[sample])
                ),
                occurred_ms=int(joined.time_ms[sample]),
                observed_ms=int(joined.received_ms[sample]),
                snapshot=snapshot,
            ),
        )

    def _silence(self, joined: Joined, message: int, row: int, clock_ms: int) -> BusinessEvent:
        rule = self.plans.rules.silent
        columns = self.fleet.arrays.columns[row]
        heard_ms = int(columns[C_LAST_RECEIVED])
        return self._begun(
            row,
            self._made(
                row,
                detector=SILENT,
                metric="",
                severity=rule.severity if rule else Severity.INFO,
                confidence=1.0,
                summary=f"{self.fleet.ids[row]} not heard of for "
                f"{telling.duration((clock_ms - heard_ms) / 1000)}",
                source=self._source(
                    joined, message, int(columns[C_LAST_SESSION]), int(columns[C_LAST_SEQUENCE])
                ),
                occurred_ms=int(columns[C_LAST_TIME]),
                observed_ms=clock_ms,
            ),
        )

    def _source(self, joined: Joined, message: int, session: int, sequence: int) -> Source:
        at = joined.messages[message][0]
        return Source(
            topic=at.topic,
            partition=at.partition,
            offset=at.offset,
            index=0,  # `Joined.add` sets it
            session=session,
            sequence=sequence,
        )

    def _begun(self, row: int, event: BusinessEvent, episode: str = "") -> BusinessEvent:
        """An event that begins something: with its id, and the correlation it begins or joins."""
        columns = self.fleet.arrays.columns[row]
        start, source = int(columns[C_START]), event.source
        event_id = episode_id(
            device_id=event.device_id,
            # After a reset that kept its session the numbers come again: the window's start
            # tells the two apart.
            session=source.session if start == BEFORE_ALL else f"{source.session}/{start}",
            metric=event.metric,
            detector=episode or event.detector,
            sequence=source.sequence if source.sequence >= 0 else event.occurred_at_ms,
        )
        if not columns[C_CORRELATED]:
            columns[C_CORRELATED] = 1
            self.fleet.correlation[row] = event_id
        return replace(event, id=event_id, correlation_id=self.fleet.correlation[row])

    def _made(
        self,
        row: int,
        *,
        detector: str,
        metric: str,
        severity: Severity,
        confidence: float,
        summary: str,
        source: Source,
        occurred_ms: int,
        observed_ms: int,
        snapshot: tuple[SnapshotEntry, ...] = (),
    ) -> BusinessEvent:
        device = self.fleet.ids[row]
        record = self._registry.get(device)
        number = NUMBER.get(detector)
        return BusinessEvent(
            id="",
            type=DEVICE_EVENT_TYPES[detector] if number is None else DETECTORS[number].event_type,
            tenant=tenant_of(device),
            device_id=device,
            asset_id=record.asset_id if record else None,
            customer_id=record.customer_id if record else None,
            severity=severity,
            confidence=confidence,
            summary=summary,
            detector=detector,
            metric=metric,
            rule=self.plans.rules.label,
            correlation_id=self.fleet.correlation[row],
            occurred_at_ms=occurred_ms,
            observed_at_ms=observed_ms,
            source=source,
            snapshot=snapshot,
        )

    def _snapshot(self, joined: Joined, readings: tuple[int, int]) -> tuple[SnapshotEntry, ...]:
        out = []
        for k in range(*readings):
            value = float(joined.value[k])
            if not math.isfinite(value):
                continue
            explained = self._explained(int(joined.slot[k]), _ZSCORE, value)
            warm = bool(explained) and explained["zscore"] != 0.0
            out.append(
                SnapshotEntry(
                    metric=self.fleet.metrics[int(joined.metric[k])],
                    value=value,
                    baseline=explained["baseline"] if warm else None,
                    score=explained["zscore"] if warm else None,
                )
            )
        return tuple(out)

    def _explained(self, slot: int, number: int, value: float) -> dict[str, float]:
        """What that detector says of a series now; empty where it does not watch it."""
        found = self._state(slot, number)
        if found is None:
            return {}
        explained: dict[str, float] = DETECTORS[number].module.explain(*found, value)
        return explained

    def _state(
        self, slot: int, number: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
        if slot < 0:
            return None
        arrays, tables = self.fleet.arrays, self.plans.tables
        rule = int(arrays.series_rule[slot])
        base = int(arrays.series_base[slot])
        for entry in tables.plan[rule].tolist():
            if entry[P_DETECTOR] == number:
                at = base + entry[P_STATE]
                return arrays.pool[at : at + entry[P_FIELDS]], self.plans.given(rule, number)
        return None
