"""The lake's keepers over all its datasets: merge, expire, compare, forget."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from connectors.lake import compact, expire, forget, intents, kept, verify
from connectors.lake.compact import Merged
from connectors.lake.config import LakeConfig
from connectors.lake.expire import Freed
from connectors.lake.forget import Forgotten
from connectors.lake.live import LiveFile, Progress, opened, quiet
from connectors.lake.verify import Report
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_forget import Whose
from pipeline.core.lake_keep import HOUR_MS, Tally
from pipeline.core.routing import sinks_of
from pipeline.ops import audit
from pipeline.settings import Settings, SettingsError
from pipeline.state.registry import load_registry
from pipeline.state.routes_file import load_routes
from pipeline.topology import BALANCE, LAKE, RULES, topics

MEGABYTE: Final = 1024 * 1024
SALT_BYTES: Final = 16
MAX_ID: Final = 200
"""Characters of a device's or customer's id."""
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """That rows were taken out: `record` is what the lake keeps under `key`.

    The record has the SHA-256 of `salt` and the id. The salt is told once, to who asked, and
    kept nowhere: ids of devices and customers are few and known, so whoever has a hash without
    a salt, or with one, finds the id by trying them all. With the salt in hand one can show
    that this proof is about this id; without it the proof names nobody.
    """

    key: str
    record: dict[str, Any]
    salt: str
    complete: bool


def now_ms() -> int:
    """The keepers' clock: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def token() -> str:
    """A word that nobody had before and that sorts by time."""
    return f"{now_ms():012x}{secrets.token_hex(4)}"


def retention_days(settings: Settings, dataset: Dataset) -> int:
    """How long a dataset is kept, days; 0 = for ever."""
    return {
        Dataset.TELEMETRY: settings.lake_telemetry_days,
        Dataset.EVENTS: settings.lake_events_days,
        Dataset.DELIVERIES: settings.lake_deliveries_days,
        Dataset.QUARANTINE: settings.lake_quarantine_days,
    }[dataset]


def with_tables(settings: Settings) -> LakeConfig:
    """The lake; SettingsError where it has no tables, for then nobody could swap files unseen."""
    config = LakeConfig.from_settings(settings)
    if config.catalog is None:
        raise SettingsError(
            "Only a lake with tables can be kept, for there files can be swapped in one step: "
            "set LAKE_CATALOG, and let the archive workers run once."
        )
    return config


async def plan_compaction(
    settings: Settings, datasets: Sequence[Dataset], rules: compact.Rules
) -> list[tuple[Dataset, tuple[LiveFile, ...]]]:
    """The groups of files that `compact_all` would merge."""
    out = []
    for dataset in datasets:
        async with opened(with_tables(settings), dataset) as live:
            out += [(dataset, group) for group in await compact.plan(live, rules, now_ms())]
    return out


async def compact_all(
    settings: Settings,
    datasets: Sequence[Dataset],
    rules: compact.Rules,
    progress: Progress = quiet,
) -> list[Merged]:
    """Merge small files of all these datasets."""
    out: list[Merged] = []
    for dataset in datasets:
        async with opened(with_tables(settings), dataset) as live:
            out += await compact.compact(live, rules, clock=now_ms, token=token, progress=progress)
    return out


async def expire_all(
    settings: Settings,
    datasets: Sequence[Dataset],
    *,
    dry_run: bool = False,
    progress: Progress = quiet,
) -> list[Freed]:
    """Drop and remove what nobody needs any more."""
    out = []
    for dataset in datasets:
        limits = expire.Limits(
            grace_ms=round(settings.lake_grace_h * HOUR_MS),
            keep_days=retention_days(settings, dataset),
        )
        async with opened(with_tables(settings), dataset) as live:
            out.append(
                await expire.expire(
                    live,
                    limits,
                    clock=now_ms,
                    token=token,
                    dry_run=dry_run,
                    progress=progress,
                )
            )
    return out


async def verify_all(
    settings: Settings, datasets: Sequence[Dataset], *, rows: bool, progress: Progress = quiet
) -> list[Report]:
    """Compare what is claimed with what files hold."""
    out = []
    config = LakeConfig.from_settings(settings)
    for dataset in datasets:
        async with opened(config, dataset) as live:
            out.append(await verify.verify(live, rows=rows, progress=progress))
    return out


def whose_device(device: str) -> Whose:
    """One device's rows."""
    return Whose(devices=frozenset((_id(device, "device"),)))


