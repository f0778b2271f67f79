"""Other people's packages, in an environment of their own: never in ours."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_LIMIT_S = 600


class EnvironmentFault(Exception):  # noqa: N818 - a fault of the machine, told to a person
    """The packages cannot be had; the text is one sentence with the mend."""


def python(requirements: Path, home: Path, *, say: Callable[[str], None]) -> str:
    """Path of the environment's Python; made on first use and after a change of the pins.

    `requirements` has a version for each package, `home` is the environment's folder.
    """
    home = home.absolute()
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    mark, found = home / "made-from", home / "bin" / "python"
    if mark.exists() and mark.read_text(encoding="ascii").strip() == wanted:
        return str(found)
    say(f"Installing what {requirements.parent.name}/{requirements.name} names in {home.name}.")
    shutil.rmtree(home, ignore_errors=True)
    uv = [sys.executable, "-m", "infra.local.index"]
    log = home.parent / f"{home.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        for step in (
            ["venv", "--quiet", "--python", sys.executable, str(home)],
            ["pip", "install", "--quiet", "--python", str(found), "-r", str(requirements)],
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
                raise EnvironmentFault(f"{requirements} cannot be installed: mend what {log} says.")
    mark.write_text(wanted + "\n", encoding="ascii")
    return str(found)
