"""One partition of detection for tests: rules, streams that go wrong, and what came out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from pipeline.core.detect import At, Decision, Detection
from pipeline.core.events import Severity
from pipeline.core.registry import DeviceRecord, Registry
from pipeline.core.rules import (
    DetectorRule,
    EpisodeRule,
    LaneRule,
    MetricRule,
    Rules,
    SilentRule,
    StormRule,
)
from pipeline.core.telemetry import NO_SEQUENCE, Sample, pack
from pipeline.state.device_restore import Decoder
from pipeline.state.device_state import Encoder
from pipeline.state.rules_file import load

if TYPE_CHECKING:
    from pipeline.core.events import BusinessEvent
    from pipeline.core.telemetry import DeduplicatedBatch

WINDOW = 8
SHIPPED = load(Path("infra/config/rules.yaml"))


def lane(severity: Severity, enter: float, leave: float, samples: int, agree: int = 1) -> LaneRule:
    return LaneRule(
        severity=severity,
        enter=enter,
        leave=leave,
        enter_samples=samples,
        leave_samples=2,
        agree=agree,
    )


ZSCORE = DetectorRule(
    detector="zscore",
    params=(5.0, 100.0, 2.0, 3.0, 8.0, 1e-9, 1e-5),
    lanes=(lane(Severity.INFO, 3.0, 1.0, 1), lane(Severity.WARNING, 5.0, 2.0, 2, agree=2)),
)
LIMIT = DetectorRule(
    detector="limit",
    params=(-np.inf, 40.0, 1.0),
    lanes=(lane(Severity.CRITICAL, 0.0, -1.0, 2),),
)
RULES = Rules(
    name="test",
    version=1,
    defaults=MetricRule(label="", unit="", detectors=(ZSCORE, LIMIT)),
    episodes={"": EpisodeRule(cool_down=4)},
)
CLEARING = replace(
    RULES,
    defaults=MetricRule(
        unit="bar",
        detectors=(
            replace(ZSCORE, clears=True),
            replace(
                LIMIT, lanes=(lane(Severity.WARNING, -1.0, -1.0, 1), *LIMIT.lanes), clears=True
            ),
        ),
    ),
    episodes={"": EpisodeRule(cool_down=2)},
    storm_asset=StormRule(events=2, window_s=30.0),
)
"""Rules whose episodes end soon, grow graver, and are told when they are over."""
SILENT = replace(RULES, silent=SilentRule(after_s=5.0, severity=Severity.WARNING))
REGISTRY = Registry(
    {
        "acme/d0": DeviceRecord(
            device_id="acme/d0",
            asset_id="asset-0",
            asset_name="Pump",
            customer_id="customer-0",
            customer_name="Customer",
            customer_tax_id="",
            active=True,
        )
    }
)


@dataclass
class World:
    """One partition, fed round by round; `stored` are devices as a checkpoint keeps them."""

    rules: Rules = RULES
    stored: dict[str, bytes] = field(default_factory=dict)
    partition: int = 2
    window: int = WINDOW
    events: list[BusinessEvent] = field(default_factory=list)
    accepted: list[tuple[object, ...]] = field(default_factory=list)
    detection: Detection = field(init=False)

    def __post_init__(self) -> None:
        self.detection = Detection(self.rules, REGISTRY, window=self.window)
        decoder = Decoder(self.detection, self.partition)
        for device, row in self.stored.items():
            decoder.decode(device, row)

    def apply(self, samples: list[Sample], offset: int) -> Decision:
        return self.round([samples], offset)[0]

    def round(self, messages: list[list[Sample]], offset: int) -> list[Decision]:
        decisions = self.detection.apply(
            [(self.at(offset + n), pack(part)) for n, part in enumerate(messages)]
        )
        for decision in decisions:
            self.events += decision.events
            self.accepted += rows(decision.deduplicated)
        return decisions

    def at(self, offset: int) -> At:
        return At(topic="telemetry.readings", partition=self.partition, offset=offset)

    def store(self) -> dict[str, bytes]:
        fleet = self.detection.fleet
        encoder = Encoder(fleet, self.detection.plans, self.partition)
        return encoder.encode(range(fleet.devices))

    def metrics(self, device: str) -> tuple[str, ...]:
        fleet = self.detection.fleet
        slots = fleet.slots_of(fleet.rows[device])
        return tuple(fleet.metrics[fleet.arrays.series_metric[s]] for s in slots)

    def series(self, device: str) -> list[list[float]]:
        """Count, baseline, deviation and level of each of a device's metrics."""
        fleet = self.detection.fleet
        bases = [fleet.arrays.series_base[s] for s in fleet.slots_of(fleet.rows[device])]
        return [fleet.arrays.pool[base : base + 4].tolist() for base in bases]


def rows(result: DeduplicatedBatch) -> list[tuple[object, ...]]:
    batch, starts = result.batch, result.batch.starts().tolist()
    return [
        (
            batch.devices[batch.sample_device[i]],
            int(batch.sample_session[i]),
            int(batch.sample_seq[i]),
            int(batch.sample_time_ms[i]),
            bool(result.late[i]),
            tuple(batch.reading_value[starts[i] : starts[i + 1]].tolist()),
        )
        for i in range(batch.samples)
    ]


def content(events: list[BusinessEvent]) -> list[BusinessEvent]:
    """Events without what depends on how messages were cut, in one order."""
    bare = [replace(e, source=replace(e.source, offset=0, index=0)) for e in events]
    return sorted(bare, key=lambda e: (e.id, e.severity))


@st.composite
def streams(draw: st.DrawFn, *, recovers: bool = False) -> list[Sample]:
    """Samples of three devices that go wrong, with repetitions, reboots and missing metrics.

    With `recovers` they are well again in between, several times.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    out: list[Sample] = []
    for step in range(draw(st.integers(10, 120 if recovers else 60))):
        device = int(rng.integers(0, 3))
        session = 1 + step // 25
        numbered = device != 2
        bad = 60.0 if step > 30 and device != 1 else 0.0
        if recovers:
            bad = (0.0, 29.8, 60.0)[int(rng.integers(0, 3))] if step % 36 > 20 else 0.0
        names = [n for n in ("a", "b", "c") if rng.random() > 0.1]
        out.append(
            Sample(
                f"acme/d{device}",
                session if numbered else 0,
                step if numbered else NO_SEQUENCE,
                1_000 * step,
                1_000 * step + 7,
                tuple((name, float(rng.normal(10.0, 1.0) + bad)) for name in names),
            )
        )
        if rng.random() < 0.2:
            out.append(out[int(rng.integers(0, len(out)))])
    return out


def split(samples: list[Sample], cuts: list[int]) -> list[list[Sample]]:
    edges = [0, *sorted({c % (len(samples) + 1) for c in cuts}), len(samples)]
    return [samples[a:b] for a, b in pairwise(edges)]


cut_lists = st.lists(st.integers(0, 1_000), max_size=12)


def flat_sample(
    sequence: int, readings: tuple[tuple[str, float], ...], device: str = "t/d"
) -> Sample:
    return Sample(device, 1, sequence, sequence, sequence, readings)
