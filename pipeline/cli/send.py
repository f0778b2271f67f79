"""fieldline send: events by hand."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import structlog
import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from pipeline.cli.words import plain
from pipeline.settings import SettingsError, load

MAX_CONFIG: Final = 1_048_576
Config = Annotated[
    Path | None,
    typer.Option("--config", help="YAML or JSON file with the connector's settings."),
]
Url = Annotated[str | None, typer.Option("--url", help="Where the system is.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
_COLOURS = {"delivered": "green", "superseded": "green", "rejected": "red"}


def register(app: typer.Typer) -> None:
    """Put the command into the program."""
    app.command("send")(send)


def send(
    context: typer.Context,
    connector: Annotated[str, typer.Option("--connector", help="Name: see connectors list.")],
    *,
    url: Url = None,
    config: Config = None,
    devices: Annotated[
        Path | None, typer.Option(help="Registry (CSV) for lines that bring no record.")
    ] = None,
    wait_s: Annotated[
        float, typer.Option(min=0, help="Longest wait in all, seconds; 0 = one attempt each.")
    ] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Deliver events from standard input, a JSON object a line, and say what came of each.

    Exit code 0 where all are at the target, 1 where any is not.
    """
    from connectors.registry import make_connector  # noqa: PLC0415 - as below
    from pipeline.ops import send as ops  # noqa: PLC0415 - the engine takes a second to load
    from pipeline.ops import send_file, sink_policies  # noqa: PLC0415 - as above
    from pipeline.state.registry import load_registry  # noqa: PLC0415 - as above

    _hush(context)
    settings = load()
    values = values_of(url, config)
    policy, mapping = sink_policies.of(settings, connector)
    make_connector(connector, values=values, policy=mapping)  # what is wrong is told at once
    known = load_registry(devices or settings.devices_file)
    screen = Console(stderr=True)
    if sys.stdin.isatty():
        screen.print("Write events, a JSON object a line, and end with Ctrl-D.")
    lines = send_file.read(send_file.lines_of(sys.stdin), known, now_ms=ops.now_ms())
    bar = Progress(
        *(TextColumn("sending"), BarColumn(), MofNCompleteColumn()),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    )
    with bar:
        task = bar.add_task("sending", total=len(lines))
        told = asyncio.run(
            ops.send(
                connector,
                lines,
                values=values,
                policy=policy,
                mapping=mapping,
                wait_s=wait_s,
                on_end=lambda _: bar.advance(task),
            )
        )
    if as_json:
        for one in told:
            typer.echo(json.dumps(one.as_json(), ensure_ascii=False))
    else:
        _show([one.as_json() for one in told])
    if any(one.came not in {ops.Came.DELIVERED, ops.Came.SUPERSEDED} for one in told):
        raise typer.Exit(1)


def _hush(context: typer.Context) -> None:
    """What the engine would log is told in the table; as long as the command lasts."""
    before = structlog.get_config()
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=quiet)
    context.call_on_close(lambda: structlog.configure(**before))


def values_of(url: str | None, config: Path | None) -> dict[str, Any]:
    """A connector's settings as given on the command line; SettingsError in one sentence."""
    values: dict[str, Any] = {}
    if config is not None:
        try:
            if config.stat().st_size > MAX_CONFIG:
                raise SettingsError(f"{config} is larger than {MAX_CONFIG} bytes: shorten it.")
            found = yaml.safe_load(config.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(
                f"{config} cannot be read ({error.strerror}): name another."
            ) from error
        except (yaml.YAMLError, ValueError, RecursionError):
            # The text is not repeated: it may hold a secret. Nor is the cause, which shows it.
            raise SettingsError(f"{config} is neither YAML nor JSON: correct it.") from None
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            raise SettingsError(f"{config} must hold settings by name: write 'name: value'.")
        values |= found
    if url is not None:
        values["url"] = url
    return values


def _show(told: Sequence[dict[str, Any]]) -> None:
    if not told:
        Console().print("No events.")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("line", "event", "outcome"):
        table.add_column(name, no_wrap=True)
    table.add_column("at the target, or why not", ratio=1)
    for one in told:
        colour = _COLOURS.get(one["outcome"], "yellow")
        made = " (new)" if one["created"] else ""
        table.add_row(
            str(one["line"]),
            plain(one["id"]),
            f"[{colour}]{one['outcome'].replace('_', ' ')}[/]",
            f"{plain(one['target_id'])}{made}" if one["target_id"] else _why(one),
        )
    Console().print(table)
    counts: dict[str, int] = {}
    for one in told:
        counts[one["outcome"]] = counts.get(one["outcome"], 0) + 1
    said = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in sorted(counts.items()))
    Console().print(f"{said}.")


def _why(one: dict[str, Any]) -> str:
    if one["code"] is None:
        return "the time was up before its turn came"
    tries = f" ({one['attempts']} attempts)" if one["attempts"] > 1 else ""
    return plain(f"{one['message']} [{one['code']}]{tries}")
