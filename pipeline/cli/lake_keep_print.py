"""What the lake's keepers say: as tables for people and as records for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from connectors.lake.compact import Merged
from connectors.lake.expire import Freed
from connectors.lake.live import LiveFile
from connectors.lake.verify import Report
from pipeline.core.lake_accounts import Finding
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_forget import Whose
from pipeline.ops.lake_kafka import Compared
from pipeline.ops.lake_keep import Proof

SHOWN = 50
"""Most findings in a table; --json has all."""
NAMED = 5
"""Most devices that a question names."""
_KB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The same for both: what rich prints, and what becomes JSON."""

    parts: tuple[Any, ...]
    record: object
    wrong: int = 0
    """Things that are wrong."""


def planned(groups: Sequence[tuple[Dataset, tuple[LiveFile, ...]]]) -> Told:
    """What compaction would do."""
    rows = [
        (str(dataset), group[0].date, len(group), sum(f.size for f in group))
        for dataset, group in groups
    ]
    table = _table("dataset", "date", "files", "size")
    for dataset, date, files, size in rows:
        table.add_row(dataset, date, str(files), human(size))
    names = ("dataset", "date", "files", "bytes")
    return Told(
        parts=(table if rows else "Nothing to merge.",),
        record=[dict(zip(names, row, strict=True)) for row in rows],
    )


def merged(done: Sequence[Merged]) -> Told:
    """What compaction did."""
    table = _table("dataset", "date", "files", "rows", "size", "now")
    for one in done:
        now = "replaced meanwhile" if one.skipped else f"1 file, {human(one.size_after)}"
        table.add_row(
            str(one.dataset), one.date, str(one.files), str(one.rows), human(one.size), now
        )
    return Told(
        parts=(table if done else "Nothing to merge.",), record=[asdict(one) for one in done]
    )


def freed(done: Sequence[Freed], *, dry_run: bool) -> Told:
    """What expire removed."""
    table = _table("dataset", "dropped", "versions", "files", "metadata", "claims")
    for one in done:
        dropped = f"{one.dropped_rows} rows of {len(one.dates)} dates" if one.dates else "-"
        table.add_row(
            str(one.dataset),
            dropped,
            str(one.snapshots),
            f"{one.files}, {human(one.size)}",
            f"{one.metadata}, {human(one.metadata_size)}",
            str(one.claims),
        )
    record = [asdict(one) for one in done]
    if not any(_anything(one) for one in done):
        return Told(parts=("Nothing to remove.",), record=record)
    return Told(parts=("Would remove:" if dry_run else "Removed:", table), record=record)


def _anything(one: Freed) -> bool:
    return any((one.dropped_files, one.snapshots, one.files, one.metadata, one.claims))


def verified(reports: Sequence[Report], compared: Sequence[Compared]) -> Told:
    """What verify found."""
    table = _table("dataset", "claims", "files", "rows", "summed", "gone on purpose", "wrong")
    by_kafka = {one.dataset: one for one in compared}
    findings: list[tuple[Dataset, Finding]] = []
    notes: list[str] = []
    for report in reports:
        account = report.account
        own = [*account.findings]
        if report.dataset in by_kafka:
            own += by_kafka[report.dataset].findings
        findings += [(report.dataset, one) for one in own]
        table.add_row(
            str(report.dataset),
            str(account.claims),
            str(account.files),
            str(account.rows),
            str(account.sums),
            str(account.forgotten + account.dropped),
            f"[bold red]{len(own)}[/]" if own else "[green]0[/]",
        )
        notes += _notes(report)
    parts: list[Any] = [table, *notes]
    if compared:
        parts.append(_kafka(compared))
    if findings:
        parts.append(_findings(findings))
    record = _record(reports, by_kafka)
    return Told(parts=tuple(parts), record=record, wrong=len(findings))


def _notes(report: Report) -> Iterable[str]:
    if report.account.waiting:
        yield f"{report.dataset}: {len(report.account.waiting)} claimed ranges are being written."
    if report.leftovers:
        yield (
            f"{report.dataset}: {report.leftovers} files ({human(report.leftover_size)}) in its "
            "folders are in no version of the table that is read now; expire removes them in time."
        )
    if report.unproven:
        yield (
            f"{report.dataset}: somebody's rows were taken out, and there is no proof of it yet: "
            "if no forget-device or forget-customer runs now, run the one that broke off again."
        )


