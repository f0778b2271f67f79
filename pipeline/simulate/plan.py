"""What the simulator sends, in which order, and what must come of it: a pure function.

Every send has a kind, and every kind has one fate, so the expectation is a sum:

    published = unique + duplicates + too_late + quarantined        (all in readings)

| kind | what happens | fate |
|---|---|---|
| on_time | a sample in its turn | unique |
| reordered | goes after one to three later messages of its device | unique |
| burst | its device was silent, then sent all that was due at once | unique |
| duplicate | the same payload again, a few messages later | duplicates |
| late | held back until more than `window` later numbers went out | too_late |
| malformed | an extra message that cannot be read | quarantined, one reading each |

Shuffling keeps within what dedup tells exactly: a reordered or repeated message is less than
`window` sequence numbers behind the newest, a late one more than `window` behind. What the
network repeats by itself (a message sent again because its PUBACK was lost) is more
duplicates, and is counted apart.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipeline.core.quarantine import Reason
from pipeline.simulate.cmapss import CYCLE_MS, ENGINES, SENSORS

READINGS = len(SENSORS)
"""Readings in a sample."""
_LATE_MARGIN = 8
_MAX_SWAP = 3
_MAX_LAG = 10
_ARRAY = 3
"""Most samples in one message."""


class Kind(StrEnum):
    """Why a message goes out when it does."""

    ON_TIME = "on_time"
    REORDERED = "reordered"
    BURST = "burst"
    DUPLICATE = "duplicate"
    LATE = "late"
    MALFORMED = "malformed"


class Form(StrEnum):
    """In which form an engine writes its payloads (schemas/json)."""

    SAMPLE = "sample"
    ARRAY = "array"
    SENML = "senml"


class Flaw(StrEnum):
    """What is wrong with a malformed message."""

    BROKEN_JSON = "broken_json"
    NO_VALUE = "no_value"
    NAN = "nan"
    TEXT = "text"
    FUTURE = "future"
    OVERSIZED = "oversized"
    BAD_DEVICE = "bad_device"


REASONS = {
    Flaw.BROKEN_JSON: Reason.NOT_JSON,
    Flaw.NO_VALUE: Reason.MISSING_FIELD,
    Flaw.NAN: Reason.NOT_JSON,
    Flaw.TEXT: Reason.NOT_NUMERIC,
    Flaw.FUTURE: Reason.TIME_IN_FUTURE,
    Flaw.OVERSIZED: Reason.OVERSIZED,
    Flaw.BAD_DEVICE: Reason.BAD_TOPIC,
}
"""With which reason each is quarantined. JSON has no NaN, so that one is not JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """How rough the run is. Fractions are of messages, unless they say of engines."""

    speed: float = 0.0
    """Messages per second; 0 = as fast as they are acknowledged."""
    engines: int = ENGINES
    duplicates: float = 0.02
    reordered: float = 0.02
    late: float = 0.01
    """Of the messages that can be late: not every engine lives long enough."""
    malformed: float = 0.01
    arrays: float = 0.1
    """Of engines."""
    senml: float = 0.1
    """Of engines."""
    unnumbered: bool = False
    """SenML engines send no sequence numbers. Dedup then goes by event time, so counts are
    exact in the first run against fresh state only: a later run begins in the past."""
    skewed: float = 0.1
    """Of engines."""
    skew_s: float = 300.0
    """Greatest error of a skewed engine's clock, seconds, either way."""
    bursts: int = 5
    """Engines that go silent once."""
    burst_cycles: int = 20
    """How long, in cycles of ten minutes of event time."""
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("duplicates", "reordered", "late", "malformed", "arrays", "senml", "skewed"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a fraction: it must be from 0 to 1.")
        if not 1 <= self.engines <= ENGINES:
            raise ValueError(f"engines must be from 1 to {ENGINES}: the sample has no more.")
        if self.speed < 0 or self.bursts < 0 or self.burst_cycles < 1:
            raise ValueError("speed and bursts must not be negative, burst_cycles at least 1.")
        if not 0 <= self.skew_s <= 3600:  # noqa: PLR2004 - an hour, as the message says
            raise ValueError("skew_s must be from 0 to 3600 seconds.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """One message. `cycles` are those of the samples in it, from 1; none if malformed."""

    kind: Kind
    engine: int
    """Index of the engine, from 0."""
    cycles: tuple[int, ...]
    flaw: Flaw | None = None

    @property
    def readings(self) -> int:
        """What it counts for: an unreadable message is one reading."""
        return len(self.cycles) * READINGS if self.flaw is None else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must come of some sends, in readings."""

    published: int
    unique_readings: int
    duplicates: int
    too_late: int
    quarantined: int

    @property
    def closes(self) -> bool:
        """Whether every published reading has exactly one fate."""
        return self.published == (
            self.unique_readings + self.duplicates + self.too_late + self.quarantined
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All sends in order. `forms` and `skew_ms` have one entry per engine."""

    knobs: Knobs
    forms: tuple[Form, ...]
    skew_ms: tuple[int, ...]
    longest: int
    """Cycles of the longest-lived engine: its last one ends the run's event time."""
    sends: tuple[Send, ...]

    def event_ms(self, engine: int, cycle: int, start_ms: int) -> int:
        """Event time of a sample by its engine's own clock, milliseconds since the epoch."""
        return start_ms - (self.longest - cycle) * CYCLE_MS + self.skew_ms[engine]

    def numbered(self, engine: int) -> bool:
        """Whether the engine sends sequence numbers."""
        return not (self.knobs.unnumbered and self.forms[engine] is Form.SENML)


def expect(sends: Iterable[Send]) -> Expected:
    """The sum of the module's table over `sends`."""
    by_kind = dict.fromkeys(Kind, 0)
    for send in sends:
        by_kind[send.kind] += send.readings
    return Expected(
        published=sum(by_kind.values()),
        unique_readings=by_kind[Kind.ON_TIME] + by_kind[Kind.REORDERED] + by_kind[Kind.BURST],
        duplicates=by_kind[Kind.DUPLICATE],
        too_late=by_kind[Kind.LATE],
        quarantined=by_kind[Kind.MALFORMED],
    )


def make_plan(knobs: Knobs, lives: Sequence[int], window: int) -> Plan:
    """The plan for engines with these lives, in cycles, and this dedup window, in samples."""
    rng = random.Random(knobs.seed)  # noqa: S311 - a reproducible run, no secret
    engines = len(lives)
    forms = _forms(knobs, engines, rng)
    skew = dict.fromkeys(_some(rng, engines, round(knobs.skewed * engines)), 0)
    silent = set(_some(rng, engines, knobs.bursts))
    placed: list[tuple[int, int, float, Send]] = []
    for engine, life in enumerate(lives):
        if engine in skew:
            skew[engine] = round(rng.uniform(-knobs.skew_s, knobs.skew_s) * 1000)
        chunks = list(_chunks(forms[engine], life, rng))
        keyed = sorted(_shuffled(knobs, forms[engine], chunks, window, rng), key=lambda e: e[0])
        quiet = range(0)
        if engine in silent and life > knobs.burst_cycles:
            begin = rng.randint(1, life - knobs.burst_cycles)
            quiet = range(begin, begin + knobs.burst_cycles)
        for key, kind, cycles in keyed:
            slot = chunks[min(int(key), len(chunks) - 1)][-1]
            if slot in quiet:
                slot = quiet[-1]
                burst = kind is Kind.ON_TIME and cycles[-1] < slot
                placed.append(
                    (slot, engine, key, _send(Kind.BURST if burst else kind, engine, cycles))
                )
            else:
                placed.append((slot, engine, key, _send(kind, engine, cycles)))
    for n in range(round(knobs.malformed * len(placed))):
        engine = rng.randrange(engines)
        slot = rng.randint(1, lives[engine])
        flaw = list(Flaw)[n % len(Flaw)]
        bad = Send(kind=Kind.MALFORMED, engine=engine, cycles=(), flaw=flaw)
        placed.append((slot, engine, float("inf"), bad))
    placed.sort(key=lambda entry: entry[:3])
    return Plan(
        knobs=knobs,
        forms=forms,
        skew_ms=tuple(skew.get(engine, 0) for engine in range(engines)),
        longest=max(lives),
        sends=tuple(entry[3] for entry in placed),
    )


def _send(kind: Kind, engine: int, cycles: tuple[int, ...]) -> Send:
    return Send(kind=kind, engine=engine, cycles=cycles)


def _some(rng: random.Random, engines: int, count: int) -> list[int]:
    return rng.sample(range(engines), min(count, engines))


def _forms(knobs: Knobs, engines: int, rng: random.Random) -> tuple[Form, ...]:
    arrays = round(knobs.arrays * engines)
    senml = min(round(knobs.senml * engines), engines - arrays)
    chosen = _some(rng, engines, arrays + senml)
    forms = [Form.SAMPLE] * engines
    for n, engine in enumerate(chosen):
        forms[engine] = Form.ARRAY if n < arrays else Form.SENML
    return tuple(forms)


def _chunks(form: Form, life: int, rng: random.Random) -> Iterator[tuple[int, ...]]:
    """Cycles of each message of one engine, all of 1 to `life` once and in order."""
    begin = 1
    while begin <= life:
        size = {Form.SAMPLE: 1, Form.ARRAY: rng.randint(2, _ARRAY), Form.SENML: rng.randint(1, 2)}
        end = min(begin + size[form], life + 1)
        yield tuple(range(begin, end))
        begin = end


def _shuffled(
    knobs: Knobs,
    form: Form,
    chunks: Sequence[tuple[int, ...]],
    window: int,
    rng: random.Random,
) -> Iterator[tuple[float, Kind, tuple[int, ...]]]:
    """Messages of one engine, each with its place among them.

    A whole number is a message's own turn, a fraction comes after the message of that turn.
    A message k turns late is behind the newest by less than _ARRAY * (k + 1) numbers: that
    must stay below the window. Two late ones are far enough apart that between `window` and
    `window` + _LATE_MARGIN numbers later at least one message went out in time.
    """
    most = max(0, min(_MAX_LAG, window // _ARRAY - 1))
    last = len(chunks) - 1
    next_late = 0
    for i, cycles in enumerate(chunks):
        late_at = i + window + _LATE_MARGIN
        could_be_late = form is Form.SAMPLE and i >= next_late and late_at <= last
        if could_be_late and rng.random() < knobs.late:
            next_late = i + _LATE_MARGIN + 2
            yield late_at + 0.6, Kind.LATE, cycles
            continue
        swap = min(_MAX_SWAP, most, last - i)
        k = rng.randint(1, swap) if swap and rng.random() < knobs.reordered else 0
        key = i + k + 0.5 if k else float(i)
        yield key, Kind.REORDERED if k else Kind.ON_TIME, cycles
        if rng.random() < knobs.duplicates:
            yield key + rng.randint(0, most - k) + 0.2, Kind.DUPLICATE, cycles
