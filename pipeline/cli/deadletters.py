"""fieldline dlq: what a person must decide."""

from __future__ import annotations

import asyncio
import json
import secrets
from datetime import UTC, datetime
from typing import Annotated, Any

import redis.asyncio as redis
import typer
from rich import box
from rich.console import Console
from rich.table import Column, Table

from pipeline.core.routing import sinks_of
from pipeline.ops import deadletters
from pipeline.ops.deadletters import Entry
from pipeline.settings import Settings, SettingsError, load
from pipeline.state.ledger import Ledger
from pipeline.state.routes_file import load_routes
from pipeline.topology import LAKE
from pipeline.wire.avro import UnreadableError
from pipeline.wire.codecs import make_codec
from pipeline.wire.records import decode_event

app = typer.Typer(help="Dead letters: list, show, replay.", no_args_is_help=True)

Sink = Annotated[str, typer.Option("--sink", "-s", help="Sink; all of them when left out.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]
REPLAY_WAIT_S = 90.0

Name = Annotated[str, typer.Argument(help="Event id (its first letters will do) or DLQ offset.")]


def _sinks(settings: Settings, sink: str) -> list[str]:
    known = list(sinks_of(load_routes(settings.routes_file)))
    if sink and sink not in known:
        raise SettingsError(f"There is no sink {sink!r}: the routing table has {', '.join(known)}.")
    return [sink] if sink else known


async def _entries(settings: Settings, sink: str) -> list[tuple[str, Entry]]:
    codec = make_codec(settings)
    return [
        (name, entry)
        for name in _sinks(settings, sink)
        for entry in await deadletters.read(settings, codec, name)
    ]


async def _states(settings: Settings, entries: list[tuple[str, Entry]]) -> list[str]:
    """What became of each entry since, by the ledger: open, replaying or delivered."""
    client = redis.from_url(settings.redis_url.get_secret_value())
    try:
        ledger = Ledger(client)
        out = []
        for sink, entry in entries:
            if sink == LAKE or not entry.event_id:
                out.append("open")
                continue
            [row] = await ledger.states(sink, [entry.event_id])
            name = row.state.value if row is not None else ""
            out.append({"succeeded": "delivered", "in_flight": "replaying"}.get(name, "open"))
        return out
    finally:
        await client.aclose()


@app.command("list")
def list_entries(
    *,
    sink: Sink = "",
    every: Annotated[bool, typer.Option("--all", help="Also those delivered since.")] = False,
    as_json: Json = False,
) -> None:
    """Show open dead letters: what, why, since when."""

    async def run() -> None:
        settings = load()
        entries = await _entries(settings, sink)
        states = await _states(settings, entries)
        rows = [
            (name, entry, state)
            for (name, entry), state in zip(entries, states, strict=True)
            if every or state != "delivered"
        ]
        if as_json:
            for name, entry, state in rows:
                typer.echo(json.dumps({"sink": name, "state": state, **_plain(entry)}))
            return
        several = len({name for name, _, _ in rows}) > 1
        table = Table(
            Column("event", no_wrap=True),
            *([Column("sink", no_wrap=True)] if several else []),
            Column("device", no_wrap=True),
            Column("why", no_wrap=True, ratio=1),
            Column("since (UTC)", no_wrap=True),
            Column("state", no_wrap=True),
            box=box.SIMPLE_HEAD,
            expand=True,
        )
        for name, entry, state in rows:
            record = entry.record
            table.add_row(
                # The first letters name it as well as all of them.
                entry.event_id[:8] or f"offset {entry.offset}",
                *([name] if several else []),
                record["key"],
                record["message"],
                _time(record["at_ms"])[5:16],
                state,
            )
        Console().print(table if rows else "No dead letters.")

    asyncio.run(run())


@app.command()
def show(name: Name, *, sink: Sink = "", as_json: Json = False) -> None:
    """Show one dead letter with all that is known, its event decoded."""

    async def run() -> None:
        settings = load()
        entries = await _entries(settings, sink)
        entry = deadletters.find([e for _, e in entries], name)
        where = next(s for s, e in entries if e is entry)
        if as_json:
            typer.echo(json.dumps({"sink": where, **_plain(entry)}))
            return
        console = Console()
        record = entry.record
        table = Table(box=None, show_header=False, padding=(0, 2))
        for label, text in (
            ("event", entry.event_id or "unreadable"),
            ("sink", where),
            ("device", record["key"]),
            ("cause", f"{record['cause_class']} · {record['code']}"),
            ("why", record["message"]),
            ("answer", record["answer"] or "none"),
            ("attempts", str(record["attempts"])),
            ("given up", _time(record["at_ms"])),
            (
                "came from",
                f"{record['source_topic']}/{record['source_partition']}/{record['source_offset']}",
            ),
            ("trace", record["traceparent"] or "none"),
        ):
            table.add_row(f"[bold]{label}[/]", text)
        console.print(table)
        try:
            event = decode_event(make_codec(settings), record["payload"])
        except UnreadableError as error:
            console.print(f"\nPayload of {len(record['payload'])} bytes: {error}.")
            return
        console.print(f"\n[bold]{event.severity}[/] {event.summary}")
        console.print(
            f"occurred {_time(event.occurred_at_ms)}, asset {event.asset_id}, "
            f"customer {event.customer_id}, rule {event.rule}"
        )
        console.print(f"\nOnce the cause is mended: fieldline dlq replay {entry.event_id}")

    asyncio.run(run())


@app.command()
def replay(
    names: Annotated[list[str] | None, typer.Argument(help="Event ids or offsets.")] = None,
    *,
    sink: Sink = "",
    every: Annotated[bool, typer.Option("--all", help="Every open one.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what would be sent, send nothing.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait for what becomes of them.")] = True,
) -> None:
    """Send dead letters again, oldest first. Doing it twice has one effect.

    What a target may have from the attempt before is looked up, twice with a pause, before
    anything is sent, so a replay takes some seconds. Ends with code 1 unless all are delivered.
    """
    if not names and not every:
        raise SettingsError("Name the dead letters to replay, or give --all for every open one.")

    async def run() -> bool:
        settings = load()
        codec = make_codec(settings)
        entries = await _entries(settings, sink)
        if every:
            states = await _states(settings, entries)
            chosen = [e for e, s in zip(entries, states, strict=True) if s == "open"]
        else:
            picked = [deadletters.find([e for _, e in entries], n) for n in names or []]
            chosen = [pair for pair in entries if pair[1] in picked]
        replay_id = secrets.token_hex(8)
        delivered = True
        for where in dict.fromkeys(s for s, _ in chosen):
            batch = [e for s, e in chosen if s == where]
            if dry_run:
                for entry in batch:
                    typer.echo(f"would send {entry.event_id} again to sink.{where}")
                continue
            async with deadletters.Results(settings, codec, where) as results:
                sent = await deadletters.replay(settings, codec, where, batch, replay_id=replay_id)
                typer.echo(f"sent {sent} again to sink.{where} (replay {replay_id})")
                if wait:
                    ends = await results.of([e.event_id for e in batch], seconds=REPLAY_WAIT_S)
                    delivered &= _tell(ends)
        if not chosen:
            typer.echo("Nothing to replay.")
        return delivered

    if not asyncio.run(run()):
        raise typer.Exit(1)


def _tell(ends: dict[str, str]) -> bool:
    for event_id, end in ends.items():
        typer.echo(f"  {event_id}  {end or 'not yet decided: see fieldline dlq list'}")
    return all(end == "delivered" for end in ends.values())


def _plain(entry: Entry) -> dict[str, Any]:
    record = dict(entry.record)
    record["payload"] = record["payload"].hex()
    return {"dlq_offset": entry.offset, **record}


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
