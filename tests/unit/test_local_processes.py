import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from infra.local import processes
from infra.local.part import Command, StackError
from infra.local.processes import (
    PART,
    WORKER,
    Child,
    birth,
    birth_by_ps,
    end_recorded,
    records,
    spawn,
)
from tests.waiting import blocking_until

SLEEP = Command(argv=("sleep", "600"))


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    started = spawn(tmp_path, "redis", PART, SLEEP)
    yield started
    started.kill()


def test_a_process_keeps_its_birth_and_two_processes_differ(child: Child) -> None:
    assert birth(os.getpid()) == birth(os.getpid()) is not None
    assert birth(child.record.pid) != birth(os.getpid())


def test_ps_tells_births_too_where_there_is_no_proc(child: Child) -> None:
    assert birth_by_ps(child.record.pid) == birth_by_ps(child.record.pid) is not None
    child.kill()
    assert birth_by_ps(child.record.pid) is None


def test_a_zombie_counts_as_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    blocking_until(lambda: birth(process.pid) is None)  # nobody has waited for it yet
    process.wait()


def test_a_record_tells_the_process_and_goes_when_it_ends(tmp_path: Path, child: Child) -> None:
    assert records(tmp_path) == [child.record]
    assert processes.is_running(child.record)
    child.end(5.0)
    assert records(tmp_path) == []
    assert child.code() == -signal.SIGTERM


def test_a_stranger_with_the_recorded_pid_is_never_ended(tmp_path: Path) -> None:
    old = spawn(tmp_path, "kafka", PART, SLEEP)
    old.kill()
    stranger = subprocess.Popen(SLEEP.argv, start_new_session=True)
    while (
        birth(stranger.pid) == old.record.birth
    ):  # one tick is 10 ms; a pid's second life is later
        stranger.kill()
        stranger.wait()
        stranger = subprocess.Popen(SLEEP.argv, start_new_session=True)
    try:
        forged = replace(old.record, pid=stranger.pid)  # the pid was given out again
        path = tmp_path / "run" / "kafka.json"
        path.write_text(json.dumps(asdict(forged)))
        assert records(tmp_path) == [forged]
        assert end_recorded(tmp_path, 0.1) == []
        assert stranger.poll() is None
        assert not path.exists()
    finally:
        stranger.kill()
        stranger.wait()


def test_what_a_dead_run_left_is_ended_workers_before_parts(tmp_path: Path) -> None:
    part = spawn(tmp_path, "kafka", PART, SLEEP)
    worker = spawn(tmp_path, "bridge", WORKER, SLEEP)
    assert [r.name for r in end_recorded(tmp_path, 5.0)] == ["bridge", "kafka"]
    assert part.wait(5.0) == worker.wait(5.0) == -signal.SIGTERM
    assert records(tmp_path) == []


def test_a_leftover_deaf_to_sigterm_is_killed_with_what_it_started(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 600 & echo $!; wait; sleep 600"
    deaf = spawn(tmp_path, "redis", PART, Command(argv=("sh", "-c", script)))
    log = tmp_path / "log" / "redis.log"
    blocking_until(lambda: log.read_text().endswith("\n"))
    grandchild = int(log.read_text())
    end_recorded(tmp_path, 0.2)
    assert deaf.wait(5.0) == -signal.SIGKILL
    blocking_until(lambda: birth(grandchild) is None)


def test_no_second_process_starts_on_data_the_first_still_holds(
    tmp_path: Path, child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "LOCK_WAIT_S", 0.05)
    (tmp_path / "run" / "redis.json").unlink()  # as if killed before the record was written
    with pytest.raises(StackError, match="still holds"):
        spawn(tmp_path, "redis", PART, SLEEP)
    child.kill()
    spawn(tmp_path, "redis", PART, SLEEP).kill()


def test_a_missing_program_is_named_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no-such-program is there"):
        spawn(tmp_path, "kafka", PART, Command(argv=("no-such-program",)))


def test_output_is_added_to_the_log_and_a_huge_log_is_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hello = Command(argv=("sh", "-c", "echo $WORD; echo bad >&2"), env={"WORD": "good"})
    log = tmp_path / "log" / "redis.log"
    for _ in range(2):
        spawn(tmp_path, "redis", PART, hello).wait(5.0)
    assert log.read_text() == "good\nbad\n" * 2
    monkeypatch.setattr(processes, "LOG_BYTES", 10)
    spawn(tmp_path, "redis", PART, hello).wait(5.0)
    assert log.read_text() == "good\nbad\n"
    assert log.with_suffix(".log.1").read_text() == "good\nbad\n" * 2


def test_a_spoilt_record_hinders_nobody(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for number, text in enumerate(("", "{}", "[]", '{"name": 1}', "nonsense")):
        (tmp_path / "run" / f"{number}.json").write_text(text)
    assert records(tmp_path) == []
    assert end_recorded(tmp_path, 0.1) == []
