import shlex
import subprocess
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from infra.local.files import env_file, secret, tail, write_private
from infra.local.part import StackError


def test_a_secret_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    first = secret(tmp_path / "deep" / "password")
    assert secret(tmp_path / "deep" / "password") == first
    assert len(first) == 32
    assert (tmp_path / "deep" / "password").stat().st_mode & 0o777 == 0o600


def test_two_secrets_differ(tmp_path: Path) -> None:
    assert secret(tmp_path / "a") != secret(tmp_path / "b")


def test_a_private_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    path.write_text("old and open")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@given(
    value=st.text(
        st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_characters="'\\\x7f\x85")
    ).filter(lambda text: "${" not in text and text.isprintable())
)
def test_python_dotenv_reads_back_every_value(
    value: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("env") / "fieldline.env"
    write_private(path, env_file({"REDIS_URL": value}))
    assert dotenv_values(path) == {"REDIS_URL": value}


def test_a_shell_reads_the_same_as_python_does(tmp_path: Path) -> None:
    value = 'redis://:p$w"d #x%20@127.0.0.1:1/0 `id`'
    path = tmp_path / "fieldline.env"
    write_private(path, env_file({"REDIS_URL": value}))
    script = f'. {shlex.quote(str(path))}; printf %s "$REDIS_URL"'
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == value == dotenv_values(path)["REDIS_URL"]


@pytest.mark.parametrize("value", ["a'b", "a\nB='c'", "a\\b", "${HOME}"])
def test_a_value_the_file_cannot_carry_is_refused_without_being_shown(value: str) -> None:
    with pytest.raises(StackError, match="REDIS_URL") as caught:
        env_file({"REDIS_URL": value + "hidden"})
    assert "hidden" not in str(caught.value)


def test_the_tail_of_a_log_is_its_last_lines_on_one(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    log.write_text("one\ntwo\n\nthree\nfour\n")
    assert tail(log) == "two / three / four"
    assert tail(tmp_path / "none.log") == "nothing"
    log.write_text("x" * 100_000)
    assert len(tail(log)) <= 400
