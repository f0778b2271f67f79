"""Which series each reading belongs to; compiled (pipeline.core.jit)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.core.fleet import C_COUNT, C_FIRST
from pipeline.core.jit import jit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    I64 = npt.NDArray[np.int64]


@jit
def resolve(
    device: I64,
    readings: I64,
    metric: I64,
    slot: I64,
    columns: I64,
    series_metric: I64,
    stamp: I64,
    base: int,
    missing: I64,
) -> int:
    """Find each reading's series: `slot`, shape (readings,), is filled; -1 where there is none.

    A metric that is twice in a sample counts once, by its last reading. `missing`, shape
    (readings, 2), gets device row and metric of series that do not exist; returns how many.
    `stamp` (a number per series) is scratch; `base` is greater than every number in it.
    """
    lost = 0
    reading = 0
    for i in range(len(device)):
        first = columns[device[i], C_FIRST]
        count = columns[device[i], C_COUNT]
        hint = 0
        for k in range(reading, reading + readings[i]):
            found = -1
            for step in range(count):
                place = hint + step
                if place >= count:
                    place -= count
                if series_metric[first + place] == metric[k]:
                    found = first + place
                    hint = place + 1
                    break
            slot[k] = found
            if found < 0:
                missing[lost, 0] = device[i]
                missing[lost, 1] = metric[k]
                lost += 1
            else:
                before = stamp[found] - base
                if before >= reading and before < k:
                    slot[before] = -1
                stamp[found] = base + k
        reading += readings[i]
    return lost
