import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.lock import FolderLock, holder
from infra.local.part import StackError

HOLD = """
import sys, pathlib
from infra.local.lock import FolderLock
lock = FolderLock(pathlib.Path(sys.argv[1])); lock.acquire()
print("held", flush=True); sys.stdin.read()
"""


def test_a_second_run_in_one_folder_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.acquire()
    with pytest.raises(StackError, match=f"process {os.getpid()}") as caught:
        second.acquire()
    assert str(caught.value).count(". ") == 0
    first.release()
    second.acquire()
    second.release()


def test_runs_in_two_folders_do_not_see_each_other(tmp_path: Path) -> None:
    one, two = FolderLock(tmp_path / "one"), FolderLock(tmp_path / "two")
    one.acquire()
    two.acquire()
    assert one.held
    assert two.held
    one.release()
    two.release()


def test_a_holder_that_is_killed_frees_the_folder(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    assert holder(tmp_path) == process.pid
    process.kill()
    process.communicate()
    assert holder(tmp_path) is None
    lock = FolderLock(tmp_path)
    lock.acquire()
    assert lock.held
    lock.release()


def test_a_folder_nobody_used_has_no_holder(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
