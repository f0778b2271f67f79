from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError
from redis.exceptions import ConnectionError as RedisConnectionError

from pipeline.cli.errors import sentence
from pipeline.ops.deadletters import Entry, find
from pipeline.settings import Settings, SettingsError

FIELDLINE = str(Path(sys.executable).with_name("fieldline"))
NOWHERE = {"KAFKA_BOOTSTRAP": "127.0.0.1:1", "REDIS_URL": "redis://:hunter2@127.0.0.1:1/0"}


def fieldline(
    *arguments: str, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin", "COLUMNS": "200", **NOWHERE, **variables}
    return subprocess.run(
        [FIELDLINE, *arguments],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments", [("status",), ("balance",), ("dlq", "list"), ("topics", "create")]
)
def test_a_broker_that_is_away_is_one_sentence_and_code_1(arguments: tuple[str, ...]) -> None:
    ended = fieldline(*arguments)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "Kafka does not answer at 127.0.0.1:1" in ended.stderr
    assert "make run" in ended.stderr
    assert "hunter2" not in ended.stdout + ended.stderr


def test_a_simulator_without_a_broker_ends_with_one_sentence() -> None:
    ended = fieldline("simulate", "--engines", "1", MQTT_URL="mqtt://127.0.0.1:1")
    assert ended.returncode == 1
    assert "No MQTT broker answers at 127.0.0.1:1" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("worker",), "role"),
        (("worker", "detect", "--instance", "x"), "instance"),
        (("nothing",), "nothing"),
        (("dlq", "show"), "missing argument"),
    ],
)
def test_a_wrong_call_says_what_is_wrong_and_ends_with_code_2(
    arguments: tuple[str, ...], says: str
) -> None:
    ended = fieldline(*arguments)
    assert ended.returncode == 2
    assert says in ended.stderr.lower()
    assert "Traceback" not in ended.stderr


def test_bad_rules_are_one_sentence_with_file_and_line(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("version: 1\nname: mine\nbogus: 3\n")
    ended = fieldline("worker", "detect", FIELDLINE_RULES_FILE=str(rules))
    assert ended.returncode == 1
    assert "rules.yaml" in ended.stderr
    assert "line 3" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_file_of_ours_is_one_sentence(tmp_path: Path) -> None:
    ended = fieldline("topology", cwd=tmp_path)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "FIELDLINE_ROUTES_FILE" in ended.stderr


def test_topology_needs_no_broker() -> None:
    ended = fieldline("topology")
    assert ended.returncode == 0
    assert "telemetry.deduplicated" in ended.stdout


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (SettingsError("Mend it."), "Mend it."),
        (KafkaConnectionError("x"), "KAFKA_BOOTSTRAP"),
        (RedisConnectionError("redis://:hunter2@h"), "REDIS_URL"),
        (LookupError("events.business"), "fieldline topics create"),
    ],
)
def test_errors_become_sentences_that_say_the_mend(error: Exception, says: str) -> None:
    told = sentence(error, Settings())
    assert told is not None
    assert says in told
    assert "hunter2" not in told


def test_a_defect_of_ours_is_not_dressed_up() -> None:
    assert sentence(ZeroDivisionError(), None) is None


def test_secrets_do_not_show_in_the_settings() -> None:
    shown = repr(Settings(redis_url="redis://:hunter2@h/0", s3_secret_key="hunter2"))
    assert "hunter2" not in shown


def entry(event_id: str, offset: int) -> Entry:
    return Entry(offset=offset, record={"event_id": event_id})


def test_a_dead_letter_is_found_by_the_start_of_its_id_or_its_offset() -> None:
    entries = [entry("abcd", 0), entry("abxy", 1), entry("", 2)]
    assert find(entries, "abc").offset == 0
    assert find(entries, "2").event_id == ""
    with pytest.raises(SettingsError, match="fits 2"):
        find(entries, "ab")
    with pytest.raises(SettingsError, match="fieldline dlq list"):
        find(entries, "zz")
