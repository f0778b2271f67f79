"""The device registry's file into the identity map: only differences are written.

What a line says holds from now on; what was so before stays in the history, so that a late event
goes to the owner of its time. For a device or an asset that the map does not know it holds since
ever. Facts without a time (names, tax numbers, classes, ids) are mended for all time. Devices
that the file does not have stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from pipeline.core.identity_commands import (
    AnyCommand,
    Book,
    Code,
    Decided,
    Move,
    Provision,
    Refused,
)
from pipeline.state.identities_writer import MAX_COMMANDS, Desk
from pipeline.state.registry import Line, Wrong

_PLACES: Final = ("device_class", "site", "region")


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """From when on the lines hold (ms since 1970; None: see above), who says so, and why.

    `past` allows to change what is recorded of the past.
    """

    now_ms: int
    who: str
    why: str = ""
    at_ms: int | None = None
    past: bool = False


@dataclass(slots=True)
class Imported:
    """What came of it: counts of lines, what changed in words by line, and what is wrong."""

    lines: int = 0
    changed: dict[int, tuple[str, ...]] = field(default_factory=dict)
    wrong: list[Wrong] = field(default_factory=list)

    @property
    def same(self) -> int:
        """Lines that said what the map knew."""
        return self.lines - len(self.changed) - len({one.line for one in self.wrong})


async def bring_in(
    desk: Desk, found: Iterable[Line | Wrong], when: When, *, dry: bool = False
) -> Imported:
    """Import all usable lines; the others are told. `dry`: only say what would come of it.

    Errors as Desk.run's; lines before such an error may be in, and importing again is harmless.
    """
    out = Imported()
    book = Book() if dry else None
    lines = _agreeing(found, out)
    waiting: list[tuple[Line, Refused]] = []
    while part := list(islice(lines, MAX_COMMANDS)):
        commands: list[AnyCommand] = [_command(line, when) for line in part]
        for line, outcome in zip(part, await _do(desk, commands, when, book), strict=True):
            if isinstance(outcome, Refused) and outcome.code is Code.TAKEN:
                waiting.append((line, outcome))
            else:
                _note(out, line, outcome)
    await _exchange(desk, waiting, when, out, book)
    out.wrong.sort(key=lambda one: one.line)
    return out


def _agreeing(found: Iterable[Line | Wrong], out: Imported) -> Iterator[Line]:
    """Lines of which no two say different things of one customer or asset."""
    said: dict[tuple[str, str], tuple[str, int]] = {}
    for one in found:
        out.lines += 1
        if isinstance(one, Wrong):
            out.wrong.append(one)
            continue
        other = _other(one, said)
        if other is not None:
            out.wrong.append(other)
        else:
            yield one


def _other(line: Line, said: dict[tuple[str, str], tuple[str, int]]) -> Wrong | None:
    record = line.record
    facts = (
        ("customer_name", record.customer_id, record.customer_name),
        ("customer_tax_id", record.customer_id, record.customer_tax_id),
        ("asset_name", record.asset_id, record.asset_name),
    )
    for column, ident, value in facts:
        before = said.get((column, ident))
        if before is not None and before[0] != value:
            return Wrong(
                line=line.line,
                column=column,
                message=f"{ident} has {before[0]!r} on line {before[1]}: make them the same.",
            )
    for column, ident, value in facts:
        said.setdefault((column, ident), (value, line.line))
    return None


def _command(line: Line, when: When) -> AnyCommand:
    record, columns = line.record, line.columns
    return Provision(
        who=when.who,
        why=when.why,
        at_ms=when.at_ms,
        past=when.past,
        device_id=record.device_id,
        asset_id=record.asset_id,
        asset_name=record.asset_name,
        customer_id=record.customer_id,
        customer_name=record.customer_name,
        customer_tax_id=record.customer_tax_id,
        active=record.active,
        ids=record.ids,
        **{name: getattr(record, name) for name in _PLACES if name in columns},
    )


async def _do(
    desk: Desk, commands: Sequence[AnyCommand], when: When, book: Book | None
) -> list[Decided | Refused]:
    """Do them; with a `book` only go on in that."""
    if book is not None:
        return await desk.rehearse(commands, when.now_ms, book)
    return await desk.run(commands, when.now_ms)


async def _exchange(
    desk: Desk,
    waiting: list[tuple[Line, Refused]],
    when: When,
    out: Imported,
    book: Book | None,
) -> None:
    """Lines whose asset another device had: it may have left by a later line, or they swap.

    All leave their assets first, then each goes to its own; those that still cannot are told,
    and stay where they were.
    """
    left = waiting[: MAX_COMMANDS // 2]
    for line, no in waiting[MAX_COMMANDS // 2 :]:
        _note(out, line, no)
    while left:
        wishes: list[AnyCommand] = [_command(line, when) for line, _ in left]
        moves: list[AnyCommand] = [
            Move(device_id=line.record.device_id, asset_id="", at_ms=when.at_ms, past=when.past)
            for line, _ in left
        ]
        trial = Book(entries=dict(book.entries), owners=dict(book.owners)) if book else None
        ends = await desk.rehearse([*moves, *wishes], when.now_ms, trial)
        leave = [m for m, end in zip(moves, ends, strict=False) if isinstance(end, Decided)]
        ends = ends[len(moves) :]
        if not any(isinstance(end, Refused) for end in ends):
            if book is None:
                done = await desk.run([*leave, *wishes], when.now_ms, together=True)
                ends = done[len(leave) :]
            for (line, _), end in zip(left, ends, strict=True):
                _note(out, line, end)
            return
        for (line, before), end in zip(left, ends, strict=True):
            if isinstance(end, Refused):
                _note(out, line, before)
        left = [p for p, end in zip(left, ends, strict=True) if isinstance(end, Decided)]


def _note(out: Imported, line: Line, outcome: Decided | Refused) -> None:
    if isinstance(outcome, Refused):
        known = outcome.field in line.columns
        out.wrong.append(
            Wrong(
                line=line.line,
                column=outcome.field if known else "",
                message=outcome.message,
            )
        )
    elif outcome.entries:
        out.changed[line.line] = outcome.said
