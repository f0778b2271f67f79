"""A document's bytes: the same for the same event, whenever and wherever they are made. Pure.

A PDF of fpdf2 has the core fonts' characters only (Latin-1); others show as '?'. So the whole
content is inside it once more as a JSON attachment, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from fpdf import FPDF
from fpdf.enums import WrapMode

TITLES = {"report": "Service report", "snapshot": "Telemetry snapshot"}
_SIZE, _LINE, _LABEL = 10, 5, 35
"""Points, millimetres, millimetres."""


def render(role: str, body: Mapping[str, Any], form: str, occurred_at_ms: int) -> bytes:
    """The content as JSON or PDF (`form`). `occurred_at_ms` is the PDF's date of creation."""
    text = orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    if form == "json":
        return text
    return _pdf(TITLES[role], body, text, datetime.fromtimestamp(occurred_at_ms / 1000, UTC))


def _pdf(title: str, body: Mapping[str, Any], attached: bytes, created: datetime) -> bytes:
    pdf = FPDF()
    pdf.set_creation_date(created)
    pdf.set_producer("fieldline")
    pdf.set_title(title)
    pdf.set_margins(20, 20)
    pdf.add_page()
    pdf.set_font("Helvetica", style="B", size=_SIZE + 4)
    pdf.multi_cell(0, 2 * _LINE, title, new_x="LMARGIN", new_y="NEXT")
    for label, value in _lines(body):
        pdf.set_font("Helvetica", style="B", size=_SIZE)
        pdf.cell(_LABEL, _LINE, _latin(label))
        pdf.set_font("Helvetica", size=_SIZE)
        pdf.multi_cell(
            0, _LINE, _latin(value), new_x="LMARGIN", new_y="NEXT", wrapmode=WrapMode.CHAR
        )
    pdf.embed_file(
        bytes=attached,
        basename="content.json",
        mime_type="application/json",
        modification_date=created,
    )
    return bytes(pdf.output())


def _lines(body: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Label and value of every field, in the order of the mapping."""
    lines: list[tuple[str, str]] = []
    for name, value in body.items():
        label = f"{before}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            lines += _lines(value, f"{label} ")
        elif isinstance(value, list):
            lines += [(label, _reading(one)) for one in value]
        else:
            lines.append((label, str(value)))
    return lines


def _reading(one: Mapping[str, Any]) -> str:
    usual = "" if one["baseline"] is None else f" (usually {one['baseline']:g})"
    return f"{one['metric']}: {one['value']:g}{usual}"


def _latin(text: str) -> str:
    return text.replace("\t", " ").encode("latin-1", "replace").decode("latin-1")
