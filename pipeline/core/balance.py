"""The balance: what came in is accounted for at every stage, or the difference is shown.

Pure folds over what the topics hold, so that the same code watches a run live and audits
the whole history. Every line of the balance says: this many went in, and each of them is
in one of these places. A line closes when nothing is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.core.fates import End
from pipeline.core.telemetry import DeduplicatedBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line: `went_in` = sum of `places`, else `difference` says how many are missing.

    A negative difference means that more came out than went in. `parked` of the waiting are
    in their worker's table.
    """

    name: str
    went_in: int
    places: Mapping[str, int]
    parked: int = 0

    @property
    def difference(self) -> int:
        """How many are missing; 0 when the line closes."""
        return self.went_in - sum(self.places.values())

    @property
    def closes(self) -> bool:
        """Whether every one is accounted for."""
        return self.difference == 0


@dataclass(slots=True)
class ReadingBooks:
    """Readings, from telemetry.readings and telemetry.deduplicated."""

    received: int = 0
    accepted: int = 0
    duplicates: int = 0
    too_late: int = 0
    quarantined: int = 0
    quarantine_reasons: Counter[str] = field(default_factory=Counter)
    _waiting: dict[tuple[int, int], int] = field(default_factory=dict)
    _applied: dict[int, int] = field(default_factory=dict)

    def on_batch(self, partition: int, offset: int, readings: int) -> None:
        """A TelemetryBatch at (partition, offset) of telemetry.readings."""
        self.received += readings
        if offset > self._applied.get(partition, -1):
            self._waiting[partition, offset] = readings

    def on_deduplicated(self, result: DeduplicatedBatch) -> None:
        """What detect made of one batch; a repetition after a crash is skipped (its rule)."""
        partition, offset = result.source_partition, result.source_offset
        if offset <= self._applied.get(partition, -1):
            return
        self._applied[partition] = offset
        self._waiting.pop((partition, offset), None)
        self.accepted += result.accepted_readings
        self.too_late += result.late_readings
        self.duplicates += result.duplicates

    def on_quarantined(self, reason: str, readings: int) -> None:
        """A record of telemetry.quarantine."""
        self.quarantined += readings
        self.quarantine_reasons[reason] += 1

    @property
    def waiting(self) -> int:
        """Readings in Kafka that detect has not come to."""
        return sum(self._waiting.values())

    def line(self) -> Line:
        """Detect's line."""
        return Line(
            name="telemetry.readings → detect",
            went_in=self.received,
            places={
                "accepted": self.accepted,
                "duplicates": self.duplicates,
                "too_late": self.too_late,
                "waiting": self.waiting,
            },
        )


OUTCOMES = tuple(end.value for end in End)
"""Results of a delivery, in the order in which they are shown."""


@dataclass(slots=True)
class SinkBooks:
    """One sink's events, by event id: a repetition changes nothing, the last result holds."""

    accepted: dict[str, tuple[int, int]] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    _rows: dict[tuple[int, bytes], str] = field(default_factory=dict)

    def on_accepted(self, event_id: str, partition: int, offset: int) -> None:
        """An event in sink.<name>; where it lies first is where its worker meets it first."""
        self.accepted.setdefault(event_id, (partition, offset))

    def on_result(self, event_id: str, outcome: str) -> None:
        """A result: one of OUTCOMES."""
        self.results[event_id] = outcome

    def on_parked(self, partition: int, key: bytes, event_id: str | None) -> None:
        """A row of the worker's table, by its key; None where it was deleted."""
        if event_id is None:
            self._rows.pop((partition, key), None)
        else:
            self._rows[partition, key] = event_id

    def count(self, outcome: str) -> int:
        """Accepted events whose last result is `outcome`."""
        return sum(1 for e in self.accepted if self.results.get(e) == outcome)

    @property
    def parked(self) -> frozenset[str]:
        """Accepted events without a result that lie in the worker's table."""
        return frozenset(
            e for e in self._rows.values() if e in self.accepted and e not in self.results
        )

    def waiting(self, committed: Mapping[int, int]) -> int:
        """Events without a result that their worker has not finished reading, or has parked.

        `committed` is the worker's committed offset by partition: an event *below* it
        without a result is not waiting, unless it is parked: it is missing.
        """
        parked = self.parked
        return sum(
            1
            for event_id, (partition, offset) in self.accepted.items()
            if event_id not in self.results
            and (offset >= committed.get(partition, 0) or event_id in parked)
        )

    def line(self, sink: str, committed: Mapping[int, int]) -> Line:
        """The sink's line."""
        ends = Counter(self.results[e] for e in self.accepted if e in self.results)
        return Line(
            name=f"sink.{sink}",
            went_in=len(self.accepted),
            places={
                **{outcome: ends[outcome] for outcome in OUTCOMES},
                "waiting": self.waiting(committed),
            },
            parked=len(self.parked),
        )


@dataclass(slots=True)
class EventBooks:
    """Business events and what the routing table says of them."""

    routed: dict[str, tuple[tuple[str, ...], int, int]] = field(default_factory=dict)

    def on_event(self, event_id: str, sinks: Iterable[str], partition: int, offset: int) -> None:
        """An event in events.business and the sinks it should reach."""
        self.routed[event_id] = (tuple(sinks), partition, offset)

    def line(self, sink: str, books: SinkBooks, committed: Mapping[int, int]) -> Line:
        """Fan-out's line for one sink; an event below its committed offset must be there."""
        due = {e: po for e, (sinks, *po) in self.routed.items() if sink in sinks}
        forwarded = sum(1 for e in due if e in books.accepted)
        waiting = sum(
            1
            for e, (partition, offset) in due.items()
            if e not in books.accepted and offset >= committed.get(partition, 0)
        )
        return Line(
            name=f"events.business → sink.{sink}",
            went_in=len(due),
            places={"forwarded": forwarded, "waiting": waiting},
        )
