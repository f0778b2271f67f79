"""fieldline reconcile and review: the books, the targets, and what does not agree."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column, Table

from pipeline import logs
from pipeline.cli.dlq_select import Json, Sink, Why
from pipeline.cli.words import moment, plain
from pipeline.core.reconcile import Finding, Item, State
from pipeline.ops import reconcile_reviews as reviews
from pipeline.ops.reconcile_once import Outcome, once
from pipeline.ops.reconcile_pass import compared
from pipeline.settings import SettingsError, load
from pipeline.wire.codecs import make_codec

app = typer.Typer(help="Mismatches that a person must look into.", no_args_is_help=True)

_SUBJECT = 17
"""Longest subject that is shown whole in a list: its first letters name an event as well."""

Name = Annotated[str, typer.Argument(help="Id of the item; its first letters will do.")]


def register(program: typer.Typer) -> None:
    """Put the commands into the program."""
    program.command("reconcile")(reconcile)
    program.add_typer(app, name="review")


def reconcile(
    *,
    sink: Sink = "",
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, help="Delivered events to look up.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Look up every delivered event.")] = False,
    as_json: Json = False,
) -> None:
    """Compare the topics with the targets now, and write what differs to the reviews.

    Reads all topics that the books are made from, so it needs no reconciler. Ends with code 1
    where something differs, or could not be compared.
    """
    settings = load()
    logs.quiet()
    sinks = compared(settings)
    if sink and sink not in sinks:
        raise SettingsError(
            f"There is no sink {sink!r} with a target to ask: the routing table has "
            f"{', '.join(sinks) or 'none'}."
        )
    if every and sample is not None:
        raise SettingsError("Give --sample or --all, not both.")
    count = None if every else sample or settings.reconcile_sample
    screen = Console(stderr=True)
    with (
        tempfile.TemporaryDirectory(prefix="fieldline-books-") as folder,
        Progress(
            TextColumn("reading the topics"),
            BarColumn(),
            MofNCompleteColumn(),
            transient=True,
            console=screen,
            disable=not screen.is_terminal,
        ) as progress,
    ):
        bar = progress.add_task("")
        outcome = asyncio.run(
            once(
                settings,
                Path(folder),
                sinks=(sink,) if sink else sinks,
                sample=count,
                on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
            )
        )
    if as_json:
        for finding in outcome.findings:
            typer.echo(json.dumps(_finding(finding)))
    else:
        _tell(outcome)
    if outcome.findings or any(look.troubles for look in outcome.looks):
        raise typer.Exit(1)


def _tell(outcome: Outcome) -> None:
    console = Console()
    table = Table("sink", *_right("looked up", "listed", "mismatches"), "", box=box.SIMPLE_HEAD)
    for look in outcome.looks:
        note = plain("; ".join((*look.troubles, look.untold)).strip("; "))
        mark = f"[red]✘[/] {note}" if look.troubles else note
        table.add_row(
            look.sink,
            f"{look.looked_up:,}",
            "" if look.listed is None else f"{look.listed:,}",
            f"{len(look.findings):,}",
            mark or ("[red]✘[/]" if look.findings else "[green]✔ agrees[/]"),
        )
    console.print(table)
    if outcome.findings:
        console.print(
            _table([Item(finding=f, state=State.OPEN, at_ms=0) for f in outcome.findings])
        )
        console.print("fieldline review show ID tells more of each.", highlight=False)


def _right(*names: str) -> list[Column]:
    return [Column(name, justify="right", no_wrap=True) for name in names]


def _table(items: list[Item]) -> Table:
    dated = any(item.at_ms for item in items)
    table = Table(
        Column("id", no_wrap=True),
        Column("kind", no_wrap=True),
        Column("sink", no_wrap=True),
        Column("about", overflow="fold"),
        *([Column("since (UTC)", no_wrap=True)] if dated else []),
        box=box.SIMPLE_HEAD,
    )
    for item in items:
        finding, subject = item.finding, item.finding.subject
        kind = finding.kind.value.replace("_", " ")
        state = "" if item.state is State.OPEN else " [dim](gone)[/]"
        table.add_row(
            finding.id[:8],
            f"{kind}{state}",
            finding.sink,
            plain(subject if len(subject) <= _SUBJECT else subject[:12] + "…"),
            *([moment(item.at_ms)[5:16]] if dated else []),
        )
    return table


@app.command("list")
def list_items(
    *,
    sink: Annotated[str, typer.Option("--sink", "-s", help="Only this sink.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Also those that are gone.")] = False,
    as_json: Json = False,
) -> None:
    """Show open mismatches between the books and the targets."""
    settings = load()
    found = asyncio.run(reviews.read(settings, make_codec(settings)))
    items = [
        item
        for item in found.values()
        if (every or item.state is State.OPEN) and (not sink or item.finding.sink == sink)
    ]
    if as_json:
        for item in items:
            typer.echo(json.dumps(_item(item)))
        return
    Console().print(_table(items) if items else "Nothing to review.")


@app.command()
def show(name: Name, *, as_json: Json = False) -> None:
    """Show one mismatch: what is wrong, and how to mend it."""
    settings = load()
    item = reviews.find(asyncio.run(reviews.read(settings, make_codec(settings))), name)
    if as_json:
        typer.echo(json.dumps(_item(item)))
        return
    finding = item.finding
    table = Table(box=None, show_header=False, padding=(0, 2))
    for label, text in (
        ("id", finding.id),
        ("kind", finding.kind.value.replace("_", " ")),
        ("sink", finding.sink),
        ("about", finding.subject),
        ("event", finding.event_id or "none"),
        ("record at the target", finding.target_id or "none"),
        ("state", f"{item.state.value} since {moment(item.at_ms)} UTC"),
        ("what to do", finding.detail),
    ):
        table.add_row(f"[bold]{label}[/]", plain(text))
    Console().print(table)


@app.command()
def resolve(
    name: Name,
    *,
    why: Why = "",
) -> None:
    """Close a mismatch: it is not opened again while it says the same."""
    settings = load()

    async def main() -> Item:
        codec = make_codec(settings)
        item = reviews.find(await reviews.read(settings, codec), name)
        if item.state is not State.OPEN:
            raise SettingsError(f"Review {item.finding.id} is gone already: nothing was done.")
        return await reviews.resolve(settings, codec, item, why=why)

    typer.echo(f"resolved {asyncio.run(main()).finding.id}")


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "id": finding.id,
        "kind": finding.kind.value,
        "sink": finding.sink,
        "subject": finding.subject,
        "event_id": finding.event_id,
        "target_id": finding.target_id,
        "detail": finding.detail,
    }


def _item(item: Item) -> dict[str, object]:
    return {**_finding(item.finding), "state": item.state.value, "at_ms": item.at_ms}
