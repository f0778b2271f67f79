"""fieldline lake load: the lake into a warehouse."""

from __future__ import annotations

import json
import signal
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column, Table

from pipeline import logs
from pipeline.cli.words import plain
from pipeline.settings import Settings, SettingsError, load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from connectors.warehouse.base import Result, Warehouse
    from pipeline.core.lake_columns import Dataset
    from pipeline.ops.warehouse_load import Wanted

HELP = """Load the lake into snowflake, bigquery, redshift, synapse or fabric: every row once.

Only files that the warehouse's ledger does not know are loaded, rows and ledger together; it may
be run any number of times. Afterwards rows and sums of the dates that were touched are compared.
Needs LAKE_CATALOG. How each warehouse is set up: infra/docs/WAREHOUSES.md.

Tested: Snowflake with fakesnow, Redshift's SQL on PostgreSQL, BigQuery over a sandbox of its
API. Not tested: Synapse, Fabric, and any of them against the real service.
"""


def register(app: typer.Typer) -> None:
    """Put the commands into the group."""
    app.command("load", help=HELP)(load_lake)


def load_lake(
    warehouse: Annotated[
        str, typer.Argument(metavar="[WAREHOUSE]", help="Where to.", show_default=False)
    ] = "",
    *,
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", "-d", help="Only this; may be given again.")
    ] = None,
    since: Annotated[str, typer.Option("--since", help="Only dates from YYYY-MM-DD on.")] = "",
    continuous: Annotated[
        float, typer.Option("--continuous", min=0, help="Again and again, with so many seconds.")
    ] = 0,
    show: Annotated[
        bool, typer.Option("--print", help="Print the statements of a first load; run nothing.")
    ] = False,
    listed: Annotated[
        bool, typer.Option("--list", help="What was loaded when; without WAREHOUSE: all of them.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Compare all dates; load nothing.")
    ] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Load these dates again, each in one transaction.")
    ] = False,
    forget: Annotated[
        str, typer.Option("--forget", metavar="DEVICE", help="Delete a device's rows there.")
    ] = "",
    iceberg: Annotated[
        bool, typer.Option("--iceberg", help="Print a table over the lake's own files instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Load the lake into a warehouse."""
    # The warehouses take a second to import.
    from pipeline.ops import warehouse_load as ops  # noqa: PLC0415

    if not warehouse:
        if not listed:
            raise SettingsError("Name a warehouse, or see them with `fieldline lake load --list`.")
        _tell_warehouses(as_json=as_json)
        return
    settings = load()
    logs.quiet()
    wanted = _wanted(warehouse, dataset or (), since, anew=anew)
    if show or iceberg:
        now = datetime.now(tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
        for text in ops.statements(settings, wanted, now=now, device=forget, over_the_lake=iceberg):
            typer.echo(text if text.startswith("{") else f"{text};\n")
        return
    if listed:
        _tell_ledger(ops.ledger(settings, wanted), as_json=as_json)
        return
    if forget:
        _tell_forgotten(ops.forget(settings, wanted, forget))
        return
    if continuous:
        if check or anew:
            raise SettingsError(
                "--continuous loads what is new: take it without --check and without --anew."
            )
        _load_on(settings, wanted, continuous, as_json=as_json)
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        transient=True,
        console=(screen := Console(stderr=True)),
        disable=not screen.is_terminal,
    )
    with bar:
        task = bar.add_task("")
        results = list(
            (ops.check if check else ops.once)(
                settings,
                wanted,
                lambda name, done, total: bar.update(
                    task, description=f"reading {name}", completed=done, total=total
                ),
            )
        )
    if not _tell(results, as_json=as_json):
        raise typer.Exit(1)


def _load_on(settings: Settings, wanted: Wanted, every_s: float, *, as_json: bool) -> None:
    """Load until SIGINT or SIGTERM, or until a person must look."""
    from pipeline.ops import warehouse_load as ops  # noqa: PLC0415 - the same

    def tell(result: Result) -> None:
        _tell([result], as_json=as_json)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        halt = ops.continuously(settings, wanted, every_s, tell)
    except KeyboardInterrupt:
        return
    raise SettingsError(halt.reason)


def _wanted(
    warehouse: str, names: list[str] | tuple[str, ...], since: str, *, anew: bool
) -> Wanted:
    from connectors.warehouse.base import Warehouse  # noqa: PLC0415 - the same
    from pipeline.ops import warehouse_load as ops  # noqa: PLC0415 - the same

    try:
        known = Warehouse(warehouse)
    except ValueError:
        raise SettingsError(
            f"There is no loader for that warehouse: choose among {', '.join(Warehouse)}."
        ) from None
    if since:
        try:
            since = date.fromisoformat(since).isoformat()
        except ValueError:
            raise SettingsError("--since is no date: write YYYY-MM-DD.") from None
    return ops.Wanted(warehouse=known, datasets=ops.all_datasets(names), since=since, anew=anew)


def _tell(results: list[Result], *, as_json: bool) -> bool:
    """Shows what was done; whether all of it is well."""
    from connectors.warehouse.base import Loaded  # noqa: PLC0415 - the same

    well = all(isinstance(one, Loaded) and not one.differences for one in results)
    if as_json:
        for one in results:
            typer.echo(json.dumps({"result": type(one).__name__.lower(), **asdict(one)}))
        return well
    table = Table("dataset", *_right("files", "rows", "dates compared"), "", box=box.SIMPLE_HEAD)
    console = Console()
    for one in results:
        if not isinstance(one, Loaded):
            console.print(f"[red]✘[/] {plain(one.reason)}", highlight=False)
            continue
        table.add_row(
            one.dataset,
            f"{one.files:,}",
            f"{one.rows:,}",
            f"{one.checked:,}",
            "[green]✔ rows agree[/]" if not one.differences else "[red]✘ rows differ[/]",
        )
    if table.row_count:
        console.print(table)
    for dataset, found in [
        (one.dataset, found)
        for one in results
        if isinstance(one, Loaded)
        for found in one.differences
    ]:
        console.print(
            f"{dataset} {found.date}: {found.lake.rows:,} rows in the lake, "
            f"{found.warehouse.rows:,} in the warehouse; sums {found.lake.position_sum} and "
            f"{found.warehouse.position_sum}. Load it again with --anew --since {found.date}.",
            highlight=False,
        )
    return well


def _tell_warehouses(*, as_json: bool) -> None:
    from connectors.warehouse.warehouses import TESTED  # noqa: PLC0415 - the same

    known: dict[Warehouse, str] = TESTED
    if as_json:
        for name, tested in known.items():
            typer.echo(json.dumps({"warehouse": name.value, "tested": tested}))
        return
    table = Table("warehouse", "tested", box=box.SIMPLE_HEAD)
    for name, tested in known.items():
        table.add_row(name.value, tested)
    Console().print(table)


def _tell_ledger(told: Iterator[tuple[Dataset, object]], *, as_json: bool) -> None:
    table = Table("dataset", "date", "loaded (UTC)", *_right("rows"), "file", box=box.SIMPLE_HEAD)
    for dataset, found in told:
        if not isinstance(found, tuple):
            raise SettingsError(str(getattr(found, "reason", found)))
        for entry in sorted(found, key=lambda e: (e.at, e.date, e.file)):
            if as_json:
                typer.echo(json.dumps({"dataset": dataset.value, **asdict(entry)}))
            else:
                name = plain(entry.file.rpartition("/")[2])
                table.add_row(dataset, entry.date, entry.at, f"{entry.rows:,}", name)
    if not as_json:
        Console().print(table if table.row_count else "Nothing was loaded yet.")


def _tell_forgotten(told: Iterator[tuple[Dataset, object]]) -> None:
    for dataset, trouble in told:
        if trouble is not None:
            raise SettingsError(str(getattr(trouble, "reason", trouble)))
        typer.echo(f"{dataset}: deleted")


def _right(*names: str) -> list[Column]:
    return [Column(name, justify="right", no_wrap=True) for name in names]
