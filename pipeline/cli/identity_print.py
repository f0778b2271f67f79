"""The identity map on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Column, Table

from pipeline.cli.words import plain
from pipeline.core.identity_commands import Decided, Refused
from pipeline.ops.identity_import import Imported

MAX_SHOWN = 20
"""Most changed lines of an import that are listed."""


def device(shown: Mapping[str, Any]) -> None:
    """A device as of an instant, and the periods of its assets."""
    console = Console()
    record = shown["record"]
    console.print(f"[bold]{plain(shown['device']['id'])}[/]  at {plain(shown['at'])}")
    if record is None:
        console.print("  It was on no asset that had an owner.")
    else:
        for name, value in record.items():
            if name not in {"device_id", "ids"} and value not in {"", None}:
                console.print(f"  {name:<16} {plain(value)}")
        for name, value in sorted(record["ids"].items()):
            console.print(f"  {plain(name):<16} {plain(value)}")
    _periods(console, [shown["device"], *shown["assets"]])


def _periods(console: Console, entries: Iterable[Mapping[str, Any]]) -> None:
    table = Table(
        Column("what", overflow="fold"),
        Column("from (UTC)", no_wrap=True),
        Column("to (UTC)", no_wrap=True),
        Column("asset or owner", overflow="fold"),
        Column("site", overflow="fold"),
        box=box.SIMPLE_HEAD,
    )
    for entry in entries:
        if entry.get("retired_at"):
            table.add_row(plain(entry["id"]), _time(entry["retired_at"]), "", "retired", "")
        for period in entry.get("periods", ()):
            other = period.get("asset_id") or period.get("customer_id")
            table.add_row(
                plain(entry["id"]),
                _time(period["from"]),
                _time(period["to"]),
                plain(other),
                plain(period.get("site", "")),
            )
    console.print(table)


def _time(text: str | None) -> str:
    if text is None:
        return ""
    return plain(text[:19].replace("T", " "))


def outcomes(told: Sequence[Decided | Refused]) -> None:
    """What commands did."""
    console = Console()
    said = [line for one in told if isinstance(one, Decided) for line in one.said]
    again = any(isinstance(one, Decided) and one.again for one in told)
    for line in said:
        console.print(f"  {plain(line)}", highlight=False)
    if again:
        console.print("It was done before: nothing was changed.")
    elif not said:
        console.print("It is so already: nothing was changed.")


def imported(done: Imported, path: str, *, dry: bool) -> None:
    """What an import did, or would do."""
    console = Console(soft_wrap=True)
    shown = sorted(done.changed.items())
    for line, said in shown[:MAX_SHOWN]:
        console.print(f"  line {line}: {plain('; '.join(said))}", highlight=False)
    if len(shown) > MAX_SHOWN:
        console.print(f"  and {len(shown) - MAX_SHOWN:,} more lines", highlight=False)
    for wrong in done.wrong:
        console.print(f"[yellow]{plain(wrong.told(path))}[/]", highlight=False)
    verb = "would change" if dry else "changed"
    console.print(
        f"{done.lines:,} lines: {len(done.changed):,} {verb}, {done.same:,} the same, "
        f"{len(done.wrong):,} wrong.",
        highlight=False,
    )


def history(periods: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> None:
    """Periods, then changes."""
    console = Console()
    _periods(console, periods)
    table = Table(
        Column("when (UTC)", no_wrap=True),
        Column("who"),
        Column("what", ratio=2, overflow="fold"),
        Column("why", ratio=1, overflow="fold"),
        box=box.SIMPLE_HEAD,
        expand=True,
    )
    for row in rows:
        table.add_row(_time(row["at"]), plain(row["who"]), plain(row["what"]), plain(row["why"]))
    console.print(table)


def found(entries: Sequence[Mapping[str, Any]], *, most: int) -> None:
    """What a search found."""
    console = Console()
    if not entries:
        console.print("Nothing like that is in the identity map.")
        return
    table = Table(
        "kind",
        Column("id", overflow="fold"),
        Column("name", overflow="fold"),
        Column("is on, or belongs to, now", overflow="fold"),
        Column("ids", overflow="fold"),
        box=box.SIMPLE_HEAD,
    )
    for entry in entries:
        last = [p for p in entry.get("periods", ()) if p["to"] is None]
        other = (last[-1].get("asset_id") or last[-1].get("customer_id")) if last else ""
        ids = ", ".join(f"{name}={value}" for name, value in sorted(entry["ids"].items()))
        table.add_row(
            entry["kind"],
            plain(entry["id"]),
            plain(entry.get("name", "")),
            plain(other),
            plain(ids),
        )
    console.print(table)
    if len(entries) >= most:
        console.print(f"Only the first {most} are shown.", highlight=False)
