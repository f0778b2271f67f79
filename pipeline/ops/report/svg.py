"""Matplotlib's SVG as a part of the page: its colours are the page's, light or dark.

Colours are drawn as placeholders, and each becomes a CSS variable of the page. Text stays text:
in the page's font, found by a search in the page.
"""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Callable
from html import escape
from typing import Any, Final

from pipeline.settings import SettingsError

INK: Final = "#010101"
MUTED: Final = "#020202"
LINE: Final = "#030303"
SURFACE: Final = "#040404"
GOOD: Final = "#050505"
BAD: Final = "#060606"
HELD: Final = "#070707"
FOURTH: Final = "#080808"
_VARIABLES: Final = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    SURFACE: "surface",
    GOOD: "good",
    BAD: "bad",
    HELD: "held",
    FOURTH: "fourth",
}
WIDTH: Final = 7.6
"""Inches, of 72 points each: as wide as the page's column, so that text keeps its size."""

_STYLE: Final = re.compile(r'style="[^"]*"')
_COLOUR: Final = re.compile("|".join(_VARIABLES))
_FILL: Final = re.compile(rf'fill="({_COLOUR.pattern})"')
_LEFT_OUT: Final = re.compile(
    r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>|(?<=<g) id=\"[^\"]*\"", re.DOTALL
)
"""Comments, and what would reach beyond the drawing: rules for all of the page, and ids of groups,
which every drawing has alike."""
_SIZE: Final = re.compile(r' (?:width|height)="[\d.]+pt"')


def check() -> None:
    """SettingsError where plots cannot be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise SettingsError(
            "The report's plots need matplotlib: install it with pip install 'fieldline[plot]', "
            "or take the tables alone with --csv."
        )


def drawn(name: str, height: float, alt: str, draw: Callable[[Any], None]) -> str:
    """What `draw` makes of a figure, as an <svg> element told as `alt`. `height` in inches."""
    import matplotlib as mpl  # noqa: PLC0415 - an extra, and slow to load
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415 - the same
    from matplotlib.figure import Figure  # noqa: PLC0415 - the same

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        # A device called $x$ is no formula.
        "text.parse_math": False,
        "font.size": 9.5,
        "axes.edgecolor": LINE,
        "axes.labelcolor": MUTED,
        "text.color": INK,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
        "hatch.color": SURFACE,
        "hatch.linewidth": 1.4,
        "legend.frameon": False,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(WIDTH, height), dpi=72)
        FigureCanvasSVG(figure)
        draw(figure)
        out = io.StringIO()
        unsaid = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=unsaid)
    return embedded(out.getvalue(), alt)


def embedded(text: str, alt: str) -> str:
    """A whole SVG file as an element of the page."""
    text = _LEFT_OUT.sub("", text[text.index("<svg") :].strip())
    # A pattern tells its ground in an attribute, where a variable has no meaning.
    text = _FILL.sub(r'style="fill: \1"', text)
    text = _STYLE.sub(lambda found: _COLOUR.sub(_variable, found[0]), text)
    head, rest = text.split(">", 1)
    head = _SIZE.sub("", head).replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"')
    return f"{head}>{rest}"


def _variable(found: re.Match[str]) -> str:
    return f"var(--{_VARIABLES[found[0]]})"
