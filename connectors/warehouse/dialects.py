"""SQL that the warehouses have in common, and what each must say of its own: pure.

Statements are texts; the loader (sql_load) runs them in this order:

    create, change      the tables; before any transaction
    stage               rows into a table of this session's own; Snowflake needs none
    begin, turn         the turn rises by one: whoever finds another turn than he read stops
    clear, bring        rows go, rows come
    forget_entries, note   the ledger
    commit
"""

# ruff: noqa: S608 - names are our own constants or checked settings, texts go through literal()

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any, ClassVar, Final

import pyarrow as pa

from connectors.warehouse.base import (
    Entry,
    FileColumn,
    LakeFile,
    Present,
    Warehouse,
    WrongError,
)
from connectors.warehouse.ledger import position_column
from pipeline.core.lake_columns import LAYOUTS, TEXT, TIME, Column, Dataset
from pipeline.core.lake_keep import note_of

LEDGER: Final = "fieldline_loads"
TURNS: Final = "fieldline_load_turns"
ROWS_A_STATEMENT: Final = 200
"""Ledger rows in one INSERT."""
_LAST_DATE: Final = "9999-12-31"
_BIG: Final = pa.decimal128(38, 0)
_DATE: Final = pa.date32()

LEDGER_COLUMNS: Final = (
    Column(name="dataset", type=TEXT, doc="Dataset of the lake.", required=True),
    Column(name="lake_date", type=_DATE, doc="Event date of the file's rows.", required=True),
    Column(name="lake_file", type=TEXT, doc="File, below the lake's root.", required=True),
    Column(name="spans", type=TEXT, doc="Offsets whose rows it holds.", required=True),
    Column(name="row_count", type=pa.int64(), doc="Its rows.", required=True),
    Column(name="position_sum", type=_BIG, doc="Sum of its rows' offsets.", required=True),
    Column(name="snapshot_id", type=pa.int64(), doc="Snapshot it was found in.", required=True),
    Column(name="loaded_at", type=TIME, doc="When it was loaded, UTC.", required=True),
)
TURN_COLUMNS: Final = (
    Column(name="dataset", type=TEXT, doc="Dataset of the lake.", required=True),
    Column(name="turn", type=pa.int64(), doc="Rises with every load.", required=True),
)


def literal(text: str) -> str:
    """A text in SQL. A backslash means something else in each dialect, so there is none."""
    if "\\" in text or not text.isprintable():
        raise WrongError(
            f"{text[:40]!r} cannot stand in a statement: name it without \\ or breaks."
        )
    return "'" + text.replace("'", "''") + "'"


def described(column: Column) -> str:
    """Description and unit of a column, as one line."""
    unit = f" [{column.unit}]" if column.unit else ""
    line = "".join(c if c.isprintable() and c not in '\\"`' else " " for c in column.doc + unit)
    return " ".join(line.split())[:1000]


def nested(kind: pa.DataType) -> bool:
    """Whether a column holds lists or records."""
    return bool(pa.types.is_list(kind) or pa.types.is_struct(kind))


def next_date(day: str) -> str | None:
    """The day after; None where a calendar ends."""
    if day == _LAST_DATE:
        return None
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()


def keys_of(dataset: Dataset, columns: Sequence[Column]) -> tuple[str, ...]:
    """Columns that rows lie together by, beside their time: what a query names."""
    layout = LAYOUTS[dataset]
    there = {column.name for column in columns}
    return tuple(name for name in layout.order if name != layout.time and name in there)


def groups(files: Sequence[LakeFile]) -> tuple[tuple[LakeFile, ...], ...]:
    """Files of the same columns together: one statement reads them."""
    found: dict[Any, list[LakeFile]] = {}
    for file in files:
        told = tuple((c.name, str(c.type), c.home) for c in file.columns)
        found.setdefault(told, []).append(file)
    return tuple(tuple(group) for group in found.values())


def homes(group: Sequence[LakeFile]) -> tuple[FileColumn, ...]:
    """Columns of a group's files that the table has."""
    return tuple(column for column in group[0].columns if column.home)


