"""fieldline dlq: what a person must decide."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer
from rich.console import Console

from pipeline.cli import dlq_acts
from pipeline.cli.dlq_print import as_json, by_cause, everything, listing
from pipeline.cli.dlq_select import (
    Cause,
    Json,
    Key,
    Limit,
    Name,
    Since,
    Sink,
    StateOption,
    Status,
    Tenant,
    Until,
    Wish,
    choose,
    choose_one,
    filter_of,
)
from pipeline.settings import load
from pipeline.wire.codecs import make_codec

app = typer.Typer(help="Dead letters: list, show, edit, replay, discard.", no_args_is_help=True)


@app.command("list")
def list_entries(
    *,
    sink: Sink = "",
    key: Key = "",
    tenant: Tenant = "",
    since: Since = "",
    until: Until = "",
    cause: Cause = "",
    state: Status = StateOption.OPEN,
    limit: Limit = 100,
    causes: Annotated[
        bool, typer.Option("--by-cause", help="Sum up: the ten most common causes.")
    ] = False,
    json_lines: Json = False,
) -> None:
    """Show dead letters: what, why, since when. The open ones, the oldest first."""
    wanted = filter_of(key, tenant, since, until, cause)

    async def run() -> None:
        settings = load()
        codec, console = make_codec(settings), Console()
        wish = Wish(sink=sink, filter=wanted, state=state, limit=None if causes else limit)
        chosen = await choose(settings, codec, wish)
        if json_lines:
            for row in chosen.all:
                typer.echo(json.dumps(as_json(row, codec)))
        elif not chosen.all:
            console.print("No dead letters." if not wanted else "No such dead letters.")
        elif causes:
            console.print(by_cause(chosen.all))
        else:
            for part in listing(chosen.all, chosen.of):
                console.print(part, highlight=False)

    asyncio.run(run())


@app.command()
def show(name: Name, *, sink: Sink = "", json_lines: Json = False) -> None:
    """Show one dead letter with all that is known: cause, answer, history, event, actions."""

    async def run() -> None:
        settings = load()
        codec = make_codec(settings)
        row = await choose_one(settings, codec, name, sink)
        if json_lines:
            typer.echo(json.dumps(as_json(row, codec)))
        else:
            everything(Console(highlight=False), row, codec)

    asyncio.run(run())


dlq_acts.register(app)
