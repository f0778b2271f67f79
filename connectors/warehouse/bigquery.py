"""BigQuery: a chain of load jobs whose ids decide who loads what.

A load job and the ledger have no transaction in common, so the id of a job does what it would:
BigQuery takes one job of an id, ever. Loads of a dataset are numbered turns:

1. The files of turn N are written to the ledger (*asked*), with the writer's own token.
2. Job `fieldline_DATASET_CHAIN_N` is begun with these files and the token as its label. Whose
   job of that id is there first decides the turn; others get 409 and look at it.
3. When it is done, the ledger is told: *loaded* or *failed*, and whose files they were.

A restart finds the last turn's state in the ledger and goes on there: asked and no job → begin
it; a job → look at it. CHAIN is the table's creation time: a table made anew is loaded anew. A
step that changes nothing but the ledger runs `SELECT 1` under its id, so that no turn is passed by.

Facts from Google's documents ("Batch loading Parquet", "Partitioned tables", "Quotas"): a load
job is atomic; with `table$YYYYMMDD` and WRITE_TRUNCATE it replaces one partition; it takes 10,000
addresses; a table takes 1,500 load jobs a day. Columns are matched by name, so a file with a
column's old name is read by a query job over it instead (`tableDefinitions`), to the same place.
"""

# ruff: noqa: S608 - names are our own constants or checked settings, texts go through literal()

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from connectors.warehouse.base import (
    Entry,
    Halt,
    LakeFile,
    LakeSide,
    Loaded,
    Result,
    Retry,
    Step,
    TroubleError,
    Way,
    WrongError,
)
from connectors.warehouse.bigquery_api import BigQueryApi, failure
from connectors.warehouse.bigquery_sql import CHAIN, BigQuerySql, field_of
from connectors.warehouse.config import BigQuerySettings
from connectors.warehouse.dialects import (
    LEDGER,
    LEDGER_COLUMNS,
    ROWS_A_STATEMENT,
    described,
    literal,
)
from connectors.warehouse.ledger import after, entries
from connectors.warehouse.sql_load import choose, differences, entry_of, measured
from pipeline.core.lake_columns import Column, Dataset

T = TypeVar("T")
TURNS_MAX: Final = 100_000
"""More turns than that in one call: it goes round in circles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one writer wants of a turn, and how the turn ended ('' = not yet)."""

    turn: int
    writer: str
    way: Way
    entries: tuple[Entry, ...]
    state: str


