"""fieldline lake compact, expire, verify and forget-…: the lake for those who keep it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from pipeline import logs
from pipeline.core.lake_columns import Dataset
from pipeline.settings import Settings, SettingsError, load

if TYPE_CHECKING:
    from connectors.lake.compact import Rules
    from pipeline.cli.lake_keep_print import Told
    from pipeline.core.lake_forget import Whose

Datasets = Annotated[
    list[Dataset] | None,
    typer.Option("--dataset", help="Only this dataset; may be given more than once."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    """Put the commands into the group."""
    app.command()(compact)
    app.command()(expire)
    app.command()(verify)
    app.command()(nightly)
    app.command("forget-device")(forget_device)
    app.command("forget-customer")(forget_customer)


def compact(
    *,
    dataset: Datasets = None,
    target_mb: Annotated[
        int | None, typer.Option("--target-mb", min=1, max=1024, help="Size to aim at, MB.")
    ] = None,
    after_days: Annotated[
        int | None,
        typer.Option("--after-days", min=0, help="Leave dates alone that are not over so long."),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Merge a date's small files into large ones; no reader of the tables notices.

    Who reads the folders without the tables sees the rows twice until `expire` takes the small
    files away, FIELDLINE_LAKE_GRACE_H later.
    """
    from pipeline.cli import lake_keep_print as show  # noqa: PLC0415 - pyarrow takes a second
    from pipeline.ops import lake_keep as ops  # noqa: PLC0415 - the same

    logs.quiet()
    settings = load()
    rules = _rules(settings, target_mb, after_days)
    chosen = _chosen(dataset)
    with _bar() as progress:
        if dry_run:
            planned = asyncio.run(ops.plan_compaction(settings, chosen, rules))
            told = show.planned(planned)
        else:
            told = show.merged(asyncio.run(ops.compact_all(settings, chosen, rules, progress)))
    _tell(told, as_json=as_json)


