"""Which fault comes when: a pure function of a seed, so that a failure can be played again."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tests.crash.plan import SESSION_S
from tests.faults.strikes import COMMITTING, Aim, Strike, Way, Words

REQUEST_S: Final = 2.0
"""Longest wait for an answer, as the workers of the run are told."""
SETTLE_S: Final = 3.0
"""Their wait before a look-up."""
WORKERS: Final = 2
OUTAGE_S: Final = 300.0
SHORT_OUTAGE_S: Final = 8.0
HOLD_S: Final = 60.0
"""Longest silence of the proxy; every client gives up long before."""


class Kind(StrEnum):
    """Kinds of faults, as the table names them."""

    COMMIT_DROP = "ERP commits, the answer is lost"
    COMMIT_LATE = "ERP gets the request after its time-out"
    DROP = "request lost before the ERP"
    HALF_OPEN = "ERP accepts and says nothing"
    SLOW = "slow bytes, narrow line"
    DELAY = "answers come late"
    ERROR_500 = "500 or 503, committed or not"
    LIMIT_429 = "429 with Retry-After"
    HTML = "an HTML page with 200"
    GARBAGE = "garbage, half or no JSON, a flood"
    EXPIRED = "session expired (401)"
    DNS = "ERP's name cannot be resolved"
    ERP_KILL = "ERP killed, started again"
    ERP_OUTAGE = "ERP down at full rate"
    KILL = "worker kill -9"
    PAUSE_SHORT = "worker paused, within the session"
    PAUSE_LONG = "worker paused, past the session"
    REDIS_KILL = "Redis kill -9, started again"
    REDIS_EMPTY = "Redis emptied under load"
    REDIS_EMPTY_DOWN = "Redis emptied, workers down"
    KAFKA_RESTART = "Kafka restarts"
    POISON = "poison event within a key"
    UNREADABLE = "unreadable bytes within a key"
    REPLAY = "dead letters replayed meanwhile"


SHARES: Final[Mapping[Kind, int]] = {
    Kind.COMMIT_DROP: 38,
    Kind.COMMIT_LATE: 12,
    Kind.DROP: 16,
    Kind.HALF_OPEN: 10,
    Kind.SLOW: 8,
    Kind.DELAY: 6,
    Kind.ERROR_500: 14,
    Kind.LIMIT_429: 8,
    Kind.HTML: 8,
    Kind.GARBAGE: 14,
    Kind.EXPIRED: 8,
    Kind.DNS: 5,
    Kind.ERP_KILL: 3,
    Kind.KILL: 12,
    Kind.PAUSE_SHORT: 6,
    Kind.PAUSE_LONG: 4,
    Kind.REDIS_KILL: 6,
    Kind.REDIS_EMPTY: 4,
    Kind.REDIS_EMPTY_DOWN: 3,
    Kind.KAFKA_RESTART: 3,
    Kind.POISON: 4,
    Kind.UNREADABLE: 3,
    Kind.REPLAY: 4,
    Kind.ERP_OUTAGE: 1,
}
"""How often each kind comes in a plan of 200; longer and shorter ones keep the shares."""

SHORT: Final = (
    Kind.COMMIT_DROP,
    Kind.COMMIT_LATE,
    Kind.KILL,
    Kind.COMMIT_DROP,
    Kind.ERROR_500,
    Kind.EXPIRED,
    Kind.POISON,
    Kind.REPLAY,
    Kind.ERP_OUTAGE,
    Kind.COMMIT_DROP,
    Kind.GARBAGE,
    Kind.REDIS_EMPTY,
    Kind.COMMIT_DROP,
    Kind.REDIS_KILL,
    Kind.HALF_OPEN,
    Kind.HTML,
    Kind.DNS,
    Kind.DROP,
    Kind.UNREADABLE,
    Kind.PAUSE_SHORT,
    Kind.LIMIT_429,
    Kind.KAFKA_RESTART,
    Kind.SLOW,
    Kind.COMMIT_DROP,
)
"""The short form: each family, in this order."""

LASTS_S: Final[Mapping[Kind, tuple[float, float]]] = {
    Kind.DNS: (1.0, 3.0),
    Kind.ERP_KILL: (1.0, 5.0),
    Kind.PAUSE_SHORT: (1.0, 0.6 * SESSION_S),
    Kind.PAUSE_LONG: (1.1 * SESSION_S, 1.4 * SESSION_S),
    Kind.REDIS_KILL: (0.3, 3.0),
    Kind.KAFKA_RESTART: (0.3, 2.0),
}
"""How long the kinds that end by themselves last, seconds: least and most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault: `after_s` seconds into its round, for `for_s` seconds (0: a moment).

    `worker` is an instance number where one is struck, `strike` what the proxy does where it
    is the proxy's fault.
    """

    number: int
    kind: Kind
    after_s: float
    for_s: float = 0.0
    worker: int | None = None
    strike: Strike | None = None

    def line(self) -> str:
        """One line for a person."""
        whom = "" if self.worker is None else f" worker {self.worker}"
        lasts = f" for {self.for_s:.1f} s" if self.for_s else ""
        how = "" if self.strike is None else f" ({_told(self.strike)})"
        return f"{self.number:>3}  {self.kind}{how}{whom}{lasts}, after {self.after_s:.2f} s"


@dataclass(frozen=True, slots=True)
class Plan:
    """All faults of a run, in their order. `short` runs are scaled down."""

    seed: int
    faults: tuple[Fault, ...]
    short: bool = False


def make_plan(seed: int, faults: int, *, short: bool = False, outage_s: float = OUTAGE_S) -> Plan:
    """The plan of a seed; the short form has its own number and outage. ValueError under one."""
    if faults < 1:
        raise ValueError(f"A plan has at least one fault, not {faults}.")
    rng = random.Random(seed)  # noqa: S311 - a plan that can be played again, no secret
    kinds = list(SHORT) if short else _kinds(rng, faults)
    made = []
    for number, kind in enumerate(kinds):
        low, high = LASTS_S.get(kind, (0.0, 0.0))
        for_s = rng.uniform(low, min(high, low + 1.0) if short else high)
        if kind is Kind.ERP_OUTAGE:
            for_s = SHORT_OUTAGE_S if short else outage_s
        hurt = kind in {Kind.KILL, Kind.PAUSE_SHORT, Kind.PAUSE_LONG}
        made.append(
            Fault(
                number=number,
                kind=kind,
                after_s=round(rng.uniform(0.0, 0.3 if short else 1.2), 2),
                for_s=round(for_s, 2),
                worker=rng.randrange(WORKERS) if hurt else None,
                strike=STRIKES[kind](rng) if kind in STRIKES else None,
            )
        )
    return Plan(seed, tuple(made), short)


def _kinds(rng: random.Random, faults: int) -> list[Kind]:
    """Kinds by their shares, in an order by chance, with the outage in the middle.

    A replay comes right after a poison event, so that there is something to replay.
    """
    total = sum(SHARES.values())
    wanted = {kind: max(1, round(faults * share / total)) for kind, share in SHARES.items()}
    replays = wanted.pop(Kind.REPLAY)
    wanted[Kind.POISON] = max(0, wanted[Kind.POISON] - replays)
    del wanted[Kind.ERP_OUTAGE]
    units: list[tuple[Kind, ...]] = [(kind,) for kind, n in wanted.items() for _ in range(n)]
    units += [(Kind.POISON, Kind.REPLAY)] * replays
    units += [(Kind.COMMIT_DROP,)] * (faults - 1 - sum(map(len, units)))
    rng.shuffle(units)
    out = [kind for unit in units for kind in unit][: faults - 1]
    out.insert(len(out) // 2, Kind.ERP_OUTAGE)
    return out


def _commit_drop(rng: random.Random) -> Strike:
    way = rng.choice(sorted(COMMITTING))
    return Strike(way=way, aim=Aim.WRITES, seconds=HOLD_S, part=rng.randrange(100) / 100)


def _commit_late(rng: random.Random) -> Strike:
    late_s = round(rng.uniform(REQUEST_S + 0.2, SETTLE_S - 0.2), 2)
    return Strike(way=Way.DELAY, aim=Aim.WRITES, seconds=late_s)


def _drop(rng: random.Random) -> Strike:
    way = rng.choice((Way.RESET, Way.CLOSE))
    return Strike(way=way, aim=rng.choice(list(Aim)), times=rng.randint(1, 3))


def _half_open(rng: random.Random) -> Strike:
    aim = rng.choice((Aim.WRITES, Aim.ANY))
    return Strike(way=Way.SILENT, aim=aim, times=rng.randint(1, 2), seconds=HOLD_S)


def _slow(rng: random.Random) -> Strike:
    way = rng.choice((Way.SLOW, Way.NARROW))
    return Strike(way=way, rate=rng.randint(40, 2_000), times=rng.randint(1, 3))


def _delay(rng: random.Random) -> Strike:
    seconds = round(rng.uniform(0.1, 0.8 * REQUEST_S), 2)
    return Strike(way=Way.DELAY, seconds=seconds, times=rng.randint(1, 4))


def _answer(*words: Words, committed: bool, most: int = 3) -> Callable[[random.Random], Strike]:
    def make(rng: random.Random) -> Strike:
        return Strike(
            way=Way.ANSWER,
            aim=rng.choice((Aim.WRITES, Aim.WRITES, Aim.ANY)),
            times=rng.randint(1, most),
            seconds=rng.randint(1, 2),
            part=rng.randrange(100) / 100,
            words=rng.choice(words),
            passed_on=committed and rng.random() < 0.5,
        )

    return make


STRIKES: Final[Mapping[Kind, Callable[[random.Random], Strike]]] = {
    Kind.COMMIT_DROP: _commit_drop,
    Kind.COMMIT_LATE: _commit_late,
    Kind.DROP: _drop,
    Kind.HALF_OPEN: _half_open,
    Kind.SLOW: _slow,
    Kind.DELAY: _delay,
    Kind.ERROR_500: _answer(Words.ERROR_500, Words.UNAVAILABLE_503, committed=True),
    # Their words mean that nothing was done, so they never come after a commit.
    Kind.LIMIT_429: _answer(Words.LIMIT_429, committed=False, most=2),
    Kind.EXPIRED: _answer(Words.EXPIRED_401, committed=False, most=2),
    Kind.HTML: _answer(Words.HTML_200, committed=True),
    Kind.GARBAGE: _answer(
        Words.GARBAGE,
        Words.BROKEN_GZIP,
        Words.TRUNCATED,
        Words.EMPTY_200,
        Words.FLOOD,
        committed=True,
    ),
}
"""What the proxy does, by the kinds that are its."""


def _told(strike: Strike) -> str:
    what = strike.words.value if strike.way is Way.ANSWER else strike.way.value
    after = " after commit" if strike.passed_on else ""
    return f"{what}{after}, {strike.times} of {strike.aim}"
