"""The peers' packages, in an environment of their own: never in ours."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench.broker import ROOT, BenchError

REQUIREMENTS = Path(__file__).with_name("peers") / "requirements.txt"
HOME = ROOT / "peers"
_LIMIT_S = 600


def python(say: Callable[[str], None]) -> str:
    """Path of the environment's Python; made on first use and after a change of the pins.

    BenchError where the packages cannot be had.
    """
    home = HOME.absolute()
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    mark, found = home / "made-from", home / "bin" / "python"
    if mark.exists() and mark.read_text(encoding="ascii").strip() == wanted:
        return str(found)
    say("Installing the peers (Quix Streams, Bytewax) in .local/bench/peers.")
    shutil.rmtree(home, ignore_errors=True)
    uv = [sys.executable, "-m", "infra.local.index"]
    log = ROOT / "peers.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        for step in (
            ["venv", "--quiet", "--python", sys.executable, str(home)],
            ["pip", "install", "--quiet", "--python", str(found), "-r", str(REQUIREMENTS)],
        ):
            done = subprocess.run(
                [*uv, *step],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=_LIMIT_S,
                check=False,
            )
            if done.returncode:
                raise BenchError(
                    f"The peers cannot be installed: mend what {log} says, or leave them out "
                    "with --only fieldline,faust_naive,raw_fetch."
                )
    mark.write_text(wanted + "\n", encoding="ascii")
    return str(found)
