"""Looks at the far ends after a run: the ERP, the lake, the DLQ, the devices' own journal.

What the report says was delivered is counted where it was delivered to, not where we say
that we sent it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq

from connectors.exchange import converse
from connectors.lake import reader
from connectors.settings import make
from connectors.tryton import OrderSeen, TrytonConnector, TrytonSettings
from infra.local import found
from infra.local.live import Watch
from infra.local.part import StackError
from infra.local.report import ERP, LakeFacts, Order, RunReport
from pipeline.core.balance import Line
from pipeline.core.outcome import Retryable
from pipeline.ops import deadletters
from pipeline.ops.books import Books
from pipeline.settings import Settings
from pipeline.simulate.player import Played
from pipeline.topology import LAKE
from pipeline.wire.codecs import make_codec

QUERY = """
    SELECT strftime(date, '%Y-%m-%d') AS date, count(*) AS rows,
           count(DISTINCT device_id) AS engines,
           round(avg(value) FILTER (metric = 'T30'), 2) AS mean_T30,
           count(*) FILTER (late) AS late
    FROM telemetry WHERE session = ? GROUP BY 1 ORDER BY 1
"""
QUERY_SAID = "rows, engines and mean temperature T30 by day"


async def gather(
    settings: Settings,
    watch: Watch,
    *,
    played: Played,
    session: int,
    journal: Path,
    sample_s: float,
    restarts: Mapping[str, int],
    since_start: Callable[[], float],
) -> RunReport:
    """The report of the run that `watch` followed; far ends are asked now."""
    books = watch.books
    sinks = {
        name: dict(line.places) | {"changes": _changes(books, name)}
        for line in books.lines(watch.committed)
        if (name := line.name.removeprefix("sink.")) != line.name
    }
    accepted = books.sinks[LAKE].accepted if LAKE in books.sinks else ()
    lake = await asyncio.to_thread(_lake, settings, session, tuple(accepted))
    ours = [order for order in await read_orders() if order.key in books.sources]
    readings = books.readings
    lines = [
        _published(watch, played),
        *books.lines(watch.committed),
        *_far_ends(watch, played, lake, Counter(order.key for order in ours)),
        *[await _asked(settings, books, sink) for sink in found.others(books, LAKE, ERP)],
    ]
    return RunReport(
        readings={
            "published": played.expected.published,
            "accepted": readings.accepted,
            "duplicates": readings.duplicates,
            "too_late": readings.too_late,
            "quarantined": readings.quarantined,
        },
        severities=dict(sorted(Counter(books.severities.values()).items())),
        sinks=sinks,
        lake=lake,
        orders=[_order(order) for order in ours],
        lines=lines,
        latencies_ms=await asyncio.to_thread(_latencies, watch, journal),
        dead_letters=await _dead_letters(settings, watch),
        restarts=restarts,
        sample_s=sample_s,
        seconds=since_start(),
    )


async def _asked(settings: Settings, books: Books, sink: str) -> Line:
    """A line that compares what we say with what another system shows, key by key."""
    delivered, shown = await found.found(settings, books, sink)
    return Line(
        name=f"{sink} delivered → records there", went_in=delivered, places={"records": shown}
    )


def _changes(books: Books, sink: str) -> int:
    """Delivered events that updated or cleared an earlier one."""
    results = books.sinks[sink].results
    return sum(1 for event in books.changes if results.get(event) == "delivered")


def _published(watch: Watch, played: Played) -> Line:
    """Devices' line. MQTT may deliver twice (QoS 1), so more may come in than went out."""
    readings = watch.books.readings
    arrived = readings.received + readings.quarantined
    again = max(0, arrived - played.expected.published)
    return Line(
        name="devices → bridge" + (f" (+{again:,} delivered again by MQTT)" if again else ""),
        went_in=played.expected.published + again,
        places={"readings": readings.received, "quarantined": readings.quarantined},
    )


