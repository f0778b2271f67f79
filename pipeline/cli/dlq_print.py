"""Dead letters as a person reads them, from 80 columns on. Nothing in them is markup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich import box
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Column, Table

from pipeline.cli.words import moment, plain
from pipeline.core.dlq import DISCARD, EDIT, REPLAY, State
from pipeline.core.events import BusinessEvent
from pipeline.core.scrub import scrub
from pipeline.ops.dlq_entries import Entry
from pipeline.ops.dlq_states import Standing
from pipeline.wire.avro import Codec, UnreadableError

TOP: Final = 10
"""Causes in the summary."""
_SNAPSHOT: Final = 12
_COLOURS: Final = {
    State.OPEN: "red",
    State.REPLAYING: "yellow",
    State.DELIVERED: "green",
    State.REJECTED: "yellow",
    State.SUPERSEDED: "cyan",
    State.DISCARDED: "dim",
}
_DID: Final = {REPLAY: "replayed", EDIT: "edited", DISCARD: "discarded"}


def short(entry: Entry) -> str:
    """What to type for it: the first letters name an event as well as all of them."""
    return entry.event_id[:8] or f"offset {entry.offset}"


def listing(rows: Sequence[Standing], of: int) -> Iterable[RenderableType]:
    """The table of dead letters, and a line on what is not in it."""
    several_sinks = len({row.entry.sink for row in rows}) > 1
    several_states = len({row.state for row in rows}) > 1
    table = Table(
        Column("event", no_wrap=True),
        *([Column("sink", no_wrap=True)] if several_sinks else []),
        Column("device", no_wrap=True, max_width=24, overflow="ellipsis"),
        Column("why", no_wrap=True, ratio=1, overflow="ellipsis"),
        Column("since (UTC)", no_wrap=True),
        *([Column("state", no_wrap=True)] if several_states else []),
        box=box.SIMPLE_HEAD,
        expand=True,
    )
    for row in rows:
        record = row.entry.record
        why = plain(record["message"])
        table.add_row(
            short(row.entry),
            *([row.entry.sink] if several_sinks else []),
            plain(record["key"]) or "-",
            f"[cyan]edited[/] · {why}" if row.entry.edited else why,
            moment(record["at_ms"])[5:16],
            *([_state(row.state)] if several_states else []),
        )
    yield table
    which = f"{rows[0].state} " if not several_states else ""
    more = f" of {of:,}, the oldest (--limit)" if of > len(rows) else ""
    yield f"{len(rows):,} {which}dead letter{'s' if len(rows) != 1 else ''}{more}."


def by_cause(rows: Sequence[Standing]) -> Table:
    """The most common causes: how many, what it says most often, how many devices, since when."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        record = row.entry.record
        name = (row.entry.sink, record["cause_class"], record["code"])
        groups.setdefault(name, []).append(record)
    several = len({sink for sink, _, _ in groups}) > 1
    table = Table(
        Column("events", no_wrap=True, justify="right"),
        *([Column("sink", no_wrap=True)] if several else []),
        Column("cause", max_width=27, overflow="fold"),
        Column("says most often", ratio=1),
        Column("devices", no_wrap=True, justify="right"),
        Column("since (UTC)", no_wrap=True),
        box=box.SIMPLE_HEAD,
        expand=True,
    )
    top = sorted(groups.items(), key=lambda group: -len(group[1]))
    for (sink, cause_class, code), records in top[:TOP]:
        [(words, _)] = Counter(record["message"] for record in records).most_common(1)
        table.add_row(
            f"{len(records):,}",
            *([sink] if several else []),
            plain(f"{cause_class} {code}" if cause_class != code else code),
            plain(words),
            f"{len({record['key'] for record in records}):,}",
            moment(min(record["at_ms"] for record in records))[5:16],
        )
    left = sum(len(records) for _, records in top[TOP:])
    if left:
        table.add_row(f"{left:,}", *([""] if several else []), f"{len(top) - TOP} others", "")
    return table


def everything(console: Console, row: Standing, codec: Codec) -> None:
    """All that is known of one dead letter."""
    entry, record = row.entry, row.entry.record
    console.print(_facts(row))
    console.print("\n[bold]What happened[/] (UTC)")
    console.print(_timeline(row))
    for act in row.acts:
        if act.changes:
            console.print(f"\n[bold]Edited[/] by {plain(act.who)}: {plain(act.why)}")
            console.print(difference(act.changes))
    if record["headers"]:
        console.print("\n[bold]Headers[/]")
        console.print(_pairs((n, _header(v)) for n, v in sorted(record["headers"].items())))
    try:
        event = entry.event(codec)
    except UnreadableError as error:
        console.print(f"\nPayload of {len(record['payload']):,} bytes: {plain(error)}.")
        console.print(f"To be done with it: fieldline dlq discard {entry.offset} --why …")
        return
    console.print("\n[bold]Event[/]")
    console.print(_event(event))
    console.print(_advice(row))


def _facts(row: Standing) -> Table:
    entry, record = row.entry, row.entry.record
    place = f"{record['source_topic']}/{record['source_partition']}/{record['source_offset']}"
    marks = " · [cyan]edited[/]" if entry.edited else ""
    target = row.row.target_id if row.row is not None else None
    facts = [
        ("event", (plain(entry.event_id) or "unreadable") + marks),
        ("state", _state(row.state) + (f", as {plain(target)}" if target else "")),
        ("sink", f"{entry.sink}, DLQ offset {entry.offset}"),
        ("device", plain(record["key"]) or "none"),
        ("tenant", plain(record["tenant"]) or "none"),
        ("cause", plain(f"{record['cause_class']} · {record['code']}")),
        ("why", plain(record["message"])),
        ("answer", escape(scrub(record["answer"])) if record["answer"] else "none"),
        ("attempts", str(record["attempts"])),
        ("came from", plain(place) if record["source_topic"] else "not known"),
        ("trace", plain(record["traceparent"]) if record["traceparent"] else "none"),
    ]
    return _pairs(facts, marked=True)


