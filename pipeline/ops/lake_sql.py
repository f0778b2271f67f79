"""A person's questions to the lake: statements, their results, and what there is to ask for.

    script ── split ──▶ Statement ── look at the lake, narrow, run ──▶ Result ──▶ rows, CSV, JSON


Every error a person can mend is a QueryError with DuckDB's own words, and where it saw it.
"""

from __future__ import annotations

import base64
import csv
import json
import math
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Final, Self

import pyarrow.parquet as pq

from connectors.lake.as_of import LiveFile, Looker
from connectors.lake.config import LakeConfig
from connectors.lake.reader import Lake, Limits
from pipeline.core.lake_columns import Dataset
from pipeline.ops import marts
from pipeline.settings import Settings, SettingsError

MAX_TEXT: Final = 1_000_000
"""Most characters of a script."""
_BATCH: Final = 10_000
"""Rows that are held at once on their way to a file."""
_WRITES: Final = frozenset(
    {"COPY", "EXPORT", "ATTACH", "DETACH", "LOAD", "EXTENSION", "COPY_DATABASE"}
)
_KIND: Final = re.compile(r"^[A-Za-z ]*(?:Error|ERROR): ?")
_TRACE: Final = "Traceback (most recent call last)"


class QueryError(SettingsError):
    """A statement cannot be run: one sentence, and below it where in the statement."""


class StoppedError(Exception):
    """The statement was stopped by the person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement; `kind` is DuckDB's own word for what it does (SELECT, CREATE, …)."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A view or table: its comment, and its columns as (name, type, comment)."""

    name: str
    doc: str
    columns: tuple[tuple[str, str, str], ...]


@dataclass(slots=True, kw_only=True)
class Result:
    """What a statement gave: `columns` as (name, type), rows as they are asked for.

    No columns where it gives no rows (CREATE, SET). `left_out` counts files that were left out by
    conditions on event time.
    """

    columns: tuple[tuple[str, str], ...]
    left_out: int
    _rows: Any = field(repr=False)

    def head(self, most: int) -> list[tuple[Any, ...]]:
        """The next `most` rows, or fewer where there are no more."""
        if not self.columns:
            return []
        with _told():
            return list(self._rows.fetchmany(most))

    def batches(self) -> Iterator[list[tuple[Any, ...]]]:
        """All further rows."""
        while rows := self.head(_BATCH):
            yield rows

    def close(self) -> None:
        """Give up the rows that are left: until then the connection takes no statement."""
        if self.columns:
            with _told():
                self._rows.abort()


