"""How much memory a message takes while it waits for the lake, bytes: counted, not guessed.

As sys.getsizeof counts it on CPython. A message that is small on the wire can be large here:
a record of many short fields takes ten times its bytes, a batch of one sample thirty times.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from pipeline.core.lake_records import Record
from pipeline.core.telemetry import DeduplicatedBatch

BESIDE: Final = 1_200
"""What the archive's own notes of a message take (Arrival and entry, with what is in them)."""
_ARRAY: Final = 160
"""An array's head, and its share of the object that it is a view of."""
_SHARED: Final = (bool, type(None))
"""Of these there is one object for all."""


def message_size(message: DeduplicatedBatch | Record) -> int:
    """Bytes that it takes with all that hangs on it; what it shares with others is left out."""
    if isinstance(message, Record):
        return BESIDE + _held(message.values)
    batch = message.batch
    arrays = (
        *(batch.sample_device, batch.sample_session, batch.sample_seq, batch.sample_time_ms),
        *(batch.sample_received_ms, batch.sample_readings),
        *(batch.reading_metric, batch.reading_value, message.late),
    )
    names = (*batch.devices, *batch.metrics)
    return (
        BESIDE
        + sum(array.nbytes + _ARRAY for array in arrays)
        + sum(sys.getsizeof(name) for name in names)
        + 8 * len(names)
    )


def _held(value: object) -> int:
    if isinstance(value, _SHARED):
        return 0
    size = sys.getsizeof(value)
    if isinstance(value, Mapping):
        # Names of fields are the schema's, one object for all its records.
        return size + sum(_held(one) for one in value.values())
    if isinstance(value, list | tuple):
        return size + sum(_held(one) for one in value)
    return size
