"""The lake's datasets as small tables made by hand, with the marts over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.core.feedback import Outcome, Verdict
from pipeline.core.lake_columns import Dataset, arrow_schema
from pipeline.ops import marts
from pipeline.wire.lake import columns_of

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""Minute 0 of all examples."""
NOW = T0 + timedelta(days=30)

Row = Mapping[str, Any]


def at(minute: float) -> datetime:
    return T0 + timedelta(minutes=minute)


def event(alarm: str, minute: float, action: str = "raise", **changes: Any) -> Row:  # noqa: ANN401 - any column
    """An event of alarm `alarm`: its raise has that id, what follows has one of its own."""
    row = {
        "id": alarm if action == "raise" else f"{alarm}-{action}-{minute}",
        "type": "fieldline.limit.exceeded",
        "tenant": "acme",
        "device_id": "acme/press-1",
        "asset_id": "A-1",
        "customer_id": "C-1",
        "severity": "critical",
        "confidence": 1.0,
        "disposition": "deliver",
        "action": action,
        "entity_id": "" if action == "raise" else alarm,
        "summary": "too hot",
        "detector": "limit",
        "metric": "T50",
        "rule": "default@3",
        "correlation_id": alarm,
        "occurred_at": at(minute),
        "observed_at": at(minute),
        "kafka_partition": 0,
        "kafka_offset": 0,
    }
    return row | changes


def delivery(alarm: str, minute: float, outcome: str = "delivered", **changes: Any) -> Row:  # noqa: ANN401 - the same
    row = {
        "event_id": alarm,
        "sink": "sap",
        "tenant": "acme",
        "device_id": "acme/press-1",
        "outcome": outcome,
        "action": "raise",
        "attempts": 1,
        "latency_ms": 100,
        "at": at(minute),
        "kafka_partition": 0,
        "kafka_offset": 0,
    }
    return row | changes


def reading(minute: float, **changes: Any) -> Row:  # noqa: ANN401 - the same
    row = {
        "tenant": "acme",
        "device_id": "acme/press-1",
        "metric": "T50",
        "time": at(minute),
        "value": 1.0,
        "session": 1,
        "sequence": 0,
        "received_at": at(minute),
        "late": False,
        "source_partition": 0,
        "source_offset": 0,
    }
    return row | changes


def refused(minute: float, reason: str, **changes: Any) -> Row:  # noqa: ANN401 - the same
    row = {
        "reason": reason,
        "detail": "it is no JSON",
        "mqtt_topic": "acme/press-1/up",
        "device_id": "acme/press-1",
        "payload": b"{",
        "payload_size": 1,
        "readings": 1,
        "received_at": at(minute),
        "kafka_partition": 0,
        "kafka_offset": 0,
    }
    return row | changes


def told(alarm: str, verdict: Verdict, tenant: str = "acme") -> Outcome:
    return Outcome(
        event_id=alarm,
        detector="limit",
        metric="T50",
        tenant=tenant,
        outcome=verdict,
        who="ana",
        why="looked",
        at_ms=0,
    )


def parameters(**changes: Any) -> marts.Parameters:  # noqa: ANN401 - any field
    known: dict[str, Any] = {"as_of": NOW, "from_time": marts.BEGINNING, "to_time": NOW}
    return marts.Parameters(**(known | changes))


def lake(
    *,
    events: Sequence[Row] = (),
    deliveries: Sequence[Row] = (),
    telemetry: Sequence[Row] = (),
    quarantine: Sequence[Row] = (),
) -> Any:  # noqa: ANN401 - duckdb's
    """A connection with the datasets as connectors.lake.reader shows them."""
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    given = {
        Dataset.EVENTS: events,
        Dataset.DELIVERIES: deliveries,
        Dataset.TELEMETRY: telemetry,
        Dataset.QUARANTINE: quarantine,
    }
    for dataset, rows in given.items():
        columns = columns_of(dataset)
        schema = arrow_schema(columns)
        known = {column.name for column in columns}
        assert all(row.keys() <= known for row in rows), "an example has a column that is none"
        table = pa.table(
            {field.name: pa.array([row.get(field.name) for row in rows], field.type)
             for field in schema}
        )  # fmt: skip
        connection.register(f"given_{dataset}", table)
        connection.execute(f"CREATE TABLE {dataset} AS SELECT * FROM given_{dataset}")  # noqa: S608 - names of our own
    return connection


def mart(
    name: str,
    *,
    asked: marts.Parameters | None = None,
    outcomes: Iterable[Outcome] = (),
    **datasets: Sequence[Row],
) -> list[dict[str, Any]]:
    """All rows of a model over the given datasets, in order."""
    connection = lake(**datasets)
    try:
        marts.install(connection, asked or parameters(), outcomes)
        return marts.rows(connection, name)
    finally:
        connection.close()
