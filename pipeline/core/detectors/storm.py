"""Storm suppression: at most so many events of a key (an asset, a site) per window of time.

An event at time t is admitted while fewer than `events` admitted ones lie less than
`window_ms` from it. The first that is not begins a storm, which others then belong to until
a whole window has passed with none held back; within a storm too, places that become free
are filled. Where times do not go back, no window ever holds more than `events` admitted ones.

Time is event time, so a replay comes to the same verdicts. Memory is bounded: MAX_KEYS keys
and MAX_TIMES times, the keys longest unused forgotten first (they start with nothing admitted).
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right, insort
from enum import Enum
from typing import Final

MAX_KEYS: Final = 10_000
MAX_TIMES: Final = 1_000_000
"""Admitted times kept over all keys, 8 bytes each."""

_VERSION: Final = 1
_HEAD: Final = struct.Struct("<BI")
_KEY: Final = struct.Struct("<HIq")
_NEVER: Final = -(2**63)


class Verdict(Enum):
    """What is to become of an event."""

    ADMIT = "admit"
    STORM_BEGINS = "storm begins"
    """Held back, and the first to be: the one to tell of the storm."""
    SUPPRESSED = "suppressed"


class Storm:
    """Admitted times by key; changed by `admit`, and by nothing else."""

    def __init__(self) -> None:
        # Least recently used first; per key its admitted times, ascending, and the time of the
        # last event held back.
        self._keys: dict[str, tuple[array[int], int]] = {}
        self._times = 0

    @property
    def keys(self) -> tuple[str, ...]:
        """What is remembered, longest unused first."""
        return tuple(self._keys)

    def admit(self, key: str, time_ms: int, *, events: int, window_ms: int) -> Verdict:
        """Verdict on one event of `key` at `time_ms`, at most `events` per `window_ms`.

        `events` is 1 to MAX_TIMES, `window_ms` 1 or more, `key` at most 65,535 bytes of UTF-8.
        """
        times, held_ms = self._keys.pop(key, (array("q"), _NEVER))
        self._times -= len(times)
        # What is a window away does not count now, nor later unless time goes back.
        times = times[
            bisect_right(times, time_ms - window_ms) : bisect_left(times, time_ms + window_ms)
        ]
        if len(times) < events:
            insort(times, time_ms)
            verdict = Verdict.ADMIT
        else:
            on = held_ms != _NEVER and abs(time_ms - held_ms) < window_ms
            held_ms = time_ms
            verdict = Verdict.SUPPRESSED if on else Verdict.STORM_BEGINS
        self._keys[key] = (times, held_ms)
        self._times += len(times)
        self._forget()
        return verdict

    def _forget(self) -> None:
        while len(self._keys) > MAX_KEYS or (self._times > MAX_TIMES and len(self._keys) > 1):
            oldest = next(iter(self._keys))
            self._times -= len(self._keys.pop(oldest)[0])

    def to_bytes(self) -> bytes:
        """All of it, so that `from_bytes` goes on alike; equal histories give equal bytes."""
        out = [_HEAD.pack(_VERSION, len(self._keys))]
        for key, (times, held_ms) in self._keys.items():
            name = key.encode()
            out += (
                _KEY.pack(len(name), len(times), held_ms),
                name,
                struct.pack(f"<{len(times)}q", *times),
            )
        return b"".join(out)

    @classmethod
    def from_bytes(cls, data: bytes) -> Storm:
        """What `to_bytes` wrote. ValueError where it is something else."""
        found = cls()
        try:
            version, keys = _HEAD.unpack_from(data)
            if version != _VERSION:
                raise ValueError(f"Storm state of version {version} cannot be read.")
            at = _HEAD.size
            for _ in range(keys):
                size, count, held_ms = _KEY.unpack_from(data, at)
                at += _KEY.size
                name = data[at : at + size].decode()
                at += size
                times = array("q", struct.unpack_from(f"<{count}q", data, at))
                at += 8 * count
                found._keys[name] = (times, held_ms)
                found._times += count
        except (struct.error, UnicodeDecodeError) as error:
            raise ValueError("Storm state is cut short or damaged.") from error
        if at != len(data) or len(found._keys) != keys:
            raise ValueError("Storm state is damaged.")
        return found
