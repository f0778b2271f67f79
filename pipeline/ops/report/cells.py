"""Tables of the page, and what stands around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from pipeline.ops.report.data import SHOWN, Report, Row
from pipeline.ops.report.words import count, name


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """A table's column: its head, what a row shows, and whether it is a number."""

    head: str
    show: Callable[[Row], object]
    number: bool = True


def says(sentence: str, model: str) -> str:
    """A section's sentence, and the model that its figures come from."""
    return (
        f'<p>{escape(sentence)}</p><p class="source">Source: <code>{model}</code> '
        f"(infra/warehouse/{model}.sql)</p>\n"
    )


def pair(plot: str, table: str) -> str:
    """A plot with its table beside it; the table alone where nothing could be drawn."""
    if not plot:
        return table
    return f'<div class="pair"><figure>{plot}</figure>{table}</div>\n'


def text(head: str, column: str) -> Cells:
    """A column of words."""
    return Cells(head=head, show=lambda row: row[column], number=False)


def number(head: str, column: str) -> Cells:
    """A column of whole numbers."""
    return Cells(head=head, show=lambda row: count(row[column]))


def table_of(
    report: Report,
    caption: str,
    rows: Sequence[Row],
    columns: Iterable[Cells],
    *,
    whole: int | None = None,
    always_tenant: bool = False,
) -> str:
    """The first SHOWN of `rows`; `whole` is how many there are, where `rows` were cut before."""
    if not rows:
        return '<p class="nothing">Nothing of this in the window.</p>'
    several = always_tenant or len(report.tenants) > 1
    tenant = [Cells(head="Tenant", show=lambda r: r["tenant"] or "unknown", number=False)]
    chosen = [*(tenant if several else ()), *columns]
    shown = rows[:SHOWN]
    left = (len(rows) if whole is None else whole) - len(shown)
    heads = "".join(f'<th scope="col"{_class(c)}>{c.head}</th>' for c in chosen)
    lines = "".join(f"<tr>{''.join(_cells(chosen, row))}</tr>\n" for row in shown)
    more = f'<p class="more">and {count(left)} more: --csv has all.</p>' if left > 0 else ""
    return (
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead>\n"
        f"<tbody>{lines}</tbody></table>{more}</div>\n"
    )


def _cells(columns: Sequence[Cells], row: Row) -> Iterable[str]:
    for place, column in enumerate(columns):
        text = escape(name(column.show(row), 200))
        tag = "td" if place else 'th scope="row"'
        yield f"<{tag}{_class(column)}>{text}</{tag.split(maxsplit=1)[0]}>"


def _class(column: Cells) -> str:
    return ' class="n"' if column.number else ' class="w"'
