"""What tests of the command line share: a call in this process, and its one sentence."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli.errors import sentence
from pipeline.cli.main import app
from pipeline.settings import SettingsError
from tests.sandboxes.erpnext import API_KEY, API_SECRET

SECRET = "hunter2-hunter2"


def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of ERPNext from outside, and a terminal of 100 columns."""
    for name in list(os.environ):
        if name.startswith("ERPNEXT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")


def config_in(folder: Path) -> str:
    """A file with the credentials of the ERPNext sandbox."""
    path = folder / "erpnext.yaml"
    path.write_text(f"api_key: {API_KEY}\napi_secret: {API_SECRET}\n")
    return str(path)


def called(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def refused(*arguments: str, stdin: str = "") -> str:
    """The one sentence that a person is shown, with code 1 (pipeline/cli/main.py)."""
    ended = called(*arguments, stdin=stdin)
    assert isinstance(ended.exception, SettingsError), ended.output
    assert ended.stdout == ""
    text = sentence(ended.exception, None)
    assert text is not None
    assert re.fullmatch(r"[^\n]+\.", text), text
    return text


def json_lines(text: str) -> list[dict[str, Any]]:
    """Every line is JSON: nothing else is on standard output."""
    return [json.loads(line) for line in text.splitlines()]
