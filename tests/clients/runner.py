"""Runs a script of tests/clients with the clients' own Python."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from tests.environment import python

HERE = Path(__file__).parent
HOME = HERE.parents[1] / ".local" / "clients"
LIMIT_S = 120


@cache
def interpreter() -> str:
    """The environment's Python; its packages are installed on first use."""
    return python(HERE / "requirements.txt", HOME, say=print)


def run(script: str, **given: Any) -> Any:  # noqa: ANN401 - JSON
    """Run tests/clients/SCRIPT.py with JSON on its input; the JSON that it prints.

    The script must not import anything of ours: it has the clients only.
    """
    done = subprocess.run(
        [interpreter(), str(HERE / f"{script}.py")],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    return json.loads(done.stdout)
