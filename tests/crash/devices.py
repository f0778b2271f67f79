"""Devices that misbehave in every way that dedup and detection have a rule for.

Pure: a device is a seeded source of samples; what it sends at its n-th turn does not depend
on time or on what happens to the pipeline.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Final

from pipeline.core.partition import partition_for
from pipeline.core.telemetry import NO_SEQUENCE, Sample

TENANT: Final = "acme"
STEP_MS: Final = 2_000
"""Event time between two samples of a device."""
SILENT_MS: Final = (1_000_000, 2_000_000)
"""How long a silent device is, least and most: infra/config/rules.yaml tells after 900 s."""
REMEMBERED: Final = 300
"""Samples a device can send once more."""
BUSY: Final = 6
"""Busy devices a partition: these run through many windows, sessions and episodes."""
CALM: Final = 30
"""Further devices a partition."""

# Metrics of infra/config/rules.yaml with limits, and what they are when all is well and not.
_ENGINE: Final = (
    ("T24", 642.0, 0.2, 655.0),
    ("T30", 1585.0, 2.0, 1640.0),
    ("Ps30", 47.3, 0.05, 49.5),
    ("phi", 521.6, 0.2, 512.0),
)
# Metrics without a rule of their own: a shift of all levels raises their events.
_PUMP: Final = (
    ("flow", 120.0, 0.5, 160.0),
    ("pressure", 6.0, 0.05, 9.0),
    ("power", 15.0, 0.1, 22.0),
    ("vibration", 2.0, 0.1, 7.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How one device behaves. Chances are per sample."""

    numbered: bool
    again: float = 0.03
    """Sends one of its last samples once more."""
    long_ago: float = 0.01
    """Sends any remembered sample once more: a duplicate or too late, as it falls."""
    held: float = 0.04
    """Keeps a sample back and sends it up to 40 samples later: within the window."""
    overdue: float = 0.006
    """Keeps a sample back for 80 to 200 samples: too late when it comes, never seen before."""
    reboot: float = 0.0
    reset: float = 0.0
    """Counts again from 0, or from somewhat less than where it was, in the same session."""
    silence: float = 0.0
    """Sends nothing for SILENT_MS."""


class Device:
    """One device. `turn` makes its next samples."""

    def __init__(self, name: str, habits: Habits, rng: random.Random, start_ms: int) -> None:
        self.name = name
        self._habits = habits
        self._rng = rng
        self._start_ms = start_ms
        self._session = start_ms // 1000 if habits.numbered else 0
        self._sequence = 0
        self._turns = 0
        self._metrics = rng.choice((_ENGINE, _PUMP))
        self._trouble = rng.randint(40, 120)
        """Turns until the next trouble begins (above 0) or while it lasts (below)."""
        self._silent_until_ms = 0
        self._kept_back: list[tuple[int, Sample]] = []
        self.sent: deque[Sample] = deque(maxlen=REMEMBERED)

    def turn(self, now_ms: int) -> list[Sample]:
        """What it sends now; `now_ms` is when the bridge receives it."""
        habits, rng = self._habits, self._rng
        if now_ms < self._silent_until_ms:
            return []
        if rng.random() < habits.silence:
            self._silent_until_ms = now_ms + rng.randint(*SILENT_MS)
        self._turns += 1
        sample = self._measure(now_ms)
        out: list[Sample] = []
        chance = rng.random()
        if chance < habits.overdue:
            self._kept_back.append((self._turns + rng.randint(80, 200), sample))
        elif chance < habits.overdue + habits.held:
            self._kept_back.append((self._turns + rng.randint(1, 40), sample))
        else:
            out.append(sample)
        out += [kept for due, kept in self._kept_back if due <= self._turns]
        self._kept_back = [entry for entry in self._kept_back if entry[0] > self._turns]
        if self.sent and rng.random() < habits.again:
            out.append(self.sent[-rng.randint(1, min(20, len(self.sent)))])
        if self.sent and rng.random() < habits.long_ago:
            out.append(rng.choice(self.sent))
        self.sent.extend(out)
        self._restart()
        return out

    def _measure(self, now_ms: int) -> Sample:
        rng = self._rng
        self._trouble -= 1
        if self._trouble < -rng.randint(25, 60):
            self._trouble = rng.randint(80, 160)
        readings = [
            (name, rng.gauss(bad if self._trouble < 0 else good, noise))
            for name, good, noise, bad in self._metrics
        ]
        if rng.random() < 0.1:
            readings = rng.sample(readings, rng.randint(1, len(readings)))  # fewer, any order
        sequence = NO_SEQUENCE
        if self._habits.numbered:
            sequence, self._sequence = self._sequence, self._sequence + 1
        return Sample(
            device_id=self.name,
            session=self._session,
            sequence=sequence,
            time_ms=self._start_ms + self._turns * STEP_MS + rng.randint(0, 200),
            received_ms=now_ms,
            readings=tuple(readings),
        )

    def _restart(self) -> None:
        chance = self._rng.random()
        if chance < self._habits.reboot:
            self._session += self._rng.randint(1, 100)
            self._sequence = 0
        elif chance < self._habits.reboot + self._habits.reset and self._sequence > 100:
            self._sequence = self._rng.choice((0, self._sequence - self._rng.randint(10, 80)))


def fleet(seed: int, partitions: int, start_ms: int) -> list[list[Device]]:
    """Devices by partition, BUSY of them first, each partition with every kind of habit.

    `start_ms` is where their clocks and sessions begin, milliseconds since the epoch.
    """
    rng = random.Random(seed)  # noqa: S311 - a load that can be played again, no secret
    out: list[list[Device]] = [[] for _ in range(partitions)]
    number = 0
    while any(len(devices) < BUSY + CALM for devices in out):
        number += 1
        name = f"{TENANT}/crash-{number:04}"
        home = out[partition_for(name.encode(), partitions)]
        if len(home) < BUSY + CALM:
            own = random.Random(f"{seed}/{name}")  # noqa: S311 - the same
            home.append(Device(name, _habits(len(home)), own, start_ms + rng.randint(0, 900)))
    return out


def _habits(place: int) -> Habits:
    """Of six devices one does not number, one reboots, one resets its numbers, one goes silent."""
    role = place % 6
    return Habits(
        numbered=role != 1,
        reboot=0.01 if role == 2 else 0.0,
        reset=0.008 if role == 3 else 0.0,
        silence=0.01 if role == 4 else 0.0,
    )
