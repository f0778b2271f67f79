"""Results: what this machine is, medians, the file .local/bench/detect.json, and the tables."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from infra.local.files import write_private
from tests.bench.broker import ROOT
from tests.bench.measure import Run
from tests.bench.shapes import MILLION, SHAPES, SINGLE, TEN, Shape

FILE = ROOT / "detect.json"
OURS = "fieldline"
BUSY_CORES = 0.25
"""More than an idle machine does beside the bench."""
_GIB = 1024**3
_MIB = 1024**2


def host() -> dict[str, Any]:
    """Facts that a rate means nothing without."""
    return {
        "cpu_model": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB, 1),
        "python": platform.python_version(),
        "kernel": f"{platform.system()} {platform.release()}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def merge(section: Mapping[str, Any], path: Path = FILE) -> None:
    """Put these top-level entries into the results file; the others stay as they are."""
    text = json.dumps({**kept(path), **section, "host": host()}, indent=2)
    write_private(path, text + "\n")


def kept(path: Path = FILE) -> dict[str, Any]:
    """What the results file holds; nothing where there is none yet, or a spoilt one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # it holds nothing but measurements, which can be made again
    return found if isinstance(found, dict) else {}


def of_detect(runs: Sequence[Run], before: Mapping[str, Any], *, quick: bool) -> dict[str, Any]:
    """The speed bench's part of the results file. `before` is what the file holds.

    The headline stands at the top, other shapes under `shapes`; a shape that was not run
    keeps what it had.
    """
    out: dict[str, Any] = {}
    shapes: dict[str, Any] = dict(before.get("shapes", {}))
    for name, some in by_shape(runs).items():
        rows = {"quick": quick, "runs": [run.as_json() for run in some]}
        if name == SINGLE.name:
            sizes = {engine: few[0].readings for engine, few in by_engine(some).items()}
            out |= {"readings_per_s": rates(some), "peak_rss_mb": peaks(some), "sizes": sizes}
            out |= rows
        else:
            rate, peak, size = rates(some)[OURS], peaks(some)[OURS], some[0].readings
            shapes[name] = {"readings_per_s": rate, "peak_rss_mb": peak, "readings": size} | rows
            shapes[name]["series"] = SHAPES[name].series
    many, few_mb = shapes.get(MILLION.name), _small_peak({**before, **out, "shapes": shapes})
    if many and few_mb:
        gained = (many["peak_rss_mb"] - few_mb) * _MIB
        many["bytes_per_series"] = round(gained / (MILLION.series - SINGLE.series))
    return {**out, "shapes": shapes}


def _small_peak(results: Mapping[str, Any]) -> float | None:
    """Our peak of memory with few series, MiB: what does not come of the series."""
    found = (
        results["shapes"].get(TEN.name, {}).get("peak_rss_mb"),
        results.get("peak_rss_mb", {}).get(OURS),
    )
    return next((peak for peak in found if peak), None)


def by_shape(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs by shape, in order of appearance."""
    out: dict[str, list[Run]] = {}
    for run in runs:
        out.setdefault(run.shape, []).append(run)
    return out


def by_engine(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs by engine, in order of appearance."""
    out: dict[str, list[Run]] = {}
    for run in runs:
        out.setdefault(run.engine, []).append(run)
    return out


def median_rate(runs: Iterable[Run]) -> float:
    """Median of readings per second."""
    return statistics.median(run.readings_per_s for run in runs)


def rates(runs: Iterable[Run]) -> dict[str, int]:
    """Median readings per second by engine."""
    return {engine: round(median_rate(some)) for engine, some in by_engine(runs).items()}


def peaks(runs: Iterable[Run]) -> dict[str, float]:
    """Highest peak of memory by engine, MiB."""
    return {
        engine: round(max(run.peak_rss_mb for run in some), 1)
        for engine, some in by_engine(runs).items()
    }


def show(console: Console, shape: Shape, runs: Sequence[Run], *, quick: bool) -> None:
    """One table: every engine that played this shape."""
    title = f"{shape.name}: {shape.says}" + (" (quick: one short run each)" if quick else "")
    table = Table(
        title=title,
        title_justify="left",
        caption="readings/s: first to last output; whole: until all is committed",
        caption_justify="left",
    )
    table.add_column("engine")
    for column in ("readings/s", "min - max", "whole", "of ours", "peak MB", "cores", "played"):
        table.add_column(column, justify="right")
    table.add_column("as")
    found = by_engine(runs)
    ours = median_rate(found[OURS]) if OURS in found else None
    for engine, some in found.items():
        each = [run.readings_per_s for run in some]
        table.add_row(
            engine,
            f"{median_rate(some):,.0f}",
            f"{min(each):,.0f} - {max(each):,.0f}",
            # The others' programs are through with their last output, as far as can be seen.
            f"{statistics.median(run.readings_per_s_whole for run in some):,.0f}"
            if engine == OURS
            else "",
            _ratio(median_rate(some) / ours) if ours else "",
            f"{max(run.peak_rss_mb for run in some):,.0f}",
            f"{statistics.median(run.cpu_cores for run in some):.2f}",
            f"{some[0].readings:,}",
            "Avro" if engine in {OURS, "raw_fetch"} else "JSON",
        )
    console.print(table)
    warn_busy(console, runs)


def warn_busy(console: Console, runs: Sequence[Run]) -> None:
    """Say so where the machine did other work: then the figures are too low."""
    warn_cores(console, max((run.others_cores for run in runs), default=0.0))


def warn_cores(console: Console, most: float) -> None:
    """The same for one figure."""
    if most > BUSY_CORES:
        console.print(
            f"Other programs used up to {most:.1f} cores meanwhile: repeat on an idle machine."
        )


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}x" if ratio >= 1 else f"1/{1 / ratio:,.1f}"
