"""Sets a worker's wall clock apart from the machine's: Python imports this at its start.

CRASH_CLOCK names a file with seconds to add, as text. The lake's own code reads only a clock
that never goes back; pyiceberg dates its snapshots with time.time. What signs requests to S3
(datetime) keeps the machine's time, or every request would be refused: that is S3 away.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

_FILE = Path(os.environ.get("CRASH_CLOCK", ""))


def _install() -> None:
    real: Callable[[], float] = time.time
    real_ns: Callable[[], int] = time.time_ns
    known: list[float] = [0.0, 0.0]  # when it was last looked at (monotonic), and the offset

    def offset_s() -> float:
        now = time.monotonic()
        if now - known[0] > 0.1:  # often enough, and not at each of thousands of calls
            known[0] = now
            try:
                known[1] = float(_FILE.read_text(encoding="ascii"))
            except (OSError, ValueError):
                known[1] = 0.0
        return known[1]

    time.time = lambda: real() + offset_s()
    time.time_ns = lambda: real_ns() + round(offset_s() * 1e9)


if "CRASH_CLOCK" in os.environ:
    _install()
