"""Single fields of a payload: each is taken or refused with a reason, never guessed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, TypeVar

from pipeline.core.quarantine import DETAIL_CHARACTERS, Reason
from pipeline.core.telemetry import Sample

EARLIEST_MS = 946_684_800_000
"""2000-01-01T00:00:00Z: an earlier time means that a clock was never set."""
FUTURE_MS = 86_400_000
"""How far a timestamp may be after arrival, milliseconds: 24 hours."""
LARGEST = 2**63 - 1
"""Greatest session or sequence number: the wire has 64-bit signed columns."""

_METRIC = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
# RFC 3339 section 5.6: date-time with its zone; Python's own parser takes far more than that.
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_QUOTED_CHARACTERS = 60

D = TypeVar("D", int, None)


@dataclass(frozen=True, slots=True)
class Bad:
    """Input that became no reading. `detail` is one sentence; `readings` what it counts for."""

    reason: Reason
    detail: str
    readings: int = 1


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one message gave: samples in the order of the payload, and what was refused."""

    samples: tuple[Sample, ...] = ()
    bad: tuple[Bad, ...] = ()


class RefusedError(Exception):
    """A field makes its item unreadable. Stays inside the decoders: they return Bad."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.bad = Bad(reason, detail[:DETAIL_CHARACTERS])


def quoted(raw: object) -> str:
    """Input as it may stand in a sentence: cut short, without control characters."""
    if type(raw) is dict:
        return "an object"
    if type(raw) is list:
        return "an array"
    text = ascii(raw)
    return text if len(text) <= _QUOTED_CHARACTERS else text[:_QUOTED_CHARACTERS] + "…"


@lru_cache(maxsize=65_536)
def is_metric(name: str) -> bool:
    """Whether `name` may name a metric: 1 to 128 of A-Z a-z 0-9 _ . : / -."""
    return _METRIC.fullmatch(name) is not None


def number(raw: Any) -> float | None:  # noqa: ANN401 - JSON gives anything
    """`raw` as float where it is a JSON number, else None; true and false are none."""
    return float(raw) if type(raw) in {float, int} else None


def value_of(metric: str, raw: Any) -> float | Bad:  # noqa: ANN401 - the same
    """The reading's value, finite, or why there is none."""
    if not is_metric(metric):
        return Bad(
            Reason.INVALID_FIELD,
            f"Metric {quoted(metric)} must be 1 to 128 characters of A-Z a-z 0-9 _ . : / -.",
        )
    value = number(raw)
    if value is None:
        return Bad(
            Reason.NOT_NUMERIC, f"The value of metric {metric} is {quoted(raw)}, not a number."
        )
    if not math.isfinite(value):
        return Bad(Reason.NOT_FINITE, f"The value of metric {metric} does not fit a 64-bit float.")
    return value


def count_of(name: str, item: dict[str, Any], default: D) -> int | D:
    """Session or sequence number `name` of `item`; `default` where absent."""
    if name not in item:
        return default
    raw = item[name]
    if type(raw) is float and raw.is_integer():
        raw = int(raw)
    if type(raw) is not int or not 0 <= raw <= LARGEST:
        raise RefusedError(
            Reason.INVALID_FIELD,
            f"Field '{name}' is {quoted(raw)}: it must be a whole number from 0 to 2^63-1.",
        )
    return raw


def time_of(item: dict[str, Any], received_ms: int) -> int:
    """Event time of `item`, milliseconds since the Unix epoch; arrival where it gives none."""
    raw = item.get("ts", received_ms)
    if type(raw) is str:
        return in_range(_rfc3339_ms(raw), received_ms)
    value = number(raw)
    if value is None:
        raise RefusedError(
            Reason.INVALID_TIME,
            f"Field 'ts' is {quoted(raw)}: it must be milliseconds since 1970 or RFC 3339 text.",
        )
    return in_range(round(value), received_ms)


def in_range(time_ms: int, received_ms: int) -> int:
    """`time_ms` where it can be true; refused before 2000 and a day or more after arrival."""
    if time_ms < EARLIEST_MS:
        raise RefusedError(
            Reason.TIME_TOO_OLD,
            f"The time {quoted(time_ms)} is before 2000-01-01: set the device's clock, "
            "and give milliseconds.",
        )
    if time_ms > received_ms + FUTURE_MS:
        raise RefusedError(
            Reason.TIME_IN_FUTURE,
            f"The time {quoted(time_ms)} is more than 24 hours after arrival: "
            "set the device's clock.",
        )
    return time_ms


def _rfc3339_ms(text: str) -> int:
    if _RFC3339.fullmatch(text):
        try:
            return (datetime.fromisoformat(text.upper()) - _EPOCH) // _MILLISECOND
        except (ValueError, OverflowError):
            pass  # 31 February and the like: the shape is right, the date is not
    raise RefusedError(
        Reason.INVALID_TIME,
        f"Field 'ts' is {quoted(text)}, which is no RFC 3339 time such as 2026-01-31T12:00:00Z.",
    )
