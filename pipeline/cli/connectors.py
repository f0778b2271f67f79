"""fieldline connectors and fieldline mapping: what there is, whether it works, what it promises."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Annotated, Any

import typer
from pydantic_core import PydanticUndefined
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Markdown, TableElement
from rich.table import Table

from pipeline.cli.send import AsJson, Config, Url, values_of
from pipeline.cli.words import plain
from pipeline.settings import ENV_FILE, SettingsError

app = typer.Typer(no_args_is_help=True, help="ERP, CRM and other systems: what there is.")
mapping = typer.Typer(no_args_is_help=True, help="How events become a system's records.")
_OVERLONG = {"reject": "rejected", "cut": "cut"}
Name = Annotated[str, typer.Argument(help="Name: see connectors list.")]


@app.command("list")
def list_all(*, as_json: AsJson = False) -> None:
    """Every connector, and whether its settings here are usable."""
    from connectors.registry import names, system  # noqa: PLC0415 - the systems take a second

    found = [system(name) for name in names()]
    if as_json:
        for one in found:
            typer.echo(
                json.dumps(
                    {
                        "name": one.name,
                        "title": one.title,
                        "objects": sorted(one.objects),
                        "configured": not _unusable(one.settings),
                        "settings": _settings(one.settings),
                    }
                )
            )
        return
    table = Table("name", "system", "objects", "configured", box=None, pad_edge=False)
    for one in found:
        usable = "[red]no[/]" if _unusable(one.settings) else "[green]yes[/]"
        # A change goes to the same object as what it changes.
        objects = dict.fromkeys(name.removesuffix(" (change)") for name in one.objects)
        table.add_row(one.name, plain(one.title), plain(", ".join(objects) or "events"), usable)
    Console().print(table)
    Console().print("The settings of one: fieldline connectors show NAME.")


@app.command("show")
def show_one(name: Name, *, as_json: AsJson = False) -> None:
    """One connector's settings: what each is for, its default, and whether it is set."""
    from connectors.registry import system  # noqa: PLC0415 - the systems take a second

    one = system(name)
    table = Table("variable", "default", "set", "what it is", box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    for told in _settings(one.settings):
        if as_json:
            typer.echo(json.dumps(told, ensure_ascii=False))
        default = "" if told["default"] is None else str(told["default"])
        table.add_row(
            plain(told["variable"]),
            plain("" if told["secret"] else default),
            "[green]yes[/]" if told["set"] else "",
            plain(f"{'Secret. ' if told['secret'] else ''}{told['doc']}"),
        )
    if as_json:
        return
    console = Console()
    console.print(f"{plain(one.title)} takes, from the environment or {ENV_FILE}:")
    console.print(table)
    console.print(
        "With --config FILE the names are the variables' own, "
        f"in small letters, without {_prefix(one.settings)}."
    )
    wrong = _unusable(one.settings)
    console.print(
        plain(wrong or "These are usable: fieldline connectors check says whether they work.")
    )


@app.command()
def check(name: Name, *, url: Url = None, config: Config = None, as_json: AsJson = False) -> None:
    """Test credentials and rights without writing. Exit code 1 where something is not well."""
    from pipeline.ops import send  # noqa: PLC0415 - the engine takes a second to load
    from pipeline.settings import load  # noqa: PLC0415 - as above

    found = asyncio.run(
        send.check(name, values_of(url, config), request_s=load().delivery_request_s)
    )
    words = {True: "[green]well[/]", False: "[red]not well[/]", None: "[yellow]not known[/]"}
    table = Table("what", "is", "why", box=None, pad_edge=False)
    for one in found:
        if as_json:
            typer.echo(json.dumps({"what": one.what, "ok": one.ok, "detail": one.detail}))
        table.add_row(plain(one.what), words[one.ok], plain(one.detail))
    if not as_json:
        Console().print(table)
    if any(one.ok is False for one in found):
        raise typer.Exit(1)


@app.command()
def contract(
    name: Annotated[str | None, typer.Argument(help="One connector; all by default.")] = None,
) -> None:
    """For every external call: its key, why it happens once, and what unknown means."""
    from pipeline.ops.contract import document  # noqa: PLC0415 - the systems take a second

    text = document([name] if name else [])
    console = Console()
    if console.is_terminal:
        console.print(_Document(text))
    else:
        typer.echo(text, nl=False)


@mapping.command()
def show(name: Name, *, as_json: AsJson = False) -> None:
    """A connector's mapping, field by field."""
    from connectors.registry import system  # noqa: PLC0415 - the systems take a second

    one = system(name)
    if not one.objects and not as_json:
        typer.echo(f"{one.title} gets events as they are: there is no mapping.")
    for target, spec in one.objects.items():
        table = Table("field", "from", "rules", "note", box=None, pad_edge=False)
        for column in table.columns:
            column.overflow = "fold"
        for told in (_field(field) for field in spec.fields):
            if as_json:
                typer.echo(json.dumps({"object": target, "canonical": spec.canonical} | told))
            rules = [*told["rules"], *([f"as {told['unit']}"] if told["unit"] else [])]
            cares = [] if told["care"] == "technical" else [f"{told['care']} data"]
            table.add_row(
                *(plain(t) for t in (told["field"], told["source"], "; ".join(rules))),
                plain("; ".join([*cares, *filter(None, [told["note"]])])),
            )
        if not as_json:
            console = Console()
            console.print(f"[bold]{plain(one.title)}: {plain(target)}[/] ← {plain(spec.canonical)}")
            console.print(table)
            console.print(f"Owner: {plain(spec.owner)}. Conflicts: {plain(spec.conflict)}.\n")


class _Whole(TableElement):
    """A table whose words are never cut short: codes are copied from it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for made in super().__rich_console__(console, options):
            for column in made.columns if isinstance(made, Table) else ():
                column.overflow = "fold"
            yield made


class _Document(Markdown):
    elements = {**Markdown.elements, "table_open": _Whole}  # noqa: RUF012 - as its base has it


def _field(field: Any) -> dict[str, Any]:  # noqa: ANN401 - connectors.fields.Field, loaded late
    from connectors.sources import source  # noqa: PLC0415 - the systems take a second

    rules = ["required"] if field.required else []
    if field.limit is not None:
        rules.append(f"at most {field.limit:,} characters, else {_OVERLONG[field.overlong.value]}")
    if field.choices is not None:
        rules.append(", ".join(f"{k} → {v}" for k, v in field.choices.items()))
    if field.on:
        rules.append(f"only on {' and '.join(field.on)}")
    return {
        "field": field.target,
        "source": field.source,
        "rules": rules,
        "unit": field.unit.value or source(field.source).unit,
        "care": source(field.source).care.value,
        "note": field.note,
    }


def _prefix(kind: Any) -> str:  # noqa: ANN401 - a ConnectorSettings class
    return str(kind.model_config.get("env_prefix", ""))


def _unusable(kind: Any) -> str:  # noqa: ANN401 - a ConnectorSettings class
    """Why a connector's settings here cannot be used, in a sentence; '' where they can."""
    from connectors.settings import make  # noqa: PLC0415 - the systems take a second

    try:
        make(kind)
    except SettingsError as error:
        return str(error)
    return ""


def _settings(kind: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - a ConnectorSettings class
    prefix = _prefix(kind)
    try:
        given = kind().model_fields_set
    except ValueError:  # unusable: what of it is set can still be said
        given = {name for name in kind.model_fields if f"{prefix}{name}".upper() in os.environ}
    out = []
    for name, field in kind.model_fields.items():
        variable = f"{prefix}{name}".upper()
        default = field.default
        secret = "Secret" in str(field.annotation)
        shown = None if secret or default is PydanticUndefined else default
        out.append(
            {
                "name": name,
                "variable": variable,
                "secret": secret,
                "default": shown if isinstance(shown, str | int | float | bool) else None,
                "doc": field.description or "",
                "set": name in given,
            }
        )
    return out
