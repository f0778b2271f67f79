"""The stack with small real servers as parts: the same processes, ports and probes, sooner."""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from infra.local.part import Command, StackError
from infra.local.parts import Spec
from infra.local.ports import LOOPBACK, is_free
from infra.local.processes import PART, birth, records, spawn
from infra.local.stack import Stack, clean
from tests.waiting import blocking_until

SERVE = f"""
import pathlib, socket, sys
kept = pathlib.Path(sys.argv[2]); kept.write_text(kept.read_text() + "x" if kept.exists() else "x")
server = socket.create_server(("{LOOPBACK}", int(sys.argv[1])))
while True:
    link, _ = server.accept()
    link.sendall(kept.read_bytes()); link.close()
"""


class Small:
    """A part: a server that counts its starts in a file and tells the count."""

    def __init__(self, name: str, port: int, folder: Path) -> None:
        self.name = name
        self.port = port
        self._kept = folder / "starts"

    def prepare(self) -> None:
        pass

    def command(self) -> Command:
        return Command(argv=(sys.executable, "-c", SERVE, str(self.port), str(self._kept)))

    def ready(self) -> bool:
        try:
            return bool(ask(self.port))
        except OSError:
            return False

    def after_start(self) -> None:
        pass

    def settings(self) -> Mapping[str, str]:
        return {f"{self.name.upper()}_URL": f"http://{LOOPBACK}:{self.port}"}


def ask(port: int) -> str:
    with socket.create_connection((LOOPBACK, port), 2.0) as link:
        return link.recv(1_000).decode()


def spec(name: str, make: Callable[[str, int, Path], Small] = Small) -> Spec:
    return Spec(
        name=name,
        variables=(f"{name.upper()}_URL",),
        ports=(name,),
        build=lambda ports, folder, _log: make(name, ports[name], folder),
    )


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def stacks(tmp_path: Path, said: list[str]) -> Iterator[Callable[..., Stack]]:
    with ExitStack() as ends:

        def make(*parts: Spec, folder: str = "one") -> Stack:
            chosen = parts or (spec("left"), spec("right"))
            stack = Stack(tmp_path / folder, say=said.append, parts=chosen)
            ends.callback(stack.stop)
            return stack

        yield make


def test_start_answers_where_everything_is_and_writes_it_down(
    stacks: Callable[..., Stack], tmp_path: Path
) -> None:
    stack = stacks()
    env = stack.start()
    assert env["LEFT_URL"] != env["RIGHT_URL"]
    assert env["FIELDLINE_DATA_DIR"] == str(tmp_path / "one" / "state")
    assert env["FIELDLINE_LOG_DIR"] == str(tmp_path / "one" / "log")
    written = tmp_path / "one" / "fieldline.env"
    assert written.stat().st_mode & 0o777 == 0o600
    assert f"LEFT_URL='{env['LEFT_URL']}'\n" in written.read_text()
    assert set(stack.pids) == set(stack.seconds) == {"left", "right"}


def test_stop_ends_every_process_and_a_new_start_has_the_same_ports_and_data(
    stacks: Callable[..., Stack], tmp_path: Path
) -> None:
    stack = stacks()
    env = stack.start()
    pids = list(stack.pids.values())
    stack.stop()
    assert [birth(pid) for pid in pids] == [None, None]
    assert records(tmp_path / "one") == []
    again = stacks()
    assert again.start() == env
    assert ask(int(env["LEFT_URL"].rpartition(":")[2])) == "xx"


def test_a_port_that_somebody_took_between_two_runs_is_replaced(
    stacks: Callable[..., Stack],
) -> None:
    stack = stacks()
    first = stack.start()
    stack.stop()
    with socket.create_server((LOOPBACK, int(first["LEFT_URL"].rpartition(":")[2]))):
        second = stacks().start()
    assert second["LEFT_URL"] != first["LEFT_URL"]
    assert second["RIGHT_URL"] == first["RIGHT_URL"]


def test_a_part_that_loses_its_port_while_it_starts_gets_another(
    stacks: Callable[..., Stack], said: list[str]
) -> None:
    thieves: list[socket.socket] = []

    class Late(Small):
        def prepare(self) -> None:
            if not thieves:  # between the choice of the port and the start of the server
                thieves.append(socket.create_server((LOOPBACK, self.port)))

        def ready(self) -> bool:
            return bool(thieves) and self.port != thieves[0].getsockname()[1] and super().ready()

    stack = stacks(spec("left", Late))
    env = stack.start()
    assert env["LEFT_URL"] != f"http://{LOOPBACK}:{thieves[0].getsockname()[1]}"
    assert "left: its port was taken in the meantime, trying another." in said
    kept = json.loads((stack.root / "stack.json").read_text())["ports"]
    assert env["LEFT_URL"].endswith(str(kept["left"]))
    thieves[0].close()


