"""fieldline feedback: what came of an event, and what the rules learn from it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from typer.core import TyperGroup

from pipeline.cli.rules import Json, Who, Why, checked, named, print_published
from pipeline.cli.words import moment
from pipeline.core.feedback import Verdict, movable
from pipeline.ops import feedback as ops
from pipeline.ops import rules as rules_ops
from pipeline.settings import load
from pipeline.wire.codecs import make_codec

if TYPE_CHECKING:
    from pipeline.ops.feedback import Learnt


class _Group(TyperGroup):
    """Takes `feedback EVENT_ID confirmed` for `feedback tell EVENT_ID confirmed`."""

    def resolve_command(self, ctx, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - typer's own classes are not public
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["tell", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    help="Outcomes: `feedback EVENT_ID confirmed` or `false-alarm`; list; revert.",
    no_args_is_help=True,
    cls=_Group,
)

Event = Annotated[str, typer.Argument(metavar="EVENT_ID", help="Its first letters will do.")]


class Told(StrEnum):
    """An outcome as a person types it."""

    CONFIRMED = "confirmed"
    FALSE_ALARM = "false-alarm"


@app.command("tell")
def tell(
    event_id: Event,
    outcome: Annotated[Told, typer.Argument(help="What came of it.")],
    *,
    why: Why,
    who: Who = "",
) -> None:
    """Say what came of an event: the thresholds move by it (also without the word tell)."""

    async def run() -> None:
        settings = load()
        reason, name = checked("--why", why), named(who)
        event = await ops.find_event(settings, make_codec(settings), event_id)
        verdict = Verdict.CONFIRMED if outcome is Told.CONFIRMED else Verdict.FALSE_ALARM
        learnt = await ops.tell(settings, event, verdict, who=name, why=reason)
        typer.echo(f"{event.id} {event.summary}")
        _print(learnt)
        if learnt.draft is None:
            now = await rules_ops.look(settings)
            if now.current.rules().feedback is None:
                typer.echo("The rules have no `feedback`, so nothing is learnt.")
            elif not movable(now.current.rules(), event.detector, event.metric):
                typer.echo(
                    f"{event.detector} of {event.metric} alarms by what the rules file says and "
                    "not by a threshold that is learnt: change it there."
                )

    asyncio.run(run())


@app.command()
def revert(event_id: Event, *, why: Why, who: Who = "") -> None:
    """Take back what was told of an event; the thresholds are again as without it."""

    async def run() -> None:
        settings = load()
        reason, name = checked("--why", why), named(who)
        _print(await ops.take_back(settings, event_id, who=name, why=reason))

    asyncio.run(run())


def _print(learnt: Learnt) -> None:
    words = learnt.outcome.outcome.replace("_", " ")
    typer.echo(f"Noted: {words}." if learnt.new else f"It was told before: {words}.")
    if learnt.draft is None:
        typer.echo("No threshold has moved.")
    else:
        print_published(Console(), learnt.draft)


@app.command("list")
def list_outcomes(*, as_json: Json = False) -> None:
    """List what was told, oldest first, and whether it counts."""

    async def run() -> None:
        now = await rules_ops.look(load())
        rows = ops.history(now)
        if as_json:
            for entry, state in rows:
                typer.echo(json.dumps({"state": state, **asdict(entry.outcome)}))
            return
        table = Table(
            Column("event", no_wrap=True),
            Column("outcome", no_wrap=True),
            Column("detector", no_wrap=True),
            Column("metric"),
            Column("who"),
            Column("why", ratio=1),
            Column("at (UTC)", no_wrap=True),
            Column("state"),
            box=box.SIMPLE_HEAD,
            expand=True,
        )
        for entry, state in rows:
            told = entry.outcome
            table.add_row(
                # Outcomes also come from other systems: nothing in them is markup.
                *map(
                    escape,
                    (
                        told.event_id[:8],
                        told.outcome.replace("_", " "),
                        told.detector,
                        told.metric,
                        told.who,
                        told.why,
                        moment(told.at_ms),
                        state,
                    ),
                )
            )
        Console().print(table if rows else "Nothing was told yet.")
        if now.unusable:
            typer.echo(f"{now.unusable} records of the topic are no outcomes and were left out.")

    asyncio.run(run())
