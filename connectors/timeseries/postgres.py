"""PostgreSQL, with or without TimescaleDB: COPY into a staging table, then upsert.

The key is (device_id, metric, time, session, sequence), so what comes again is written over
with the same. Rows go over in COPY's binary format (PostgreSQL documents, "COPY", "Binary
Format"), fixed widths straight from the columns; names go beside them, once each.

With the extension `timescaledb` in the database the table becomes a hypertable by time
(create_hypertable; TimescaleDB's documents, not tried here: the same SQL otherwise).
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import numpy as np

from connectors.timeseries.base import Done, Refuse, Retry
from connectors.timeseries.config import TimeseriesSettings
from connectors.timeseries.points import Points

NAME = "postgresql"
TITLE = "PostgreSQL"
STAGING = "fieldline_staging"
_EPOCH_MS = 946_684_800_000
"""2000-01-01, where PostgreSQL's timestamps count from, in milliseconds since 1970."""
_HEAD = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TAIL = b"\xff\xff"
_COLUMNS = (
    ("device", ">i4"),
    ("metric", ">i4"),
    ("time", ">i8"),
    ("value", ">f8"),
    ("session", ">i8"),
    ("sequence", ">i8"),
    ("late", "?"),
)
_ROW = np.dtype(
    [("count", ">i2")]
    + [pair for name, kind in _COLUMNS for pair in ((f"n_{name}", ">i4"), (name, kind))]
)
_BUSY = ("08", "40", "53", "55", "57", "58")
"""SQLSTATE classes that pass by themselves (PostgreSQL documents, appendix A)."""
_BAD_DATA = ("22", "23")
_INLINE = 5_000


class PostgresStore:
    """One table, on one event loop; one connection, made when needed and after a loss."""

    name = NAME
    # Years 1 to 9999: what every reader of timestamptz can show.
    first_ms = -62_135_596_800_000
    last_ms = 253_402_300_799_999
    by_sequence = True

    def __init__(self, settings: TimeseriesSettings) -> None:
        self.most = settings.batch
        self._settings = settings
        self._connection: Any = None
        self._insert = insert_of(settings.table)

    def takes(self, name: str) -> bool:
        """Whether it can be a text: no NUL, and UTF-8 can write it."""
        return bool(name) and "\x00" not in name and name.isprintable()

    async def put(self, points: Points) -> Done | Refuse | Retry:
        """One transaction; sent again it changes nothing."""
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await self._put(points)
        except asyncpg.PostgresError as error:
            return await self._classified(error)
        except (OSError, TimeoutError, EOFError, asyncpg.InterfaceError) as error:
            await self._forget()
            return Retry(
                reason=f"{TITLE} does not answer ({type(error).__name__}): it is tried again; "
                "check that it runs, and TIMESERIES_URL."
            )
        return Done()

    async def close(self) -> None:
        """Close the connection."""
        await self._forget()

    async def _put(self, points: Points) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        inline = len(points) <= _INLINE
        rows = copy_rows(points) if inline else await asyncio.to_thread(copy_rows, points)
        async with self._connection.transaction():
            await self._connection.copy_to_table(STAGING, source=io.BytesIO(rows), format="binary")
            await self._connection.execute(self._insert, points.devices, points.metrics)

    async def _connect(self) -> Any:  # noqa: ANN401 - asyncpg has no types
        told = self._settings
        parts = urlsplit(told.url)
        made = await asyncpg.connect(
            host=parts.hostname,
            port=parts.port or 5432,
            database=parts.path.strip("/"),
            user=told.username,
            password=told.password.get_secret_value() if told.password else None,
            ssl=False if told.here else ssl.create_default_context(cafile=told.ca_file),
            server_settings={"application_name": "fieldline-timeseries"},
        )
        with contextlib.ExitStack() as undo:
            undo.callback(made.terminate)
            if told.create_table:
                await made.execute(table_of(told.table))
            await made.execute(_STAGE)
            undo.pop_all()
        return made

    async def _classified(self, error: asyncpg.PostgresError) -> Refuse | Retry:
        state = str(error.sqlstate or "")
        if state[:2] in _BAD_DATA:
            return Refuse(reason=f"{state} {error.args[0] if error.args else ''}"[:300])
        await self._forget()
        mend = "it is tried again" if state[:2] in _BUSY else "check the TIMESERIES_* settings"
        what = type(error).__name__.removesuffix("Error")
        return Retry(reason=f"{TITLE} refuses ({state} {what}): {mend}.")

    async def _forget(self) -> None:
        kept, self._connection = self._connection, None
        if kept is not None:
            kept.terminate()


_STAGE = f"""
CREATE TEMP TABLE IF NOT EXISTS {STAGING} (
  device int NOT NULL, metric int NOT NULL, time timestamptz NOT NULL, value float8 NOT NULL,
  session bigint NOT NULL, sequence bigint NOT NULL, late boolean NOT NULL
) ON COMMIT DELETE ROWS
"""


def table_of(table: str) -> str:
    """SQL that makes the table where it is not there; a hypertable where TimescaleDB is."""
    return f"""
CREATE TABLE IF NOT EXISTS {table} (
  time timestamptz NOT NULL,
  tenant text NOT NULL,
  device_id text NOT NULL,
  metric text NOT NULL,
  value double precision NOT NULL,
  session bigint NOT NULL,
  sequence bigint NOT NULL,
  late boolean NOT NULL,
  PRIMARY KEY (device_id, metric, time, session, sequence)
);
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
    PERFORM create_hypertable('{table}', 'time', if_not_exists => TRUE, migrate_data => TRUE);
  END IF;
END $$
"""


def insert_of(table: str) -> str:
    """SQL from the staging table into the table; $1 and $2 are the names of devices, metrics."""
    return f"""
INSERT INTO {table} AS t (time, tenant, device_id, metric, value, session, sequence, late)
SELECT s.time, split_part(d.name, '/', 1), d.name, m.name, s.value, s.session, s.sequence, s.late
FROM {STAGING} s
JOIN unnest($1::text[]) WITH ORDINALITY d (name, place) ON d.place = s.device + 1
JOIN unnest($2::text[]) WITH ORDINALITY m (name, place) ON m.place = s.metric + 1
ON CONFLICT (device_id, metric, time, session, sequence)
DO UPDATE SET value = EXCLUDED.value, late = EXCLUDED.late
WHERE (t.value, t.late) IS DISTINCT FROM (EXCLUDED.value, EXCLUDED.late)
"""  # noqa: S608 - the name is an identifier by its setting's pattern


def copy_rows(points: Points) -> bytes:
    """The points in COPY's binary format, in the order of the staging table's columns."""
    rows = np.empty(len(points), dtype=_ROW)
    rows["count"] = len(_COLUMNS)
    values = {
        "device": points.device,
        "metric": points.metric,
        "time": (points.time_ms - _EPOCH_MS) * 1_000,
        "value": points.value,
        "session": points.session,
        "sequence": points.sequence,
        "late": points.late,
    }
    for name, dtype in _COLUMNS:
        rows[f"n_{name}"] = np.dtype(dtype).itemsize
        rows[name] = values[name]
    return _HEAD + rows.tobytes() + _TAIL