class Dialect(ABC):
    """One warehouse's SQL. `tested` says against what it was run."""

    warehouse: ClassVar[Warehouse]
    tested: ClassVar[str]
    most: ClassVar[int] = 500
    """Files in one transaction."""
    begin: ClassVar[str] = "BEGIN"
    commit: ClassVar[str] = "COMMIT"
    rollback: ClassVar[str] = "ROLLBACK"

    # -- words

    @abstractmethod
    def name(self, text: str) -> str:
        """A column or table name, quoted where the warehouse needs it."""

    @abstractmethod
    def type(self, column: Column) -> str:
        """Type of a column."""

    @abstractmethod
    def table(self, name: str) -> str:
        """A table with its schema."""

    @abstractmethod
    def create_table(self, name: str, columns: Sequence[Column], dataset: Dataset | None) -> str:
        """A table; with the keys of `dataset` where it is one."""

    @abstractmethod
    def moment(self, text: str) -> str:
        """A time, from 'YYYY-MM-DD HH:MM:SS[.ffffff]', UTC."""

    def day(self, expression: str) -> str:
        """The date, in UTC, of a time."""
        return f"CAST({expression} AS DATE)"

    def comments(self, name: str, columns: Sequence[Column]) -> tuple[str, ...]:
        """Descriptions, where they are no part of the table's statement."""
        del name, columns
        return ()

    # -- tables

    def create(self, dataset: Dataset, columns: Sequence[Column]) -> tuple[str, ...]:
        """All that a dataset needs; what is there stays."""
        return (
            self.create_table(str(dataset), columns, dataset),
            *self.comments(str(dataset), columns),
            self.create_table(LEDGER, LEDGER_COLUMNS, None),
            self.create_table(TURNS, TURN_COLUMNS, None),
            self.first_turn(dataset),
        )

    def first_turn(self, dataset: Dataset) -> str:
        """The dataset's row among the turns. Two of them do no harm: they rise together."""
        return (
            f"INSERT INTO {self.table(TURNS)} SELECT {literal(str(dataset))}, 0 WHERE NOT EXISTS "
            f"(SELECT 1 FROM {self.table(TURNS)} WHERE {self.of(dataset)})"
        )

    def present(self, dataset: Dataset) -> str:
        """Asks for the table's columns: name, type, precision of numbers."""
        return (
            "SELECT column_name, data_type, numeric_precision FROM information_schema.columns "
            f"WHERE lower(table_name) = {literal(str(dataset))} "
            f"AND lower(table_schema) = {literal(self.schema.lower())} ORDER BY ordinal_position"
        )

    @property
    @abstractmethod
    def schema(self) -> str:
        """Schema of all tables."""

    def change(
        self, dataset: Dataset, present: Sequence[Present], columns: Sequence[Column]
    ) -> tuple[str, ...]:
        """What makes the table have `columns` as well: renamed, added, widened. None goes."""
        there = {one.name.lower(): one for one in present}
        wanted = {column.name.lower() for column in columns}
        if len(wanted) < len(columns):
            raise WrongError(
                f"Two columns of {dataset} differ in capitals only, which a warehouse takes for "
                "one: rename one of them at its producer, with an alias."
            )
        out: list[str] = []
        table = str(dataset)
        for column in columns:
            old = there.get(column.name.lower())
            before = [
                alias
                for alias in column.aliases
                if alias.lower() in there and alias.lower() not in wanted
            ]
            if old is None and before:
                out.append(self.rename(table, before[0], column))
                old = there[before[0].lower()]
            if old is None:
                out += self.add(table, column)
            else:
                out += self.widen(table, old, column)
        return tuple(out)

    def rename(self, table: str, old: str, column: Column) -> str:
        """A column that the lake renamed."""
        return (
            f"ALTER TABLE {self.table(table)} RENAME COLUMN {self.name(old)} "
            f"TO {self.name(column.name)}"
        )

    def add(self, table: str, column: Column) -> tuple[str, ...]:
        """A column that the lake added: rows that are there have none of it."""
        return (
            (
                f"ALTER TABLE {self.table(table)} ADD COLUMN "
                f"{self.name(column.name)} {self.type(column)}"
            ),
            *self.comments(table, (column,)),
        )

    def widen(self, table: str, present: Present, column: Column) -> tuple[str, ...]:
        """A column that became wider: int → long, float → double."""
        del table, present, column
        return ()

    # -- the turn and the ledger

    def of(self, dataset: Dataset) -> str:
        """Condition: the dataset's rows of ledger or turns."""
        return f"{self.name('dataset')} = {literal(str(dataset))}"

    def read_turn(self, dataset: Dataset) -> str:
        """Asks for the turn."""
        return f"SELECT max({self.name('turn')}) FROM {self.table(TURNS)} WHERE {self.of(dataset)}"

    def turn(self, dataset: Dataset) -> tuple[str, ...]:
        """Raises the turn. Until the transaction ends nobody else can."""
        turn = self.name("turn")
        return (f"UPDATE {self.table(TURNS)} SET {turn} = {turn} + 1 WHERE {self.of(dataset)}",)

    def read_ledger(self, dataset: Dataset) -> str:
        """Asks for the dataset's entries, as `entry_of` takes them."""
        names = ", ".join(self.name(c.name) for c in LEDGER_COLUMNS[1:])
        return f"SELECT {names} FROM {self.table(LEDGER)} WHERE {self.of(dataset)}"

    def note(self, dataset: Dataset, found: Sequence[Entry]) -> tuple[str, ...]:
        """Puts entries into the ledger."""
        names = ", ".join(self.name(c.name) for c in LEDGER_COLUMNS)
        out: list[str] = []
        for start in range(0, len(found), ROWS_A_STATEMENT):
            rows = " UNION ALL ".join(
                f"SELECT {self.values(dataset, one)}"
                for one in found[start : start + ROWS_A_STATEMENT]
            )
            out.append(f"INSERT INTO {self.table(LEDGER)} ({names}) {rows}")
        return tuple(out)

    def values(self, dataset: Dataset, entry: Entry) -> str:
        """An entry as a SELECT list."""
        return ", ".join(
            (
                literal(str(dataset)),
                f"CAST({literal(entry.date)} AS DATE)",
                literal(entry.file),
                literal(note_of(entry.spans)),
                str(entry.rows),
                f"CAST({entry.position_sum} AS {self.type(LEDGER_COLUMNS[5])})",
                str(entry.snapshot),
                self.moment(entry.at),
            )
        )

    def forget_entries(self, dataset: Dataset, files: Sequence[str]) -> tuple[str, ...]:
        """Takes files out of the ledger."""
        return tuple(
            f"DELETE FROM {self.table(LEDGER)} WHERE {self.of(dataset)} AND "
            f"{self.name('lake_file')} IN ({_listed(files[at : at + ROWS_A_STATEMENT])})"
            for at in range(0, len(files), ROWS_A_STATEMENT)
        )

    # -- rows

    def stage(
        self, dataset: Dataset, number: int, group: Sequence[LakeFile], token: str
    ) -> tuple[str, ...]:
        """Brings a group's rows into a table of our own; the last statement gives their count."""
        del dataset, number, group, token
        return ()

    def unstage(self, number: int, token: str) -> tuple[str, ...]:
        """Removes that table where the session's end does not."""
        del number, token
        return ()

    @abstractmethod
    def bring(self, dataset: Dataset, number: int, group: Sequence[LakeFile], token: str) -> str:
        """Brings a group's rows into the table."""

    def counted(self, answer: Sequence[Sequence[Any]]) -> int | None:
        """Rows that `bring` says it brought; None where it says nothing."""
        del answer
        return None

    def clear(self, dataset: Dataset, dates: Iterable[str]) -> tuple[str, ...]:
        """Removes the rows of these dates."""
        table = self.table(str(dataset))
        return tuple(f"DELETE FROM {table} WHERE {self.between(dataset, d, d)}" for d in dates)

    def between(self, dataset: Dataset, first: str, last: str) -> str:
        """Condition: the event time lies in these dates, both included."""
        time, end = self.name(LAYOUTS[dataset].time), next_date(last)
        start = f"{time} >= {self.moment(f'{first} 00:00:00')}"
        return start if end is None else f"{start} AND {time} < {self.moment(f'{end} 00:00:00')}"

    def measure(self, dataset: Dataset, first: str, last: str) -> str:
        """Asks for date, rows and offset sum of each date from `first` to `last`."""
        day = self.day(self.name(LAYOUTS[dataset].time))
        position = f"CAST({self.name(position_column(dataset))} AS {self.type(LEDGER_COLUMNS[5])})"
        return (
            f"SELECT {day}, count(*), sum({position}) FROM {self.table(str(dataset))} "
            f"WHERE {self.between(dataset, first, last)} GROUP BY {day}"
        )

    def forget_device(self, dataset: Dataset, device: str) -> str:
        """Deletes all that a device has said."""
        return (
            f"DELETE FROM {self.table(str(dataset))} "
            f"WHERE {self.name('device_id')} = {literal(device)}"
        )

    @abstractmethod
    def over_the_lake(self, dataset: Dataset, columns: Sequence[Column], metadata: str) -> str:
        """A table that reads the lake's own files. `metadata` is its Iceberg metadata's name."""


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(literal(text) for text in texts)
