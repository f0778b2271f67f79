"""Which claim of a topic-partition is the newest, asked of a store that only lists forward."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

MAX_OFFSET = 2**63 - 1
"""Greatest Kafka offset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a listing: first offsets of claims, rising; `more` where it was cut short."""

    firsts: tuple[int, ...]
    more: bool


def newest_claim() -> Generator[int, Page, int | None]:
    """Find the last of many names with few listings: a conversation.

    Yields an offset and is sent the page of claims whose first offset is above it; returns
    the greatest first offset, None where there is none. Listings only go forward, so it
    leaps ahead in growing steps until nothing is there, then halves what is left:
    logarithmic in the number of claims.
    """
    page = yield -1
    if not page.firsts:
        return None
    known, nothing_above = page.firsts[-1], MAX_OFFSET
    step = 2 * (known + 1)
    overshot = False
    while page.more or not page.firsts:
        if known >= nothing_above:
            return known
        leap = known + step
        probe = (known + nothing_above) // 2 if overshot else min(leap, nothing_above)
        page = yield probe
        if page.firsts:
            known = page.firsts[-1]
            step *= 4
        else:
            overshot, nothing_above = True, probe
    return known
