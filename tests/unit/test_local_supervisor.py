import signal
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local import supervisor
from infra.local.part import StackError
from infra.local.processes import birth, records
from infra.local.supervisor import FIRST_PAUSE_S, LONGEST_PAUSE_S, Supervisor, because, pause_s
from tests.waiting import blocking_until

SLEEP = ("sleep", "600")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def keeper(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Supervisor]:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.05)
    keeper = Supervisor(tmp_path, {"WORD": "hello"}, said.append)
    yield keeper
    keeper.stop_all(0.2)


def test_pauses_double_from_half_a_second_to_ten() -> None:
    assert [pause_s(n) for n in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


@given(st.integers(0, 10**9))
def test_no_pause_is_shorter_than_the_first_or_longer_than_the_longest(failures: int) -> None:
    assert FIRST_PAUSE_S <= pause_s(failures) <= LONGEST_PAUSE_S


def test_a_worker_that_crashes_is_started_again_later_each_time(
    tmp_path: Path, keeper: Supervisor, said: list[str]
) -> None:
    script = "import time; print(time.monotonic(), flush=True); raise SystemExit(3)"
    keeper.start("bridge", (sys.executable, "-c", script))
    log = tmp_path / "log" / "bridge.log"
    blocking_until(lambda: len(log.read_text().splitlines()) >= 4)
    starts = [float(line) for line in log.read_text().splitlines()]
    gaps = [later - earlier for earlier, later in pairwise(starts)][:3]
    assert all(gap >= pause for gap, pause in zip(gaps, (0.05, 0.1, 0.2), strict=True)), gaps
    assert keeper.restarts["bridge"] >= 3
    assert said[0] == "bridge ended with code 3; starting it again in 0.05 s."


def test_a_worker_that_ends_without_error_is_started_again_too(
    tmp_path: Path, keeper: Supervisor
) -> None:
    keeper.start("bridge", ("sh", "-c", "echo $WORD"))
    blocking_until(lambda: keeper.restarts["bridge"] >= 2)
    assert (tmp_path / "log" / "bridge.log").read_text().startswith("hello\nhello\n")


def test_a_killed_worker_comes_back_as_another_process(keeper: Supervisor) -> None:
    keeper.start("detect", SLEEP)
    first = keeper.pid("detect")
    keeper.kill("detect")
    blocking_until(lambda: keeper.pid("detect") not in {None, first})
    assert keeper.restarts == {"detect": 1}
    assert keeper.alive() == {"detect": True}


def test_a_stopped_worker_stays_stopped_and_leaves_no_record(
    tmp_path: Path, keeper: Supervisor
) -> None:
    keeper.start("detect", SLEEP)
    keeper.start("bridge", SLEEP)
    pid = keeper.pid("detect")
    assert pid is not None
    keeper.stop("detect")
    assert birth(pid) is None
    assert keeper.alive() == {"bridge": True}
    assert keeper.restarts["detect"] == 0
    assert [record.name for record in records(tmp_path)] == ["bridge"]
    keeper.start("detect", SLEEP)
    assert keeper.alive() == {"bridge": True, "detect": True}


def test_a_worker_stopped_while_it_waits_to_start_again_does_not(
    keeper: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 60.0)
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE_S", 60.0)
    keeper.start("detect", ("false",))
    blocking_until(lambda: keeper.restarts["detect"] == 1)
    assert keeper.pid("detect") is None
    assert keeper.alive() == {"detect": False}
    begun = time.monotonic()
    keeper.stop("detect")
    assert time.monotonic() - begun < 5.0
    assert keeper.alive() == {}


def test_a_worker_deaf_to_sigterm_is_killed_after_the_grace(
    tmp_path: Path, keeper: Supervisor
) -> None:
    keeper.start("deaf", ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"))
    blocking_until(lambda: "up" in (tmp_path / "log" / "deaf.log").read_text())
    pid = keeper.pid("deaf")
    assert pid is not None
    keeper.stop_all(0.2)
    assert birth(pid) is None
    assert keeper.alive() == {}


def test_a_program_that_is_missing_at_the_start_is_an_error(keeper: Supervisor) -> None:
    with pytest.raises(StackError, match="bridge cannot be started"):
        keeper.start("bridge", ("no-such-program",))
    assert keeper.alive() == {}


def test_a_program_that_goes_missing_is_waited_for(
    tmp_path: Path, keeper: Supervisor, said: list[str]
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o700)
    keeper.start("bridge", (str(program),))
    aside = program.rename(tmp_path / "aside")
    keeper.kill("bridge")
    blocking_until(lambda: any("cannot be started again yet" in line for line in said))
    aside.rename(program)
    blocking_until(lambda: keeper.alive()["bridge"])


def test_one_name_is_one_worker_and_an_unknown_one_is_said(keeper: Supervisor) -> None:
    keeper.start("bridge", SLEEP)
    with pytest.raises(StackError, match="runs already"):
        keeper.start("bridge", SLEEP)
    with pytest.raises(StackError, match="no worker nobody"):
        keeper.kill("nobody")


def test_the_signal_of_a_kill_is_said(keeper: Supervisor, said: list[str]) -> None:
    keeper.start("bridge", SLEEP)
    keeper.kill("bridge")
    blocking_until(lambda: bool(said))
    assert said[0].startswith(f"bridge ended with code -{signal.SIGKILL.value};")


def test_a_restart_says_why_the_worker_ended(tmp_path: Path) -> None:
    log = tmp_path / "detect.log"
    assert because(log) == ""
    log.write_text(
        '{"level": "critical", "event": "old"}\n'
        '{"level": "critical", "event": "worker halts", "detail": "no\\nbroker"}\n'
        '{"level": "info", "event": "stopping"}\nnot json\n'
    )
    assert because(log) == " (no broker)"
