"""fieldline dlq replay --dry-run: what would be sent, and why not where nothing would."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
from rich.console import Console
from rich.json import JSON
from rich.text import Text

from pipeline.cli.words import plain
from pipeline.ops import deadletters
from pipeline.ops.dlq_dry_run import Rehearsal, Stage, Verdict
from pipeline.ops.dlq_states import Standing
from pipeline.settings import Settings
from pipeline.state import identities
from pipeline.topology import LAKE
from pipeline.wire.avro import Codec

_COLOURS = {Verdict.WRITES: "green", Verdict.NOTHING: "cyan"}


async def rehearse(
    settings: Settings, codec: Codec, chosen: Sequence[Standing], *, rate: float
) -> bool:
    """Dry runs in the order of replays; False where one would not be delivered."""
    console = Console()
    stages: dict[str, Stage] = {}
    well = True
    order = deadletters.in_order(codec, [row.entry for row in chosen])
    rows = {id(row.entry): row.row for row in chosen}
    async with (
        identities.opened(settings) as owners,
        httpx.AsyncClient(follow_redirects=False) as client,
    ):
        async for entry in deadletters.paced(order, rate):
            if entry.sink == LAKE:
                console.print(f"{plain(entry.name)}  would become a row of the lake again.")
                continue
            if entry.sink not in stages:
                stages[entry.sink] = Stage(settings, codec, entry.sink, owners)
            dry = await stages[entry.sink].rehearse(client, entry, rows[id(entry)])
            _print(console, dry)
            well &= dry.verdict in _COLOURS
    console.print("Nothing was sent.")
    return well


def _print(console: Console, dry: Rehearsal) -> None:
    """The sentence, and the request where there is one."""
    colour = _COLOURS.get(dry.verdict, "yellow")
    reads = f" [dim]({dry.reads} reads made)[/]" if dry.reads else ""
    console.print(f"[bold]{plain(dry.entry.name)}[/]  [{colour}]{plain(dry.said)}[/]{reads}")
    request = dry.request
    if request is None:
        return
    console.print(Text(f"  {request.method} {request.url}", style="bold"), soft_wrap=True)
    for name, value in request.headers:
        console.print(Text(f"  {name}: {value}"), soft_wrap=True)
    console.print()
    if request.is_json:
        console.print(JSON(request.body), soft_wrap=True)
    else:
        console.print(Text(request.body), soft_wrap=True)
    console.print()
