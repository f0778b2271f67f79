"""fieldline report: the marts as a page that people look at."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from pipeline.settings import Settings, SettingsError, load

if TYPE_CHECKING:
    from pipeline.ops.marts import Parameters
    from pipeline.ops.report.data import Feedback

PAGE = Path("fieldline-report.html")


def register(app: typer.Typer) -> None:
    """Put the command into the application."""
    app.command("report")(report)


def report(
    *,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"The page that is written; {PAGE} when left out."),
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Start: 2026-11-01 or 2026-11-01T06:00Z; else all.")
    ] = "",
    until: Annotated[
        str, typer.Option(metavar="TIME", help="End, not included; else now. UTC without a zone.")
    ] = "",
    tenant: Annotated[str | None, typer.Option(help="This tenant only.")] = None,
    fix_days: Annotated[
        int,
        typer.Option(min=0, max=3650, help="Days within which a trouble counts as come back."),
    ] = 7,
    feedback: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Output of `feedback list --json`, for false alarms; else the topic is asked.",
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="DIR", help="Write each mart as CSV; a page only by --out."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    dictionary: Annotated[
        bool, typer.Option("--dictionary", help="Only print what every column means (Markdown).")
    ] = False,
) -> None:
    """Make one page of the marts: downtime, alarms, times, deliveries, quality, usage.

    The page is one file without scripts that loads nothing; it can be mailed and printed.
    """
    from pipeline.ops import marts  # noqa: PLC0415 - other commands should not wait for it

    if dictionary:
        typer.echo(marts.dictionary(), nl=False)
        return
    now = datetime.now(tz=UTC)
    asked = marts.Parameters(
        as_of=now,
        from_time=_time("--since", since) if since else marts.BEGINNING,
        to_time=_time("--until", until) if until else now,
        tenant=tenant,
        fix_days=fix_days,
    )
    if asked.from_time >= asked.to_time:
        raise SettingsError("--since is not before --until: give an earlier --since.")
    target = None if csv and not out and not show else out or PAGE
    _make(load(), asked, target=target, folder=csv, told=feedback)
    if target is not None and show:
        webbrowser.open(target.resolve().as_uri())


def _make(
    settings: Settings,
    asked: Parameters,
    *,
    target: Path | None,
    folder: Path | None,
    told: Path | None,
) -> None:
    # Arrow, DuckDB and matplotlib come with these.
    from connectors.lake import reader  # noqa: PLC0415 - see above
    from pipeline.ops import marts  # noqa: PLC0415 - the same
    from pipeline.ops.report import data, outcomes, svg, tables  # noqa: PLC0415 - the same
    from pipeline.ops.report.page import page  # noqa: PLC0415 - the same

    if target is not None:
        svg.check()
    known: Feedback = outcomes.from_file(told) if told else outcomes.from_kafka(settings)
    marts_to_make = data.steps() if target is not None else len(marts.models())
    steps = marts_to_make + (len(marts.models()) if folder is not None else 0)
    console = Console()
    with _progress(steps) as progress, _lake_trouble():
        connection = reader.connect(settings)
        try:
            if target is not None:
                made = data.gather(connection, asked, known, progress)
                _write(target, page(made))
            else:
                marts.install(connection, asked, known.outcomes, tables=True, progress=progress)
            written = [] if folder is None else tables.write(connection, folder, progress)
        finally:
            connection.close()
    if known.unknown:
        typer.echo(f"Without false alarms: {known.unknown}.", err=True)
    for path, rows in written:
        typer.echo(f"{path}: {rows:,} rows")
    if target is not None:
        console.print(f"Written: {target}", markup=False, highlight=False, soft_wrap=True)


def _time(option: str, text: str) -> datetime:
    """A time as a person types it, UTC where it names no zone."""
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise SettingsError(
            f"{option} {text!r} is no time: give one as 2026-11-01 or 2026-11-01T06:00Z."
        ) from error


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written ({error.strerror}): name another with --out."
        ) from error


@contextmanager
def _progress(steps: int) -> Iterator[Callable[[str], None]]:
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task: Any = bar.add_task("lake", total=steps + 1)

        def progress(name: str) -> None:
            bar.update(task, advance=1, description=name.replace("_", " "))

        yield progress


@contextmanager
def _lake_trouble() -> Iterator[None]:
    """What DuckDB or the store says of a lake that cannot be read, as one sentence."""
    try:
        import duckdb  # noqa: PLC0415 - an extra

        trouble: tuple[type[Exception], ...] = (duckdb.Error, OSError)
    except ImportError:  # reader.connect says so
        trouble = (OSError,)
    try:
        yield
    except trouble as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SettingsError(
            f"The lake cannot be read ({first}): look at LAKE_URL, S3_ENDPOINT and whether the "
            "store answers (`fieldline status`)."
        ) from error
