from __future__ import annotations

import importlib.util
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.backtest import Backtest, History, backtest
from pipeline.core.registry import Registry
from pipeline.core.rules import Rules
from pipeline.ops import plot
from pipeline.ops.history import HistoryError
from pipeline.state.rules_file import load

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def rules() -> Rules:
    return load(ROOT / "infra" / "config" / "rules.yaml")


def history(series: int = 1, rows: int = 400) -> History:
    random = np.random.default_rng(1)
    value = random.normal(size=(rows, series))
    value[300:, 0] += 40.0
    value[10:12, 0] = np.nan
    return History(
        device=["acme/p1"] * (rows * series),
        metric=[f"m{n}" for _ in range(rows) for n in range(series)],
        time_ms=1_790_000_000_000 + np.repeat(np.arange(rows) * 300_000, series),
        value=value.ravel(),
    )


def flags(rows: int, *at: int) -> npt.NDArray[np.bool_]:
    out = np.zeros(rows, dtype=np.bool_)
    out[list(at)] = True
    return out


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


@pytest.mark.parametrize("series", [1, 3])
def test_a_picture_has_a_panel_for_each_series(tmp_path: Path, rules: Rules, series: int) -> None:
    told = history(series)
    found = backtest(told, rules, Registry())
    assert found.flagged.any()
    path = tmp_path / "new" / "p.png"
    plot.draw(path, told, found, rules)
    width, height = size(path)
    assert width > 1000
    assert height > 400 * series


def test_no_flag_no_finite_value_and_one_row_can_be_drawn_as_well(
    tmp_path: Path, rules: Rules
) -> None:
    told = History(
        device=["a/b"], metric=["m $x$ _y"], time_ms=np.array([0]), value=np.array([np.nan])
    )
    plot.draw(tmp_path / "p.svg", told, backtest(told, rules, Registry()), rules)
    assert (tmp_path / "p.svg").read_text().rstrip().endswith("</svg>")


def test_of_many_series_those_with_most_flags_are_drawn() -> None:
    rows = 20
    told = History(
        device=["a/b"] * rows,
        metric=[f"m{n % 10}" for n in range(rows)],
        time_ms=np.arange(rows)[::-1].copy(),
        value=np.zeros(rows),
    )
    score = np.zeros(rows)
    score[9] = 0.5
    found = Backtest(score=score, flagged=flags(rows, 3, 13, 5), detector=[""] * rows, events=[])
    panels, left_out = plot.choose(told, found)
    assert [panel.metric for panel in panels][:3] == ["m3", "m5", "m9"]
    assert (len(panels), left_out) == (8, 2)
    assert panels[0].rows.tolist() == [13, 3]


def test_an_episode_is_drawn_from_its_flag_to_its_last_row_over_the_threshold() -> None:
    score = np.array([0, 2, 1, 0, 1, 0, 0, 0, 1, 2, 0], dtype=float)
    cool_down = np.full(11, 3)
    assert plot.spans(score, flags(11, 1), cool_down) == [(1, 4)]
    assert plot.spans(score, flags(11, 1, 9), cool_down) == [(1, 4), (9, 9)]
    assert plot.spans(score, flags(11), cool_down) == []


@given(st.lists(st.floats(0, 3), min_size=1, max_size=50), st.data())
def test_episodes_of_a_series_do_not_overlap(scores: list[float], data: st.DataObject) -> None:
    rows = len(scores)
    at = data.draw(st.sets(st.integers(0, rows - 1)))
    spans = plot.spans(np.array(scores), flags(rows, *at), np.full(rows, 2))
    assert [first for first, _ in spans] == sorted(at)
    assert all(first <= last < rows for first, last in spans)
    assert all(one[1] < other[0] for one, other in pairwise(spans))


def test_a_long_series_keeps_its_peaks_when_it_is_thinned() -> None:
    value = np.zeros(1_000_000)
    value[[5, 700_001]] = [-9.0, 9.0]
    value[100_000:101_000] = np.nan
    rows = plot.thinned(value)
    assert len(rows) <= 20_000
    assert {5, 700_001} <= set(rows.tolist())


def test_a_name_that_is_no_picture_and_a_missing_matplotlib_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HistoryError, match=r"end it with \.png, \.svg, \.pdf\.$"):
        plot.check(tmp_path / "p.gif")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(
        HistoryError, match=r"needs matplotlib: install it with .*fieldline\[plot\]"
    ):
        plot.check(tmp_path / "p.png")


def test_a_picture_that_cannot_be_written_is_one_sentence(tmp_path: Path, rules: Rules) -> None:
    told = history(rows=50)
    (tmp_path / "f").write_text("")
    with pytest.raises(HistoryError, match="cannot be written"):
        plot.draw(tmp_path / "f" / "p.png", told, backtest(told, rules, Registry()), rules)
