"""Three questions that analysts ask, timed over the lake and over unsorted small files."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

import duckdb
import pyarrow.parquet as pq

from connectors.lake.config import LakeConfig
from pipeline.core.lake_times import DAY_MS
from tests.bench.lake_engines import Lake
from tests.bench.lake_load import BEGIN_MS, arrival_table, device_name, messages

SMALL_MESSAGES: Final = 50
"""Messages of a small file: 50,000 rows."""
_DAY: Final = datetime.fromtimestamp((BEGIN_MS // DAY_MS + 1) * DAY_MS / 1_000, UTC).date()

QUERIES: Final = {
    "device_trend": (
        "SELECT time_bucket(INTERVAL 10 MINUTE, time) AS since, avg(value) FROM {rows} "  # noqa: S608 - constants of our own
        f"WHERE device_id = '{device_name(7)}' AND metric = 'T30' "
        f"AND time >= DATE '{_DAY}' AND time < DATE '{_DAY}' + 1 GROUP BY since ORDER BY since"
    ),
    "daily_average": (
        "SELECT time::DATE AS day, metric, avg(value) FROM {rows} GROUP BY day, metric "
        "ORDER BY day, metric"
    ),
    "last_values": (
        "SELECT device_id, metric, arg_max(value, time) FROM {rows} "
        "GROUP BY device_id, metric ORDER BY device_id, metric"
    ),
}
"""A device's day, the average of each metric and day over all, and each device's last values.
They ask by `time` alone: an analyst may forget about folders."""

LAKE: Final = "telemetry/date=*/*.parquet"
SMALL: Final = "small/*.parquet"


def write_small(lake: Lake, each: int) -> int:
    """The same rows as small files in order of arrival, snappy, as sinks write them; how many."""
    files, count = lake.files, 0
    for some in _pieces(each):
        out = io.BytesIO()
        pq.write_table(arrival_table(some), out)
        files.pipe_file(f"{lake.settings.s3_bucket}/small/{count:06d}.parquet", out.getvalue())
        count += 1
    return count


def _pieces(each: int) -> Iterator[list[Any]]:
    played = messages(each)
    while some := list(islice(played, SMALL_MESSAGES)):
        yield some


def connect(lake: Lake) -> Any:  # noqa: ANN401 - DuckDB has no types
    """DuckDB with the lake's store."""
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    connection.register_filesystem(lake.files)
    return connection


def timed(lake: Lake, pattern: str, turns: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Milliseconds of each question (median of `turns`) and `files`; and the answers.

    A connection for each question, so that none profits of what another has read.
    """
    rows = f"read_parquet('s3://{lake.settings.s3_bucket}/{pattern}')"
    times: dict[str, float] = {}
    answers: dict[str, Any] = {}
    for name, query in QUERIES.items():
        took = []
        for _ in range(turns):
            connection = connect(lake)
            began = time.perf_counter()
            answers[name] = connection.execute(query.format(rows=rows)).fetchall()
            took.append((time.perf_counter() - began) * 1_000)
            connection.close()
        times[name] = round(statistics.median(took), 1)
    bucket = LakeConfig.from_settings(lake.settings).bucket
    times["files"] = len(lake.files.glob(f"{bucket}/{pattern}"))
    return times, answers


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two layouts answer alike; averages may differ in their last digits."""
    return all(
        len(one[name]) == len(other[name])
        and all(_alike(a, b) for a, b in zip(one[name], other[name], strict=True))
        for name in QUERIES
    )


def _alike(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return one[:-1] == other[:-1] and abs(one[-1] - other[-1]) <= 1e-9 * abs(one[-1])
