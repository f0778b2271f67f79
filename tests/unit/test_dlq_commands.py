from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import deadletters
from pipeline.cli.dlq_acts import in_editor
from pipeline.ops.edit import SCHEMA
from pipeline.settings import SettingsError
from pipeline.wire.avro import Codec
from pipeline.wire.records import encode_event
from tests.unit.examples import event

RECORD = Codec().decode(SCHEMA, encode_event(Codec(), event()))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["replay"], "ids, a filter such as --cause, or --all"),
        (["replay", "abc", "--cause", "rejected"], "either ids or filters"),
        (["replay", "--since", "soon"], "--since 'soon' is no time"),
        (["replay", "abc", "--why", "x" * 501], "at most 500"),
        (["discard", "--why", "x"], "ids, a filter such as --cause"),
        (["discard", "abc"], "Say why with --why"),
        (["edit", "abc", "--why", "x"], "--set FIELD=VALUE, or --editor"),
        (["edit", "abc", "--why", "x", "--set", "a=b", "--editor"], "--set FIELD=VALUE, or"),
        (["edit", "abc", "--set", "summary=b"], "Say why with --why"),
        (["list", "--until", "2026-99-01"], "--until '2026-99-01' is no time"),
    ],
)
def test_a_wish_that_cannot_be_met_is_one_sentence_before_anything_is_asked(
    words: list[str], says: str
) -> None:
    ended = CliRunner().invoke(deadletters.app, words)
    assert isinstance(ended.exception, SettingsError)
    assert says in str(ended.exception)


def editor(folder: Path, script: str) -> str:
    file = folder / "editor.py"
    file.write_text(f"import sys\npath = sys.argv[1]\ntext = open(path).read()\n{script}\n")
    return f"{sys.executable} {file}"


def test_the_persons_editor_changes_the_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    script = "open(path, 'w').write(text.replace('T50 at or above', 'Rub'))"
    monkeypatch.setenv("EDITOR", editor(tmp_path, script))
    assert in_editor(RECORD) == {**RECORD, "summary": "Rub its limit"}
    monkeypatch.setenv("EDITOR", editor(tmp_path, "pass"))
    assert in_editor(RECORD) == RECORD


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("sys.exit(3)", "failed"),
        ("import os; os.unlink(path)", "failed"),
        ("open(path, 'wb').write(b'\\xff')", "failed"),
        ("open(path, 'w').write('')", "is not JSON"),
    ],
)
def test_an_editor_that_fails_changes_nothing(
    script: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", editor(tmp_path, script))
    with pytest.raises(SettingsError, match=says):
        in_editor(RECORD)


def test_without_an_editor_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match="set EDITOR"):
        in_editor(RECORD)
    monkeypatch.setenv("EDITOR", "no-such-editor-anywhere")
    with pytest.raises(SettingsError, match="no-such-editor-anywhere failed"):
        in_editor(RECORD)
