"""Results, views and files of the lake on a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as NotYetError
from datetime import datetime
from typing import Any, Final, TypeVar

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from pipeline.cli.words import plain
from pipeline.ops import lake_sql as ops

_T = TypeVar("_T")

PATIENCE_S: Final = 0.5
"""A query that takes longer shows how far it is."""
LOOK_S: Final = 0.1
MAX_CELL: Final = 400
"""Most characters of one value; the rest is in --json."""
_NUMBERS: Final = ("INT", "DOUBLE", "FLOAT", "DECIMAL", "HUGEINT", "BIGINT")


def patiently(session: ops.Session, console: Console, work: Callable[[], _T]) -> _T:
    """What `work` gives, with a bar where it takes long; Ctrl-C stops the query.

    StoppedError where it was stopped.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        doing = pool.submit(work)
        try:
            try:
                return doing.result(timeout=PATIENCE_S)
            except NotYetError:
                if doing.done():
                    raise
            with _bar(console) as bar:
                task = bar.add_task("the lake", total=None)
                while not doing.done():
                    done = session.progress()
                    bar.update(task, completed=max(done, 0), total=100 if done > 0 else None)
                    try:
                        return doing.result(timeout=LOOK_S)
                    except NotYetError:
                        continue
            return doing.result()
        except KeyboardInterrupt:
            while not doing.done():
                # Work is several of DuckDB's statements, and what comes between two is lost.
                session.interrupt()
                wait((doing,), timeout=LOOK_S)
            return doing.result()


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("[dim]asking {task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("[dim]Ctrl-C stops it"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def show(
    console: Console, session: ops.Session, result: ops.Result, *, most: int, expanded: bool
) -> None:
    """Print the head of a result, and give up the rest."""
    found = patiently(session, console, lambda: result.head(most + 1))
    result.close()
    rows(console, result.columns, found[:most], more=len(found) > most, expanded=expanded)


def rows(
    console: Console,
    columns: Sequence[tuple[str, str]],
    found: Sequence[Sequence[Any]],
    *,
    more: bool,
    expanded: bool = False,
) -> None:
    """A result: as a table where it fits, else one record below the other."""
    table = _table(columns, found)
    # What it would take without any value broken over lines.
    fits = Measurement.get(console, console.options.update(max_width=100_000), table).maximum
    if found and (expanded or (console.is_terminal and fits > console.width)):
        _records(console, columns, found)
    elif console.is_terminal:
        console.print(table)
    else:
        # Into a pipe or a file: no width to keep to.
        Console(width=max(fits, 1), file=console.file).print(table)
    counted = f"{len(found):,} row{'' if len(found) == 1 else 's'}"
    if more:
        counted = (
            f"The first {counted}; there are more: --rows N shows more, "
            "--csv, --json or --parquet FILE give all"
        )
    console.print(f"[dim]{counted}.[/]", highlight=False, soft_wrap=True)


def _table(columns: Sequence[tuple[str, str]], found: Sequence[Sequence[Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name, kind in columns:
        right = kind.startswith(_NUMBERS) and not kind.endswith("[]")
        table.add_column(
            f"{plain(name)}\n[dim not bold]{plain(_short(kind))}[/]",
            justify="right" if right else "left",
            no_wrap=True,
        )
    for row in found:
        table.add_row(*(cell(value) for value in row))
    return table


def _records(
    console: Console, columns: Sequence[tuple[str, str]], found: Sequence[Sequence[Any]]
) -> None:
    for number, row in enumerate(found, 1):
        console.rule(f"[dim]row {number:,}[/]", align="left", style="dim")
        table = Table(Column(style="bold"), Column(style="dim"), Column(overflow="fold"))
        table.box, table.show_header = None, False
        for (name, kind), value in zip(columns, row, strict=True):
            table.add_row(plain(name), plain(_short(kind)), cell(value))
        console.print(table)


def _short(kind: str) -> str:
    told = kind.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")
    return told if len(told) <= 24 else f"{told[:23]}…"  # noqa: PLR2004 - as wide as a time


def cell(value: Any) -> str:  # noqa: ANN401 - whatever a query gives
    """One value, as markup: nothing in it can steer the terminal."""
    if value is None:
        return "[dim]NULL[/]"
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            value = f"0x{value.hex()}"
    elif isinstance(value, datetime):
        # UTC unless the query's time zone is another, then its offset stands there.
        value = str(value).removesuffix("+00:00")
    elif isinstance(value, (dict, list, tuple)):
        value = json.dumps(ops.plain(value), ensure_ascii=False)
    elif isinstance(value, bool):
        value = str(value).lower()
    told = str(value)
    return plain(told if len(told) <= MAX_CELL else f"{told[: MAX_CELL - 1]}…")


def views(console: Console, found: Sequence[ops.Described]) -> None:
    """All there is to ask for, on a line each."""
    table = Table("name", Column("what it has", overflow="fold"), "columns", box=box.SIMPLE_HEAD)
    for one in found:
        table.add_row(f"[bold]{plain(one.name)}[/]", plain(one.doc), str(len(one.columns)))
    console.print(table)
    console.print("[dim]\\d NAME lists the columns of one.[/]", highlight=False)


def view(console: Console, one: ops.Described) -> None:
    """One of them with its columns."""
    console.print(f"[bold]{plain(one.name)}[/]  {plain(one.doc)}", highlight=False)
    table = Table("column", Column("type", overflow="fold"), Column("what it is", overflow="fold"))
    table.box = box.SIMPLE_HEAD
    for name, kind, doc in one.columns:
        table.add_row(f"[bold]{plain(name)}[/]", plain(_short(kind)), plain(doc))
    console.print(table)


def files(console: Console, found: Sequence[tuple[str, Any]]) -> None:
    """Addresses of files with sizes and rows, and their sums."""
    table = Table(
        Column("file", overflow="fold"),
        Column("rows", justify="right", no_wrap=True),
        Column("size", justify="right", no_wrap=True),
        box=box.SIMPLE_HEAD,
    )
    for address, one in found:
        table.add_row(plain(address), "" if one.rows is None else f"{one.rows:,}", size(one.size))
    console.print(table)
    total = sum(one.size for _, one in found)
    known = [one.rows for _, one in found if one.rows is not None]
    told = f", {sum(known):,} rows" if len(known) == len(found) else ""
    console.print(f"[dim]{len(found):,} files, {size(total)}{told}.[/]", highlight=False)


def size(count: int) -> str:
    """Bytes as a person reads them."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:  # noqa: PLR2004 - thousand by thousand
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def wrong(console: Console, error: Exception) -> None:
    """What is wrong, in the shell: it goes on."""
    console.print(f"[bold red]{escape(str(error))}[/]", highlight=False, soft_wrap=True)
