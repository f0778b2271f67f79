"""The loops over telemetry rows on their way into the lake; compiled (pipeline.core.jit).

Rows are put in order by counting: messages come nearly sorted by time, so a pass that deals the
readings out to their day, device and metric leaves hardly anything to sort.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from pipeline.core.jit import jit, jit_inline
from pipeline.core.lake_times import DAY_MS, FUTURE_MS, LAST_MS, PAST_MS

if TYPE_CHECKING:
    import numpy.typing as npt

    I32 = npt.NDArray[np.int32]
    I64 = npt.NDArray[np.int64]
    F64 = npt.NDArray[np.float64]
    U64 = npt.NDArray[np.uint64]

CLAMPED, FUTURE, PAST, NOT_FINITE = range(4)
"""Codes of lake_times.FLAGS."""
NO_FLAG: Final = -1

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


class Samples(NamedTuple):
    """Columns of many messages, one after another. Shapes (samples,), of `value` (readings,).

    `device` and `message` are codes; `metric` has shape (readings,).
    """

    device: I32
    message: I32
    time_ms: I64
    received_ms: I64
    session: I64
    sequence: I64
    late: npt.NDArray[np.bool_]
    readings: I32
    metric: I32
    value: F64


class Rows(NamedTuple):
    """Columns of the lake's rows, in order; shapes (rows,). Times in microseconds."""

    device: I32
    metric: I32
    time_us: I64
    value: F64
    session: I64
    sequence: I64
    received_us: I64
    late: npt.NDArray[np.bool_]
    flag: npt.NDArray[np.int8]
    message: I32


@jit_inline
def _clamped(time_ms: int) -> int:
    return min(max(time_ms, 0), LAST_MS)


@jit
def localised(codes: I32, lengths: I64, local: I32, bases: I64) -> I32:
    """Codes of each message's own dictionary as codes of all: bases[m] is where m's begins.

    `lengths` are the messages' entries in `local`, `codes` the dictionaries one after another.
    """
    out = np.empty(len(local), dtype=np.int32)
    at = 0
    for message in range(len(lengths)):
        base = bases[message]
        for _ in range(lengths[message]):
            out[at] = codes[base + local[at]]
            at += 1
    return out


@jit
def dealt(samples: Samples, day0: int, days: int, metrics: int, devices: int) -> tuple[I32, I32]:
    """Reading and sample of each row, ordered by day, device, metric and time; ties by arrival.

    Every time, clamped, lies on `day0` (since the Unix epoch) or one of the `days` from it on.
    """
    # Taken out of the tuple once: each look at a member counts a reference.
    device, metric = samples.device, samples.metric
    time_ms, readings = samples.time_ms, samples.readings
    rows, codes = len(metric), devices * metrics
    starts = np.zeros(days * codes + 1, dtype=np.int64)
    reading = 0
    for sample in range(len(device)):
        day = _clamped(time_ms[sample]) // DAY_MS - day0
        base = day * codes + device[sample] * metrics + 1
        for _ in range(readings[sample]):
            starts[base + metric[reading]] += 1
            reading += 1
    for bucket in range(days * codes):
        starts[bucket + 1] += starts[bucket]
    nexts = starts[:-1].copy()
    of_reading = np.empty(rows, dtype=np.int32)
    of_sample = np.empty(rows, dtype=np.int32)
    reading = 0
    for sample in range(len(device)):
        day = _clamped(time_ms[sample]) // DAY_MS - day0
        base = day * codes + device[sample] * metrics
        for _ in range(readings[sample]):
            bucket = base + metric[reading]
            at = nexts[bucket]
            nexts[bucket] = at + 1
            of_reading[at] = reading
            of_sample[at] = sample
            reading += 1
    for bucket in range(days * codes):
        _settle(time_ms, of_reading, of_sample, starts[bucket], starts[bucket + 1])
    return of_reading, of_sample