def _findings(findings: Sequence[tuple[Dataset, Finding]]) -> Table:
    table = _table("dataset", "wrong", "offsets", "date", "rows", "file")
    for dataset, one in findings[:SHOWN]:
        rows = "" if one.rows is None else f"{one.rows[1]} of {one.rows[0]}"
        named = one.file or one.note
        table.add_row(
            str(dataset), one.wrong.value, escape(one.offsets), one.date, rows, escape(named)
        )
    if len(findings) > SHOWN:
        table.caption = f"and {len(findings) - SHOWN} more: --json has them"
    return table


def _kafka(compared: Sequence[Compared]) -> Table:
    table = _table("dataset", "partition", "Kafka has", "committed", "lake reaches")
    for one in compared:
        for at in one.standings:
            committed = "-" if at.committed < 0 else str(at.committed)
            has = f"{at.begin} to {at.end - 1}" if at.end > at.begin else "nothing"
            table.add_row(str(one.dataset), str(at.partition), has, committed, str(at.reached))
    claims, rows = sum(c.claims for c in compared), sum(c.rows for c in compared)
    table.caption = f"{claims} ranges made again from Kafka, {rows} rows"
    return table


def _record(reports: Sequence[Report], by_kafka: dict[Dataset, Compared]) -> object:
    out = []
    for report in reports:
        account = asdict(report.account)
        account["waiting"] = [str(span) for span in report.account.waiting]
        kafka = by_kafka.get(report.dataset)
        out.append(
            {
                "dataset": report.dataset,
                "by_table": report.by_table,
                **account,
                "leftovers": report.leftovers,
                "leftover_bytes": report.leftover_size,
                "unproven": report.unproven,
                "kafka": None if kafka is None else asdict(kafka),
            }
        )
    return out


def question(counts: Mapping[Dataset, int], whose: Whose, name: str) -> str:
    """Whether rows are to be deleted; what a person is asked."""
    if whose.customer is not None and whose.devices:
        names = sorted(whose.devices)
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        name = f"{name} and of {', '.join(names[:NAMED])}{more}"
    told = [f"{counted(rows, 'row')} of {dataset}" for dataset, rows in counts.items() if rows]
    if not told:
        return f"No table has a row of {name}. Look for leavings, and write a proof?"
    if counts[Dataset.EVENTS] and whose.customer is not None:
        told.append("what was delivered of these events")
    return f"Delete {', '.join(told)}: all of {name}, for good?"


def proof(told: Proof) -> Told:
    """That rows were taken out."""
    table = _table("dataset", "date", "rows before", "removed", "after", "files")
    for dataset, one in told.record["datasets"].items():
        for date, taken in one["dates"].items():
            rows = [str(taken[when]["rows"]) for when in ("before", "removed", "after")]
            table.add_row(dataset, date, *rows, str(len(taken["files_rewritten"])))
    left = sum(one["rows_found_after"] for one in told.record["datasets"].values())
    lines = [
        f"Rows that a query finds now: {left}.",
        f"Proof: {told.key}",
        f"Its salt, kept nowhere else: {told.salt}",
        "The proof names the SHA-256 of salt and id, one written after the other.",
        *_open_ends(told.record["datasets"]),
        "What the lake does not hold remains:",
        *(f"  {line}" for line in told.record["remains"]),
    ]
    record = {"key": told.key, "salt": told.salt, "complete": told.complete, **told.record}
    parts: tuple[Any, ...] = (table,) if table.row_count else ()
    return Told(parts=(*parts, *map(escape, lines)), record=record)


def _open_ends(datasets: dict[str, Any]) -> Iterable[str]:
    for name, one in datasets.items():
        if one["rows_removed_by_runs_without_proof"]:
            rows = counted(one["rows_removed_by_runs_without_proof"], "row")
            yield f"{name}: {rows} of these were taken out by a run that broke off."
        if one["rows_removed_by_such_a_run_or_this"]:
            rows = counted(one["rows_removed_by_such_a_run_or_this"], "row")
            yield f"{name}: a run that broke off, or this one, took out {rows}: which is not known."
        if one["rows_found_after"] or one["not_yet_in_table"]:
            yield f"{name}: a writer has brought such rows meanwhile: run this again."
        if one["held_by_branch_or_tag"]:
            held = ", ".join(one["held_by_branch_or_tag"])
            yield f"{name}: {held} still have such rows: remove them and run this again."
        if one["old_manifests_left"]:
            yield f"{name}: {one['old_manifests_left']} old manifests go with the next expire."
        if one["other_devices"]:
            yield f"{name}: the events were of {counted(one['other_devices'], 'device')}."


def counted(number: int, what: str) -> str:
    """So many of it."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def human(size: int) -> str:
    """Bytes for people."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < _KB:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _KB
    return f"{value:.1f} TB"


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE)
    for name in columns:
        table.add_column(name)
    return table
