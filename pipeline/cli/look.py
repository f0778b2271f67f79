"""Commands that only look: topology, status, balance; and topics create."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Column, Table

from pipeline.cli.words import plain
from pipeline.core.balance import Line
from pipeline.core.routing import sinks_of
from pipeline.ops import draw, status, topics
from pipeline.ops.books import BookKeeper, Books, committed_offsets, worker_groups
from pipeline.ops.reconcile_lines import is_total, read_lines, shown
from pipeline.settings import Settings, load
from pipeline.state.routes_file import load_routes
from pipeline.topology import Topic
from pipeline.topology import topics as all_topics
from pipeline.wire import kafka
from pipeline.wire.codecs import make_codec

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

topics_app = typer.Typer(help="The topics of pipeline/topology.py.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Put the commands into the program."""
    app.command("topology")(topology)
    app.command("status")(show_status)
    app.command("balance")(balance)
    app.add_typer(topics_app, name="topics")


def _topics(settings: Settings) -> tuple[Topic, ...]:
    return all_topics(sinks_of(load_routes(settings.routes_file)))


def topology(
    *,
    mermaid: Annotated[bool, typer.Option(help="Print a Mermaid diagram instead.")] = False,
) -> None:
    """Show every topic: key, schema, producers, consumers, partitions, retention."""
    settings = load()
    if mermaid:
        typer.echo(draw.mermaid(_topics(settings)), nl=False)
        return
    table = Table(
        Column("topic", no_wrap=True),
        "key",
        "schema",
        "from",
        "to",
        "parts",
        Column("kept", no_wrap=True),
        box=box.SIMPLE_HEAD,
    )
    for topic in _topics(settings):
        table.add_row(
            topic.name,
            topic.key,
            topic.schema,
            ", ".join(topic.producers),
            ", ".join(topic.consumers),
            str(topic.partitions(settings.partitions)),
            draw.kept(topic),
        )
    Console().print(table)


@topics_app.command("create")
def create_topics() -> None:
    """Create the topics that are missing; safe to run again."""

    async def run() -> None:
        settings = load()
        async with kafka.administered(settings) as admin:
            for topic in await topics.create(admin, _topics(settings), settings):
                mark = "created" if topic.made else "there"
                typer.echo(f"{mark:8} {topic.name} ({topic.partitions} partitions)")

    asyncio.run(run())


def show_status(*, as_json: Json = False) -> None:
    """Show how far each worker is, what waits, and whether the parts answer."""

    async def run() -> None:
        settings = load()
        async with kafka.administered(settings) as admin:
            rows = await status.lags(admin, settings)
        parts = await status.parts(settings)
        pauses = await status.pauses(settings)
        if as_json:
            typer.echo(
                json.dumps(
                    {
                        "parts": {p.name: p.answers for p in parts},
                        "groups": [
                            {"group": r.group, "topic": r.topic, "end": r.end, "lag": r.lag}
                            for r in rows
                        ],
                        "paused": {sink: why.reason for sink, why in pauses.items()},
                    }
                )
            )
            return
        console = Console()
        for part in parts:
            colour = "green" if part.answers else "red"
            console.print(f"  [{colour}]●[/] {part.name:<8}{part.note}", highlight=False)
        for sink, why in pauses.items():
            wait_s = max(why.for_s, why.pause_s)
            console.print(
                f"  [yellow]●[/] {sink} is left alone: {plain(why.reason) or 'it asked for it'}; "
                + (f"asked again in {wait_s:.0f} s" if wait_s else "asked again now"),
                highlight=False,
            )
        table = Table(
            Column("worker", no_wrap=True),
            Column("topic", no_wrap=True),
            Column("members", justify="right"),
            Column("messages", justify="right"),
            Column("waiting", justify="right"),
            box=box.SIMPLE_HEAD,
        )
        for row in rows:
            waiting = f"[yellow]{row.lag:,}[/]" if row.lag else "0"
            members = str(row.members) if row.members else "[red]0[/]"
            table.add_row(
                row.group.removeprefix("fieldline-"), row.topic, members, f"{row.end:,}", waiting
            )
        console.print(table)

    asyncio.run(run())


def balance(
    *,
    audit: Annotated[
        bool, typer.Option("--audit", help="Count all topics from their start, readings too.")
    ] = False,
    detail: Annotated[
        bool, typer.Option("--detail", help="Also each tenant and range of keys (partition).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show that everything that went in is somewhere, or how much is missing.

    What the reconciler keeps; where none runs, or with --audit, counted from the topics. Ends
    with code 1 where a line does not close.
    """
    settings = load()
    told = None if audit else asyncio.run(read_lines(settings, make_codec(settings)))
    if told is not None and told.alive:
        lines = [shown(line) for line in told.lines if detail or is_total(line)]
    else:
        if told is not None:
            typer.echo("No reconciler runs: counting the topics.", err=True)
        lines = asyncio.run(_audit(settings))
    if as_json:
        typer.echo(json.dumps([line_json(line) for line in lines]))
    else:
        Console().print(balance_table(lines))
    if not all(line.closes for line in lines):
        raise typer.Exit(1)


async def _audit(settings: Settings) -> list[Line]:
    routes = load_routes(settings.routes_file)
    keeper = BookKeeper(settings, Books(codec=make_codec(settings), routes=routes))
    async with kafka.administered(settings) as admin:
        try:
            await keeper.start()
            # Offsets first: what is committed after this look only makes waiting smaller.
            committed = await committed_offsets(admin, worker_groups(routes))
            await keeper.catch_up()
        finally:
            await keeper.stop()
    return keeper.books.lines(committed)


def line_json(line: Line) -> dict[str, object]:
    """A balance line as JSON."""
    return {
        "name": line.name,
        "in": line.went_in,
        "places": dict(line.places),
        "parked": line.parked,
        "difference": line.difference,
        "closes": line.closes,
    }


def balance_table(lines: list[Line]) -> Table:
    """The balance for a terminal."""
    table = Table("line", "went in", "where they are", "missing", "", box=box.SIMPLE_HEAD)
    for line in lines:
        table.add_row(
            line.name,
            f"{line.went_in:,}",
            " + ".join(_place(line, place, n) for place, n in line.places.items() if n) or "0",
            f"{line.difference:,}",
            "[green]✔ closes[/]" if line.closes else "[bold red]✘ open[/]",
        )
    return table


def _place(line: Line, place: str, n: int) -> str:
    parked = f" ({line.parked:,} parked)" if place == "waiting" and line.parked else ""
    return f"{n:,} {place.replace('_', ' ')}{parked}"
