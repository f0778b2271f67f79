"""fieldline identity: which device is on which asset, whose that is, and what others call it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import logs
from pipeline.cli import identity_print as printing
from pipeline.core.identity import Kind, is_device_id, key_of
from pipeline.core.identity_commands import (
    AnyCommand,
    Describe,
    Move,
    Own,
    Provision,
    Refused,
    Retire,
)
from pipeline.ops import audit
from pipeline.ops import identity as ops
from pipeline.ops.identity_import import When
from pipeline.settings import Settings, SettingsError, load
from pipeline.state.identities_writer import desk

app = typer.Typer(
    help="The identity map: devices, assets, owners through time, ids at other systems.",
    no_args_is_help=True,
)

NOTHING = "none"
"""Typed for no asset, or no owner."""

Device = Annotated[str, typer.Argument(metavar="TENANT/DEVICE")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
At = Annotated[
    str, typer.Option("--at", help="From when on: 2026-11-21T15:30, 2h (ago), ever; else now.")
]
Until = Annotated[str, typer.Option("--until", help="To before when; else for good.")]
Past = Annotated[bool, typer.Option("--past", help="It may change what is recorded of the past.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the history.")]
Id = Annotated[
    str, typer.Option("--command-id", help="A command of an id that was done is not done again.")
]
Ids = Annotated[
    list[str] | None,
    typer.Option("--id", metavar="SYSTEM.OBJECT=ID", help="Its id there; empty takes it away."),
]
Site = Annotated[str | None, typer.Option(help="Site where the owner has it.")]
Region = Annotated[str | None, typer.Option(help="Region that its data may go to.")]


@app.callback()
def identity() -> None:
    """The identity map: devices, assets, owners through time, ids at other systems."""
    logs.quiet()


@app.command()
def show(
    device: Device,
    *,
    at: Annotated[str, typer.Option("--at", help="As it was then; else now.")] = "",
    as_json: Json = False,
) -> None:
    """Show a device: its asset, its owner, its ids, as of now or of an instant."""

    async def run() -> None:
        at_ms = ops.moment(at, option="--at")
        async with desk(load()) as made:
            entries = await made.read([key_of(Kind.DEVICE, _device(device))])
        plain = ops.device_plain(entries, device, ops.now_ms() if at_ms is None else at_ms)
        if plain is None:
            raise SettingsError(
                f"{device} is not in the identity map: see `fieldline identity provision`."
            )
        if as_json:
            typer.echo(json.dumps(plain))
        else:
            printing.device(plain)

    asyncio.run(run())


@app.command()
def provision(
    device: Device,
    *,
    asset: Annotated[str | None, typer.Option(help="Asset that it is on.")] = None,
    asset_name: Annotated[str | None, typer.Option(help="Name of the asset.")] = None,
    customer: Annotated[str | None, typer.Option(help="Owner of the asset.")] = None,
    customer_name: Annotated[str | None, typer.Option(help="Name of the owner.")] = None,
    tax_id: Annotated[str | None, typer.Option(help="Tax number of the owner.")] = None,
    device_class: Annotated[str | None, typer.Option("--class", help="Class, for rules.")] = None,
    site: Site = None,
    region: Region = None,
    ids: Ids = None,
    active: Annotated[
        bool | None, typer.Option("--active/--retired", help="Whether the asset is in service.")
    ] = None,
    at: At = "",
    until: Until = "",
    past: Past = False,
    why: Why = "",
    command_id: Id = "",
    as_json: Json = False,
) -> None:
    """Make a device known, or change what is known of it; what is left out stays."""
    command = Provision(
        **_common(at, until, why, command_id, past=past),
        device_id=device,
        asset_id=asset,
        asset_name=asset_name,
        customer_id=customer,
        customer_name=customer_name,
        customer_tax_id=tax_id,
        device_class=device_class,
        site=site,
        region=region,
        ids=_ids(ids),
        active=active,
    )
    _do([command], as_json=as_json)


@app.command()
def move(
    device: Device,
    asset: Annotated[str, typer.Argument(help=f"Asset that it goes to, or {NOTHING}.")],
    *,
    at: At = "",
    until: Until = "",
    past: Past = False,
    why: Why = "",
    command_id: Id = "",
    as_json: Json = False,
) -> None:
    """Put a device on another asset; its owner is then that asset's."""
    common = _common(at, until, why, command_id, past=past)
    asset = "" if asset == NOTHING else asset
    _do([Move(**common, device_id=device, asset_id=asset)], as_json=as_json)


