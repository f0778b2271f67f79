"""The report's plots, each an <svg> element, or nothing where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

import numpy as np

from pipeline.ops.report.data import MEASURES, Report, Row, summed, total
from pipeline.ops.report.svg import BAD, FOURTH, GOOD, HELD, INK, LINE, MUTED, SURFACE, WIDTH, drawn
from pipeline.ops.report.words import count, duration, name

BARS: Final = 12
"""Most bars in a plot: those with most."""
SINKS: Final = 6
"""Most sinks in the plot of deliveries: those with most."""
_LABEL: Final = 34
_MANY_S: Final = 96 * 3_600
"""Longer downtimes are drawn in days, not hours."""
_DAYS: Final = 92
_WEEKS: Final = 400
"""Up to so many days of deliveries a bar is a day, then a week, then a month."""
_DATES: Final = 6
"""Most dates beneath a plot."""
_TICKS: Final = (
    *((1, "1 ms"), (10, "10 ms"), (100, "100 ms"), (1_000, "1 s"), (10_000, "10 s")),
    *((60_000, "1 min"), (600_000, "10 min"), (3_600_000, "1 h"), (21_600_000, "6 h")),
    *((86_400_000, "1 d"), (604_800_000, "7 d"), (2_592_000_000, "30 d")),
    *((31_536_000_000, "1 y"), (315_360_000_000, "10 y"), (3_153_600_000_000, "100 y")),
)
"""Milliseconds, and how an axis tells them."""

Series = tuple[str, str, str]
"""Name, colour, hatch: nobody has to tell two by colour alone."""


def downtime(report: Report) -> str:
    """Time down of the assets that were down longest, with the part that is still open."""
    rows = [row for row in report.rows["downtime_by_asset"] if row["downtime_s"] > 0][:BARS]
    if not rows:
        return ""
    labels = [_named(row, row["asset"], report) for row in rows]
    unit, size_s = ("days", 86_400) if rows[0]["downtime_s"] > _MANY_S else ("hours", 3_600)
    spans = {
        "ended": [(row["downtime_s"] - row["open_s"]) / size_s for row in rows],
        "with an alarm still open": [row["open_s"] / size_s for row in rows],
    }
    series = (("ended", HELD, ""), ("with an alarm still open", BAD, "//"))
    ends = [duration(row["downtime_s"]) for row in rows]
    alt = f"Bars: {unit} down by asset. Longest: {labels[0]}, {ends[0]}. The table has all figures."
    return _bars("downtime", labels, spans, series, ends, unit, alt)


def alarms(report: Report) -> str:
    """What became of the alarms of each detector and metric."""
    series = (
        ("cleared", GOOD, ""),
        ("still open", BAD, "//"),
        ("suppressed", HELD, "\\\\"),
        ("in review", FOURTH, ".."),
    )
    columns = ("cleared", "still_open", "suppressed", "in_review")
    return _stacked("alarms", report, report.rows["alarms_by_rule"], columns, series, unit="alarms")


def fixes(report: Report) -> str:
    """How often what was cleared stayed away, by detector and metric."""
    series = (("stayed away", GOOD, ""), ("came back", BAD, "//"), ("too early", FOURTH, ".."))
    columns = ("held", "came_back", "undecided")
    return _stacked(
        "fixes", report, report.rows["first_time_fix"], columns, series, unit="cleared alarms"
    )


def _stacked(
    plot: str,
    report: Report,
    rows: Sequence[Row],
    columns: Sequence[str],
    series: Sequence[Series],
    *,
    unit: str,
) -> str:
    sums = summed(rows, ("tenant", "detector", "metric"), columns)
    most = sorted(sums.items(), key=lambda item: -sum(item[1].values()))[:BARS]
    if not most:
        return ""
    labels = [
        _named({"tenant": tenant}, f"{detector} of {metric}", report)
        for (tenant, detector, metric), _ in most
    ]
    parts = {
        told: [values[column] for _, values in most]
        for (told, _, _), column in zip(series, columns, strict=True)
    }
    ends = [count(sum(values.values())) for _, values in most]
    alt = (
        f"Stacked bars: {unit} by detector and metric, divided into "
        f"{', '.join(told for told, _, _ in series)}. Most: {labels[0]}, {ends[0]}. "
        "The table has all figures."
    )
    return _bars(plot, labels, parts, series, ends, unit, alt)


def quality(report: Report) -> str:
    """Rows by problem and reason."""
    rows = [row for row in report.rows["data_quality"] if row["problem"] != "none"]
    sums = summed(rows, ("dataset", "problem", "reason"), ("amount",))
    most = sorted(sums.items(), key=lambda item: -item[1]["amount"])[:BARS]
    if not most:
        return ""
    labels = [problem(*key) for key, _ in most]
    amounts = [values["amount"] for _, values in most]
    ends = [count(amount) for amount in amounts]
    alt = f"Bars: rows by problem. Most: {labels[0]}, {ends[0]}. The table has all figures."
    series = (("rows", HELD, ""),)
    return _bars("quality", labels, {"rows": amounts}, series, ends, "rows", alt)


def problem(dataset: str, kind: str, reason: str) -> str:
    """A problem of data_quality in words."""
    where = "" if dataset in {"telemetry", "quarantine"} else f"{dataset}: "
    return name(f"{where}{kind} {reason}".replace("_", " ").strip())


def times(report: Report) -> str:
    """How the times to detect, acknowledge and resolve are spread, on a logarithmic axis."""
    known = {measure: report.times_ms[measure] for measure in MEASURES}
    if not any(len(values) for values in known.values()):
        return ""
    # What took no time is drawn at the axis's left end, a millisecond.
    least = max(1, min(int(values.min()) for values in known.values() if len(values)))
    most = max(1, *(int(values.max()) for values in known.values() if len(values)))
    first = max((tick for tick, _ in _TICKS if tick <= least), default=1)
    last = min((tick for tick, _ in _TICKS if tick > most), default=most * 2)
    edges = np.geomspace(first, last, 41)

    def draw(figure: Any) -> None:  # noqa: ANN401 - matplotlib's
        grid = figure.subplots(len(MEASURES), 1, sharex=True)
        for axes, measure in zip(grid, MEASURES, strict=True):
            values = np.maximum(known[measure], first)
            axes.hist(values, bins=edges, color=HELD, edgecolor=SURFACE, linewidth=0.6)
            axes.set_xscale("log")
            axes.set_xlim(first, last)
            axes.set_title(_spread(report, measure), loc="left", size=9.5, color=INK, pad=4)
            if len(values):
                for numerator, denominator, line in ((1, 2, "-"), (9, 10, "--")):
                    at = report.quantile_s(measure, numerator, denominator)
                    axes.axvline(max(first, (at or 0) * 1000), color=BAD, linestyle=line)
                _whole_numbers(axes.yaxis)
            else:
                axes.set_yticks([])
            axes.set_ylabel("alarms")
            axes.tick_params(labelsize=8.5)
        shown = [(tick, told) for tick, told in _TICKS if first <= tick <= last]
        # As many as there is room for.
        shown = shown[:: -(-len(shown) // 9)]
        grid[-1].set_xticks([tick for tick, _ in shown], [told for _, told in shown])
        grid[-1].minorticks_off()
        figure.subplots_adjust(left=0.09, right=0.985, top=0.93, bottom=0.07, hspace=0.42)

    alt = "Histograms. " + ". ".join(_spread(report, measure) for measure in MEASURES) + "."
    return drawn("times", 4.9, alt, draw)


def _spread(report: Report, measure: str) -> str:
    if not len(report.times_ms[measure]):
        return f"Time to {measure}: of no alarm"
    median, p90 = (report.quantile_s(measure, *at) for at in ((1, 2), (9, 10)))
    return f"Time to {measure}: median {duration(median)} (line), p90 {duration(p90)} (dashes)"


def deliveries(report: Report) -> str:
    """How deliveries ended, day by day, a panel for each sink."""
    rows = report.rows["deliveries_by_sink"]
    if not rows:
        return ""
    sums = summed(rows, ("sink",), ("ended",))
    most = sorted(sums.items(), key=lambda item: -item[1]["ended"])[:SINKS]
    sinks = [sink for (sink,), _ in most]
    size = _bin_days([row["day"] for row in rows])
    first, last = (_bin(f(row["day"] for row in rows), size) for f in (min, max))
    series = (
        ("delivered", GOOD, "", ("delivered",)),
        ("refused or dropped", FOURTH, "..", ("rejected", "superseded", "discarded", "other")),
        ("dead-lettered", BAD, "//", ("dead_lettered",)),
    )
    height = 0.7 + 1.25 * len(sinks)

    def draw(figure: Any) -> None:  # noqa: ANN401 - matplotlib's
        grid = figure.subplots(len(sinks), 1, sharex=True, squeeze=False)[:, 0]
        for axes, sink in zip(grid, sinks, strict=True):
            own: dict[date, dict[str, int]] = {}
            for row in rows:
                if row["sink"] == sink:
                    sums = own.setdefault(_bin(row["day"], size), dict.fromkeys("012", 0))
                    for place, (_, _, _, columns) in enumerate(series):
                        sums[str(place)] += sum(row[column] for column in columns)
            days = sorted(own)
            floor = np.zeros(len(days))
            for place, (told, colour, hatch, _) in enumerate(series):
                values = np.array([own[day][str(place)] for day in days])
                axes.bar(
                    days,
                    values,
                    width=size * 0.86,
                    bottom=floor,
                    color=colour,
                    hatch=hatch,
                    label=told,
                )
                floor = floor + values
            axes.set_title(name(sink, _LABEL), loc="left", size=9.5, color=INK, pad=3)
            _whole_numbers(axes.yaxis)
            axes.tick_params(labelsize=8.5)
        grid[0].set_xlim(first - timedelta(days=size), last + timedelta(days=size))
        step = max(size, -(-(last - first).days // _DATES))
        days_told = [first + timedelta(days=n) for n in range(0, (last - first).days + 1, step)]
        grid[-1].set_xticks(days_told, [day.isoformat() for day in days_told])
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper left", ncols=3, bbox_to_anchor=(0.06, 1.0))
        figure.subplots_adjust(
            left=0.08, right=0.985, top=1 - 0.58 / height, bottom=0.28 / height, hspace=0.5
        )

    bar = {1: "day", 7: "week"}.get(size, "month")
    alt = (
        f"Stacked bars: deliveries of each {bar} by sink ({', '.join(map(name, sinks))}): "
        f"{count(total(rows, 'delivered'))} delivered, "
        f"{count(total(rows, 'dead_lettered'))} dead-lettered. The table has all figures."
    )
    return drawn("deliveries", height, alt, draw)


def _bin_days(days: Sequence[date]) -> int:
    span = (max(days) - min(days)).days
    return 1 if span <= _DAYS else 7 if span <= _WEEKS else 28


def _bin(day: date, size: int) -> date:
    """First day of the bar: the day, its Monday, or its month."""
    if size == 1:
        return day
    return day - timedelta(days=day.weekday()) if size == 7 else day.replace(day=1)  # noqa: PLR2004 - days of a week


def _bars(
    plot: str,
    labels: Sequence[str],
    parts: Mapping[str, Sequence[float]],
    series: Sequence[Series],
    ends: Sequence[str],
    unit: str,
    alt: str,
) -> str:
    """Stacked bars to the right, the first on top, with what each comes to at its end."""
    several = len(series) > 1
    top = 0.36 if several else 0.1
    height = top + 0.3 * len(labels) + 0.5

    def draw(figure: Any) -> None:  # noqa: ANN401 - matplotlib's
        axes = figure.add_subplot()
        places = np.arange(len(labels))
        reach = np.zeros(len(labels))
        for told, colour, hatch in series:
            values = np.asarray(parts[told], dtype=float)
            axes.barh(
                places, values, left=reach, height=0.68, color=colour, hatch=hatch, label=told
            )
            reach = reach + values
        greatest = float(reach.max()) or 1.0
        for place, (end, text) in enumerate(zip(reach.tolist(), ends, strict=True)):
            axes.text(end + greatest * 0.012, place, text, va="center", size=9, color=MUTED)
        axes.set_yticks(places, labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(0, greatest * 1.14)
        axes.set_xlabel(unit)
        axes.grid(visible=True, axis="x", color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines["bottom"].set_visible(False)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
        if unit not in {"hours", "days"}:
            _whole_numbers(axes.xaxis)
        left = min(0.45, (0.2 + max(map(_inches, labels))) / WIDTH)
        figure.subplots_adjust(left=left, right=0.99, top=1 - top / height, bottom=0.46 / height)
        if several:
            figure.legend(loc="upper left", ncols=len(series), bbox_to_anchor=(left - 0.015, 1.0))

    return drawn(plot, height, alt, draw)


def _whole_numbers(axis: Any) -> None:  # noqa: ANN401 - matplotlib's
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - an extra, and slow to load

    axis.set_major_locator(MaxNLocator(nbins=5 if axis.axis_name == "x" else 3, integer=True))
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _inches(label: str) -> float:
    """About how wide a label is: the page's font is the reader's, so it cannot be measured."""
    return sum(0.097 if c.isupper() or c.isdigit() else 0.078 for c in label)


def _named(row: Row, text: str, report: Report) -> str:
    """A bar's label; with its tenant where there are several."""
    tenant = row["tenant"]
    # A device says its tenant itself.
    told = len(report.tenants) < 2 or text.startswith(f"{tenant}/")  # noqa: PLR2004 - several
    text = text if told else f"{tenant}: {text}"
    return name(text, _LABEL)
