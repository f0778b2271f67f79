"""Runs uv with the package index that pip is configured for.

uv does not read pip's configuration: on a machine that has its packages from a mirror or a
folder, uv alone would look elsewhere. What pip would use is handed to uv in environment
variables, never as arguments, because an index address may hold a password.
Only the standard library: it runs before anything is installed.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SECTIONS = ("global", "install", ":env:")
"""Of `pip config list`, the later the stronger (pip, 'Config precedence')."""


def pip_options(listing: str) -> dict[str, str]:
    """The options in the answer of `pip config list` that concern installing.

    Lines read SECTION.OPTION='value', the value as Python writes a string; others are left out.
    """
    ranked: dict[str, tuple[int, str]] = {}
    for line in listing.splitlines():
        left, equals, right = line.partition("=")
        section, _, option = left.rpartition(".")
        if not equals or section not in SECTIONS:
            continue
        try:
            value = ast.literal_eval(right)
        except (ValueError, SyntaxError):
            continue
        rank = SECTIONS.index(section)
        if isinstance(value, str) and rank >= ranked.get(option, (-1, ""))[0]:
            ranked[option] = (rank, value)
    return {option: value for option, (_, value) in ranked.items()}


def uv_environment(options: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to uv's environment so that it installs from where pip would.

    A variable of uv's own that is already set wins.
    """
    wanted: dict[str, str] = {}
    if index := options.get("index-url", "").strip():
        wanted["UV_DEFAULT_INDEX"] = index
    if extra := options.get("extra-index-url", "").split():
        wanted["UV_INDEX"] = " ".join(extra)
        # As pip does: the best version of all indexes, not only of the first that has the name.
        wanted["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if links := options.get("find-links", "").split():
        wanted["UV_FIND_LINKS"] = ",".join(links)
    if hosts := options.get("trusted-host", "").split():
        wanted["UV_INSECURE_HOST"] = " ".join(hosts)
    if cert := options.get("cert", "").strip():
        wanted["SSL_CERT_FILE"] = cert
    return {name: value for name, value in wanted.items() if not environment.get(name)}


def uv_arguments(options: Mapping[str, str], arguments: list[str]) -> list[str]:
    """The arguments, and --no-index where pip has it: uv has no variable for that."""
    none = options.get("no-index", "").strip().lower() in {"1", "true", "yes", "on"}
    return [*arguments, "--no-index"] if none else arguments


def main(arguments: list[str]) -> int:
    """`python -m infra.local.index ARGUMENTS...` is `uv ARGUMENTS...`; returns its exit code."""
    python = sys.executable
    listing = subprocess.run(
        [python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    options = pip_options(listing)
    environment = {
        **os.environ,
        **uv_environment(options, os.environ),
        "VIRTUAL_ENV": sys.prefix,
    }
    argv = [str(Path(python).with_name("uv")), *uv_arguments(options, arguments)]
    return subprocess.run(argv, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