def expire(*, dataset: Datasets = None, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Drop what is over, and delete what no reader and no table needs any more.

    Dates past FIELDLINE_LAKE_…_DAYS, old versions of the tables, replaced files past their
    grace, leavings of what crashed, and old claims, which it puts together.
    """
    from pipeline.cli import lake_keep_print as show  # noqa: PLC0415 - pyarrow takes a second
    from pipeline.ops import lake_keep as ops  # noqa: PLC0415 - the same

    logs.quiet()
    with _bar() as progress:
        freed = asyncio.run(
            ops.expire_all(load(), _chosen(dataset), dry_run=dry_run, progress=progress)
        )
    _tell(show.freed(freed, dry_run=dry_run), as_json=as_json)


def verify(
    *,
    dataset: Datasets = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Read every row and sum it again; else footers only.")
    ] = False,
    with_kafka: Annotated[
        bool,
        typer.Option("--kafka", help="Compare with the topics too, as far as Kafka has them."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say which offsets are missing, doubled or changed in the lake. Ends with 1 where any are."""
    logs.quiet()
    told = _verified(load(), _chosen(dataset), rows=rows, with_kafka=with_kafka)
    _tell(told, as_json=as_json)
    _alarm(told)


def nightly(*, as_json: Json = False) -> None:
    """Compact, expire and verify: the job for every night. Ends with 1 where verify finds any.

    --json prints a line for each of the three, an object with its name.
    """
    from pipeline.cli import lake_keep_print as show  # noqa: PLC0415 - pyarrow takes a second
    from pipeline.ops import lake_keep as ops  # noqa: PLC0415 - the same

    logs.quiet()
    settings, every = load(), tuple(Dataset)
    with _bar() as progress:
        rules = _rules(settings, None, None)
        done = asyncio.run(ops.compact_all(settings, every, rules, progress))
    _tell(show.merged(done), as_json=as_json, step="compact")
    with _bar() as progress:
        freed = asyncio.run(ops.expire_all(settings, every, progress=progress))
    _tell(show.freed(freed, dry_run=False), as_json=as_json, step="expire")
    told = _verified(settings, every, rows=False, with_kafka=False)
    _tell(told, as_json=as_json, step="verify")
    _alarm(told)


def forget_device(
    device: Annotated[str, typer.Argument(metavar="ID", help="Device, 'tenant/device'.")],
    *,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Take all rows of a device out of the lake, and leave a proof there."""
    from pipeline.ops import lake_keep as ops  # noqa: PLC0415 - pyarrow takes a second

    _forget(load(), ops.whose_device(device), f"device {device}", yes=yes, as_json=as_json)


def forget_customer(
    customer: Annotated[
        str, typer.Argument(metavar="ID", help="Customer, as the registry has it.")
    ],
    *,
    device: Annotated[
        list[str] | None,
        typer.Option("--device", help="A device that was theirs once; may be given often."),
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Take all rows of a customer and of its devices out of the lake, and leave a proof there.

    Its devices are those that FIELDLINE_DEVICES_FILE says are its own now, and those named.
    """
    from pipeline.ops import lake_keep as ops  # noqa: PLC0415 - pyarrow takes a second

    settings = load()
    whose = ops.whose_customer(settings, customer, device or ())
    _forget(settings, whose, f"customer {customer}", yes=yes, as_json=as_json)


def _forget(settings: Settings, whose: Whose, name: str, *, yes: bool, as_json: bool) -> None:
    from pipeline.cli import lake_keep_print as show  # noqa: PLC0415 - pyarrow takes a second
    from pipeline.ops import lake_keep as ops  # noqa: PLC0415 - the same

    logs.quiet()
    if not yes:
        if not sys.stdin.isatty():
            raise SettingsError(f"That would delete the rows of {name}: say --yes if you mean it.")
        counts = asyncio.run(ops.count_all(settings, whose))
        if not typer.confirm(show.question(counts, whose, name), err=True):
            typer.echo("Nothing was deleted.", err=True)
            raise typer.Exit(1)
    with _bar() as progress:
        proof = asyncio.run(ops.forget_all(settings, whose, progress))
    _tell(show.proof(proof), as_json=as_json)
    if not proof.complete:
        raise SettingsError(
            f"Some rows of {name} are still in the lake: do what stands above and run this again."
        )


def _alarm(told: Told) -> None:
    if told.wrong:
        raise SettingsError(
            f"The lake is not what it should be ({told.wrong} findings): infra/docs/LAKE.md, "
            '"What verify compares", says what each of them means and what to do.'
        )


def _verified(
    settings: Settings, datasets: Sequence[Dataset], *, rows: bool, with_kafka: bool
) -> Told:
    from pipeline.cli import lake_keep_print as show  # noqa: PLC0415 - pyarrow takes a second
    from pipeline.ops import lake_kafka  # noqa: PLC0415 - the same
    from pipeline.ops import lake_keep as ops  # noqa: PLC0415 - the same
    from pipeline.wire.codecs import make_codec  # noqa: PLC0415 - the same

    async def all_of_it() -> Told:
        reports = await ops.verify_all(settings, datasets, rows=rows, progress=progress)
        if not with_kafka:
            return show.verified(reports, ())
        codec = make_codec(settings)
        compared = [await lake_kafka.compare(settings, codec, one, progress) for one in reports]
        return show.verified(reports, compared)

    with _bar() as progress:
        return asyncio.run(all_of_it())


def _chosen(datasets: Sequence[Dataset] | None) -> tuple[Dataset, ...]:
    return tuple(dict.fromkeys(datasets)) if datasets else tuple(Dataset)


def _rules(settings: Settings, target_mb: int | None, after_days: int | None) -> Rules:
    from connectors.lake.compact import Rules  # noqa: PLC0415 - pyarrow takes a second
    from pipeline.ops.lake_keep import MEGABYTE  # noqa: PLC0415 - the same

    return Rules(
        target=(target_mb or settings.lake_target_mb) * MEGABYTE,
        after_days=settings.lake_compact_after_days if after_days is None else after_days,
    )


def _tell(told: Told, *, as_json: bool, step: str = "") -> None:
    if as_json:
        typer.echo(json.dumps({step: told.record} if step else told.record))
        return
    console = Console(highlight=False)
    for part in told.parts:
        console.print(part, soft_wrap=isinstance(part, str))


@contextmanager
def _bar() -> Iterator[Any]:
    """A progress bar on stderr, on a terminal only."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:

        def show(what: str, done: int, total: int) -> None:
            if not total:
                return
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield show
