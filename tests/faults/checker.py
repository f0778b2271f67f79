"""Compares what went in with what the ERP holds and what was told. Pure.

An event is well when the ERP has one order for it, or its last result says that it has none and
why. Order is judged within a device, by the ids that the ERP gave: they rise as orders are made.
An event that was ever dead-lettered comes out of its turn by a person's decision; only those
that never were are held to their order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from tests.faults.plan import Kind

WITHOUT: Final = frozenset({"rejected", "dead_lettered", "superseded", "discarded"})
"""Outcomes of an event that the target need not have."""
REJECTED: Final = "rejected"
"""Cause of the dead letters that a run asks for: the target refuses a poisoned customer."""


class Flaw(StrEnum):
    """What can be wrong."""

    LOST = "lost"
    DOUBLED = "doubled"
    OUT_OF_ORDER = "out of order"
    WRONG_RESULT = "wrong result"
    """The last result says something else than the ERP holds, or there is none."""
    NEEDLESS = "needless dead letter"
    """Given up for a trouble of the system's, about which a person can decide nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One event that Kafka acknowledged. `number` rises over the run; `at_ms` is when it was sent.

    Of bytes that are no event, `event_id` is empty and `payload` says which they are.
    """

    number: int
    event_id: str
    device: str
    at_ms: int
    payload: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the target made: for which key, when (`place` rises), and what it calls it."""

    key: str
    place: int
    target_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One result of delivery.results."""

    outcome: str
    at_ms: int
    code: str = ""
    cause_class: str = ""
    target_id: str | None = None


@dataclass(slots=True, kw_only=True)
class Struck:
    """A fault that came about: when, and which events' requests it hit, where that is known."""

    kind: Kind
    begun_ms: int
    ended_ms: int = 0
    keys: set[str] = field(default_factory=set)
    hits: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One flaw of one event. `kind` is the fault it is put down to; None before the first."""

    flaw: Flaw
    kind: Kind | None
    event_id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is compared, of one sink.

    `orders`: each order in the ERP (or what a receiver made of an event). `told`: results by
    event id, in their order.
    `dead`: payloads in the DLQ by event id ('' for those that could not be read).
    """

    sent: Sequence[Sent]
    orders: Sequence[Order]
    told: Mapping[str, Sequence[Told]]
    dead: Mapping[str, Sequence[bytes]]
    struck: Sequence[Struck]


def check(evidence: Evidence) -> list[Finding]:
    """Every flaw, in the order of the journal."""
    blame = Blame(evidence.struck)
    made: dict[str, list[Order]] = defaultdict(list)
    for order in evidence.orders:
        made[order.key].append(order)
    newest: dict[str, Order] = {}
    out: list[Finding] = []
    for sent in evidence.sent:
        orders = sorted(made.pop(sent.event_id, ()), key=lambda order: order.place)
        for flaw, text in _flaws(sent, orders, evidence, newest):
            kind = blame.of(sent, evidence.told.get(sent.event_id, ()))
            where = f"{sent.device} event {sent.number} {sent.event_id} {text}"
            out.append(Finding(flaw=flaw, kind=kind, event_id=sent.event_id, text=where))
    for key, orders in made.items():
        text = f"{_names(orders)} has key {key!r}, which nobody sent"
        out.append(Finding(flaw=Flaw.DOUBLED, kind=None, event_id=key, text=text))
    return out


def _flaws(
    sent: Sent, orders: Sequence[Order], evidence: Evidence, newest: dict[str, Order]
) -> Iterator[tuple[Flaw, str]]:
    """What is wrong with one event; `newest` is kept: each device's latest order so far."""
    told = evidence.told.get(sent.event_id, ())
    needless = [t for t in told if t.outcome == "dead_lettered" and t.cause_class != REJECTED]
    if needless:
        yield Flaw.NEEDLESS, f"was given up: {needless[0].cause_class}, {needless[0].code}"
    if not sent.event_id:
        if sent.payload not in evidence.dead.get("", ()):
            yield Flaw.LOST, "is no event, and its bytes are not in the DLQ"
        return
    if not orders:
        if (wrong := _absent(sent, told, evidence.dead)) is not None:
            yield Flaw.LOST, wrong
        return
    if len(orders) > 1:
        yield Flaw.DOUBLED, f"is at the target as {_names(orders)}"
    if (wrong := _misreported(orders, told)) is not None:
        yield Flaw.WRONG_RESULT, wrong
    if sent.event_id in evidence.dead:
        return
    before = newest.get(sent.device)
    if before is None or orders[0].place > before.place:
        newest[sent.device] = orders[0]
    else:
        text = f"is {orders[0].target_id}, made before {before.target_id} of {before.key}"
        yield Flaw.OUT_OF_ORDER, text


