"""fieldline dlq replay, edit and discard: what a person does, each act in the audit trail."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import Progress

from pipeline.cli.dlq_print import difference, short
from pipeline.cli.dlq_select import (
    Cause,
    Key,
    Limit,
    Name,
    Names,
    Since,
    Sink,
    StateOption,
    Status,
    Tenant,
    Until,
    Why,
    Wish,
    Yes,
    agreed,
    choose,
    choose_one,
    filter_of,
)
from pipeline.cli.words import plain
from pipeline.core.dlq import State
from pipeline.ops import audit, deadletters, edit
from pipeline.ops.dlq_acts import Desk, event_of, new_id
from pipeline.ops.dlq_entries import Entry
from pipeline.ops.dlq_states import Standing
from pipeline.settings import Settings, SettingsError, load
from pipeline.topology import LAKE
from pipeline.wire.avro import Codec
from pipeline.wire.codecs import make_codec

REPLAY_WAIT_S: Final = 90.0
"""Longest wait for the next end: two look-ups with their waits, and the sending."""
MAX_RATE: Final = 1_000.0


def register(app: typer.Typer) -> None:
    """Put the commands into the program."""
    app.command()(replay)
    app.command("edit")(edit_entry)
    app.command()(discard)


def replay(
    names: Names = None,
    *,
    sink: Sink = "",
    key: Key = "",
    tenant: Tenant = "",
    since: Since = "",
    until: Until = "",
    cause: Cause = "",
    state: Status = StateOption.OPEN,
    limit: Limit = None,
    every: Annotated[bool, typer.Option("--all", help="Every one of that state.")] = False,
    even_discarded: Annotated[
        bool, typer.Option("--even-discarded", help="Also what a person has discarded.")
    ] = False,
    rate: Annotated[
        float, typer.Option("--rate", min=0.01, max=MAX_RATE, help="So many a second.")
    ] = deadletters.RATE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the request that would be sent; send nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Wait for what becomes of them.")] = True,
    why: Why = "",
    yes: Yes = False,
) -> None:
    """Send dead letters again, in their order. Doing it twice has one effect.

    What a target may have from the attempt before is looked up before
    anything is sent, twice with a pause, so a replay takes some seconds.
    Ends with code 1 unless all are delivered.
    """
    wanted = filter_of(key, tenant, since, until, cause)
    _named(names, every=every or bool(wanted) or state is not StateOption.OPEN, what="replay")
    reason = audit.reason(why, needed=False)

    async def run() -> bool:
        settings = load()
        codec = make_codec(settings)
        wish = Wish(sink=sink, names=names or (), filter=wanted, state=state, limit=limit)
        chosen = list((await choose(settings, codec, wish)).all)
        _refuse_discarded(chosen, even_discarded=even_discarded)
        if not chosen:
            typer.echo("Nothing to replay.")
            return True
        for row in chosen:
            event_of(codec, row.entry, wish="replayed")
        if dry_run:
            # With it come the connectors and their HTTP client, for which others should not wait.
            from pipeline.cli.dlq_rehearse import rehearse  # noqa: PLC0415 - see above

            return await rehearse(settings, codec, chosen, rate=rate)
        if not agreed(len(chosen), what="replay", yes=yes):
            return False
        replay_id, well = new_id(), True
        for where in dict.fromkeys(row.entry.sink for row in chosen):
            entries = [row.entry for row in chosen if row.entry.sink == where]
            well &= await _replay(
                settings,
                codec,
                where,
                entries,
                replay_id=replay_id,
                why=reason,
                rate=rate,
                wait=wait,
            )
        return well

    if not asyncio.run(run()):
        raise typer.Exit(1)


def _named(names: Sequence[str] | None, *, every: bool, what: str) -> None:
    if names and every:
        raise SettingsError(f"Give either ids or filters to {what}, not both.")
    if not names and not every:
        raise SettingsError(
            f"Say which dead letters to {what}: ids, a filter such as --cause, or --all for "
            "every open one."
        )


def _refuse_discarded(chosen: Sequence[Standing], *, even_discarded: bool) -> None:
    gone = [row for row in chosen if row.state is State.DISCARDED]
    if gone and not even_discarded:
        raise SettingsError(
            f"Dead letter {short(gone[0].entry)} was discarded: "
            "say --even-discarded to replay it all the same."
        )


async def _replay(
    settings: Settings,
    codec: Codec,
    sink: str,
    entries: Sequence[Entry],
    *,
    replay_id: str,
    why: str,
    rate: float,
    wait: bool,
) -> bool:
    """Replay entries of one sink, and say what becomes of each; False unless all are delivered."""
    console = Console()
    async with deadletters.Results(settings, codec, sink) as results:
        with Progress(
            console=console, transient=True, disable=not console.is_terminal or len(entries) < rate
        ) as bar:
            task = bar.add_task(f"sink.{sink}", total=len(entries))
            sent = await deadletters.replay(
                settings,
                codec,
                entries,
                replay_id=replay_id,
                why=why,
                rate=rate,
                sent=lambda _: bar.advance(task),
            )
        console.print(f"sent {sent} again to sink.{sink} (replay {replay_id})", highlight=False)
        if not wait or sink == LAKE:
            return True
        ends = await results.of(
            [entry.event_id for entry in entries],
            seconds=REPLAY_WAIT_S,
            replay_id=replay_id,
            came=lambda event_id, end: console.print(
                f"  {plain(event_id)}  {plain(end)}", highlight=False, soft_wrap=True
            ),
        )
    for event_id in [event_id for event_id, end in ends.items() if not end]:
        console.print(f"  {plain(event_id)}  not yet decided: see fieldline dlq list --state all")
    return all(end == State.DELIVERED for end in ends.values())


def edit_entry(
    name: Name,
    *,
    why: Why = "",
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="A field's new value; may come again."),
    ] = None,
    editor: Annotated[
        bool, typer.Option("--editor", help="Edit the event as JSON in $EDITOR.")
    ] = False,
    sink: Sink = "",
) -> None:
    """Change a dead letter's event before it is sent again; what makes its key stays."""
    if editor == bool(sets):
        raise SettingsError("Say what to change: --set FIELD=VALUE, or --editor for all of it.")
    reason = audit.reason(why, needed=True)

    async def run() -> None:
        settings = load()
        codec, console = make_codec(settings), Console()
        row = await choose_one(settings, codec, name, sink)
        entry = row.entry
        event_of(codec, entry, wish="edited")
        if row.state is not State.OPEN:
            raise SettingsError(f"Dead letter {short(entry)} is {row.state}: edit open ones only.")
        before = codec.decode(edit.SCHEMA, entry.record["payload"])
        after = in_editor(before) if editor else edit.with_settings(before, sets or ())
        changes = edit.changes(before, after)
        if not changes:
            console.print("Nothing is different: nothing was changed.")
            return
        console.print(difference(changes))
        async with Desk(settings, codec, who=audit.operator(settings)) as desk:
            await desk.edit(entry, codec.encode(edit.SCHEMA, after), changes, why=reason)
        console.print(
            f"\nEdited, and not sent yet. See what would be: fieldline dlq replay {short(entry)} "
            "--dry-run",
            highlight=False,
        )

    asyncio.run(run())


