"""Times of the lake's rows: the date a row lies in, and when a time is to be doubted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.lake_columns import Flag

DAY_MS: Final = 86_400_000
LAST_MS: Final = 253_402_300_799_999
"""Year 9999 ends here: a device clock beyond it, or before 1970, is clamped. Readers
(DuckDB among them) refuse a whole file for one time they cannot represent."""
FUTURE_MS: Final = DAY_MS
PAST_MS: Final = 400 * DAY_MS
"""How far a time may lie from its arrival before it is flagged: a device that was switched off
for a winter and sends what it kept is no mistake."""

_EPOCH: Final = date(1970, 1, 1)

FLAGS: Final = (Flag.CLAMPED, Flag.FUTURE, Flag.PAST, Flag.NOT_FINITE)
"""By code in lake_kernel, from 0; the first that fits."""


def date_text(day: int) -> str:
    """YYYY-MM-DD of `day`, days since the Unix epoch, 1970 to 9999."""
    return (_EPOCH + timedelta(days=day)).isoformat()


def clamped_ms(time_ms: int) -> int:
    """A time within 1970 to 9999."""
    return min(max(time_ms, 0), LAST_MS)


def flag_of(time_ms: int, arrived_ms: int | None) -> str | None:
    """Flag of one time, null where it is not to be doubted."""
    if clamped_ms(time_ms) != time_ms:
        return Flag.CLAMPED.value
    if arrived_ms is None:
        return None
    if time_ms - arrived_ms > FUTURE_MS:
        return Flag.FUTURE.value
    return Flag.PAST.value if arrived_ms - time_ms > PAST_MS else None


def by_day(
    table: pa.Table, days: Sequence[int] | npt.NDArray[np.int64]
) -> tuple[tuple[str, pa.Table], ...]:
    """(date, slice) of a table whose `days`, shape (rows,), rise."""
    of_row = np.asarray(days, dtype=np.int64)
    edges = [0, *(np.flatnonzero(np.diff(of_row)) + 1).tolist(), len(of_row)]
    return tuple(
        (date_text(int(of_row[start])), table.slice(start, end - start))
        for start, end in pairwise(edges)
    )
