"""A ledger over dicts, by the core's rules: for deliveries by hand, and for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.core.ledger import (
    Begin,
    Claim,
    Ending,
    Held,
    Hold,
    Place,
    Row,
    begin,
    finish,
    hold,
)


class Book:
    """One sink's rows in memory. Times in milliseconds since the Unix epoch."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.marks: dict[int, Hold] = {}
        self.newest: dict[str, str] = {}

    def hold(self, places: Mapping[int, Place], owner: str, now: int) -> dict[int, Hold]:
        """As pipeline.state.ledger.Ledger.hold."""
        del owner
        new = {p: hold(self.marks.get(p), place, now) for p, place in places.items()}
        self.marks |= new
        return new

    def begin(self, claims: Sequence[Claim], owner: str, now: int) -> list[Begin]:
        """As Ledger.begin."""
        out = []
        for claim in claims:
            decision, row = begin(
                self.rows.get(claim.key),
                claim,
                marker=self.marks.get(claim.partition),
                newest=self.newest.get(claim.entity, ""),
                now_ms=now,
                owner=owner,
            )
            if row is not None:
                self.rows[claim.key] = row
            out.append(decision)
        return out

    def finish(self, endings: Sequence[Ending], owner: str, now: int) -> list[Held]:
        """As Ledger.finish."""
        out = []
        for ending in endings:
            held, row, newest = finish(
                self.rows.get(ending.key),
                ending,
                marker=self.marks.get(ending.partition),
                newest=self.newest.get(ending.entity, ""),
                now_ms=now,
                owner=owner,
            )
            if row is not None:
                self.rows[ending.key] = row
            if newest:
                self.newest[ending.entity] = newest
            out.append(held)
        return out
