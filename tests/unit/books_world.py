"""Histories of events at one sink, in any order of the topics, and what they must come to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hypothesis import strategies as st

from pipeline.core.fates import NOTHING, End, Fate, Fold, Index, Result, Seen, Weight

SINK = "erp"
Log = tuple[str, int]


def seen(event: int, *, offset: int = 0) -> Seen:
    """An event: its number decides tenant and partition."""
    return Seen(
        event_id=f"e{event}",
        tenant=f"t{event % 2}",
        device_id=f"t{event % 2}/d{event}",
        partition=event % 2,
        offset=offset,
        at_ms=1_000 + offset,
    )


def result(event: int, end: End, *, at_ms: int = 5_000) -> Result:
    """A result of that event."""
    place = seen(event)
    return Result(
        event_id=place.event_id,
        tenant=place.tenant,
        device_id=place.device_id,
        partition=place.partition,
        end=end,
        at_ms=at_ms,
        target_id=str(100 + event),
    )


Step = Callable[[Fold], None]


@dataclass
class History:
    """Messages by topic and partition, in order, and what all of them come to."""

    logs: dict[Log, list[Step]] = field(default_factory=dict)
    there: dict[int, int] = field(default_factory=dict)
    """First offset in the sink's topic, by event."""
    ends: dict[int, End] = field(default_factory=dict)
    parked: dict[tuple[int, bytes], int] = field(default_factory=dict)

    def log(self, name: str, event: int) -> list[Step]:
        """The log of that topic in which the event's messages lie."""
        return self.logs.setdefault((name, event % 2), [])

    def write_event(self, event: int) -> None:
        log = self.log("sink", event)
        offset = len(log)
        self.there.setdefault(event, offset)
        log.append(lambda fold: fold.seen(SINK, seen(event, offset=offset)))

    def write_result(self, event: int, end: End) -> None:
        self.ends[event] = end
        self.log("results", event).append(lambda fold: fold.ended(SINK, result(event, end)))

    def park(self, event: int, row: int) -> None:
        key = f"e{event}/{row}".encode()
        self.parked[event % 2, key] = event
        self.log("parked", event).append(lambda fold: fold.parked(SINK, key, seen(event)))

    def unpark(self, event: int, row: int) -> None:
        key = f"e{event}/{row}".encode()
        self.parked.pop((event % 2, key), None)
        self.log("parked", event).append(lambda fold: fold.unparked(SINK, event % 2, key))

    def counts(self) -> dict[tuple[str, str, int], Weight]:
        """Counts of each line, found the slow way."""
        out: dict[tuple[str, str, int], Weight] = {}
        waits = set(self.parked.values())
        for event in self.there:
            end = self.ends.get(event)
            weight = Weight(accepted=1, **({end.value: 1} if end else {"open": 1}))
            if end is None and event in waits:
                weight = weight._replace(parked=1)
            line = (SINK, f"t{event % 2}", event % 2)
            out[line] = out.get(line, NOTHING).plus(weight)
        return out

    def listed(self, index: Index) -> set[str]:
        """Ids in one of the lists, found the slow way."""
        waits = set(self.parked.values())
        open_ = {e for e in self.there if e not in self.ends}
        found = {
            Index.OPEN: open_ - waits,
            Index.PARKED: open_ & waits,
            Index.EARLY: self.ends.keys() - self.there.keys(),
        }[index]
        return {f"e{event}" for event in found}


EVENTS = st.integers(0, 5)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Messages of a few events, with repetitions."""
    history = History()
    steps = st.one_of(
        st.tuples(st.just("event"), EVENTS),
        st.tuples(st.just("event"), EVENTS),
        st.tuples(st.just("result"), EVENTS, st.sampled_from(End)),
        st.tuples(st.just("park"), EVENTS, st.integers(0, 1)),
        st.tuples(st.just("unpark"), EVENTS, st.integers(0, 1)),
    )
    for kind, event, *more in draw(st.lists(steps, max_size=30)):
        if kind == "event":
            history.write_event(event)
        elif kind == "result":
            history.write_result(event, more[0])
        elif kind == "park":
            history.park(event, more[0])
        else:
            history.unpark(event, more[0])
    return history


def interleaved(draw: st.DrawFn, history: History) -> Iterator[Log]:
    """From which log the next message is read, until all are at their ends; then over again."""
    left = {log: len(steps) for log, steps in history.logs.items()}
    while any(left.values()):
        log = draw(st.sampled_from(sorted(log for log, n in left.items() if n)))
        left[log] -= 1
        yield log


class Shelf:
    """Rows in memory, for Fold: counts and lists are kept as a store keeps them."""

    def __init__(self) -> None:
        self.fates: dict[tuple[str, str], Fate] = {}
        self.rows: dict[tuple[str, int, bytes], str] = {}
        self.lines: dict[tuple[str, str, int], Weight] = {}
        self.lists: dict[Index, set[str]] = {index: set() for index in Index}

    def fate(self, stage: str, event_id: str) -> Fate | None:
        return self.fates.get((stage, event_id))

    def put(self, stage: str, event_id: str, old: Fate | None, new: Fate) -> None:
        self.fates[stage, event_id] = new
        for fate, times in ((old, -1), (new, 1)):
            if fate is None:
                continue
            if fate.index is not None:
                (self.lists[fate.index].add if times == 1 else self.lists[fate.index].discard)(
                    event_id
                )
            line = (stage, fate.tenant, fate.partition)
            self.lines[line] = self.lines.get(line, NOTHING).plus(fate.weight, times)

    def parked_event(self, stage: str, partition: int, key: bytes) -> str | None:
        return self.rows.get((stage, partition, key))

    def put_parked(self, stage: str, partition: int, key: bytes, event_id: str | None) -> None:
        if event_id is None:
            self.rows.pop((stage, partition, key), None)
        else:
            self.rows[stage, partition, key] = event_id