@app.command()
def own(
    asset: Annotated[str, typer.Argument(help="Asset.")],
    customer: Annotated[str, typer.Argument(help=f"Its new owner, or {NOTHING}.")],
    *,
    customer_name: Annotated[str | None, typer.Option(help="Name of the owner.")] = None,
    tax_id: Annotated[str | None, typer.Option(help="Tax number of the owner.")] = None,
    site: Site = None,
    region: Region = None,
    at: At = "",
    until: Until = "",
    past: Past = False,
    why: Why = "",
    command_id: Id = "",
    as_json: Json = False,
) -> None:
    """Give an asset to another owner; events from before stay the former one's."""
    common = _common(at, until, why, command_id, past=past)
    commands: list[AnyCommand] = []
    customer = "" if customer == NOTHING else customer
    if customer and (customer_name is not None or tax_id is not None):
        commands.append(
            Describe(
                who=common["who"],
                why=why,
                kind=Kind.CUSTOMER,
                entry_id=customer,
                name=customer_name,
                tax_id=tax_id,
            )
        )
    commands.append(Own(**common, asset_id=asset, customer_id=customer, site=site, region=region))
    _do(commands, as_json=as_json)


@app.command()
def describe(
    kind: Annotated[Kind, typer.Argument(help="asset or customer.")],
    ident: Annotated[str, typer.Argument(metavar="ID")],
    *,
    name: Annotated[str | None, typer.Option(help="Its name.")] = None,
    tax_id: Annotated[str | None, typer.Option(help="A customer's tax number.")] = None,
    ids: Ids = None,
    why: Why = "",
    command_id: Id = "",
    as_json: Json = False,
) -> None:
    """Mend the name, tax number or ids of an asset or a customer; it is made where it is new."""
    common = _common("", "", why, command_id, past=False)
    command = Describe(
        **common,
        kind=kind,
        entry_id=ident,
        name=name,
        tax_id=tax_id,
        ids=_ids(ids),
    )
    _do([command], as_json=as_json)


@app.command()
def retire(
    ident: Annotated[str, typer.Argument(metavar="ID", help="A device, or as --asset says.")],
    *,
    asset: Annotated[bool, typer.Option("--asset", help="It is an asset.")] = False,
    customer: Annotated[bool, typer.Option("--customer", help="It is a customer.")] = False,
    back: Annotated[bool, typer.Option("--back", help="Bring it back into service.")] = False,
    at: At = "",
    past: Past = False,
    why: Why = "",
    command_id: Id = "",
    as_json: Json = False,
) -> None:
    """Take a device, an asset or a customer out of service; its history stays."""
    if asset and customer:
        raise SettingsError("It cannot be an asset and a customer: give one of the two.")
    kind = Kind.ASSET if asset else Kind.CUSTOMER if customer else Kind.DEVICE
    common = _common(at, "", why, command_id, past=past)
    _do([Retire(**common, kind=kind, entry_id=ident, back=back)], as_json=as_json)


