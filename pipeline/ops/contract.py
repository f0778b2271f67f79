"""The idempotency contract of every connector, as a document drawn from the code.

`infra/docs/CONTRACT.md` is this text; a test fails where it is not current.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from connectors.answers import Kind, Row
from connectors.base import Effect
from connectors.registry import names, system
from connectors.system import System

HEAD = """# The idempotency contract

What each connector asks of its system, call by call: which key it carries and where, why the
effect happens once, and what is done where nobody knows how a request ended. Written by
`fieldline connectors contract` from the code; a test keeps it current.

Everywhere: a phase of a request (connecting, writing, reading) may last `timeout_s` of the
connector's settings, and the request as a whole `request_s` of sinks.yaml, 20 s each by default.
What was certainly not taken is sent again after a wait that grows, or after the system's
Retry-After. What may have been taken is *unknown*, never success. No redirect is followed, no
host but the configured ones is spoken to, an answer is read up to 8 MiB.
"""
_FOLLOWS = {
    Kind.REFUSED: "a person decides (DLQ)",
    Kind.HELD: "again, within the event's own budget",
    Kind.BUSY: "again when the system can, however long it takes",
    Kind.FAILED: "unknown; with a keyed write: sent again",
    Kind.UNCLEAR: "unknown",
    Kind.EXPIRED: "new session, once; then again when the system can",
    Kind.RACED: "looked at again, once; then again within its budget",
}


def document(wanted: Sequence[str] = ()) -> str:
    """The contract of these systems, or of all, as Markdown. SettingsError for an unknown one."""
    return "\n".join([HEAD, *(_chapter(system(name)) for name in wanted or names())])


def _chapter(one: System) -> str:
    parts = [f"## {one.title} (`{one.name}`)\n"]
    writes = [call for call in one.calls if call.effect is not Effect.READ]
    reads = [call for call in one.calls if call.effect is Effect.READ]
    parts.append("Calls that can have an effect:\n")
    parts.append(
        _table(
            (
                "step",
                "request",
                "key, and where it travels",
                "once, because",
                "if its end is unknown",
            ),
            ((f"`{c.step}`", f"`{c.request}`", c.key, c.once, c.unknown) for c in writes),
        )
    )
    if reads:
        told = ", ".join(f"`{c.step}` (`{c.request}`)" for c in reads)
        parts.append(f"Calls that only read, and may be repeated: {told}.\n")
    if one.objects:
        parts.append("Who owns what, and what happens where both sides changed it:\n")
        parts.append(
            _table(
                ("object", "canonical", "system of record", "conflict rule"),
                ((name, m.canonical, m.owner, m.conflict) for name, m in one.objects.items()),
            )
        )
    parts.append("Answers:\n")
    parts.append(
        _table(
            ("the system says", "code", "what follows", "where that is written"),
            ((r.when, f"`{r.code}`", _FOLLOWS[r.kind], r.source) for r in _once(one.answers)),
        )
    )
    if one.unsure:
        parts.append("Not confirmed by a vendor's document or source:\n")
        parts.append("\n".join(f"- {text}" for text in one.unsure) + "\n")
    return "\n".join(parts)


def _once(rows: Sequence[Row]) -> list[Row]:
    return list({(row.code, row.when): row for row in rows}.values())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_cell(text) for text in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    one = " ".join(text.split()).replace("|", "\\|")
    if not one.startswith("`"):
        one = one.replace("<", "&lt;").replace("__", "\\_\\_")
    return one or "-"
