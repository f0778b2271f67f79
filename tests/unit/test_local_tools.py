import sys
from pathlib import Path

import pytest

from infra.local import tools
from infra.local.part import StackError


@pytest.mark.parametrize(
    ("answer", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_202"', 8),
        ('openjdk version "21" 2023-09-19', 21),
        ("Error: could not open libjvm.so", None),
    ],
)
def test_javas_major_version_is_read_from_what_it_says(answer: str, major: int | None) -> None:
    assert tools.java_major(answer) == major


def test_a_java_that_is_too_old_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert tools.find(tools.JAVA) is None
    java.write_text("#!/bin/sh\necho 'openjdk version \"17.0.2\"' >&2\n")
    assert tools.find(tools.JAVA) == str(java)


def test_valkeys_wheel_stands_in_where_there_is_no_redis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tools, "_SYSTEM", ())
    found = tools.find(tools.REDIS)
    assert found is not None
    assert Path(found).name == "valkey-server"
    assert Path(found).is_relative_to(sys.prefix)


def test_where_nothing_may_be_installed_the_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no apt-get, no sudo, no mvn
    monkeypatch.setattr(tools, "_SYSTEM", ())
    said: list[str] = []
    with pytest.raises(StackError, match="sudo apt-get install mosquitto maven") as caught:
        tools.install_missing(
            [tools.MVN, tools.MOSQUITTO], log=tmp_path / "apt.log", say=said.append
        )
    assert "\n" not in str(caught.value)
    assert said == []
    with pytest.raises(StackError, match="mvn is missing"):
        tools.path(tools.MVN)


def test_what_is_there_is_not_installed(tmp_path: Path) -> None:
    tools.install_missing([tools.REDIS], log=tmp_path / "apt.log", say=pytest.fail)
    assert not (tmp_path / "apt.log").exists()
