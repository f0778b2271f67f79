"""Times, and texts that came from outside, as a person reads them."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.markup import escape


def plain(text: object) -> str:
    """A text that came from outside, on one line: no markup, nothing that steers a terminal."""
    return escape(" ".join("".join(c if c.isprintable() else " " for c in str(text)).split()))


def moment(at_ms: int) -> str:
    """A time in UTC, to the second."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"