class BigQueryLoad:
    """Loads of one project. `token` names a writer anew at each call: letters and digits."""

    def __init__(
        self,
        settings: BigQuerySettings,
        lake_url: str,
        connect: Callable[[], BigQueryApi],
        *,
        now: Callable[[], str],
        token: Callable[[], str],
    ) -> None:
        self.sql = BigQuerySql(settings, lake_url)
        self._connect = connect
        self._now = now
        self._token = token

    def load(self, lake: LakeSide, columns: Sequence[Column], *, anew: bool = False) -> Result:
        """Bring the table to the lake's snapshot, and compare the dates that were touched."""
        return self._answered(lambda api: self._load(api, lake, columns, anew=anew))

    def check(self, lake: LakeSide) -> Result:
        """Compare all dates of the snapshot."""

        def work(api: BigQueryApi) -> Result:
            dates = tuple(dict.fromkeys(file.date for file in lake.files()))
            return self._compared(
                api, lake, dates, Loaded(dataset=lake.dataset, snapshot=lake.snapshot)
            )

        return self._answered(work)

    def ledger(self, lake: LakeSide) -> tuple[Entry, ...] | Retry | Halt:
        """What was loaded when."""

        def work(api: BigQueryApi) -> tuple[Entry, ...]:
            return tuple(_folded(self._turns(api, lake.dataset, self._chain(api, lake.dataset))))

        return self._answered(work)

    def forget(self, lake: LakeSide, device: str) -> Retry | Halt | None:
        """Delete a device's rows. The ledger stays: its spans are loaded all the same."""

        def work(api: BigQueryApi) -> None:
            self._query(api, self.sql.forget_device(lake.dataset, device))

        return self._answered(work)

    def _answered(self, work: Callable[[BigQueryApi], T]) -> T | Retry | Halt:
        try:
            api = self._connect()
            try:
                return work(api)
            finally:
                api.close()
        except TroubleError as error:
            return Retry(reason=str(error))
        except WrongError as error:
            return Halt(reason=str(error))

    def _load(
        self, api: BigQueryApi, lake: LakeSide, columns: Sequence[Column], *, anew: bool
    ) -> Result:
        self._prepare(api, lake.dataset, columns)
        chain = self._chain(api, lake.dataset)
        writer = self._token()
        done: list[Asked] = []
        todo: list[Step] | None = None
        if anew:
            every = choose(lake, (), anew=True, most=self.sql.most)
            if isinstance(every, str):
                return Halt(reason=every)
            todo = list(every)
        for _ in range(TURNS_MAX):
            turns = self._turns(api, lake.dataset, chain)
            last = max((one.turn for one in turns), default=-1)
            pending = [one for one in turns if one.turn == last]
            if pending and not any(one.state for one in pending):
                done += self._finish(api, lake, chain, pending)
                continue
            chosen = (
                choose(lake, _folded(turns), anew=False, most=self.sql.most)
                if todo is None
                else tuple(todo)
            )
            if isinstance(chosen, str):
                return Halt(reason=chosen)
            if not chosen:
                return self._told(api, lake, done)
            step = chosen[0]
            told = entries(step, snapshot=lake.snapshot, at=self._now())
            mine = Asked(turn=last + 1, writer=writer, way=step.way, entries=told, state="")
            self._write(api, lake.dataset, chain, mine, "asked")
            won = self._finish(api, lake, chain, [mine])
            done += won
            if todo is not None and any(one.writer == writer for one in won):
                todo.pop(0)
        return Retry(
            reason=f"Others load {lake.dataset} all the time: it goes on at the next call."
        )

    def _finish(
        self, api: BigQueryApi, lake: LakeSide, chain: str, pending: Sequence[Asked]
    ) -> list[Asked]:
        """Bring a turn to its end, whoever began it; what was loaded by it."""
        mine = min(pending, key=lambda one: one.writer)
        job_id = f"fieldline_{lake.dataset}_{chain}_{mine.turn:06d}"
        files = self._files(lake, mine)
        api.begin(job_id, self.sql.job(lake.dataset, mine.way, files, mine.writer))
        job = api.ended(job_id)
        writer = str(job.get("configuration", {}).get("labels", {}).get("fieldline_writer", ""))
        turns = self._turns(api, lake.dataset, chain)
        won = [one for one in turns if one.turn == mine.turn and one.writer == writer]
        if not won:
            raise WrongError(
                f"BigQuery has run job {job_id}, of which the ledger knows nothing: the table "
                f"{LEDGER} was emptied; drop the table {lake.dataset}, and it is loaded anew."
            )
        failed = failure(job)
        self._write(api, lake.dataset, chain, won[0], "failed" if failed else "loaded")
        if failed is not None:
            raise failed
        counted = job.get("statistics", {}).get("load", {}).get("outputRows")
        wanted = sum(entry.rows for entry in won[0].entries)
        if counted is not None and int(counted) != wanted:
            raise WrongError(
                f"BigQuery's job {job_id} loaded {counted} rows where the lake has {wanted}: run "
                "`fieldline lake verify`, then load these dates with --anew."
            )
        return won[:1]

    def _files(self, lake: LakeSide, asked: Asked) -> tuple[LakeFile, ...]:
        """The files asked for. One that the snapshot has no more is taken to have our columns."""
        listed = {file.key: file for file in lake.files()}
        names = dict.fromkeys(entry.file for entry in asked.entries)
        known = lake.describe([listed[name] for name in names if name in listed])
        found = {file.key: file for file in known}
        return tuple(
            found.get(entry.file)
            or LakeFile(
                key=entry.file,
                date=entry.date,
                rows=entry.rows,
                size=0,
                spans=entry.spans,
                columns=(),
                position_sum=entry.position_sum,
            )
            for entry in {e.file: e for e in reversed(asked.entries)}.values()
        )

    def _told(self, api: BigQueryApi, lake: LakeSide, done: Sequence[Asked]) -> Result:
        brought = [one for one in done if one.way is not Way.NOTE]
        dates = tuple(sorted({entry.date for one in done for entry in one.entries}))
        return self._compared(
            api,
            lake,
            dates,
            Loaded(
                dataset=lake.dataset,
                snapshot=lake.snapshot,
                files=sum(len({e.file for e in one.entries}) for one in brought),
                rows=sum(entry.rows for one in brought for entry in one.entries),
                anew=tuple(
                    sorted({e.date for one in brought if one.way is Way.ANEW for e in one.entries})
                ),
                noted=sum(len({e.file for e in o.entries}) for o in done if o.way is Way.NOTE),
            ),
        )

    def _compared(
        self, api: BigQueryApi, lake: LakeSide, dates: Sequence[str], told: Loaded
    ) -> Result:
        if not dates:
            return told
        rows = self._query(api, self.sql.measure(lake.dataset, min(dates), max(dates)))
        return replace(
            told,
            checked=len(dates),
            differences=differences(lake.measures(dates), measured(rows), dates),
        )

    # -- tables and the ledger

    def _prepare(self, api: BigQueryApi, dataset: Dataset, columns: Sequence[Column]) -> None:
        api.make_table(self.sql.resource(LEDGER, (*LEDGER_COLUMNS, *CHAIN), None))
        there = api.table(str(dataset))
        if there is None:
            api.make_table(self.sql.resource(str(dataset), columns, dataset))
            return
        fields = list(there.get("schema", {}).get("fields", ()))
        names = {str(one["name"]).lower() for one in fields}
        wanted = {column.name.lower() for column in columns}
        if len(wanted) < len(columns):
            raise WrongError(
                f"Two columns of {dataset} differ in capitals only, which BigQuery takes for one: "
                "rename one of them at its producer, with an alias."
            )
        renamed = [
            (alias, column)
            for column in columns
            if column.name.lower() not in names
            for alias in column.aliases[:1]
            if alias.lower() in names and alias.lower() not in wanted
        ]
        for old, column in renamed:
            self._query(api, self.sql.rename(str(dataset), old, column))
            names.add(column.name.lower())
        if renamed:
            fields = list((api.table(str(dataset)) or {}).get("schema", {}).get("fields", ()))
        added = [
            field_of(column.name, column.type, described(column))
            for column in columns
            if column.name.lower() not in names
        ]
        if added:
            api.change_table(str(dataset), {"schema": {"fields": [*fields, *added]}})

    def _chain(self, api: BigQueryApi, dataset: Dataset) -> str:
        table = api.table(str(dataset))
        if table is None:
            raise WrongError(f"BigQuery has no table {dataset} yet: load it first.")
        return str(table["creationTime"])

    def _turns(self, api: BigQueryApi, dataset: Dataset, chain: str) -> list[Asked]:
        """What was asked for, by turn and writer, each with its end."""
        names = ", ".join(self.sql.name(c.name) for c in (*LEDGER_COLUMNS[1:-1], *CHAIN[1:]))
        at = f"CAST({self.sql.name('loaded_at')} AS STRING)"
        rows = self._query(
            api,
            f"SELECT {names}, {at} FROM {self.sql.table(LEDGER)} "
            f"WHERE {self.sql.of(dataset)} AND `chain` = {literal(chain)}",
        )
        ends = {
            (int(turn), str(writer)): str(state)
            for *_, turn, writer, _way, state, _at in rows
            if state != "asked"
        }
        found: dict[tuple[int, str], list[Entry]] = {}
        ways: dict[tuple[int, str], Way] = {}
        for *entry, turn, writer, way, state, at_text in rows:
            if state == "asked":
                key = (int(turn), str(writer))
                told = entry_of((*entry, at_text))
                # An INSERT whose answer was lost may have been sent twice.
                if told not in found.setdefault(key, []):
                    found[key].append(told)
                ways[key] = Way(way)
        return [
            Asked(
                turn=key[0],
                writer=key[1],
                way=ways[key],
                entries=tuple(sorted(told, key=lambda e: (e.date, e.file, e.spans))),
                state=ends.get(key, ""),
            )
            for key, told in sorted(found.items())
        ]

    def _write(
        self, api: BigQueryApi, dataset: Dataset, chain: str, asked: Asked, state: str
    ) -> None:
        """Puts a turn into the ledger: its files when it is asked for, else its end."""
        tail = (
            f"{literal(chain)}, {asked.turn}, {literal(asked.writer)}, "
            f"{literal(asked.way)}, {literal(state)}"
        )
        told = asked.entries if state == "asked" else asked.entries[:1]
        names = ", ".join(self.sql.name(c.name) for c in (*LEDGER_COLUMNS, *CHAIN))
        rows = [f"SELECT {self.sql.values(dataset, entry)}, {tail}" for entry in told]
        for start in range(0, len(rows), ROWS_A_STATEMENT * 10):
            part = " UNION ALL ".join(rows[start : start + ROWS_A_STATEMENT * 10])
            self._query(api, f"INSERT INTO {self.sql.table(LEDGER)} ({names}) {part}")

    def _query(self, api: BigQueryApi, sql: str) -> list[tuple[Any, ...]]:
        return api.query(sql, f"fieldline_query_{self._token()}")


def _folded(turns: Sequence[Asked]) -> list[Entry]:
    """The ledger as it stands: what the turns that were loaded put and took, in their order."""
    loaded: list[Entry] = []
    for one in turns:
        if one.state == "loaded":
            loaded = after(one.way, one.entries, loaded)
    return loaded
