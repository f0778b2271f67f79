"""What all peers share: where to read and write, and the numbers of the task."""

from __future__ import annotations

import os
from dataclasses import dataclass

WINDOW = 128
"""Sequence numbers of a device that are remembered: one slot for each remainder."""
WARM_UP = 30
"""Readings of a series before its first score."""
THRESHOLD = 4.5
"""Deviations from the mean that raise an alarm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run. `name` is new each time, so that group, state and changelogs are fresh."""

    bootstrap: str
    name: str
    source: str
    output: str
    alarms: str
    folder: str

    @classmethod
    def from_environment(cls) -> Task:
        """As the bench started us: BENCH_BOOTSTRAP, BENCH_NAME and so on; KeyError otherwise."""
        names = ("bootstrap", "name", "source", "output", "alarms", "folder")
        return cls(**{name: os.environ[f"BENCH_{name.upper()}"] for name in names})
