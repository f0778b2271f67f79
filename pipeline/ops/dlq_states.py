"""What has become of dead letters: the results, the ledger and the audit, put together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import redis.asyncio as redis

from pipeline.core.dlq import REPLAY, Facts, State, state_of
from pipeline.core.events import fingerprint
from pipeline.core.ledger import Row
from pipeline.ops import audit
from pipeline.ops.audit import Act
from pipeline.ops.dlq_entries import Entry
from pipeline.settings import Settings
from pipeline.state.ledger import Ledger, LedgerUnavailable
from pipeline.topology import LAKE, RESULTS
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.kafka import Progress, read_through

_SLACK_MS: Final = 600_000
"""Clocks of workers, brokers and this machine may differ by so much."""
_AT_ONCE: Final = 500
_SCHEMA: Final = "delivery_result.v2"


class _Name(NamedTuple):
    sink: str
    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An entry and all that is known of it since.

    `result` is the newest delivery result's record (schemas/avro/delivery_result); `row` the
    ledger's row, also where it is of another payload; `acts` what persons did, oldest first.
    """

    entry: Entry
    state: State
    result: Mapping[str, Any] | None = None
    row: Row | None = None
    acts: Sequence[Act] = ()


@dataclass(slots=True)
class _Results:
    newest: dict[_Name, Mapping[str, Any]] = field(default_factory=dict)
    replays: dict[_Name, set[str]] = field(default_factory=lambda: defaultdict(set))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    """Standings in the order of their entries; `blind` says why the ledger was not asked."""

    all: Sequence[Standing]
    blind: str = ""


async def standings(
    settings: Settings,
    codec: Codec,
    entries: Sequence[Entry],
    *,
    progress: Progress | None = None,
) -> Standings:
    """What has become of each entry. A ledger that is away is said, not raised."""
    if not entries:
        return Standings(all=[])
    acts = _by_name(await audit.read(settings, codec, progress=progress))
    results = await _results(settings, codec, entries, progress)
    hashes = [_hash(codec, entry) for entry in entries]
    try:
        rows, blind = await ledger_rows(settings, entries), ""
    except LedgerUnavailable as error:
        rows, blind = [None] * len(entries), str(error)
    out = []
    for entry, digest, row in zip(entries, hashes, rows, strict=True):
        name = _Name(entry.sink, entry.event_id)
        done = acts.get((entry.sink, entry.name), [])
        result = results.newest.get(name)
        replays = [act.id for act in done if act.action == REPLAY]
        facts = Facts(
            outcome=result["outcome"] if result else "",
            row=row.state if row is not None and row.payload_hash == digest else None,
            action=done[-1].action if done else "",
            pending=bool(replays) and replays[-1] not in results.replays[name],
        )
        out.append(Standing(entry=entry, state=state_of(facts), result=result, row=row, acts=done))
    return Standings(all=out, blind=blind)


async def ledger_rows(settings: Settings, entries: Sequence[Entry]) -> list[Row | None]:
    """The ledger's row of each entry, None where there is none; LedgerUnavailable."""
    by_sink: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.event_id and entry.sink != LAKE:
            by_sink[entry.sink].append(entry)
    found: dict[tuple[str, str], Row | None] = {}
    client = redis.from_url(settings.redis_url.get_secret_value())
    try:
        ledger = Ledger(client)
        for sink, of_sink in by_sink.items():
            keys = [entry.event_id for entry in of_sink]
            for at in range(0, len(keys), _AT_ONCE):
                some = keys[at : at + _AT_ONCE]
                rows = await ledger.states(sink, some)
                found |= {(sink, key): row for key, row in zip(some, rows, strict=True)}
    finally:
        await client.aclose()
    return [found.get((entry.sink, entry.event_id)) for entry in entries]


def _hash(codec: Codec, entry: Entry) -> str:
    try:
        return fingerprint(entry.event(codec))
    except UnreadableError:
        return ""


def _by_name(acts: Sequence[Act]) -> dict[tuple[str, str], list[Act]]:
    out: dict[tuple[str, str], list[Act]] = defaultdict(list)
    for act in acts:
        out[act.sink, act.event_id or f"offset {act.dlq_offset}"].append(act)
    return out


async def _results(
    settings: Settings, codec: Codec, entries: Sequence[Entry], progress: Progress | None
) -> _Results:
    """The newest results of these events, and which replays have one.

    An event's results are on one partition, in order: the last one read holds. Those of other
    devices are passed over unread, by the messages' keys.
    """
    names = {_Name(entry.sink, entry.event_id) for entry in entries if entry.event_id}
    keys = {entry.record["key"].encode() for entry in entries}
    out = _Results()
    if not names:
        return out
    since_ms = min(entry.record["at_ms"] for entry in entries) - _SLACK_MS
    async for message in read_through(settings, RESULTS, since_ms=since_ms, progress=progress):
        if message.key not in keys:
            continue
        try:
            result = codec.decode(_SCHEMA, message.value)
        except UnreadableError:
            continue
        name = _Name(result["sink"], result["event_id"])
        if name in names:
            out.newest[name] = result
            if result["replay"]:
                out.replays[name].add(result["replay"])
    return out
