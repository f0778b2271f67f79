"""Which rows of the lake are about one device, or one customer: pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.lake_columns import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """Rows of these devices ('tenant/device'), and of this customer where one is named.

    A customer's rows are those of its devices, the events that name it, and what became of
    these `events` (their ids).
    """

    devices: frozenset[str]
    customer: str | None = None
    events: frozenset[str] = frozenset()


def rows_of(dataset: Dataset, table: pa.Table, whose: Whose) -> pa.ChunkedArray:
    """Which rows are theirs: booleans without nulls, shape (rows,)."""
    mask = _one_of(table["device_id"], whose.devices)
    if dataset is Dataset.EVENTS and whose.customer is not None:
        mask = pc.or_(mask, _one_of(table["customer_id"], frozenset((whose.customer,))))
    elif dataset is Dataset.DELIVERIES and whose.events:
        mask = pc.or_(mask, _one_of(table["event_id"], whose.events))
    elif dataset is Dataset.QUARANTINE and whose.devices:
        mask = pc.or_(mask, _naming(table, whose.devices))
    return mask


def _one_of(column: pa.ChunkedArray, names: frozenset[str]) -> pa.ChunkedArray:
    return pc.is_in(column, value_set=pa.array(sorted(names), pa.string()))


def _naming(table: pa.Table, devices: frozenset[str]) -> pa.ChunkedArray:
    """Quarantined messages of no known device whose topic or payload names one of them in full."""
    # Whole names only: pump-1 is not in pump-11.
    names = "|".join(re.escape(name) for name in sorted(devices))
    pattern = rf"(^|[^\w.-])({names})([^\w.-]|$)"
    found = [
        pc.fill_null(pc.match_substring_regex(table[name], pattern), fill_value=False)
        for name in ("mqtt_topic", "payload")
    ]
    return pc.and_(pc.is_null(table["device_id"]), pc.or_(*found))
