"""DeviceState as bytes: what RocksDB and the changelog keep per device.

Little-endian. One version byte, then in order: where it was applied, episodes' head,
sequence windows, content buckets, metric names, series, and streaks and flags where there
are any. A window is written as its holes (numbers not seen) or as its bitmap, whichever is
shorter: a device whose numbers all arrive costs nothing for the window, however wide.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core import anomaly
from pipeline.core.dedup import Bucket, Seen, SessionWindow
from pipeline.core.detect import DeviceState
from pipeline.core.episodes import Episodes
from pipeline.core.rules import GROUPS, LANES

if TYPE_CHECKING:
    import numpy.typing as npt

VERSION = 1

_PLACE = struct.Struct("<iq")
_GROUP = struct.Struct("<BH")
_FLOORS = struct.Struct("<qq")
_WINDOW = struct.Struct("<qqII")
_BUCKET = struct.Struct("<qI")
_BYTE = struct.Struct("<B")
_SHORT = struct.Struct("<H")
_BITMAP = 0xFFFF_FFFF
"""In place of a number of holes: the bitmap follows."""


class StateError(ValueError):
    """Stored bytes that are no device state; the text says what to do."""


def encode(state: DeviceState) -> bytes:
    """`state` as bytes; decode gives an equal one back."""
    now = state.episodes
    correlation = now.correlation_id.encode("ascii")
    out = [
        _BYTE.pack(VERSION),
        _PLACE.pack(state.partition, state.offset),
        *(_GROUP.pack(level, quiet) for level, quiet in zip(now.level, now.quiet, strict=True)),
        _BYTE.pack(len(correlation)),
        correlation,
        _FLOORS.pack(state.seen.session_floor, state.seen.bucket_floor),
        _BYTE.pack(len(state.seen.sessions)),
        *(_window(window) for window in state.seen.sessions),
        _BYTE.pack(len(state.seen.buckets)),
    ]
    for bucket in state.seen.buckets:
        out.append(_BUCKET.pack(bucket.number, len(bucket.hashes)))
        out.append(np.array(sorted(bucket.hashes), dtype="<u8").tobytes())
    names = [name.encode() for name in state.metrics]
    out.append(_SHORT.pack(len(names)))
    out.extend(_SHORT.pack(len(name)) + name for name in names)
    out.append(state.series.astype("<f8", copy=False).tobytes())
    busy = bool(now.streak.any() or now.active.any())
    out.append(_BYTE.pack(busy))
    if busy:
        out.append(now.streak.astype("<i2", copy=False).tobytes())
        out.append(np.packbits(now.active).tobytes())
    return b"".join(out)


def decode(data: bytes) -> DeviceState:
    """The state in `data`; StateError where it is none or of an unknown version."""
    if not data:
        raise StateError("A stored device state is empty: rebuild the state from the changelog.")
    if data[0] != VERSION:
        raise StateError(
            f"A stored device state has version {data[0]} and this program knows only {VERSION}: "
            f"start the fieldline that wrote it, or clear the state and replay the readings."
        )
    try:
        return _decode(_Reader(data))
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        raise StateError(
            f"A stored device state is damaged ({error}): rebuild the state from the changelog."
        ) from error


def _decode(data: _Reader) -> DeviceState:
    data.unpack(_BYTE)
    partition, offset = data.unpack(_PLACE)
    groups = [data.unpack(_GROUP) for _ in GROUPS]
    correlation = data.take(data.unpack(_BYTE)[0]).decode("ascii")
    session_floor, bucket_floor = data.unpack(_FLOORS)
    sessions = tuple(_read_window(data) for _ in range(data.unpack(_BYTE)[0]))
    buckets = tuple(_read_bucket(data) for _ in range(data.unpack(_BYTE)[0]))
    count = data.unpack(_SHORT)[0]
    metrics = tuple(data.take(data.unpack(_SHORT)[0]).decode() for _ in range(count))
    series = data.array("<f8", anomaly.FIELDS * count).astype(np.float64, copy=False)
    shape = (len(LANES), count)
    streak, active = np.zeros(shape, dtype=np.int16), np.zeros(shape, dtype=np.bool_)
    if data.unpack(_BYTE)[0]:
        streak = data.array("<i2", streak.size).astype(np.int16, copy=False).reshape(shape)
        packed = data.array("u1", -(-active.size // 8)).astype(np.uint8, copy=False)
        active = np.unpackbits(packed, count=active.size).astype(np.bool_).reshape(shape)
    data.end()
    return DeviceState(
        partition=partition,
        offset=offset,
        seen=Seen(sessions, session_floor, buckets, bucket_floor),
        metrics=metrics,
        series=series.reshape(anomaly.FIELDS, count),
        episodes=Episodes(
            streak,
            active,
            [level for level, _ in groups],
            [quiet for _, quiet in groups],
            correlation,
        ),
    )


def _window(window: SessionWindow) -> bytes:
    depth = window.high - window.floor + 1
    missing = (1 << depth) - 1 ^ window.bits
    width = -(-depth // 8)
    holes = missing.bit_count()
    head = (window.session, window.high, depth)
    if holes * 4 >= width:
        return _WINDOW.pack(*head, _BITMAP) + window.bits.to_bytes(width, "little")
    places = np.flatnonzero(
        np.unpackbits(
            np.frombuffer(missing.to_bytes(width, "little"), dtype=np.uint8), bitorder="little"
        )
    )
    return _WINDOW.pack(*head, holes) + places.astype("<u4").tobytes()


def _read_window(data: _Reader) -> SessionWindow:
    session, high, depth, holes = data.unpack(_WINDOW)
    if holes == _BITMAP:
        bits = int.from_bytes(data.take(-(-depth // 8)), "little")
    else:
        bits = (1 << depth) - 1
        for place in data.array("<u4", holes).tolist():
            bits ^= 1 << place
    return SessionWindow(session, high, high - depth + 1, bits)


def _read_bucket(data: _Reader) -> Bucket:
    number, count = data.unpack(_BUCKET)
    return Bucket(number, frozenset(data.array("<u8", count).tolist()))


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def unpack(self, form: struct.Struct) -> tuple[int, ...]:
        return form.unpack(self.take(form.size))

    def take(self, size: int) -> bytes:
        part = self._data[self._at : self._at + size]
        if len(part) != size:
            raise ValueError(f"it ends {size - len(part)} bytes early")
        self._at += size
        return part

    def array(self, dtype: str, count: int) -> npt.NDArray[np.generic]:
        return np.frombuffer(self.take(np.dtype(dtype).itemsize * count), dtype=dtype)

    def end(self) -> None:
        if self._at != len(self._data):
            raise ValueError(f"{len(self._data) - self._at} bytes are left over")
