"""The lines of operations.balance: made from the store, written when they change, read back."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from aiokafka import AIOKafkaProducer

from pipeline.core.balance import OUTCOMES, Line
from pipeline.core.fates import (
    ALL,
    EARLY_KEPT_MS,
    EVERY_PARTITION,
    NOTHING,
    Index,
    StageLine,
    Weight,
    stage_line,
)
from pipeline.ops.reconcile_fold import is_fanout, sink_of
from pipeline.ops.reconcile_store import Store
from pipeline.settings import Settings
from pipeline.topology import BALANCE
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.kafka import read_through

ALIVE_S = 10.0
"""A reconciler whose newest line is older than this does not run, or has lost Kafka."""
TOTALS_EVERY_S = 4.0
"""Totals are written so often even where nothing changed: a sign of life."""
ALL_EVERY_S = 300.0
"""Every line is written so often, so that a reader need not go back further than twice that."""
EXAMPLES = 5
"""Events named where a line does not close."""
_SCHEMA = "balance_line.v1"

Committed = Mapping[str, Mapping[int, int]]
"""Offset that a stage's worker has committed, by stage and partition."""
Key = tuple[str, str, int]
"""Stage, tenant, partition of a line."""


@dataclass(slots=True)
class Off:
    """What is wrong with one line, and some of its events."""

    lost: int = 0
    strays: Weight = NOTHING
    examples: list[str] = field(default_factory=list)

    def example(self, event_id: str) -> None:
        """One of the events."""
        if len(self.examples) < EXAMPLES:
            self.examples.append(event_id)


def off_lines(
    store: Store, stages: Sequence[str], committed: Committed, *, stray_before_ms: int
) -> dict[Key, Off]:
    """Lines that do not close, by key.

    Lost: open, not parked, and below `committed`. Strays: ended before `stray_before_ms` (and
    not too long ago), and never seen; fan-out has none, as operators write to sinks directly.
    """
    out: dict[Key, Off] = defaultdict(Off)
    for stage in stages:
        for partition, below in committed.get(stage, {}).items():
            for event_id, tenant in store.listed(Index.OPEN, stage, partition, below):
                off = out[stage, tenant, partition]
                off.lost += 1
                off.example(event_id)
        if is_fanout(stage):
            continue
        for event_id, fate in store.early(stage):
            if stray_before_ms - EARLY_KEPT_MS < fate.ended_ms < stray_before_ms:
                off = out[stage, fate.tenant, fate.partition]
                off.strays = off.strays.plus(fate.whole)
                off.example(event_id)
    return dict(out)


def make_lines(
    counted: Mapping[Key, Weight], stages: Sequence[str], off: Mapping[Key, Off]
) -> list[StageLine]:
    """Every line: of each tenant and partition, of each tenant, and each stage's total."""
    sums: dict[Key, tuple[Weight, int, Weight]] = {
        (stage, ALL, EVERY_PARTITION): (NOTHING, 0, NOTHING) for stage in stages
    }
    nothing = Off()
    for key in {**counted, **off}:
        stage, tenant, _ = key
        if stage not in stages:
            continue
        weight, wrong = counted.get(key, NOTHING), off.get(key, nothing)
        for at in (key, (stage, tenant, EVERY_PARTITION), (stage, ALL, EVERY_PARTITION)):
            total, lost, strays = sums.get(at, (NOTHING, 0, NOTHING))
            sums[at] = (total.plus(weight), lost + wrong.lost, strays.plus(wrong.strays))
    return [
        stage_line(stage, tenant, partition, counted=weight, lost=lost, strays=strays)
        for (stage, tenant, partition), (weight, lost, strays) in sums.items()
    ]


def is_total(line: StageLine) -> bool:
    """Whether it is its stage's total."""
    return line.tenant == ALL and line.partition == EVERY_PARTITION


def oldest_ms(store: Store, stage: str, partitions: Sequence[int]) -> int | None:
    """When the first event that still waits came into the stage's topic; None where none does."""
    found: list[int] = []
    for partition in partitions:
        for index in (Index.OPEN, Index.PARKED):
            for event_id, _ in store.listed(index, stage, partition, 1 << 62):
                fate = store.fate(stage, event_id)
                if fate is not None:
                    found.append(fate.at_ms)
                break
    return min(found, default=None)


class Publisher:
    """Writes lines that changed, totals now and then, and all of them now and then."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._written: dict[str, StageLine] = {}
        self._totals_s = self._all_s = float("-inf")

    async def publish(
        self,
        producer: AIOKafkaProducer,
        lines: Sequence[StageLine],
        *,
        clock_s: float,
        now_ms: int,
    ) -> None:
        """Write what is due; in Kafka when this returns."""
        everything = clock_s - self._all_s >= ALL_EVERY_S
        totals = everything or clock_s - self._totals_s >= TOTALS_EVERY_S
        due = [
            line
            for line in lines
            if everything or self._written.get(line.key) != line or (totals and is_total(line))
        ]
        sent = [
            await producer.send(
                BALANCE,
                key=line.key.encode(),
                value=self._codec.encode(_SCHEMA, {**asdict(line), "at_ms": now_ms}),
            )
            for line in due
        ]
        for future in sent:
            await future
        self._written.update((line.key, line) for line in due)
        if everything:
            self._all_s = clock_s
        if totals:
            self._totals_s = clock_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the reconciler wrote last. `age_s` is how old its newest line is; inf for none."""

    lines: Sequence[StageLine]
    age_s: float

    @property
    def alive(self) -> bool:
        """Whether a reconciler runs and keeps up."""
        return self.age_s < ALIVE_S


async def read_lines(settings: Settings, codec: Codec) -> Told:
    """The newest line of every key, from the last minutes of operations.balance."""
    now_ms = int(time.time() * 1000)
    found: dict[str, StageLine] = {}
    newest = float("-inf")
    since_ms = now_ms - int(2 * ALL_EVERY_S * 1000)
    async for message in read_through(settings, BALANCE, since_ms=since_ms):
        try:
            record = codec.decode(_SCHEMA, message.value)
        except UnreadableError:
            continue
        newest = max(newest, record.pop("at_ms"))
        line = StageLine(**record)
        found[line.key] = line
    order = sorted(found.values(), key=lambda line: (line.tenant, line.partition))
    return Told(lines=order, age_s=(time.time() * 1000 - newest) / 1000)


def shown(line: StageLine) -> Line:
    """A line as people see it: fan-out forwards, sinks deliver."""
    where = "" if is_total(line) else f" {line.tenant}"
    if line.partition != EVERY_PARTITION:
        where += f"/{line.partition}"
    if is_fanout(line.sink):
        sink = sink_of(line.sink)
        return Line(
            name=f"events.business → sink.{sink}{where}",
            went_in=line.accepted,
            places={"forwarded": line.delivered, "waiting": line.waiting},
        )
    return Line(
        name=f"sink.{line.sink}{where}",
        went_in=line.accepted,
        places={place: getattr(line, place) for place in (*OUTCOMES, "waiting")},
        parked=line.parked,
    )
