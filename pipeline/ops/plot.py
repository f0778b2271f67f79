"""A picture of a backtest: each series with its alarms, and the scores beneath."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pipeline.ops.history import HistoryError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from pipeline.core.backtest import Backtest, History
    from pipeline.core.rules import Rules

PANELS: Final = 8
"""Series in one picture."""
KINDS: Final = (".png", ".svg", ".pdf")
_POINTS: Final = 20_000
"""More readings than this of a series are drawn as least and greatest of groups."""
_WIDTH: Final = 12.0
_HEIGHT: Final = 3.4
_LABELS: Final = 12
"""More alarms than this in a panel are marked without their names."""
_MOST_SCORE: Final = 4.0
"""The score's axis ends here: what matters is over or under 1."""

_LINE: Final = "#3b4a5a"
_SHADE: Final = "#f0c36d"
_OVER: Final = "#d55e00"
# Okabe and Ito's palette ("Color Universal Design", 2008), and a shape each: nobody has to
# tell two alarms apart by colour alone.
_MARKS: Final = (
    ("#d55e00", "v"),
    ("#0072b2", "o"),
    ("#009e73", "s"),
    ("#cc79a7", "D"),
    ("#56b4e9", "^"),
    ("#e69f00", "P"),
    ("#000000", "X"),
    ("#999933", "*"),
)


