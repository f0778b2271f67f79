"""One load into a warehouse with transactions: rows and ledger together, or neither.

Each step is one transaction. It begins by raising the dataset's turn, which only one session can
do at a time; where the turn is not the one that the ledger was read at, somebody else has loaded
meanwhile and nothing is done. So a load can run any number of times, at once as well, and be
killed anywhere: what is in the ledger is in the table, once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from connectors.warehouse.base import (
    Difference,
    Entry,
    Halt,
    LakeFile,
    LakeSide,
    Listed,
    Loaded,
    Measure,
    Present,
    Result,
    Retry,
    Session,
    Step,
    TroubleError,
    Way,
    WrongError,
)
from connectors.warehouse.dialects import Dialect, groups
from connectors.warehouse.ledger import after, entries, judge, replaced, steps, unknown
from pipeline.core.lake_columns import Column
from pipeline.core.lake_keep import spans_of

T = TypeVar("T")


def entry_of(row: Sequence[Any]) -> Entry:
    """An entry from what Dialect.read_ledger asks for."""
    spans = spans_of(str(row[2]))
    if spans is None:
        raise WrongError(
            f"The ledger's entry for {row[1]} tells no offsets: it was changed by hand; take it "
            "out with the rows of its date, and load again."
        )
    return Entry(
        date=str(row[0])[:10],
        file=str(row[1]),
        spans=spans,
        rows=whole(row[3]),
        position_sum=whole(row[4]),
        snapshot=whole(row[5]),
        at=str(row[6]).replace("T", " ")[:19],
    )


def whole(value: object) -> int:
    """A number that a driver gives as int, Decimal or text; none at all is 0."""
    return int(Decimal(str(value or 0)))


def measured(rows: Sequence[Sequence[Any]]) -> dict[str, Measure]:
    """What Dialect.measure asks for, by date."""
    return {
        str(day)[:10]: Measure(rows=whole(count), position_sum=whole(total))
        for day, count, total in rows
    }


def read_ledger(dialect: Dialect, session: Session, lake: LakeSide) -> tuple[int, list[Entry]]:
    """The turn, and the ledger at that turn or later."""
    [(turn,)] = session.run(dialect.read_turn(lake.dataset))
    # None where other datasets were loaded and this one never.
    return whole(turn), [entry_of(row) for row in session.run(dialect.read_ledger(lake.dataset))]


def choose(
    lake: LakeSide, loaded: Sequence[Entry], *, anew: bool, most: int
) -> tuple[Step, ...] | str:
    """The steps that bring the warehouse to the lake's snapshot; a sentence where the lake is odd.

    `anew`: every date of the snapshot is loaded again, whatever the ledger says.
    """
    files = lake.files()
    by_date: dict[str, list[Listed]] = {}
    for file in files:
        by_date.setdefault(file.date, []).append(file)
    if anew:
        return tuple(
            Step(way=Way.ANEW, files=tuple(lake.describe(of_date))) for of_date in by_date.values()
        )
    new = lake.describe(unknown(files, loaded))
    verdict = judge(new, loaded)
    if isinstance(verdict, str):
        return verdict
    return steps(
        verdict,
        {file.key: file for file in new},
        {date: lake.describe(by_date[date]) for date in verdict.anew},
        most=most,
    )


class SqlLoad:
    """A load by a dialect over sessions. `now` gives the time as 'YYYY-MM-DD HH:MM:SS', UTC.

    `token` names what is this session's own, eight letters or digits.
    """

    def __init__(
        self,
        dialect: Dialect,
        connect: Callable[[], Session],
        *,
        now: Callable[[], str],
        token: Callable[[], str],
    ) -> None:
        self._dialect = dialect
        self._connect = connect
        self._now = now
        self._token = token

    def load(self, lake: LakeSide, columns: Sequence[Column], *, anew: bool = False) -> Result:
        """Bring the table to the lake's snapshot, and compare the dates that were touched."""
        return self._answered(lambda session: self._load(session, lake, columns, anew=anew))

    def check(self, lake: LakeSide) -> Result:
        """Compare all dates of the snapshot."""

        def work(session: Session) -> Result:
            dates = tuple(dict.fromkeys(file.date for file in lake.files()))
            return Loaded(
                dataset=lake.dataset,
                snapshot=lake.snapshot,
                checked=len(dates),
                differences=self._differences(session, lake, dates),
            )

        return self._answered(work)

    def ledger(self, lake: LakeSide) -> tuple[Entry, ...] | Retry | Halt:
        """What was loaded when."""
        return self._answered(lambda session: tuple(read_ledger(self._dialect, session, lake)[1]))

    def forget(self, lake: LakeSide, device: str) -> Retry | Halt | None:
        """Delete a device's rows. The ledger stays: its spans are loaded all the same."""

        def work(session: Session) -> None:
            session.run(self._dialect.forget_device(lake.dataset, device))

        return self._answered(work)

    def _answered(self, work: Callable[[Session], T]) -> T | Retry | Halt:
        try:
            session = self._connect()
            try:
                return work(session)
            finally:
                session.close()
        except TroubleError as error:
            return Retry(reason=str(error))
        except WrongError as error:
            return Halt(reason=str(error))

    def _load(
        self, session: Session, lake: LakeSide, columns: Sequence[Column], *, anew: bool
    ) -> Result:
        dialect = self._dialect
        for sql in dialect.create(lake.dataset, columns):
            session.run(sql)
        present = [
            Present(name=str(n), type=str(t), precision=None if p is None else int(p))
            for n, t, p in session.run(dialect.present(lake.dataset))
        ]
        for sql in dialect.change(lake.dataset, present, columns):
            session.run(sql)
        turn, loaded = read_ledger(dialect, session, lake)
        chosen = choose(lake, loaded, anew=anew, most=dialect.most)
        if isinstance(chosen, str):
            return Halt(reason=chosen)
        for step in chosen:
            added = entries(step, snapshot=lake.snapshot, at=self._now())
            gone = replaced(step.way, step.files, loaded)
            trouble = self._step(session, lake, step, turn=turn, added=added, gone=gone)
            if trouble is not None:
                return trouble
            turn += 1
            loaded = after(step.way, added, loaded)
        touched = tuple(sorted({date for step in chosen for date in step.dates}))
        brought = [step for step in chosen if step.way is not Way.NOTE]
        return Loaded(
            dataset=lake.dataset,
            snapshot=lake.snapshot,
            files=sum(len(step.files) for step in brought),
            rows=sum(step.rows for step in brought),
            anew=tuple(d for step in brought if step.way is Way.ANEW for d in step.dates),
            noted=sum(len(step.files) for step in chosen if step.way is Way.NOTE),
            checked=len(touched),
            differences=self._differences(session, lake, touched),
        )

    def _step(
        self,
        session: Session,
        lake: LakeSide,
        step: Step,
        *,
        turn: int,
        added: Sequence[Entry],
        gone: Sequence[str],
    ) -> Retry | None:
        """One step; Retry where somebody else was first."""
        dialect, token = self._dialect, self._token()
        sorts = () if step.way is Way.NOTE else groups(step.files)
        self._stage(session, lake, sorts, token)
        session.run(dialect.begin)
        try:
            if not self._my_turn(session, lake, turn + 1):
                session.run(dialect.rollback)
                return Retry(
                    reason=f"Somebody else loads {lake.dataset}: it goes on at the next call."
                )
            if step.way is Way.ANEW:
                _run(session, dialect.clear(lake.dataset, step.dates))
            for number, group in enumerate(sorts):
                sql = dialect.bring(lake.dataset, number, group, token)
                _counted(dialect.counted(session.run(sql)), group)
            _run(session, dialect.forget_entries(lake.dataset, gone))
            _run(session, dialect.note(lake.dataset, added))
            session.run(dialect.commit)
        except (TroubleError, WrongError):
            with contextlib.suppress(TroubleError, WrongError):
                session.run(dialect.rollback)
            raise
        for number in range(len(sorts)):
            _run(session, dialect.unstage(number, token))
        return None

    def _stage(
        self, session: Session, lake: LakeSide, sorts: Sequence[Sequence[LakeFile]], token: str
    ) -> None:
        for number, group in enumerate(sorts):
            told = self._dialect.stage(lake.dataset, number, group, token)
            answer = _run(session, told)
            _counted(whole(answer[0][0]) if told else None, group)

    def _my_turn(self, session: Session, lake: LakeSide, wanted: int) -> bool:
        _run(session, self._dialect.turn(lake.dataset))
        [(found,)] = session.run(self._dialect.read_turn(lake.dataset))
        return whole(found) == wanted

    def _differences(
        self, session: Session, lake: LakeSide, dates: Sequence[str]
    ) -> tuple[Difference, ...]:
        if not dates:
            return ()
        rows = session.run(self._dialect.measure(lake.dataset, min(dates), max(dates)))
        return differences(lake.measures(dates), measured(rows), dates)


def differences(
    lake: Mapping[str, Measure], there: Mapping[str, Measure], dates: Sequence[str]
) -> tuple[Difference, ...]:
    """Dates whose rows or sums are not the same."""
    none = Measure(rows=0, position_sum=0)
    return tuple(
        Difference(date=day, lake=lake.get(day, none), warehouse=there.get(day, none))
        for day in dates
        if lake.get(day, none) != there.get(day, none)
    )


def _run(session: Session, told: Sequence[str]) -> list[tuple[Any, ...]]:
    """Statements one after the other; the last one's rows."""
    answer: list[tuple[Any, ...]] = []
    for sql in told:
        answer = session.run(sql)
    return answer


def _counted(count: int | None, group: Sequence[LakeFile]) -> None:
    wanted = sum(file.rows for file in group)
    if count not in {None, wanted}:
        raise WrongError(
            f"The warehouse read {count} rows where the lake has {wanted}: nothing was kept; run "
            "`fieldline lake verify`, and load again."
        )