def _timeline(row: Standing) -> Table:
    """What the ledger noted, the burial, what persons did, and the newest result."""
    record = row.entry.record
    notes = [(n["at_ms"], n["state"], n["code"], n["owner"]) for n in record["history"]]
    if row.row is not None:
        known = {(at_ms, state) for at_ms, state, *_ in notes}
        notes += [
            (n.at_ms, str(n.state), n.code, n.owner)
            for n in row.row.history
            if (n.at_ms, n.state) not in known
        ]
    lines = [
        (at, state.replace("_", " "), " · ".join(x for x in (c, o) if x))
        for at, state, c, o in notes
    ]
    lines.append((record["at_ms"], "given up", record["message"]))
    for act in row.acts:
        did = _DID.get(act.action, act.action)
        lines.append((act.at_ms, did, f"by {act.who}" + (f": {act.why}" if act.why else "")))
    result = row.result
    if result is not None and result["outcome"] != "dead_lettered":
        told = result["message"] or (f"as {result['target_id']}" if result["target_id"] else "")
        lines.append((result["at_ms"], result["outcome"], told))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for at_ms, what, words in sorted(lines, key=lambda line: line[0]):
        table.add_row(moment(at_ms), f"[bold]{plain(what)}[/]", plain(words))
    return table


def _event(event: BusinessEvent) -> Table:
    about = "" if event.entity == event.id else f" of {event.entity}"
    source = event.source
    facts = [
        ("summary", f"{event.severity}: {event.summary}"),
        ("type", f"{event.type} ({event.action}{about})"),
        ("occurred", moment(event.occurred_at_ms)),
        ("observed", moment(event.observed_at_ms)),
        ("asset", event.asset_id or "none"),
        ("customer", event.customer_id or "none"),
        ("rule", f"{event.rule}, {event.detector} of {event.metric}"),
        ("confidence", f"{event.confidence:.0%}"),
        ("correlation", event.correlation_id),
        ("sample", f"session {source.session}, sequence {source.sequence}"),
        ("caused by", f"{source.topic}/{source.partition}/{source.offset}"),
    ]
    for at, one in enumerate(event.snapshot[:_SNAPSHOT]):
        usual = "" if one.baseline is None else f", usually {one.baseline:.6g}"
        score = "" if one.score is None else f", z-score {one.score:.3g}"
        facts.append(("snapshot" if at == 0 else "", f"{one.metric} {one.value:.6g}{usual}{score}"))
    if (more := len(event.snapshot) - _SNAPSHOT) > 0:
        facts.append(("", f"and {more} more (--json shows them)"))
    return _pairs(facts)


def _advice(row: Standing) -> str:
    name = short(row.entry)
    match row.state:
        case State.OPEN:
            return (
                f"\nOnce the cause is mended: fieldline dlq replay {name}  (first with --dry-run)\n"
                f"To change the event:      fieldline dlq edit {name} --set FIELD=VALUE --why …\n"
                f"To be done with it:       fieldline dlq discard {name} --why …"
            )
        case State.DISCARDED:
            return f"\nTo have it after all: fieldline dlq replay {name} --even-discarded"
        case State.REPLAYING:
            return f"\nIts end is not known yet. Sent again, it has one effect: dlq replay {name}"
        case _:
            return ""


def difference(changes: Mapping[str, str]) -> Table:
    """Fields before and after."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for name, change in changes.items():
        old, _, new = change.partition(" → ")
        table.add_row(plain(name), f"[red]- {plain(old)}[/]\n[green]+ {plain(new)}[/]")
    return table


def as_json(row: Standing, codec: Codec) -> dict[str, Any]:
    """All of it for a program; bytes as hex, header values as text."""
    record = dict(row.entry.record)
    record["headers"] = {n: v.decode(errors="replace") for n, v in record["headers"].items()}
    record["payload"] = record["payload"].hex()
    record["answer"] = scrub(record["answer"]) if record["answer"] is not None else None
    try:
        event = codec.decode("business_event.v2", row.entry.record["payload"])
    except UnreadableError:
        event = None
    return {
        **record,
        "sink": row.entry.sink,
        "dlq_offset": row.entry.offset,
        "state": row.state.value,
        "edited": row.entry.edited,
        "unreadable": row.entry.trouble,
        "event": event,
        "result": dict(row.result) if row.result is not None else None,
        "actions": [
            {"at_ms": a.at_ms, "action": a.action, "id": a.id, "who": a.who, "why": a.why}
            | ({"changes": dict(a.changes)} if a.changes else {})
            for a in row.acts
        ],
    }


def _pairs(facts: Iterable[tuple[str, str]], *, marked: bool = False) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(ratio=1, overflow="fold")
    for name, text in facts:
        table.add_row(plain(name), text if marked else plain(text))
    return table


def _state(state: State) -> str:
    return f"[{_COLOURS[state]}]{state}[/]"


def _header(value: bytes) -> str:
    return value.decode(errors="replace")[:500]