class Session:
    """One person's connection to the lake, sealed: it reads the lake and nothing else."""

    def __init__(
        self, settings: Settings, *, memory_mb: int | None = None, threads: int | None = None
    ) -> None:
        limits = Limits(memory_mb=memory_mb, threads=threads)
        with _told():
            self._lake = Lake(settings, limits=limits, sealed=True)
        self._in_transaction = False
        names = "|".join(model.name for model in marts.models())
        self._marts = re.compile(rf"\b(?:{names})\b", re.IGNORECASE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lake.close()

    def split(self, script: str) -> tuple[Statement, ...]:
        """The statements of a script; QueryError where it is none, or is too long."""
        if len(script) > MAX_TEXT:
            raise QueryError(
                f"The script has {len(script):,} characters, and at most {MAX_TEXT:,} are taken: "
                "give it in parts."
            )
        with _told():
            found = self._lake.connection.extract_statements(script)
        return tuple(
            Statement(text=one.query.strip().rstrip(";"), kind=str(one.type.name)) for one in found
        )

    def run(self, statement: Statement) -> Result:
        """Run one statement on the lake as it is now."""
        return self._run(statement, statement.text)

    def explain(self, statement: Statement) -> tuple[str, int]:
        """How it would be run, and how many files its conditions on event time leave out."""
        if statement.kind != "SELECT":
            raise QueryError(f"Only a query can be explained, not {statement.kind}.")
        result = self._run(statement, f"EXPLAIN {statement.text}")
        return "\n".join(str(row[1]) for row in result.head(_BATCH)), result.left_out

    def save(self, statement: Statement, path: Path) -> int:
        """Write a query's rows to a Parquet file; their number. The file is whole or not there."""
        if statement.kind != "SELECT":
            raise QueryError(f"Only a query's rows can be saved, not those of {statement.kind}.")
        with _told():
            self._prepare(statement)
            rows = 0
            reader = self._lake.connection.sql(statement.text).to_arrow_reader(_BATCH)
            with _whole(path) as aside, pq.ParquetWriter(aside, reader.schema) as out:
                for batch in reader:
                    out.write_batch(batch)
                    rows += batch.num_rows
        return rows

    def views(self) -> tuple[Described, ...]:
        """Views and tables with their columns, those of the lake first."""
        with _told():
            self._lake.refresh()
            self._lay_marts()
            told = self._ask(
                "SELECT view_name, comment, 0 AS kind FROM duckdb_views() WHERE NOT internal "
                "UNION ALL SELECT table_name, comment, 1 FROM duckdb_tables() ORDER BY kind, 1"
            )
            columns = self._ask(
                "SELECT table_name, column_name, data_type, coalesce(comment, '') "
                "FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index"
            )
        by_name: dict[str, list[tuple[str, str, str]]] = {}
        for view, column, kind, doc in columns:
            by_name.setdefault(view, []).append((column, kind, doc))
        order = [str(dataset) for dataset in Dataset]
        found = [
            Described(name=name, doc=doc or "", columns=tuple(by_name.get(name, ())))
            for name, doc, _ in told
        ]
        return tuple(
            sorted(found, key=lambda d: order.index(d.name) if d.name in order else len(order))
        )

    def interrupt(self) -> None:
        """Stop what is running, from another thread."""
        self._lake.connection.interrupt()

    def progress(self) -> float:
        """How much of what is running is done, 0 to 100; negative where that is unknown."""
        return float(self._lake.connection.query_progress())

    def _run(self, statement: Statement, sql: str) -> Result:
        with _told():
            left_out = self._prepare(statement)
            rows = self._lake.connection.execute(sql)
            kinds = [(str(column[0]), str(column[1])) for column in rows.description or ()]
        # DuckDB tells of Success where there are no rows to tell of, and of none of what it made.
        silent = statement.kind == "CREATE" or kinds == [("Success", "BOOLEAN")]
        return Result(columns=() if silent else tuple(kinds), left_out=left_out, _rows=rows)

    def _prepare(self, statement: Statement) -> int:
        if statement.kind in _WRITES:
            raise QueryError(
                f"The lake is only read here, {statement.kind} is not run: save a result with "
                "--csv, --json or --parquet FILE."
            )
        if statement.kind == "TRANSACTION":
            self._in_transaction = statement.text.lower().startswith(("begin", "start"))
        if self._in_transaction or statement.kind == "TRANSACTION":
            # All its statements see one state of the lake; after an error in one of them DuckDB
            # takes nothing but its end.
            return 0
        self._lake.refresh()
        if self._marts.search(statement.text):
            self._lay_marts()
        return self._lake.narrow(statement.text) if statement.kind == "SELECT" else 0

    def _lay_marts(self) -> None:
        """The marts as views, over all time and as of now; what feedback says is not known here."""
        now = datetime.now(UTC)
        asked = marts.Parameters(as_of=now, from_time=marts.BEGINNING, to_time=now)
        marts.install(self._lake.connection, asked)

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._lake.connection.execute(query).fetchall()
        return rows


def files(settings: Settings, dataset: Dataset, day: str = "") -> list[tuple[str, LiveFile]]:
    """Addresses and facts of a dataset's live files, of one date where `day` (YYYY-MM-DD) says."""
    if day:
        try:
            date.fromisoformat(day)
        except ValueError as error:
            raise SettingsError(f"{day} is no date: write --date as 2026-11-22.") from error
    config = LakeConfig.from_settings(settings)
    found = Looker(config).now(dataset).files
    return [(f"{config.url}/{one.path}", one) for one in found if day in {"", one.date}]


def write_csv(result: Result, out: IO[str]) -> int:
    """Header and rows (RFC 4180, quoted where needed); nothing for NULL, lists as JSON."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([name for name, _ in result.columns])
    count = 0
    for rows in result.batches():
        for row in rows:
            writer.writerow([_csv(plain(value)) for value in row])
        count += len(rows)
    return count


def write_json(result: Result, out: IO[str]) -> int:
    """One JSON object a line. As JSON has none: bytes in base64, NaN and infinity as text."""
    names = [name for name, _ in result.columns]
    count = 0
    for rows in result.batches():
        for row in rows:
            values = zip(names, map(plain, row), strict=True)
            out.write(json.dumps(dict(values), ensure_ascii=False) + "\n")
        count += len(rows)
    return count


def plain(value: Any) -> Any:  # noqa: ANN401, PLR0911 - whatever DuckDB gives; one line a type
    """A value as JSON has it."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, Sequence):
        return [plain(one) for one in value]
    if isinstance(value, (Decimal, timedelta)):
        return str(value)
    return str(value)


def _csv(value: Any) -> Any:  # noqa: ANN401 - the same
    as_json = isinstance(value, (dict, list, bool))
    return json.dumps(value, ensure_ascii=False) if as_json else value


@contextmanager
def _whole(path: Path) -> Iterator[str]:
    """A name aside, that becomes `path` at the end; nothing is left where that fails."""
    try:
        handle, aside = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
        os.close(handle)
        try:
            yield aside
            Path(aside).chmod(0o644)
            Path(aside).replace(path)
        finally:
            Path(aside).unlink(missing_ok=True)
    except OSError as error:
        raise QueryError(
            f"{path} cannot be written ({error.strerror or error}): name another file."
        ) from error


@contextmanager
def _told() -> Iterator[None]:
    """DuckDB's errors in its own words."""
    try:
        import duckdb  # noqa: PLC0415 - in the warehouse extra
    except ImportError:
        yield
        return
    try:
        yield
    except duckdb.InterruptException as error:
        raise StoppedError from error
    except duckdb.OutOfMemoryException as error:
        raise QueryError(
            f"The query needs more memory than it may use ({_first(str(error))}): give it more by "
            "--memory, or ask for fewer rows."
        ) from error
    except duckdb.PermissionException as error:
        raise QueryError(
            f"The lake is read here and nothing else ({_first(str(error))}): save a result with "
            "--csv, --json or --parquet FILE."
        ) from error
    except duckdb.Error as error:
        raise QueryError(_said(str(error))) from error


def _first(error: str) -> str:
    return _said(error).partition("\n")[0]


def _said(error: str) -> str:
    """DuckDB's sentence on one line, and below it the line and place where it saw the error."""
    body, mark, where = error.partition("\n\nLINE ")
    if _TRACE in body:
        last = [line.strip() for line in body.splitlines() if line.strip()][-1]
        if last.startswith("PermissionError"):
            return "The lake is read only: save a result with --csv, --json or --parquet FILE."
        return (
            f"A file of the lake could not be read ({last}): run it again, the lake may have "
            "changed under the query; if it stays, check the store."
        )
    lines = [" ".join(line.split()) for line in body.splitlines() if line.strip()]
    sentence = _KIND.sub("", lines[0]) if lines else "DuckDB refused it"
    more = "; ".join(lines[1:])
    sentence = f"{sentence} ({more})" if more else sentence
    return f"{sentence}\nLINE {where.rstrip()}" if mark else sentence
