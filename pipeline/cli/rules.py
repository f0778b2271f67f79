"""fieldline rules: detection rules, checked, applied, shown, reverted."""

from __future__ import annotations

import asyncio
import getpass
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from aiokafka.errors import KafkaConnectionError
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from pipeline.cli.words import moment
from pipeline.ops import rules as ops
from pipeline.settings import SettingsError, load
from pipeline.state.feedback_topic import MAX_WHY
from pipeline.state.rules_document import differences, dump

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.core.detectors.table import Detector
    from pipeline.core.feedback import Change
    from pipeline.core.rules import Rules
    from pipeline.ops.rules import Draft, Now
    from pipeline.state.rules_versions import Version

app = typer.Typer(
    help="Detection rules: check, apply, show, history, revert.", no_args_is_help=True
)

File = Annotated[Path, typer.Argument(help="Rules file (YAML), see infra/config/RULES.md.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the history.")]
Who = Annotated[str, typer.Option("--who", help="Your name; the login's when left out.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def detectors() -> Sequence[Detector]:
    """All detectors; with them comes Numba, for which other commands should not wait."""
    from pipeline.core.detectors.table import DETECTORS  # noqa: PLC0415 - see above

    return DETECTORS


def named(who: str) -> str:
    """Who does it: as given, else the login's name; SettingsError where that is not known."""
    try:
        name = who or getpass.getuser()
    except (OSError, KeyError) as error:
        raise SettingsError("Your name is not known here: give it with --who.") from error
    return checked("--who", name)


def checked(option: str, text: str) -> str:
    """The text of an option; SettingsError where it is empty or too long."""
    if not text.strip() or len(text) > MAX_WHY or not text.isprintable():
        raise SettingsError(f"{option} must be 1 to {MAX_WHY} printable characters.")
    return text.strip()


@app.command()
def check(file: File) -> None:
    """Say whether FILE can be used, and in what it differs from the rules in force."""

    async def run() -> None:
        settings = load()
        base = ops.read_file(file)
        console = Console()
        try:
            now = await ops.look(settings)
            where = f"the rules in force, version {now.current.version}"
        except (KafkaConnectionError, LookupError):
            # The file can be judged without a broker, on a laptop or in CI.
            now, where = None, f"{settings.rules_file}, as no running pipeline can be asked"
        current = now.current if now else ops.from_file(settings)
        new = base.rules()
        console.print(f"{file} is valid: {_size(new)}.", markup=False, highlight=False)
        _print_differences(console, current.rules(), new, where)

    asyncio.run(run())


@app.command()
def apply(
    file: File,
    *,
    why: Why,
    who: Who = "",
    expect: Annotated[
        int | None, typer.Option(help="Fail unless this version is in force.", min=1)
    ] = None,
) -> None:
    """Put FILE in force in all running workers, as the next version."""

    async def run() -> None:
        settings = load()
        base = replace(ops.read_file(file), why=checked("--why", why), who=named(who))
        async with ops.publishing(settings) as desk:
            current = desk.now.current
            if expect is not None and current.version != expect:
                raise SettingsError(
                    f"Version {current.version} by {current.who or 'nobody'} is in force and not "
                    f"{expect}: look at `fieldline rules history`."
                )
            same = not differences(current.rules(), base.rules(), detectors())
            if same and desk.now.versions.current:
                typer.echo(f"Version {current.version} says the same: nothing was published.")
                return
            await _publish(desk, base, source=str(file), revert=False)

    asyncio.run(run())


@app.command()
def revert(
    number: Annotated[int, typer.Argument(help="Version to go back to.", min=1)],
    *,
    why: Why,
    who: Who = "",
) -> None:
    """Put an earlier version in force again, with what feedback had taught it by then."""

    async def run() -> None:
        settings = load()
        async with ops.publishing(settings) as desk:
            if desk.now.versions.current == number:
                raise SettingsError(f"Version {number} is in force already.")
            base = desk.now.version(number)
            base = replace(base, why=checked("--why", why), who=named(who))
            await _publish(desk, base, source="", revert=True)

    asyncio.run(run())


async def _publish(desk: ops.Desk, base: Version, *, source: str, revert: bool) -> None:
    before = desk.now.current.rules()
    draft = ops.compose(
        desk.now,
        base,
        who=base.who,
        why=base.why,
        at_ms=time.time_ns() // 1_000_000,
        source=source,
        revert=revert,
    )
    await desk.publish(draft.version)
    console = Console()
    _print_differences(console, before, draft.rules, f"version {before.version}")
    print_published(console, draft)


def print_published(console: Console, draft: Draft) -> None:
    """Say what a new version changed in what feedback has learnt, and its number."""
    for change in draft.changes:
        console.print(f"  {_change(change)}", markup=False, highlight=False)
    console.print(f"Version {draft.version.version} is in force.", highlight=False)


def _change(change: Change) -> str:
    return (
        f"{change.detector} of {change.metric}: thresholds by {change.after:.3f}, "
        f"were by {change.before:.3f} (false alarms: {change.false_alarms}, "
        f"confirmed: {change.confirmed})"
    )


@app.command()
def show(
    *,
    version: Annotated[int | None, typer.Option(help="A version; else the one in force.")] = None,
    effective: Annotated[
        bool, typer.Option(help="What it comes to, with every default spelt out.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the rules file of the version in force, or of another."""

    async def run() -> None:
        now = await ops.look(load())
        found = now.current if version is None else now.version(version)
        if as_json:
            typer.echo(json.dumps(_plain(found, now)))
            return
        typer.echo(dump(found.rules(), detectors()) if effective else found.text, nl=False)
        for (detector, metric), factor in sorted(found.factors.items()):
            typer.echo(f"# learnt: thresholds of {detector} for {metric} by {factor:.4g}")

    asyncio.run(run())


@app.command()
def history(*, as_json: Json = False) -> None:
    """List the versions: when, who, why."""

    async def run() -> None:
        now = await ops.look(load())
        versions = [v for n in now.versions.numbers() if (v := now.versions.get(n)) is not None]
        if as_json:
            for one in versions:
                typer.echo(json.dumps(_plain(one, now, text=False)))
            return
        if not versions:
            typer.echo(f"Nothing was published: {now.file.why} is in force, {now.file.version}.")
            return
        table = Table(
            Column("version", justify="right"),
            Column("since (UTC)", no_wrap=True),
            Column("who"),
            Column("why", ratio=1),
            Column("learnt", justify="right"),
            box=box.SIMPLE_HEAD,
            expand=True,
        )
        for one in versions:
            mark = "[bold]*[/] " if one.version == now.versions.current else ""
            back = f" (again {one.reverted_from})" if one.reverted_from else ""
            table.add_row(
                f"{mark}{one.version}",
                moment(one.at_ms),
                escape(one.who),
                escape(f"{one.why}{back}"),
                str(len(one.factors) or ""),
            )
        Console().print(table)

    asyncio.run(run())


def _plain(version: Version, now: Now, *, text: bool = True) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(version.encode())
    if not text:
        del record["text"]
    return {"current": version.version == now.current.version, **record}


def _size(rules: Rules) -> str:
    on = ", ".join(rule.detector for rule in rules.defaults.detectors) or "none"
    return (
        f"{rules.label}, {len(rules.metrics)} metrics listed, {len(rules.overrides)} overrides, "
        f"on for every metric: {on}"
    )


def _print_differences(console: Console, old: Rules, new: Rules, where: str) -> None:
    rows = differences(old, new, detectors())
    if not rows:
        console.print(f"It says the same as {where}.", markup=False, highlight=False)
        return
    console.print(f"It differs from {where}:", markup=False, highlight=False)
    table = Table(
        Column("field", overflow="fold"),
        Column("before", overflow="fold"),
        Column("after", overflow="fold"),
        box=box.SIMPLE_HEAD,
    )
    for row in rows:
        table.add_row(*(escape(text or "·") for text in (row.field, row.before, row.after)))
    console.print(table)
