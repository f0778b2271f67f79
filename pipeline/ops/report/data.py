"""What the report shows, read from the marts once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core.feedback import Outcome
from pipeline.ops import marts
from pipeline.ops.marts import Parameters

Row = Mapping[str, Any]
MEASURES: Final = ("detect", "acknowledge", "resolve")
SHOWN: Final = 20
"""Most rows of a table on the page; the CSVs have them all."""

_READ: Final = (
    "downtime_by_asset",
    "alarms_by_rule",
    "response_times",
    "first_time_fix",
    "deliveries_by_sink",
    "usage_by_month",
    "data_quality",
)
_ORDER: Final[Mapping[str, str]] = {
    "downtime_by_asset": "downtime_s DESC, tenant, asset",
    "alarms_by_rule": "raised DESC, tenant, rule, detector, metric",
    "first_time_fix": "came_back DESC, cleared DESC, tenant, asset, detector, metric",
    "deliveries_by_sink": "tenant, sink, day",
    "usage_by_month": "month DESC, tenant",
}
_CHOSEN: Final = """
FROM alarms AS a
CROSS JOIN parameters AS p
WHERE a.counted AND a.disposition = 'deliver'
    AND a.raised_at >= p.from_time AND a.raised_at < p.to_time
"""
"""The alarms that response_times measures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What people told of alarms, and why it is not known where it is not (empty: it is)."""

    outcomes: Sequence[Outcome] = ()
    unknown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that the page shows. Shapes of `times_ms`: (alarms with a value,), milliseconds."""

    asked: Parameters
    feedback: Feedback
    rows: Mapping[str, Sequence[Row]]
    down: Sequence[Row]
    """Alarms that are critical and open at the window's end, longest first, SHOWN of them."""
    times_ms: Mapping[str, npt.NDArray[np.int64]]
    unknown_times: Mapping[str, int]
    """By measure, alarms without a value."""
    first_at: datetime | None
    """Arrival of the first reading or event within the window; None where there is none."""
    last_at: datetime | None

    @property
    def empty(self) -> bool:
        """Whether the lake has nothing to tell for what was asked."""
        return not any(self.rows.values())

    @property
    def tenants(self) -> list[str]:
        """Tenants that have a row anywhere."""
        return sorted({row["tenant"] for rows in self.rows.values() for row in rows} - {""})

    def quantile_s(self, measure: str, numerator: int, denominator: int) -> float | None:
        """Nearest-rank quantile over all tenants and severities, seconds; None without values."""
        times = self.times_ms[measure]
        if not len(times):
            return None
        rank = max(1, -(-len(times) * numerator // denominator))
        return float(np.partition(times, rank - 1)[rank - 1]) / 1000


def steps() -> int:
    """How often `gather` tells of progress."""
    return len(marts.models()) + 1


def gather(
    connection: Any,  # noqa: ANN401 - duckdb.DuckDBPyConnection with the lake's views
    asked: Parameters,
    feedback: Feedback,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Work the marts out and read them; they stay in the connection as tables."""
    marts.install(connection, asked, feedback.outcomes, tables=True, progress=progress)
    progress("page")
    first, last = _range(connection)
    return Report(
        asked=asked,
        feedback=feedback,
        rows={name: marts.rows(connection, name, _ORDER.get(name, "ALL")) for name in _READ},
        down=_down(connection),
        times_ms={name: _times(connection, name) for name in MEASURES},
        unknown_times={name: _unknown(connection, name) for name in MEASURES},
        first_at=first,
        last_at=last,
    )


def _range(connection: Any) -> tuple[datetime | None, datetime | None]:  # noqa: ANN401 - as above
    [(first, last)] = connection.execute(
        """
        SELECT MIN(s.moment), MAX(s.moment)
        FROM (
            SELECT t.tenant, t.received_at AS moment FROM telemetry AS t
            UNION ALL
            SELECT e.tenant, e.observed_at AS moment FROM events AS e
        ) AS s
        CROSS JOIN parameters AS p
        WHERE s.moment >= p.from_time AND s.moment < p.to_time
            AND (p.tenant IS NULL OR s.tenant = p.tenant)
        """
    ).fetchall()
    return first, last


def _down(connection: Any) -> list[Row]:  # noqa: ANN401 - as above
    names = ("tenant", "asset", "critical_at", "detector", "metric", "summary")
    told = connection.execute(
        f"""
        SELECT {", ".join(f"a.{name}" for name in names)}
        FROM alarms AS a
        CROSS JOIN parameters AS p
        WHERE a.counted AND a.critical_at < p.to_time AND a.cleared_at IS NULL
        ORDER BY a.critical_at, a.tenant, a.asset, a.alarm_id
        LIMIT {SHOWN}
        """  # noqa: S608 - names of our own
    )
    return [dict(zip(names, row, strict=True)) for row in told.fetchall()]


def _times(connection: Any, measure: str) -> npt.NDArray[np.int64]:  # noqa: ANN401 - as above
    column = f"a.{measure}_ms"
    told = connection.execute(
        f"SELECT {column} AS took {_CHOSEN} AND {column} IS NOT NULL"
    ).fetchnumpy()
    return np.asarray(told["took"], dtype=np.int64)


def _unknown(connection: Any, measure: str) -> int:  # noqa: ANN401 - as above
    [(number,)] = connection.execute(
        f"SELECT COUNT(*) {_CHOSEN} AND a.{measure}_ms IS NULL"
    ).fetchall()
    return int(number)


def total(rows: Sequence[Row], column: str) -> int:
    """Sum of a column."""
    return sum(int(row[column]) for row in rows)


def summed(
    rows: Sequence[Row], by: Sequence[str], columns: Sequence[str]
) -> dict[tuple[Any, ...], dict[str, int]]:
    """Sums of `columns` by the values of `by`, in order of first appearance."""
    out: dict[tuple[Any, ...], dict[str, int]] = {}
    for row in rows:
        sums = out.setdefault(tuple(row[name] for name in by), dict.fromkeys(columns, 0))
        for name in columns:
            sums[name] += int(row[name])
    return out