@jit
def _settle(time_ms: I64, of_reading: I32, of_sample: I32, start: int, end: int) -> None:
    """Put the rows from `start` to `end` in order of time where they are not."""
    last = 0
    for at in range(start, end):
        now = _clamped(time_ms[of_sample[at]])
        if now < last:
            break
        last = now
    else:
        return
    times = np.empty(end - start, dtype=np.int64)
    for at in range(start, end):
        times[at - start] = _clamped(time_ms[of_sample[at]])
    order = np.argsort(times, kind="mergesort")
    of_reading[start:end] = of_reading[start:end][order]
    of_sample[start:end] = of_sample[start:end][order]


@jit
def gathered(samples: Samples, of_reading: I32, of_sample: I32) -> tuple[Rows, bool]:
    """The rows' columns, and whether any has a flag."""
    rows = len(of_reading)
    device = np.empty(rows, dtype=np.int32)
    metric = np.empty(rows, dtype=np.int32)
    time_us = np.empty(rows, dtype=np.int64)
    value = np.empty(rows, dtype=np.float64)
    session = np.empty(rows, dtype=np.int64)
    sequence = np.empty(rows, dtype=np.int64)
    received_us = np.empty(rows, dtype=np.int64)
    late = np.empty(rows, dtype=np.bool_)
    flag = np.empty(rows, dtype=np.int8)
    message = np.empty(rows, dtype=np.int32)
    its_device, its_metric, its_value = samples.device, samples.metric, samples.value
    its_time_ms, its_received_ms = samples.time_ms, samples.received_ms
    its_session, its_sequence = samples.session, samples.sequence
    its_late, its_message = samples.late, samples.message
    flagged = False
    for row in range(rows):
        sample, reading = of_sample[row], of_reading[row]
        told = its_time_ms[sample]
        at_ms, received_ms = _clamped(told), _clamped(its_received_ms[sample])
        now = its_value[reading]
        device[row] = its_device[sample]
        metric[row] = its_metric[reading]
        time_us[row] = at_ms * 1000
        value[row] = now
        session[row] = its_session[sample]
        sequence[row] = its_sequence[sample]
        received_us[row] = received_ms * 1000
        late[row] = its_late[sample]
        message[row] = its_message[sample]
        code = NO_FLAG
        if told != at_ms:
            code = CLAMPED
        elif at_ms - received_ms > FUTURE_MS:
            code = FUTURE
        elif received_ms - at_ms > PAST_MS:
            code = PAST
        elif not np.isfinite(now):
            code = NOT_FINITE
        flag[row] = code
        flagged |= code != NO_FLAG
    rows_made = Rows(
        device,
        metric,
        time_us,
        value,
        session,
        sequence,
        received_us,
        late,
        flag,
        message,
    )
    return rows_made, flagged


@jit_inline
def _mixed(value: np.uint64) -> np.uint64:
    """splitmix64's finaliser."""
    out = value + _GOLDEN
    out = (out ^ (out >> _30)) * _FIRST
    out = (out ^ (out >> _27)) * _SECOND
    return out ^ (out >> _31)


@jit
def mix_in(sums: U64, hashes: U64, place: np.uint64) -> None:
    """Add the mixed hashes of one column to the rows' sums; `place` is the column's own number."""
    for row in range(len(sums)):
        sums[row] += _mixed(hashes[row] + place)


@jit
def mix_words_in(sums: U64, codes: I32, words: U64, place: np.uint64) -> None:
    """The same for a column of codes; `words` has the hash of each, the last that of null (-1)."""
    mixed = np.empty(len(words), dtype=np.uint64)
    for word in range(len(words)):
        mixed[word] = _mixed(words[word] + place)
    for row in range(len(sums)):
        sums[row] += mixed[codes[row]]


@jit
def total(sums: U64) -> np.uint64:
    """Sum of the rows' mixed sums, modulo 2**64."""
    out = np.uint64(0)
    for row in range(len(sums)):
        out += _mixed(sums[row])
    return out