def whose_customer(settings: Settings, customer: str, devices: Sequence[str]) -> Whose:
    """A customer's rows: those of the devices the registry says are its own, and of `devices`.

    A device that was another's before goes with all of its rows, whoever they were about.
    """
    own = {
        record.device_id
        for record in load_registry(settings.devices_file).devices.values()
        if record.customer_id == customer
    }
    named = {_id(device, "device") for device in devices}
    return Whose(devices=frozenset(own | named), customer=_id(customer, "customer"))


def _id(text: str, what: str) -> str:
    if not text.strip() or len(text) > MAX_ID or not text.isprintable():
        raise SettingsError(f"The {what}'s id must be 1 to {MAX_ID} printable characters.")
    return text


async def count_all(settings: Settings, whose: Whose) -> dict[Dataset, int]:
    """Rows that `forget_all` would take out; of deliveries those of the devices only."""
    out = {}
    for dataset in Dataset:
        async with opened(with_tables(settings), dataset) as live:
            out[dataset] = await forget.count(live, whose)
    return out


async def forget_all(settings: Settings, whose: Whose, progress: Progress = quiet) -> Proof:
    """Take the rows out of every dataset, and leave a proof in the lake."""
    config = with_tables(settings)
    who = audit.operator(settings)
    done: list[Forgotten] = []
    # Events first: what became of them is found by their ids.
    for dataset in (Dataset.EVENTS, Dataset.DELIVERIES, Dataset.TELEMETRY, Dataset.QUARANTINE):
        async with opened(config, dataset) as live:
            one = await forget.forget(live, whose, clock=now_ms, token=token, progress=progress)
        whose = replace(whose, events=whose.events | one.events)
        done.append(one)
    at_ms = now_ms()
    salt = secrets.token_hex(SALT_BYTES)
    name = whose.customer or next(iter(whose.devices))
    record = {
        "version": kept.VERSION,
        "asked_by": who,
        "at": datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds"),
        "kind": "device" if whose.customer is None else "customer",
        "id_sha256": hashlib.sha256(f"{salt}{name}".encode()).hexdigest(),
        "devices": len(whose.devices),
        "datasets": {str(one.dataset): _told(one) for one in done},
        "remains": elsewhere(settings),
    }
    key = kept.proof_key(token())
    async with opened(config, Dataset.EVENTS) as live:
        await live.put(key, json.dumps(record, indent=1).encode())
    for one in done:
        async with opened(config, one.dataset) as live:
            await intents.remove(live, one.notes)
    complete = not any(one.left or one.pending or one.held for one in done)
    return Proof(key=key, record=record, salt=salt, complete=complete)


def _told(one: Forgotten) -> dict[str, Any]:
    return {
        "rows_removed": one.rows,
        "rows_removed_by_runs_without_proof": one.earlier,
        "rows_removed_by_such_a_run_or_this": one.unsure,
        "commits": one.commits,
        "rows_found_after": one.left,
        "dates": {
            date: {
                "before": _tally(taken.before),
                "removed": _tally(taken.removed),
                "after": _tally(taken.after),
                "files_rewritten": sorted(taken.files),
            }
            for date, taken in sorted(one.dates.items())
        },
        "files_deleted": sorted(one.deleted),
        "not_yet_in_table": sorted(one.pending),
        "held_by_branch_or_tag": one.held,
        "old_manifests_left": one.metadata_left,
        "other_devices": len(one.devices),
    }


def _tally(tally: Tally) -> dict[str, object]:
    return {"rows": tally.rows, "sum": f"{tally.sum:016x}"}


def elsewhere(settings: Settings) -> list[str]:
    """Where else the pipeline holds data about devices and customers, and for how long."""
    sinks = sinks_of(load_routes(settings.routes_file))
    out = []
    for topic in topics(sinks):
        if topic.name in {RULES, BALANCE}:
            continue
        days = topic.retention_ms // _DAY_MS
        kept_for = "until it is overwritten" if topic.is_changelog else "for ever"
        out.append(
            f"Kafka topic {topic.name}: kept {kept_for if topic.retention_ms < 0 else f'{days} d'}"
        )
    out.append("Redis ledger: keys and outcomes, as long as infra/config/sinks.yaml says by sink")
    out += [f"Records at {sink}: to be deleted there" for sink in sinks if sink != LAKE]
    out.append("The device registry and the identity map: fieldline identity")
    out.append("Warehouses and copies that were loaded from the lake: to be deleted there")
    return out