def check(path: Path) -> None:
    """HistoryError where a picture at `path` cannot be drawn."""
    if path.suffix.lower() not in KINDS:
        raise HistoryError(f"{path} names no kind of picture: end it with {', '.join(KINDS)}.")
    if importlib.util.find_spec("matplotlib") is None:
        raise HistoryError(
            "--plot needs matplotlib: install it with pip install 'fieldline[plot]', "
            "or leave --plot out."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One series in order of time: `rows` are its places in the history, shape (n,)."""

    device: str
    metric: str
    rows: npt.NDArray[np.int64]
    flags: int


def choose(history: History, found: Backtest) -> tuple[list[Panel], int]:
    """The series to draw, those with most flags first, then by greatest score; and how many not."""
    places: dict[tuple[str, str], list[int]] = {}
    for row, name in enumerate(zip(history.device, history.metric, strict=True)):
        places.setdefault(name, []).append(row)
    panels = []
    for (device, metric), listed in places.items():
        rows = np.array(listed)
        rows = rows[np.argsort(history.time_ms[rows], kind="stable")]
        flags = int(found.flagged[rows].sum())
        panels.append(Panel(device=device, metric=metric, rows=rows, flags=flags))
    # Sorting keeps the file's order among equals.
    panels.sort(key=lambda panel: (-panel.flags, -float(found.score[panel.rows].max())))
    return panels[:PANELS], max(0, len(panels) - PANELS)


def spans(
    score: npt.NDArray[np.float64],
    flagged: npt.NDArray[np.bool_],
    cool_down: npt.NDArray[np.int64],
) -> list[tuple[int, int]]:
    """First and last row over the threshold of each episode, inclusive.

    All shape (n,). An episode begins at a flag and ends before `cool_down` (of the flag) rows
    in a row under the threshold, or at the series' next flag.
    """
    starts = np.flatnonzero(flagged)
    over = np.flatnonzero(score >= 1.0)
    out = []
    for number, start in enumerate(starts.tolist()):
        end = int(starts[number + 1]) if number + 1 < len(starts) else len(score)
        last = start
        for row in over[(over > start) & (over < end)].tolist():
            if row - last > cool_down[start]:
                break
            last = row
        out.append((start, last))
    return out


def draw(path: Path, history: History, found: Backtest, rules: Rules) -> None:
    """Write the picture; HistoryError where that fails."""
    check(path)
    # An extra, and slow to load: only who wants a picture needs it.
    from matplotlib.figure import Figure  # noqa: PLC0415 - see above
    from matplotlib.lines import Line2D  # noqa: PLC0415 - the same
    from matplotlib.patches import Patch  # noqa: PLC0415 - the same

    panels, left_out = choose(history, found)
    detectors = sorted({event.detector for event in found.events})
    marks = {name: _MARKS[n % len(_MARKS)] for n, name in enumerate(detectors)}
    head, foot = 0.98, 0.5
    height = _HEIGHT * len(panels) + head + foot
    figure = Figure(figsize=(_WIDTH, height), dpi=130)
    grid = figure.add_gridspec(
        3 * len(panels) - 1,
        1,
        height_ratios=([3.0, 1.1, 0.85] * len(panels))[:-1],
        hspace=0.12,
        left=0.075,
        right=0.985,
        top=1 - head / height,
        bottom=foot / height,
    )
    for number, panel in enumerate(panels):
        value = figure.add_subplot(grid[3 * number])
        score = figure.add_subplot(grid[3 * number + 1], sharex=value)
        _panel(value, score, panel, history, found, rules, marks)
    title = f"{int(found.flagged.sum()):,} flagged of {len(history.value):,} readings"
    others = f"; {left_out:,} more series not drawn" if left_out else ""
    figure.text(
        0.075, 1 - 0.3 / height, f"{title}, rules {rules.label}{others}", size=12, weight="bold"
    )
    keys: list[Any] = [
        Line2D([], [], color=color, marker=shape, linestyle="", markersize=8, label=name)
        for name, (color, shape) in marks.items()
    ]
    keys.append(Patch(facecolor=_SHADE, alpha=0.45, label="episode"))
    keys.append(Line2D([], [], color=_OVER, linestyle="--", linewidth=1, label="threshold"))
    figure.legend(
        handles=keys,
        loc="upper left",
        bbox_to_anchor=(0.068, 1 - 0.38 / height),
        ncols=len(keys),
        frameon=False,
        fontsize=9,
        handletextpad=0.4,
        columnspacing=1.4,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except OSError as error:
        raise HistoryError(
            f"{path} cannot be written ({error.strerror or error}): name another with --plot."
        ) from error


def _panel(
    value: Any,  # noqa: ANN401 - matplotlib's axes
    score: Any,  # noqa: ANN401 - the same
    panel: Panel,
    history: History,
    found: Backtest,
    rules: Rules,
    marks: Mapping[str, tuple[str, str]],
) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415 - as above

    rows = panel.rows
    time = history.time_ms[rows].astype("datetime64[ms]")
    x = history.value[rows]
    scores = found.score[rows]
    flagged = found.flagged[rows]
    names = np.array([found.detector[row] for row in rows.tolist()])
    thin = thinned(x)
    value.plot(time[thin], x[thin], color=_LINE, linewidth=0.8, zorder=2)
    thin = thinned(scores)
    score.plot(time[thin], np.minimum(scores[thin], _MOST_SCORE), color=_LINE, linewidth=0.7)
    score.fill_between(
        time[thin],
        np.minimum(scores[thin], _MOST_SCORE),
        1.0,
        where=scores[thin] >= 1.0,
        interpolate=True,
        color=_OVER,
        alpha=0.6,
        linewidth=0,
    )
    score.axhline(1.0, color=_OVER, linestyle="--", linewidth=1)
    score.set_ylim(0, max(1.5, min(_MOST_SCORE, float(scores.max()) * 1.08)))
    score.set_ylabel("score", size=9)
    cool_down = np.array([rules.episode(name).cool_down for name in names], dtype=np.int64)
    for first, last in spans(scores, flagged, cool_down):
        for axes in (value, score):
            axes.axvspan(time[first], time[last], color=_SHADE, alpha=0.45, linewidth=0, zorder=0)
            # A short episode in a long series would be thinner than a pixel.
            axes.axvline(time[first], color=_SHADE, alpha=0.7, linewidth=1.2, zorder=1)
    _mark(value, time, x, flagged, names, marks)
    rule = rules.of(panel.metric)
    label = panel.metric if not rule.label else f"{panel.metric}, {rule.label}"
    value.set_title(
        f"{panel.device}   {label}   {panel.flags:,} flagged", loc="left", size=10, pad=4
    )
    value.set_ylabel(rule.unit or "value", size=9)
    value.ticklabel_format(axis="y", useOffset=False)
    value.tick_params(labelbottom=False, length=0, axis="x")
    locator = AutoDateLocator(minticks=4, maxticks=10)  # type: ignore[no-untyped-call]
    score.xaxis.set_major_locator(locator)
    score.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    for axes in (value, score):
        axes.margins(x=0.01)
        axes.tick_params(labelsize=8)
        axes.grid(visible=True, color="#e4e7eb", linewidth=0.6, zorder=0)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)


def _mark(
    axes: Any,  # noqa: ANN401 - matplotlib's axes
    time: npt.NDArray[np.datetime64],
    x: npt.NDArray[np.float64],
    flagged: npt.NDArray[np.bool_],
    names: npt.NDArray[np.str_],
    marks: Mapping[str, tuple[str, str]],
) -> None:
    """Flagged readings: the detector's mark, and its name where there is room."""
    at = np.flatnonzero(flagged)
    for name, (color, shape) in marks.items():
        chosen = at[names[at] == name]
        axes.scatter(
            time[chosen],
            x[chosen],
            color=color,
            marker=shape,
            s=42,
            zorder=3,
            edgecolors="white",
            linewidths=0.7,
        )
    if len(at) > _LABELS:
        return
    axes.margins(y=0.18)
    # Near the right edge there is no room to the right of a mark.
    late = time > time[0] + (time[-1] - time[0]) * 0.92
    for n, row in enumerate(at.tolist()):
        axes.annotate(
            str(names[row]),
            (time[row], x[row]),
            xytext=(-5 if late[row] else 5, 9 if n % 2 == 0 else -15),
            textcoords="offset points",
            ha="right" if late[row] else "left",
            size=8,
            color=marks[str(names[row])][0],
            zorder=4,
            bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.7},
        )


def thinned(x: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Rows to draw: all, or least and greatest of equal groups, so that no peak is lost."""
    if len(x) <= _POINTS:
        return np.arange(len(x))
    size = -(-len(x) // (_POINTS // 2))
    starts = np.arange(0, len(x), size)
    rows = []
    for first in starts.tolist():
        group = x[first : first + size]
        if np.isnan(group).all():
            rows.append(first)
        else:
            rows += sorted({first + int(np.nanargmin(group)), first + int(np.nanargmax(group))})
    return np.array(rows)