def test_a_part_that_dies_is_named_with_its_log_and_last_words_and_nothing_stays_up(
    stacks: Callable[..., Stack], tmp_path: Path
) -> None:
    class Broken(Small):
        def command(self) -> Command:
            return Command(argv=("sh", "-c", "echo no space left on device; exit 7"))

    stack = stacks(spec("left"), spec("right", Broken))
    with pytest.raises(StackError, match=r"right ended with code 7 .*no space left") as caught:
        stack.start()
    assert str(tmp_path / "one" / "log" / "right.log") in str(caught.value)
    assert records(tmp_path / "one") == []
    stacks(spec("left")).start()  # the folder is free again


def test_what_a_killed_run_left_is_ended_before_the_next_starts(
    stacks: Callable[..., Stack], tmp_path: Path, said: list[str]
) -> None:
    root = tmp_path / "one"
    stack = stacks()
    lost = spawn(root, "left", PART, Command(argv=("sleep", "600")))
    stack.start()
    assert lost.wait(5.0) == -signal.SIGTERM
    assert "Ended left, left by an earlier run." in said


def test_a_part_can_be_killed_and_brought_back_on_its_port_with_its_data(
    stacks: Callable[..., Stack],
) -> None:
    stack = stacks()
    port = int(stack.start()["LEFT_URL"].rpartition(":")[2])
    stack.stop_part("left", kill=True)
    assert is_free(port)
    with pytest.raises(StackError, match="left does not run"):
        stack.stop_part("left")
    stack.start_part("left")
    assert ask(port) == "xx"
    stack.stop_part("left")
    assert is_free(port)
    stack.start_part("left")
    stack.start_part("left")  # it runs: nothing to do
    assert ask(port) == "xxx"
    with pytest.raises(StackError, match="nobody is not a part"):
        stack.stop_part("nobody")


def test_a_part_that_ends_by_itself_is_seen_and_can_be_brought_back(
    stacks: Callable[..., Stack],
) -> None:
    stack = stacks()
    stack.start()
    assert stack.dead() == {}
    os.kill(stack.pids["left"], signal.SIGKILL)
    blocking_until(lambda: bool(stack.dead()))
    assert stack.dead() == {"left": -signal.SIGKILL}
    stack.start_part("left")
    assert stack.dead() == {}


def test_a_server_of_the_users_is_used_and_not_started(
    stacks: Callable[..., Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        url = f"http://{LOOPBACK}:{server.getsockname()[1]}"
        monkeypatch.setenv("LEFT_URL", url)
        stack = stacks()
        assert stack.start()["LEFT_URL"] == url
        assert set(stack.pids) == {"right"}
        with pytest.raises(StackError, match="left is not a part that runs here"):
            stack.stop_part("left")


def test_a_server_of_the_users_that_is_away_is_an_error_with_the_mend(
    stacks: Callable[..., Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEFT_URL", f"http://{LOOPBACK}:1")
    with pytest.raises(StackError, match="LEFT_URL is set, but nothing takes connections"):
        stacks().start()


def test_one_folder_has_one_run_and_two_folders_have_two(stacks: Callable[..., Stack]) -> None:
    one, two = stacks(), stacks(folder="two")
    first, second = one.start(), two.start()
    assert not set(first.values()) & set(second.values())
    with pytest.raises(StackError, match="Another run"):
        stacks().start()
    assert one.dead() == two.dead() == {}


def test_clean_leaves_nothing(stacks: Callable[..., Stack], tmp_path: Path) -> None:
    stack = stacks()
    stack.start()
    pids = list(stack.pids.values())
    stack.clean()
    assert not (tmp_path / "one").exists()
    assert [birth(pid) for pid in pids] == [None, None]
    stack.clean()


def test_clean_refuses_a_folder_that_is_not_a_stacks(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    with pytest.raises(StackError, match="not a folder of the local stack"):
        clean(tmp_path)
    assert (tmp_path / "precious").exists()


def test_an_unknown_part_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no part kafak"):
        Stack(tmp_path, say=print, only=["kafak"])


def test_spoilt_memory_of_ports_means_new_ports(
    stacks: Callable[..., Stack], tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "stack.json").write_text('{"ports": ["left"]}')
    assert stacks().start()
