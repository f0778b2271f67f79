"""Every speed bench in order: `python -m tests.bench [--quick]`. Tables, and one results file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.bench import bridge, detect, latency, restart, two_workers

ALL = (detect, latency, bridge, restart, two_workers)


def main(arguments: Sequence[str]) -> int:
    """Run all, also where one fails; exit code 1 where one did."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one run of each")
    given = ["--quick"] if parser.parse_args(arguments).quick else []
    codes: list[int] = [bench.main(given) for bench in ALL]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
