"""Score of the Numenta Anomaly Benchmark, standard profile; pure but for `load`.

    python -m tests.bench.quality.nab [--data DIR] [--out FILE]

Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms: the Numenta Anomaly
Benchmark", ICMLA 2015. Rows flagged by a detector are judged against labelled windows:

- the first 15 % of a file, at most 750 rows, is probation: no flag counts there;
- in a window the first flag counts s(y) / s(-1), s(y) = 2 / (1 + exp(5 y)) - 1, where y goes
  from -1 at the window's first row to 0 at its last; further ones count nothing;
- a flag after a window costs 0.11 s(y) (it is negative), y its distance from the window's last
  row in lengths of that window, and 0.11 beyond three lengths or before the first window;
- a window without a flag costs 1.

The sum over files is put between that of no flags (0) and that of every window flagged at its
first row (100).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.core.detectors import novelty

F64 = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data" / "nab"

FALSE_POSITIVE = 0.11
_PROBATION = 0.15
_MOST_PROBATION = 750
_FAR = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One file: times in ms since the epoch, values, windows as (first, last) row, inclusive."""

    name: str
    time_ms: F64
    value: F64
    windows: tuple[tuple[int, int], ...]

    @property
    def folder(self) -> str:
        """The part of the benchmark that it belongs to."""
        return self.name.partition("/")[0]

    @property
    def probation(self) -> int:
        """How many rows at the start do not count."""
        return min(int(_PROBATION * len(self.value)), _MOST_PROBATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the flags of one file are worth; `raw` is before normalising."""

    name: str
    windows: int
    raw: float
    found: int
    false_positives: int


def load(folder: Path) -> list[Series]:
    """All series that `folder`/windows.json names, sorted by name; FileNotFoundError if not."""
    try:
        named = json.loads((folder / "windows.json").read_bytes())
        return [_series(folder, name, named[name]) for name in sorted(named)]
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"The NAB series are not in {folder} ({error.filename} is missing): "
            "name their folder with --data."
        ) from error


def _series(folder: Path, name: str, windows: Sequence[Sequence[str]]) -> Series:
    with gzip.open(folder / f"{name}.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    time_ms = np.array([_ms(row["timestamp"]) for row in rows])
    value = np.array([float(row["value"]) for row in rows])
    found = []
    for start, end in windows:
        inside = np.flatnonzero((time_ms >= _ms(start)) & (time_ms <= _ms(end)))
        found.append((int(inside[0]), int(inside[-1])))
    return Series(
        name=name.removesuffix(".csv"), time_ms=time_ms, value=value, windows=tuple(sorted(found))
    )


def _ms(stamp: str) -> float:
    return datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp() * 1000.0


def _sigmoid(y: float) -> float:
    return -1.0 if y > _FAR else 2.0 / (1.0 + math.exp(5.0 * y)) - 1.0


def judge(series: Series, flags: Flags) -> Judged:
    """Worth of `flags`, one for each row of `series`."""
    if len(flags) != len(series.value):
        raise ValueError(f"{series.name} has {len(series.value)} rows, but {len(flags)} flags.")
    raw = 0.0
    found: set[int] = set()
    wrong = 0
    for row in np.flatnonzero(flags).tolist():
        if row < series.probation:
            continue
        begun = [n for n, window in enumerate(series.windows) if window[0] <= row]
        if not begun:
            raw -= FALSE_POSITIVE
            wrong += 1
            continue
        first, last = series.windows[begun[-1]]
        y = (row - last) / max(1, last - first)
        if row > last:
            raw += FALSE_POSITIVE * _sigmoid(y)
            wrong += 1
        elif begun[-1] not in found:
            found.add(begun[-1])
            raw += _sigmoid(y) / _sigmoid(-1.0)
    raw -= len(series.windows) - len(found)
    return Judged(
        name=series.name,
        windows=len(series.windows),
        raw=raw,
        found=len(found),
        false_positives=wrong,
    )


def score(judged: Iterable[Judged]) -> float:
    """100 (raw - null) / (perfect - null); NaN if no file has a window."""
    judged = list(judged)
    windows = sum(one.windows for one in judged)
    return 50.0 * (sum(one.raw for one in judged) / windows + 1.0) if windows else math.nan


def table(judged: Sequence[Judged]) -> str:
    """For people: a line for each file, then one for each folder and the whole."""
    line = "{:<52} {:>7} {:>6} {:>6} {:>7}"
    lines = [line.format("file", "windows", "found", "false", "score")]
    groups = [(one.name, [one]) for one in judged]
    folders = sorted({one.name.partition("/")[0] for one in judged})
    groups += [(f, [one for one in judged if one.name.startswith(f"{f}/")]) for f in folders]
    for name, group in [*groups, ("all", list(judged))]:
        reached = score(group)
        lines.append(
            line.format(
                name,
                sum(one.windows for one in group),
                sum(one.found for one in group),
                sum(one.false_positives for one in group),
                "-" if math.isnan(reached) else f"{reached:.1f}",
            )
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The novelty detector with its defaults, on every series."""
    from tests.bench.quality.flags import flag, scores  # noqa: PLC0415 - it needs Series

    parser = argparse.ArgumentParser(prog="nab", description=main.__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the NAB series")
    parser.add_argument("--out", type=Path, help="file for the figures, JSON")
    options = parser.parse_args(arguments)
    try:
        every = load(options.data)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)  # noqa: T201 - it talks to a person
        return 1
    param = np.array(list(novelty.DEFAULTS.values()))
    judged = [
        judge(
            one,
            flag(scores(novelty, one, param), novelty.ENTER, novelty.LEAVE, novelty.COOL_DOWN),
        )
        for one in every
    ]
    print(table(judged))  # noqa: T201 - the same
    if options.out:
        figures = {
            "score": score(judged),
            "false_positives": sum(one.false_positives for one in judged),
            "found": sum(one.found for one in judged),
            "windows": sum(one.windows for one in judged),
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