def _names(orders: Sequence[Order]) -> str:
    return ", ".join(order.target_id for order in orders)


def _absent(sent: Sent, told: Sequence[Told], dead: Mapping[str, Sequence[bytes]]) -> str | None:
    """What is wrong with an event that the ERP does not have; None where that is well."""
    if not told:
        return "has no order and no result"
    last = told[-1]
    if last.outcome not in WITHOUT:
        return f"has no order and was told {last.outcome} as {last.target_id}"
    if last.outcome == "dead_lettered" and sent.event_id not in dead:
        return "was told dead_lettered and is not in the DLQ"
    return None


def _misreported(orders: Sequence[Order], told: Sequence[Told]) -> str | None:
    """Where the last result says something else than the target holds."""
    if not told:
        return f"is at the target as {_names(orders)}, and has no result"
    last = told[-1]
    if last.outcome != "delivered":
        return f"is at the target as {_names(orders)}, and was told {last.outcome} ({last.code})"
    if last.target_id not in {order.target_id for order in orders}:
        return f"is at the target as {_names(orders)}, and was told {last.target_id}"
    return None


class Blame:
    """Which fault an event's trouble or delay is put down to."""

    def __init__(self, struck: Sequence[Struck]) -> None:
        self._struck = sorted(struck, key=lambda s: s.begun_ms)
        self._hit: dict[str, Kind] = {}
        for one in self._struck:
            self._hit |= dict.fromkeys(one.keys, one.kind)

    def of(self, sent: Sent, told: Sequence[Told]) -> Kind | None:
        """The last that hit its very request; else the first that was there while it was on its
        way; else the last before it was sent."""
        if sent.event_id in self._hit:
            return self._hit[sent.event_id]
        until = told[0].at_ms if told else sent.at_ms
        begun = [s for s in self._struck if s.begun_ms <= until]
        during = [s.kind for s in begun if s.ended_ms >= sent.at_ms]
        return during[0] if during else begun[-1].kind if begun else None


def delays_s(evidence: Evidence) -> dict[Kind | None, list[float]]:
    """From the acknowledgement by Kafka to the first result, seconds, by the fault in charge."""
    blame = Blame(evidence.struck)
    out: dict[Kind | None, list[float]] = defaultdict(list)
    for sent in evidence.sent:
        if told := evidence.told.get(sent.event_id):
            kind = blame.of(sent, told)
            out[kind].append(max(0.0, (told[0].at_ms - sent.at_ms) / 1000))
    return out


def catch_up_per_s(evidence: Evidence, ended_ms: int) -> float | None:
    """Events finished per second after an outage until 95 % of what had waited is through.

    None where nothing waited.
    """
    firsts = {s.number: evidence.told[s.event_id][0].at_ms for s in _finished(evidence)}
    waited = [s.number for s in _finished(evidence) if s.at_ms < ended_ms < firsts[s.number]]
    if not waited:
        return None
    ends = sorted(firsts[number] for number in waited)
    through_ms = ends[int(0.95 * (len(ends) - 1))]
    finished = sum(ended_ms < at_ms <= through_ms for at_ms in firsts.values())
    return round(finished * 1000 / max(1, through_ms - ended_ms), 1)


def p99_ms(evidence: Evidence, from_ms: int, to_ms: int) -> tuple[float | None, int]:
    """99th percentile from send to first result, of events sent in that time, and how many."""
    took = sorted(
        evidence.told[s.event_id][0].at_ms - s.at_ms
        for s in _finished(evidence)
        if from_ms <= s.at_ms < to_ms
    )
    return (float(took[int(0.99 * (len(took) - 1))]) if took else None), len(took)


def outcomes(told: Iterable[Sequence[Told]]) -> dict[str, int]:
    """How many events ended how."""
    return dict(Counter(one[-1].outcome for one in told if one).most_common())


def _finished(evidence: Evidence) -> list[Sent]:
    return [s for s in evidence.sent if evidence.told.get(s.event_id)]
