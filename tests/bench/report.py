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
from tests.bench.shapes import Shape

FILE = ROOT / "detect.json"
OURS = "fieldline"
BUSY_CORES = 0.25
"""More than an idle machine does beside the bench."""
_GIB = 1024**3


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
    kept = _kept(path)
    text = json.dumps({**kept, **section, "host": host()}, indent=2)
    write_private(path, text + "\n")


def merge_shapes(section: Mapping[str, Any], shapes: Mapping[str, Any], path: Path = FILE) -> None:
    """The same for the speed bench, whose shapes may be run one by one."""
    merge({**section, "shapes": {**_kept(path).get("shapes", {}), **shapes}}, path)


def _kept(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # none yet, or spoilt: it holds nothing but measurements
    return found if isinstance(found, dict) else {}


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


def bytes_per_series(large: Iterable[Run], series: int, small: Iterable[Run], few: int) -> int:
    """Memory that a further series costs: difference of peaks over difference of series."""
    gained = max(r.peak_rss_mb for r in large) - max(r.peak_rss_mb for r in small)
    return round(gained * 1024 * 1024 / (series - few))


def show(console: Console, shape: Shape, runs: Sequence[Run], *, quick: bool) -> None:
    """One table: every engine that played this shape."""
    title = f"{shape.name}: {shape.says}" + (" (quick: one short run each)" if quick else "")
    table = Table(title=title, title_justify="left")
    table.add_column("engine")
    for column in ("readings/s", "min - max", "of ours", "peak MB", "cores", "played"):
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