@app.command("import")
def import_file(
    file: Annotated[
        Path | None, typer.Argument(help="Registry (CSV); else FIELDLINE_DEVICES_FILE.")
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    at: At = "",
    past: Past = False,
    why: Why = "",
    as_json: Json = False,
) -> None:
    """Bring a registry file in: differences only. Wrong lines are told, the others go in."""

    async def run() -> int:
        settings = load()
        path = file or settings.devices_file
        when = When(
            now_ms=ops.now_ms(),
            who=audit.operator(settings),
            why=audit.reason(why, needed=False) or f"the file {path.name}",
            at_ms=ops.moment(at, option="--at"),
            past=past,
        )
        done = await ops.import_file(settings, path, when, dry=dry_run)
        if as_json:
            typer.echo(json.dumps(ops.imported_plain(done, dry=dry_run)))
        else:
            printing.imported(done, str(path), dry=dry_run)
        return len(done.wrong)

    if asyncio.run(run()):
        raise typer.Exit(1)


@app.command()
def history(device: Device, *, as_json: Json = False) -> None:
    """List who owned a device's assets when, and the last changes: who made them, and why."""

    async def run() -> None:
        async with desk(load()) as made:
            entries = await made.read([key_of(Kind.DEVICE, _device(device))])
        found = ops.about(entries, device)
        if not found:
            raise SettingsError(f"{device} is not in the identity map: there is no history.")
        rows = ops.history_plain(found)
        periods = [ops.entry_plain(one) for one in found if one.kind is not Kind.CUSTOMER]
        if as_json:
            typer.echo(json.dumps({"entries": periods, "changes": rows}))
        else:
            printing.history(periods, rows)

    asyncio.run(run())


@app.command()
def find(
    text: Annotated[str, typer.Argument(help="Part of an id or name; or SYSTEM.OBJECT=ID.")],
    *,
    as_json: Json = False,
) -> None:
    """Find devices, assets and customers."""

    async def run() -> None:
        async with desk(load()) as made:
            found = [ops.entry_plain(one) for one in await ops.find(made, text)]
        if as_json:
            for one in found:
                typer.echo(json.dumps(one))
        else:
            printing.found(found, most=ops.MAX_FOUND)

    asyncio.run(run())


@app.command()
def rebuild() -> None:
    """Throw the index in Redis away and make it again from the topic; workers wait meanwhile."""

    async def run() -> None:
        async with desk(load()) as made:
            await made.index.drop()
            at = await made.settle()
        typer.echo(f"The index is made again, up to offset {at} of the topic.")

    asyncio.run(run())


@app.command()
def serve(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 = any free one.")] = 8_470,
) -> None:
    """Serve the map over HTTP (OpenAPI at /openapi.json); FIELDLINE_API_TOKEN is its key."""
    from pipeline.web.serve import serve as run  # noqa: PLC0415 - others need no web server

    run(load(), host=host, port=port)


def _device(device: str) -> str:
    if not is_device_id(device):
        raise SettingsError(f"{device[:80]!r} is no device: write TENANT/DEVICE.")
    return device


def _common(at: str, until: str, why: str, command_id: str, *, past: bool) -> dict[str, Any]:
    """What every command has; SettingsError for an unusable option."""
    return {
        "id": command_id,
        "who": audit.operator(load()),
        "why": audit.reason(why, needed=False),
        "at_ms": ops.moment(at, option="--at"),
        "until_ms": ops.moment(until, option="--until"),
        "past": past,
    }


def _ids(given: Sequence[str] | None) -> dict[str, str]:
    out = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"--id {text[:80]!r} must be SYSTEM.OBJECT=ID.")
        out[name.strip()] = value.strip()
    return out


def _do(commands: Sequence[AnyCommand], *, as_json: bool) -> None:
    """Do all of them or none; a refusal is the sentence and code 1."""

    async def run(settings: Settings) -> None:
        async with desk(settings) as made:
            outcomes = await made.run(commands, ops.now_ms(), together=True)
        for outcome in outcomes:
            if isinstance(outcome, Refused):
                raise SettingsError(outcome.message)
        if as_json:
            typer.echo(json.dumps([ops.outcome_plain(one) for one in outcomes]))
        else:
            printing.outcomes(outcomes)

    asyncio.run(run(load()))
