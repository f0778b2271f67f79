"""The README's way to a new connector, gone from end to end: made, red, written, green."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FINISHED = ROOT / "connectors" / "template" / "finished"
MOST_LINES = 250
"""Of a new REST system, by the README's promise."""
NO_GOLDEN = "test_the_keys_at_the_far_end_are_those_of_earlier_releases"
"""Its first run writes the golden file, and says so by failing."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    skip = shutil.ignore_patterns("__pycache__", ".venv", ".local", "*.pyc")
    for name in ("connectors", "pipeline", "schemas", "tests", "infra"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def python(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def suite(checkout: Path, wanted: str) -> subprocess.CompletedProcess[str]:
    path = "tests/contract/suite"
    return python(checkout, "-m", "pytest", path, "-q", "-k", wanted, "-p", "no:cacheprovider")


def test_a_new_connector_is_made_red_and_written_green(checkout: Path) -> None:
    new = "from pipeline.cli.main import run; run()"
    made = python(checkout, "-c", new, "new-connector", "acme", "--title", "Acme ERP")
    assert made.returncode == 0, made.stderr
    red = suite(checkout, "acme and (one_record_whose or every_code_of or wrong_credentials)")
    assert red.returncode == 1, red.stdout[-2_000:]
    folder = checkout / "connectors" / "acme"
    for name in ("protocol", "answers", "system"):
        shutil.copy(FINISHED / f"{name}.txt", folder / f"{name}.py")
    shutil.copy(FINISHED / "case.txt", checkout / "tests/contract/cases/acme.py")
    first = suite(checkout, f"acme and {NO_GOLDEN}")
    assert "was not there" in first.stdout
    green = suite(checkout, "acme")
    assert green.returncode == 0, green.stdout[-4_000:]
    lines = sum(len(path.read_text().splitlines()) for path in folder.glob("*.py"))
    assert lines <= MOST_LINES
    tidy = python(checkout, "-m", "ruff", "check", "connectors/acme", "tests/contract/cases")
    assert tidy.returncode == 0, tidy.stdout