def _far_ends(watch: Watch, played: Played, lake: LakeFacts, orders: Counter[str]) -> list[Line]:
    """Lines that compare what we say with what the ERP and the lake hold."""
    books = watch.books
    expected = played.expected
    out = [
        Line(
            name="the devices' journal → lake, each reading once",
            went_in=expected.unique_readings + expected.too_late,
            places={"rows": lake.distinct_readings},
        ),
        Line(
            name="detect → lake, row by row",
            went_in=books.readings.accepted + books.readings.too_late,
            places={"rows": lake.rows},
        ),
    ]
    if LAKE in books.sinks:
        out.append(
            Line(
                name="sink.lake → rows of events",
                went_in=len(books.sinks[LAKE].accepted),
                places={"rows": lake.event_rows},
            )
        )
    if ERP in books.sinks:
        sink = books.sinks[ERP]
        delivered = {
            event
            for event in sink.accepted
            if sink.results.get(event) == "delivered" and event not in books.changes
        }
        out.append(
            Line(
                name="tryton delivered → orders in the ERP",
                went_in=len(delivered),
                places={"orders": sum(orders.values())},
            )
        )
    return out


def _latencies(watch: Watch, journal: Path) -> dict[str, list[int]]:
    """Device publish to confirmation by each sink, by the device's journal, milliseconds."""
    table = pq.read_table(journal, columns=["device_id", "session", "sequence", "sent_ms"])
    columns = [table.column(n).to_pylist() for n in table.column_names]
    first_sent: dict[tuple[str, int, int], int] = {}
    for device, session, sequence, sent_ms in zip(*columns, strict=True):
        first_sent.setdefault((device, session, sequence), sent_ms)
    books = watch.books
    return {
        sink: [
            at_ms - first_sent[books.sources[event]]
            for event, at_ms in confirmed.items()
            if books.sources.get(event) in first_sent
        ]
        for sink, confirmed in sorted(books.confirmed_ms.items())
    }


async def read_orders() -> Sequence[OrderSeen]:
    """All our service orders in the ERP, asked now; StackError where it does not tell."""
    connector = TrytonConnector(make(TrytonSettings))
    async with httpx.AsyncClient() as client:
        exchange = await converse(connector.find_orders, client, request_s=30.0, late=lambda: False)
    seen = exchange.result
    if seen is None:
        raise StackError(f"Tryton's orders could not be read ({exchange.bug or 'broken off'}).")
    if isinstance(seen, Retryable):
        raise StackError(f"Tryton's orders could not be read: {seen.message}")
    return seen


def _order(seen: OrderSeen) -> Order:
    return Order(
        key=seen.key,
        number=seen.number or str(seen.id),
        name=seen.name,
        equipment=seen.equipment,
        customer=seen.party,
    )


async def _dead_letters(settings: Settings, watch: Watch) -> list[tuple[str, str, str]]:
    codec = make_codec(settings)
    return [
        (entry.event_id, entry.record["key"], entry.record["message"])
        for sink, books in watch.books.sinks.items()
        for entry in await deadletters.read(settings, codec, sink)
        if books.results.get(entry.event_id) == "dead_lettered"
    ]


def _lake(settings: Settings, session: int, events: Collection[str]) -> LakeFacts:
    with reader.connect(settings) as lake:
        rows, distinct = _one(
            lake,
            "SELECT count(*), count(DISTINCT (device_id, session, sequence, metric)) "
            "FROM telemetry WHERE session = ?",
            session,
        )
        files = 0
        if rows:
            (files,) = _one(
                lake,
                "SELECT count(DISTINCT filename) "
                "FROM read_parquet(getvariable('telemetry_files'), filename = true) "
                "WHERE session = ?",
                session,
            )
        event_rows, distinct_events = _one(
            lake,
            # By id, not by session: a device may be told of that was last seen in a run before.
            "SELECT count(*), count(DISTINCT id) FROM events WHERE id IN (SELECT unnest(?))",
            list(events),
        )
        answer = lake.execute(QUERY, [session])
        columns = tuple(str(column[0]) for column in answer.description)
        return LakeFacts(
            files=files,
            rows=rows,
            distinct_readings=distinct,
            event_rows=event_rows,
            distinct_events=distinct_events,
            query=QUERY_SAID,
            columns=columns,
            answer=tuple(answer.fetchall()),
        )


def _one(lake: Any, query: str, what: int | list[str]) -> tuple[int, ...]:  # noqa: ANN401 - duckdb
    [row] = lake.execute(query, [what]).fetchall()
    return tuple(int(value) for value in row)
