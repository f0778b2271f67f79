"""Silent devices: who has not been heard of for too long. Arrays over devices, no memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def overdue(
    last_ms: npt.NDArray[np.int64], reported: npt.NDArray[np.bool_], after_ms: int, now_ms: int
) -> npt.NDArray[np.int64]:
    """Indices of the devices to report, ascending.

    `last_ms`, shape (devices,): when each was last heard, by arrival, ms since the Unix epoch;
    0 or less where it never was, which is not silence. `reported`, same shape: told already,
    to be cleared by the caller when the device is heard again. A device is overdue when more
    than `after_ms` have passed at `now_ms`; a clock that went back makes nobody overdue.
    """
    due = (last_ms > 0) & ~reported & (now_ms - last_ms > after_ms)
    return np.flatnonzero(due).astype(np.int64, copy=False)
