"""Numbers and names as the page tells them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
UNKNOWN: Final = "\N{EN DASH}"
LONGEST: Final = 80
"""Most characters of a name from outside; a longer one is cut."""


def duration(seconds: float | None) -> str:
    """A length of time in its two greatest units: '2 d 4 h', '85 ms'; UNKNOWN for None."""
    if seconds is None:
        return UNKNOWN
    if seconds == 0:
        return "0 s"
    if seconds < 0.9995:  # noqa: PLR2004 - what would be told as 1,000 ms is a second
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:  # noqa: PLR2004 - the same of ten seconds
        return f"{seconds:.1f} s"
    left = round(seconds)
    for place, (size, unit) in enumerate(_UNITS):
        if left < size:
            continue
        whole, rest = divmod(left, size)
        # Under the second unit nothing is told: 2 d 4 h 13 min is 2 d 4 h.
        finer, name = _UNITS[place + 1] if place + 1 < len(_UNITS) else (1, "")
        part = rest // finer if name else 0
        return f"{whole:,} {unit}" + (f" {part} {name}" if part else "")
    return "0 s"


def share(value: float | None) -> str:
    """A share from 0 to 1 in percent, UNKNOWN for None; never rounded to 0 % or 100 %."""
    if value is None:
        return UNKNOWN
    percent = value * 100
    if 0 < percent < 0.05:  # noqa: PLR2004 - where one decimal would say 0.0
        return "< 0.1 %"
    if 99.95 <= percent < 100:  # noqa: PLR2004 - where it would say 100.0
        return "> 99.9 %"
    return f"{percent:.0f} %" if percent in {0, 100} else f"{percent:.1f} %"


def ratio(part: float, whole: float) -> float | None:
    """Part / whole; None where there is nothing to divide by."""
    return part / whole if whole else None


def count(number: float | None) -> str:
    """A whole number with commas; UNKNOWN for None."""
    return UNKNOWN if number is None else f"{number:,.0f}"


def moment(at: datetime | None) -> str:
    """A time in UTC, to the minute; UNKNOWN for None."""
    return UNKNOWN if at is None else f"{at:%Y-%m-%d %H:%M}"


def name(text: object, longest: int = LONGEST) -> str:
    """A text from outside on one line: nothing that does not print, and not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