def in_editor(before: dict[str, object]) -> dict[str, object]:
    """The event as the person's editor leaves it."""
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "")
    if not editor:
        raise SettingsError("There is no editor: set EDITOR, or say --set FIELD=VALUE.")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "event.json"
        file.write_text(edit.as_json(before), encoding="utf-8")
        try:
            subprocess.run([*editor, str(file)], check=True)  # noqa: S603 - the person's own choice
            with file.open(encoding="utf-8") as edited:
                return edit.with_document(before, edited.read(edit.MAX_DOCUMENT + 1))
        except (OSError, UnicodeDecodeError, subprocess.CalledProcessError) as error:
            raise SettingsError(
                f"The editor {editor[0]} failed ({error}): nothing was changed."
            ) from error


def discard(
    names: Names = None,
    *,
    why: Why = "",
    sink: Sink = "",
    key: Key = "",
    tenant: Tenant = "",
    since: Since = "",
    until: Until = "",
    cause: Cause = "",
    limit: Limit = None,
    yes: Yes = False,
) -> None:
    """Say that dead letters are not to be delivered. They stay in the DLQ, and can be replayed."""
    wanted = filter_of(key, tenant, since, until, cause)
    _named(names, every=bool(wanted), what="discard")
    reason = audit.reason(why, needed=True)

    async def run() -> bool:
        settings = load()
        codec = make_codec(settings)
        wish = Wish(sink=sink, names=names or (), filter=wanted, limit=limit)
        chosen = (await choose(settings, codec, wish)).all
        if ended := [row for row in chosen if row.state is not State.OPEN]:
            raise SettingsError(
                f"Dead letter {short(ended[0].entry)} is {ended[0].state}: discard open ones only."
            )
        if not agreed(len(chosen), what="discard", yes=yes):
            return False
        async with Desk(settings, codec, who=audit.operator(settings)) as desk:
            for entry in deadletters.in_order(codec, [row.entry for row in chosen]):
                await desk.discard(entry, why=reason)
        typer.echo(f"{len(chosen)} discarded." if chosen else "Nothing to discard.")
        return True

    if not asyncio.run(run()):
        raise typer.Exit(1)
