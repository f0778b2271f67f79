"""The ledger's rule: whatever is compacted when, every row is loaded once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from connectors.warehouse.base import Entry, LakeFile, Listed, Step, Way
from connectors.warehouse.ledger import (
    Verdict,
    after,
    entries,
    judge,
    replaced,
    steps,
    united,
    unknown,
)
from pipeline.core.lake_keep import Span

DATES = ("2026-11-21", "2026-11-22")


@dataclass
class World:
    """A lake of spans and a warehouse of (date, partition, offset), one row for each offset."""

    live: dict[str, LakeFile] = field(default_factory=dict)
    offsets: list[int] = field(default_factory=lambda: [0, 0])
    made: int = 0
    ledger: list[Entry] = field(default_factory=list)
    rows: Counter[tuple[str, int, int]] = field(default_factory=Counter)

    def put(self, date: str, spans: tuple[Span, ...]) -> None:
        self.made += 1
        key = f"{date}/{self.made:05d}.parquet"
        count = sum(span.last - span.first + 1 for span in spans)
        self.live[key] = LakeFile(
            key=key, date=date, rows=count, size=1, spans=united(spans), columns=(), position_sum=0
        )

    def write(self, partition: int, length: int, dates: tuple[str, ...]) -> None:
        first = self.offsets[partition]
        self.offsets[partition] += length
        for date in dates:
            self.put(date, (Span("t", partition, first, first + length - 1),))

    def compact(self, date: str, most: int) -> None:
        chosen = [file for file in self.live.values() if file.date == date][:most]
        if len(chosen) > 1:
            for file in chosen:
                del self.live[file.key]
            self.put(date, tuple(span for file in chosen for span in file.spans))

    def load(self, most: int, stop_after: int | None = None) -> None:
        listed = [
            Listed(key=f.key, date=f.date, rows=f.rows, size=f.size) for f in self.live.values()
        ]
        new = [self.live[file.key] for file in unknown(listed, self.ledger)]
        verdict = judge(new, self.ledger)
        assert isinstance(verdict, Verdict), verdict
        by_date = {d: [f for f in self.live.values() if f.date == d] for d in verdict.anew}
        for step in steps(verdict, self.live, by_date, most=most)[:stop_after]:
            self.apply(step)

    def apply(self, step: Step) -> None:
        if step.way is Way.ANEW:
            for row in [row for row in self.rows if row[0] in step.dates]:
                del self.rows[row]
        if step.way is not Way.NOTE:
            for file in step.files:
                self.rows.update(rows_of(file))
        self.ledger = after(step.way, entries(step, snapshot=1, at="now"), self.ledger)


def rows_of(file: LakeFile) -> list[tuple[str, int, int]]:
    return [(file.date, s.partition, o) for s in file.spans for o in range(s.first, s.last + 1)]


ACTS = st.one_of(
    st.tuples(
        st.just("write"),
        st.integers(0, 1),
        st.integers(1, 5),
        st.lists(st.sampled_from(DATES), min_size=1, max_size=2, unique=True).map(tuple),
    ),
    st.tuples(st.just("compact"), st.sampled_from(DATES), st.integers(2, 4)),
    st.tuples(st.just("load"), st.integers(1, 3), st.none() | st.integers(0, 2)),
)


@given(st.lists(ACTS, max_size=25))
def test_whatever_is_compacted_when_every_row_is_there_once(acts: list[tuple[object, ...]]) -> None:
    world = World()
    for name, *arguments in acts:
        getattr(world, str(name))(*arguments)
    world.load(most=100)
    wanted = Counter(row for file in world.live.values() for row in rows_of(file))
    assert world.rows == wanted
    assert {entry.file for entry in world.ledger} == set(world.live)
    assert sum(entry.rows for entry in world.ledger) == world.rows.total()
    before = list(world.ledger)
    world.load(most=100)
    assert world.ledger == before, "a second load has nothing to do"


def test_two_files_with_the_same_offsets_of_a_date_are_a_fault() -> None:
    world = World()
    world.put(DATES[0], (Span("t", 0, 0, 9),))
    world.put(DATES[0], (Span("t", 0, 9, 12),))
    assert "hold the same offsets" in str(judge(list(world.live.values()), ()))


def test_the_same_offsets_on_two_dates_are_none() -> None:
    world = World()
    world.write(0, 10, DATES)
    assert judge(list(world.live.values()), ()) == Verdict(
        append=tuple(world.live), note=(), anew=()
    )


def test_a_file_of_very_many_spans_is_told_in_several_entries_that_count_its_rows_once() -> None:
    world = World()
    world.put(DATES[0], tuple(Span("t", 0, at, at) for at in range(0, 2_400, 2)))
    [file] = world.live.values()
    told = entries(Step(way=Way.APPEND, files=(file,)), snapshot=1, at="now")
    assert len(told) == 3
    assert sum(entry.rows for entry in told) == file.rows
    assert united([span for entry in told for span in entry.spans]) == file.spans
    assert replaced(Way.NOTE, told, told) == (file.key,)
