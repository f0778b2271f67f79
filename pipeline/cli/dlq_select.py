"""Which dead letters a command is about: the options they share, and the reading behind them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from pipeline.core.dlq import State
from pipeline.core.routing import sinks_of
from pipeline.ops.dlq_entries import Entry, find, read
from pipeline.ops.dlq_filters import Filter, instant
from pipeline.ops.dlq_states import Standing, standings
from pipeline.settings import Settings, SettingsError
from pipeline.state.routes_file import load_routes
from pipeline.wire import kafka
from pipeline.wire.avro import Codec

MANY: Final = 20
"""More than so many at once need a yes."""
_PATIENCE_S: Final = 1.0


class StateOption(StrEnum):
    """States as a person asks for them."""

    OPEN = "open"
    REPLAYING = "replaying"
    DELIVERED = "delivered"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"
    DISCARDED = "discarded"
    ALL = "all"


Sink = Annotated[str, typer.Option("--sink", "-s", help="Sink; all of them when left out.")]
Key = Annotated[
    str, typer.Option("--key", "-k", metavar="PATTERN", help="Device, as in 'acme/engine-*'.")
]
Tenant = Annotated[str, typer.Option("--tenant", "-t", metavar="PATTERN", help="Tenant.")]
Since = Annotated[
    str, typer.Option("--since", metavar="TIME", help="Given up since: 2h, 3d ago, or ISO 8601.")
]
Until = Annotated[str, typer.Option("--until", metavar="TIME", help="Given up before.")]
Cause = Annotated[
    str,
    typer.Option("--cause", "-c", metavar="PATTERN", help="Cause: its class or code, 'tryton.*'."),
]
Status = Annotated[StateOption, typer.Option("--state", help="What has become of them.")]
Limit = Annotated[
    int | None, typer.Option("--limit", "-n", min=1, help="Most of them; the oldest come first.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help=f"Do not ask, for more than {MANY} too.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the audit trail.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help="Event ids (first letters will do), DLQ offsets."),
]
Name = Annotated[str, typer.Argument(metavar="ID", help="Event id (first letters) or DLQ offset.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a person asked for. With `names`, the state does not matter."""

    sink: str = ""
    names: Sequence[str] = ()
    filter: Filter = field(default_factory=Filter)
    state: StateOption = StateOption.OPEN
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What was found, oldest first; `of` is how many there were before the limit."""

    all: Sequence[Standing]
    of: int


def filter_of(key: str, tenant: str, since: str, until: str, cause: str) -> Filter:
    """The filter that the options say; SettingsError where a time is none."""
    now_ms = time.time_ns() // 1_000_000
    return Filter(
        device=key,
        tenant=tenant,
        cause=cause,
        since_ms=instant(since, option="--since", now_ms=now_ms),
        until_ms=instant(until, option="--until", now_ms=now_ms),
    )


async def choose(settings: Settings, codec: Codec, wish: Wish) -> Chosen:
    """The dead letters that are meant, with what has become of each."""
    entries: list[Entry] = []
    with _reading() as progress:
        for sink in _sinks(settings, wish.sink):
            entries += await read(
                settings, codec, sink, wanted=wish.filter, names=wish.names, progress=progress
            )
        entries.sort(key=lambda entry: (entry.record["at_ms"], entry.sink, entry.offset))
        if wish.names:
            picked = [find(entries, name) for name in wish.names]
            entries = [entry for entry in entries if any(entry is one for one in picked)]
        found = await standings(settings, codec, entries, progress=progress)
    if found.blind:
        Console(stderr=True).print(
            f"The ledger was not asked ({found.blind}): what became of them is by the results "
            "and the audit alone.",
            style="yellow",
            markup=False,
        )
    state = State(wish.state) if wish.state is not StateOption.ALL and not wish.names else None
    kept = [standing for standing in found.all if state is None or standing.state is state]
    return Chosen(all=kept[: wish.limit], of=len(kept))


async def choose_one(settings: Settings, codec: Codec, name: str, sink: str) -> Standing:
    """The one dead letter that is meant; SettingsError where it is none or several."""
    found = await choose(settings, codec, Wish(sink=sink, names=[name]))
    return found.all[0]


def _sinks(settings: Settings, sink: str) -> list[str]:
    known = list(sinks_of(load_routes(settings.routes_file)))
    if sink and sink not in known:
        raise SettingsError(f"There is no sink {sink!r}: the routing table has {', '.join(known)}.")
    return [sink] if sink else known


def agreed(count: int, *, what: str, yes: bool) -> bool:
    """Whether so many may be done at once: asks on a terminal; SettingsError where it cannot."""
    if count <= MANY or yes:
        return True
    if not sys.stdin.isatty():
        raise SettingsError(f"That would {what} {count} dead letters: say --yes if you mean it.")
    return typer.confirm(f"{what.capitalize()} {count} dead letters?")


@contextmanager
def _reading() -> Iterator[kafka.Progress]:
    """A progress bar on stderr, where reading takes longer than a second on a terminal."""
    console, begun = Console(stderr=True), time.monotonic()
    tasks: dict[str, TaskID] = {}
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
    )

    def show(topic: str, done: int, total: int) -> None:
        if not console.is_terminal or time.monotonic() - begun < _PATIENCE_S:
            return
        bar.start()  # once started, does nothing
        if topic not in tasks:
            tasks[topic] = bar.add_task(topic)
        bar.update(tasks[topic], completed=done, total=total)

    try:
        yield show
    finally:
        if tasks:
            bar.stop()
