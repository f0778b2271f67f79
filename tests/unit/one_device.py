"""Dedup of one device, sample by sample, for tests that ask what it says."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.core.dedup import MIN_HASHES, Hashes, judge
from pipeline.core.fleet import Fleet


@dataclass
class Device:
    """One device's windows and content hashes."""

    window: int
    fleet: Fleet = field(init=False)
    hashes: Hashes = field(default_factory=Hashes)

    def __post_init__(self) -> None:
        self.fleet = Fleet(self.window)
        self.fleet.add_device("t/d")

    def judge(
        self, session: int, sequence: int, time_ms: int = 0, received_ms: int = 1 << 50
    ) -> int:
        """The verdict on a numbered sample."""
        arrays = self.fleet.arrays
        verdict: int = judge(
            arrays.columns[0],
            arrays.windows[0],
            arrays.bits[0],
            session,
            sequence,
            time_ms,
            received_ms,
            self.window,
        )
        return verdict

    def any(self, session: int, sequence: int, time_ms: int, content: int) -> int:
        """The verdict on any sample: by its number, or where that is below 0 by its content."""
        if sequence < 0:
            return self.hashes.judge(time_ms, content, max(self.window, MIN_HASHES))
        return self.judge(session, sequence, time_ms)

    def all(self, samples: list[tuple[int, int]]) -> list[int]:
        """Verdicts on (session, sequence) pairs."""
        return [self.judge(*sample) for sample in samples]
