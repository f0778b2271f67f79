"""fieldline send, as a person or a script meets it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.send import MAX_CONFIG, values_of
from pipeline.settings import SettingsError
from tests.sandboxes.box import Box, boxed
from tests.sandboxes.erpnext import API_SECRET, make
from tests.unit.cli_world import SECRET, bare, called, config_in, json_lines, refused
from tests.unit.send_world import KEYS
from tests.unit.test_cli import FIELDLINE, fieldline

RECORD = {
    "asset_id": "TRK-1",
    "asset_name": "Truck 1",
    "customer_id": "C-1",
    "customer_name": "Acme Cold Chain",
}


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    bare(monkeypatch)


@pytest.fixture
def far() -> Iterator[Box]:
    with boxed(make()) as box:
        yield box


@pytest.fixture
def config(tmp_path: Path) -> str:
    return config_in(tmp_path)


def line(summary: str, **more: object) -> str:
    told = {"device_id": "acme/truck-1", "summary": summary, "record": RECORD, **more}
    return json.dumps(told) + "\n"


def test_lines_go_in_and_one_json_object_a_line_comes_out(far: Box, config: str) -> None:
    far.errors({"code": "MandatoryError", "key": "FL-b", "times": None})
    ended = called(
        *("send", "--connector", "erpnext", "--url", far.url, "--config", config, "--json"),
        stdin=line("Überhitzung 🔥", id="a") + "\n" + line("x", id="b", device_id="acme/truck-2"),
    )
    assert ended.exit_code == 1, ended.output
    first, second = json_lines(ended.stdout)
    assert list(first) == list(second) == KEYS
    assert (first["line"], first["id"], first["outcome"]) == (1, "a", "delivered")
    assert (first["target_id"], first["created"], first["attempts"]) == ("FL-a", True, 1)
    assert (second["line"], second["outcome"], second["code"]) == (
        3,
        "rejected",
        "erpnext.mandatory",
    )
    assert ended.stderr == ""
    assert [e["fields"]["subject"] for e in far.journal()] == ["Überhitzung 🔥"]


def test_all_at_the_target_is_code_0_and_again_too(far: Box, config: str) -> None:
    given = ("send", "--connector", "erpnext", "--url", far.url, "--config", config, "--json")
    for created in (True, False):
        ended = called(*given, stdin=line("Too hot"))
        assert ended.exit_code == 0
        assert [one["created"] for one in json_lines(ended.stdout)] == [created]
    assert len(far.journal()) == 1


def test_a_person_sees_a_table_and_the_sum(far: Box, config: str) -> None:
    far.errors({"code": "MandatoryError", "key": "FL-b", "times": None})
    ended = called(
        *("send", "--connector", "erpnext", "--url", far.url, "--config", config),
        stdin=line("one", id="a") + line("two", id="b", device_id="acme/truck-2"),
    )
    assert ended.exit_code == 1
    assert "FL-a (new)" in ended.stdout
    assert "[erpnext.mandatory]" in " ".join(ended.stdout.split())
    assert ended.stdout.rstrip().endswith("1 delivered, 1 rejected.")
    assert max(len(text.rstrip()) for text in ended.stdout.splitlines()) <= 100


def test_no_events_are_no_failure(far: Box, config: str) -> None:
    given = ("send", "--connector", "erpnext", "--url", far.url, "--config", config)
    ended = called(*given, stdin="\n  \n")
    assert (ended.exit_code, ended.stdout) == (0, "No events.\n")
    ended = called(*given, "--json", stdin="")
    assert (ended.exit_code, ended.stdout) == (0, "")


def test_what_cannot_be_reached_in_time_is_told_so(config: str) -> None:
    ended = called(
        *("send", "--connector", "erpnext", "--url", "http://127.0.0.1:1", "--config", config),
        *("--json", "--wait-s", "0"),
        stdin=line("x"),
    )
    assert ended.exit_code == 1
    [told] = json_lines(ended.stdout)
    assert (told["outcome"], told["code"]) == ("retryable", "erpnext.unreachable")


def test_text_from_outside_neither_steers_the_terminal_nor_the_table(far: Box, config: str) -> None:
    far.faults({"status": 417, "body_text": '{"exception": "[bold]\\u001b[31mred[/] [nothing"}'})
    ended = called(
        *("send", "--connector", "erpnext", "--url", far.url, "--config", config),
        stdin=line("x", id="a[bold]\x1b[31m"),
    )
    assert ended.exit_code == 1
    assert "\x1b" not in ended.stdout
    assert "[bold]" in ended.stdout
    assert "[nothing" in " ".join(ended.stdout.split())


def test_a_secret_that_the_system_repeats_is_not_shown(far: Box, config: str) -> None:
    for status in (401, 417, 500):
        far.faults({"mode": "echo", "status": status, "times": None})
        for more in ((), ("--json",)):
            ended = called(
                *("send", "--connector", "erpnext", "--url", far.url, "--config", config),
                *("--wait-s", "0", *more),
                stdin=line("x"),
            )
            assert ended.exit_code == 1
            assert API_SECRET not in ended.output


def test_a_registry_knows_what_lines_do_not_bring(far: Box, config: str, tmp_path: Path) -> None:
    devices = tmp_path / "devices.csv"
    devices.write_text(
        "device_id,asset_id,asset_name,customer_id,customer_name,customer_tax_id,active,"
        "erpnext.customer\nacme/van-9,VAN-9,Van 9,C-9,Nine,,true,CUST-0009\n"
    )
    ended = called(
        *("send", "--connector", "erpnext", "--url", far.url, "--config", config, "--json"),
        *("--devices", str(devices)),
        stdin='{"device_id": "acme/van-9", "summary": "x"}\n'
        '{"device_id": "acme/nobody", "summary": "y"}\n',
    )
    first, second = json_lines(ended.stdout)
    assert (first["outcome"], second["code"]) == ("delivered", "mapping.unregistered_device")
    assert far.journal()[0]["fields"]["customer"] == "CUST-0009"


@pytest.mark.parametrize(
    ("arguments", "stdin", "says"),
    [
        (("--connector", "nothing"), "", "There is no connector 'nothing': choose among "),
        (("--connector", "erpnext"), "", "Set ERPNEXT_URL"),
        (("--connector", "erpnext", "--url", "http://h"), "", "not encrypted"),
        (("--connector", "erpnext", "--url", f"https://me:{API_SECRET}@h"), "", "as settings"),
        (("--connector", "erpnext", "--url", "https://h"), "{", "Line 1: it is not JSON"),
        (("--connector", "erpnext", "--url", "https://h"), '\n{"a": 1}', "Line 2: device_id"),
        (("--connector", "erpnext", "--config", "/nowhere/x.yaml"), "", "cannot be read"),
        (("--connector", "erpnext", "--url", "https://h", "--devices", "/no.csv"), "", "registry"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_sent(
    arguments: tuple[str, ...], stdin: str, says: str
) -> None:
    text = refused("send", *arguments, "--json", stdin=stdin)
    assert says in text
    assert API_SECRET not in text


def test_a_wrong_connector_is_told_before_events_are_waited_for() -> None:
    with subprocess.Popen(
        [FIELDLINE, "send", "--connector", "nothing"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            assert process.wait(60) == 1, "it waits for events"
            assert "There is no connector" in process.stderr.read()
        finally:
            process.kill()


def test_the_program_itself_ends_with_code_1_one_sentence_and_a_clean_standard_output() -> None:
    ended = fieldline("send", "--connector", "erpnext", "--url", "https://h", "--json")
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ended.stderr == "", "no bar where there is no terminal"
    ended = fieldline("send", "--connector", "nothing", "--json")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stderr
    ended = fieldline("send")
    assert ended.returncode == 2
    assert "--connector" in ended.stderr


# -- settings from a file


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a: 1\nb: x\n", {"a": 1, "b": "x"}),
        ('{"a": {"b": ["c"]}}', {"a": {"b": ["c"]}}),
        ("{}", {}),
    ],
)
def test_a_file_of_settings_is_yaml_or_json(
    tmp_path: Path, text: str, values: dict[str, Any]
) -> None:
    path = tmp_path / "c"
    path.write_text(text)
    assert values_of(None, path) == values
    assert values_of("https://h", path) == values | {"url": "https://h"}
    assert values_of(None, None) == {}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read (No such file or directory): name another."),
        (f"a: [{SECRET}".encode(), "is neither YAML nor JSON"),
        (f"a: !!python/object:os.system {SECRET}".encode(), "is neither YAML nor JSON"),
        (f"{SECRET}: 2026-13-45".encode(), "is neither YAML nor JSON"),
        (b"[" * 50_000, "is neither YAML nor JSON"),
        (b"\xff\xfe", "is neither YAML nor JSON"),
        (SECRET.encode(), "must hold settings by name"),
        (b"", "must hold settings by name"),
        (b"- a\n", "must hold settings by name"),
        (b"5: a\n", "must hold settings by name"),
        (b"#" * (MAX_CONFIG + 1), "is larger than 1048576 bytes: shorten it."),
    ],
)
def test_a_file_that_is_none_is_refused_without_its_text(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=re.escape(says)) as caught:
        values_of(None, path)
    assert SECRET not in str(caught.value)
    assert SECRET not in str(caught.value.__cause__)


def test_a_folder_is_no_file_of_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        values_of(None, tmp_path)
