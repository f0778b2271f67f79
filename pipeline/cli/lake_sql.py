"""fieldline lake sql, shell and files: the lake for those who ask it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from pipeline import logs
from pipeline.core.lake_columns import Dataset
from pipeline.settings import SettingsError, load

if TYPE_CHECKING:
    from pipeline.ops.lake_sql import Result, Session, Statement

    Write = Callable[[Result, IO[str]], int]

ROWS = 100
"""Most rows of a result on a terminal, unless --rows says otherwise."""

Memory = Annotated[
    int | None,
    typer.Option("--memory", min=32, metavar="MB", help="Most memory of a query; else 80 %."),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, max=1024, help="Most threads; else all cores.")
]
Rows = Annotated[
    int, typer.Option("--rows", min=1, max=1_000_000, help="Most rows of a result in a table.")
]


def register(app: typer.Typer) -> None:
    """Put the commands into the group."""
    app.command()(sql)
    app.command()(shell)
    app.command()(files)


def sql(
    query: Annotated[
        str, typer.Argument(metavar="[SQL]", help="Statements with ; between; - reads them.")
    ] = "",
    *,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Read the statements from a file.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the last result as CSV.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the last result as JSON, an object a line.")
    ] = False,
    parquet: Annotated[
        Path | None, typer.Option("--parquet", help="Write the last result to a Parquet file.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show how it would be run, and run nothing.")
    ] = False,
    expanded: Annotated[
        bool, typer.Option("--expanded", "-x", help="One record below the other.")
    ] = False,
    rows: Rows = ROWS,
    memory: Memory = None,
    threads: Threads = None,
) -> None:
    r"""Ask the lake in SQL (DuckDB's): it is read as it is now, and nothing else is read.

    Views: telemetry, events, deliveries, quarantine, each with `date`, and ready questions over
    them; `fieldline lake shell` lists them with \d.
    """
    from pipeline.ops import lake_sql as ops  # noqa: PLC0415 - rich and DuckDB take a while

    logs.quiet()
    if sum((as_csv, as_json, parquet is not None, explain)) > 1:
        raise SettingsError("Give one of --csv, --json, --parquet and --explain, not several.")
    script = _script(query, file)
    with _session(memory, threads) as session:
        statements = session.split(script)
        if not statements:
            raise SettingsError('There is nothing to ask: fieldline lake sql "SELECT …".')
        if explain:
            for statement in statements:
                plan, left_out = session.explain(statement)
                typer.echo(plan)
                typer.echo(f"Left out beforehand by event time: {left_out:,} files.")
            return
        to_file = as_csv or as_json or parquet is not None
        try:
            for statement in statements[:-1]:
                _show(session, statement, rows=0 if to_file else rows, expanded=expanded)
            if parquet is not None:
                _save(session, statements[-1], parquet)
            elif to_file:
                _write(session, statements[-1], ops.write_csv if as_csv else ops.write_json)
            else:
                _show(session, statements[-1], rows=rows, expanded=expanded)
        except ops.StoppedError:
            raise SettingsError("Stopped: nothing more was run.") from None


def shell(
    *,
    rows: Rows = ROWS,
    memory: Memory = None,
    threads: Threads = None,
) -> None:
    r"""Ask the lake again and again: a prompt with history and completion; \? tells its words."""
    from pipeline.cli import lake_shell  # noqa: PLC0415 - rich and DuckDB take a while

    logs.quiet()
    with _session(memory, threads) as session:
        lake_shell.Shell(session, rows=rows).run()


def files(
    dataset: Annotated[Dataset, typer.Argument(help="Which dataset.")],
    *,
    date: Annotated[str, typer.Option("--date", help="Only this date: 2026-11-22.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, an object a line.")] = False,
) -> None:
    """List the dataset's live files, for plain tools.

    Into a pipe: address, bytes and rows with tabs between, without a heading.
    """
    from rich.console import Console  # noqa: PLC0415 - rich and pyiceberg take a while

    from pipeline.cli import lake_print as printing  # noqa: PLC0415 - the same
    from pipeline.ops import lake_sql as ops  # noqa: PLC0415 - the same

    logs.quiet()
    found = ops.files(load(), dataset, date)
    console = Console()
    if as_json:
        for address, one in found:
            told = {"file": address, "date": one.date, "bytes": one.size, "rows": one.rows}
            typer.echo(json.dumps(told))
    elif console.is_terminal:
        printing.files(console, found)
    else:
        for address, one in found:
            typer.echo(f"{address}\t{one.size}\t{'' if one.rows is None else one.rows}")


def _session(memory: int | None, threads: int | None) -> Session:
    from pipeline.ops import lake_sql as ops  # noqa: PLC0415 - DuckDB takes a while

    return ops.Session(load(), memory_mb=memory, threads=threads)


def _script(query: str, file: Path | None) -> str:
    if query and file is not None:
        raise SettingsError("Give the statements or --file, not both.")
    if query == "-":
        return sys.stdin.read()
    if file is None:
        return query
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read ({error}): name a file of SQL.") from error


def _show(session: Session, statement: Statement, *, rows: int, expanded: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 - rich takes a while

    from pipeline.cli import lake_print as printing  # noqa: PLC0415 - the same

    progress = Console(stderr=True)
    result = printing.patiently(session, progress, lambda: session.run(statement))
    if not (rows and result.columns):
        result.close()
        return
    printing.show(Console(), session, result, most=rows, expanded=expanded)


def _write(session: Session, statement: Statement, write: Write) -> None:
    from rich.console import Console  # noqa: PLC0415 - rich takes a while

    from pipeline.cli import lake_print as printing  # noqa: PLC0415 - the same

    result = printing.patiently(session, Console(stderr=True), lambda: session.run(statement))
    if not result.columns:
        raise SettingsError(f"{statement.kind} gives no rows to print: end with a query.")
    write(result, sys.stdout)


def _save(session: Session, statement: Statement, path: Path) -> None:
    from rich.console import Console  # noqa: PLC0415 - rich takes a while

    from pipeline.cli import lake_print as printing  # noqa: PLC0415 - the same

    progress = Console(stderr=True)
    count = printing.patiently(session, progress, lambda: session.save(statement, path))
    typer.echo(f"{path}: {count:,} rows", err=True)
