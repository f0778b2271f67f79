"""How good detection is with the default rules: NAB and C-MAPSS.

    python -m tests.bench.quality [--data DIR] [--cmapss DIR] [--rules FILE] [--out FILE]

One set of rules and one threshold for all series, the very core that runs live
(pipeline.core.backtest). Prints tables and writes .local/bench/quality.json. Ends with 1
where data are missing or the stored model of remaining life is not what fits now; figures
never decide.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from pipeline.settings import SettingsError
from pipeline.state.rules_file import RulesFileError, load
from tests.bench.quality import cmapss, nab, report
from tests.bench.report import host

OUT = nab.ROOT / ".local" / "bench" / "quality.json"


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.quality")
    parser.add_argument("--data", type=Path, default=nab.DATA, help="folder of the NAB series")
    parser.add_argument("--cmapss", type=Path, default=cmapss.DATA, help="folder of C-MAPSS FD001")
    parser.add_argument("--rules", type=Path, default=cmapss.RULES, help="rules to judge")
    parser.add_argument("--out", type=Path, default=OUT, help="where the figures go, as JSON")
    asked = parser.parse_args(arguments)
    errors = Console(stderr=True, soft_wrap=True)
    console = Console(width=None if sys.stdout.isatty() else 110)
    if not (asked.cmapss / "train_FD001.txt.gz").exists():
        errors.print(
            f"The C-MAPSS files are not in {asked.cmapss}: name their folder with --cmapss.",
            highlight=False,
        )
        return 1
    try:
        rules = load(asked.rules)
        every = nab.load(asked.data)
        with Progress(
            TextColumn("series"), BarColumn(), MofNCompleteColumn(), console=errors, transient=True
        ) as bar:
            task = bar.add_task("nab", total=len(every))
            measured = report.measure(every, rules, lambda: bar.advance(task))
        report.print_nab(console, measured, rules.label)
        engines = cmapss.measure(asked.cmapss, asked.rules)
    except (FileNotFoundError, SettingsError, RulesFileError) as error:
        errors.print(str(error), markup=False, highlight=False)
        return 1
    console.print(cmapss.told(engines), highlight=False)
    figures = {"nab": report.nab_json(measured), "cmapss": engines, "host": host()}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    console.print(f"Written: {asked.out}", highlight=False, soft_wrap=True)
    return 0 if engines["model_is_current"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
