"""Runs a script of tests/clients with Node.js: clients that only JavaScript has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
HOME = HERE.parents[1] / ".local" / "node-clients"
PACKAGES = ("jsforce@3.9.4", "azurite@3.35.0")
"""jsforce 3.10 needs Node.js 22. Azurite is Microsoft's emulator of Azure Storage."""
INSTALL_S = 300
LIMIT_S = 120


@cache
def modules() -> Path:
    """Where the packages are; they are installed on first use. Skips where there is no Node.js."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("it needs Node.js and npm on the PATH")
    found, made_from = HOME / "node_modules", HOME / "made-from"
    wanted = "\n".join(PACKAGES)
    if not made_from.is_file() or made_from.read_text(encoding="utf-8") != wanted:
        HOME.mkdir(parents=True, exist_ok=True)
        # No package's own script is run.
        switches = ("--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(HOME))
        done = subprocess.run(
            ["npm", "install", *switches, *PACKAGES],
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4_000:]
        made_from.write_text(wanted, encoding="utf-8")
    return found


def run_node(script: str, **given: Any) -> Any:  # noqa: ANN401 - JSON
    """Run tests/clients/SCRIPT.cjs with JSON on its input; the JSON that it prints."""
    done = subprocess.run(
        ["node", str(HERE / f"{script}.cjs")],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env={**os.environ, "NODE_PATH": str(modules())},
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    return json.loads(done.stdout)
