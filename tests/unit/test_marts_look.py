"""How the report tells numbers, and the colours it is drawn in."""

from __future__ import annotations

import re

import pytest

from pipeline.ops.report import style, svg
from pipeline.ops.report.words import UNKNOWN, duration, share


def _luminance(colour: str) -> float:
    """WCAG 2.2, "relative luminance"."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def _contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("colours", [style.LIGHT, style.DARK], ids=["light", "dark"])
def test_colours_have_the_contrast_that_wcag_asks_for(colours: dict[str, str]) -> None:
    for ground in ("ground", "surface"):
        for text in ("ink", "muted", "held"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for drawn in ("good", "bad", "held", "fourth"):
        assert _contrast(colours[drawn], colours["surface"]) >= 3, drawn


def test_a_drawing_has_the_page_s_colours_and_no_others() -> None:
    def draw(figure: object) -> None:
        axes = figure.add_subplot()  # type: ignore[attr-defined]
        axes.barh([0, 1], [3, 4], color=svg.GOOD, hatch="//")
        axes.set_yticks([0, 1], ["<b>", svg.INK])
        axes.text(1, 0, "a $x$ b")

    text = svg.drawn("example", 2, 'said "so"', draw)
    assert 'aria-label="said &quot;so&quot;"' in text
    assert "var(--good)" in text
    # A label that is like a placeholder stays text.
    assert re.findall(r"#0\d0\d0\d", text) == [svg.INK]
    assert "&lt;b&gt;" in text
    assert "a $x$ b" in text
    assert svg.drawn("example", 2, 'said "so"', draw) == text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, UNKNOWN),
        (0, "0 s"),
        (0.0854, "85 ms"),
        (0.9999, "1.0 s"),
        (9.97, "10 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3 * 3600, "3 h"),
        (2 * 86_400 + 4 * 3600 + 59, "2 d 4 h"),
        (400 * 86_400, "400 d"),
    ],
)
def test_a_length_of_time_in_words(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def test_a_share_is_rounded_but_never_to_none_or_all() -> None:
    told_shares = [share(v) for v in (None, 0, 0.0001, 0.5, 0.99996, 1)]
    assert told_shares == [UNKNOWN, "0 %", "< 0.1 %", "50.0 %", "> 99.9 %", "100 %"]
