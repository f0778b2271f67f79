from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import state
from pipeline.settings import Settings, load
from pipeline.state.worker_folder import FolderInUseError, held, rebuild, worker_folder

HOLD = """
import sys
from pathlib import Path
from pipeline.state.worker_folder import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = worker_folder(Settings(data_dir=tmp_path), "detect", 3)
    tables = found / "v1" / "tables"
    (tables / "devices-0.db").mkdir(parents=True)
    (tables / "devices-0.db" / "CURRENT").write_text("MANIFEST-1\n")
    (tables / "kafka-cluster").write_text("A\n")
    return found


def test_each_worker_has_a_folder_of_its_own(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert worker_folder(settings, "detect", 0) != worker_folder(settings, "detect", 1)
    assert worker_folder(settings, "detect", 0) != worker_folder(settings, "fanout", 0)


def test_a_rebuild_deletes_all_but_the_lock_and_may_be_repeated(folder: Path) -> None:
    assert rebuild(folder) == ["v1"]
    assert rebuild(folder) == []
    assert [path.name for path in folder.iterdir()] == ["lock"]
    assert rebuild(folder.with_name("detect-9")) == []


def test_what_an_interrupted_rebuild_left_is_deleted_by_the_next(folder: Path) -> None:
    (folder / "v1").rename(folder / "discarded-00-v1")
    assert rebuild(folder) == []
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_a_rebuild_is_refused_while_a_worker_runs_and_the_lock_ends_with_it(folder: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(FolderInUseError, match=f"process {holder.pid}.*stop it first"):
        rebuild(folder)
    assert (folder / "v1" / "tables" / "devices-0.db" / "CURRENT").exists()
    holder.kill()
    holder.communicate(timeout=30)
    assert rebuild(folder) == ["v1"]


def test_a_second_worker_of_the_same_number_is_refused(folder: Path) -> None:
    said = f"process {os.getpid()}.*another --instance"
    with held(folder), pytest.raises(FolderInUseError, match=said), held(folder):
        pass
    with held(folder):
        pass


def test_the_command_says_what_it_deleted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIELDLINE_DATA_DIR", str(folder.parent))
    load.cache_clear()
    try:
        first = CliRunner().invoke(state.app, ["rebuild", "--instance", "3"])
        again = CliRunner().invoke(state.app, ["rebuild", "--instance", "3"])
    finally:
        load.cache_clear()
    assert first.exit_code == again.exit_code == 0
    assert "Deleted the local copy" in first.output
    assert "nothing to delete" in again.output
