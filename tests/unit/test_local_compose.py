import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local import jars, kafka, mosquitto

PATH = Path(__file__).resolve().parents[2] / "infra/compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(PATH.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned_and_names_no_host(name: str) -> None:
    repository, _, tag = SERVICES[name]["image"].partition(":")
    assert re.search(r"\d+\.\d+", tag), f"{name} is not pinned"
    assert "." not in repository.split("/")[0]


@pytest.mark.parametrize("name", SERVICES)
def test_every_port_is_published_on_loopback_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_every_server_has_a_health_check(name: str) -> None:
    assert "healthcheck" in SERVICES[name] or SERVICES[name]["restart"] == "no"


def test_no_password_has_a_default() -> None:
    asked = re.findall(r"\$\{[^}]*\}", PATH.read_text())
    assert asked
    assert all(":?" in one for one in asked)


def test_the_servers_are_those_of_the_local_stack() -> None:
    pom = jars.POM.read_text()
    for name, artifact in (("kafka", "kafka_2.13"), ("s3", "s3proxy")):
        version = re.search(rf"<artifactId>{artifact}</artifactId>\s*<version>(.+?)<", pom)
        assert version is not None
        assert SERVICES[name]["image"].endswith(version[1])


@pytest.mark.parametrize(
    "setting", re.findall(r"^(?:max_|autosave)\S+ \S+$", mosquitto.SETTINGS, re.MULTILINE)
)
def test_mosquitto_is_set_as_in_the_local_stack(setting: str) -> None:
    assert setting in COMPOSE["configs"]["mosquitto"]["content"].splitlines()


@pytest.mark.parametrize(
    "setting",
    [
        "auto.create.topics.enable",
        "group.initial.rebalance.delay.ms",
        "offsets.topic.num.partitions",
    ],
)
def test_kafka_is_set_as_in_the_local_stack(setting: str) -> None:
    ours = re.search(rf"^{re.escape(setting)}=(.+)$", kafka.SETTINGS, re.MULTILINE)
    assert ours is not None
    theirs = SERVICES["kafka"]["environment"]["KAFKA_" + setting.upper().replace(".", "_")]
    assert str(theirs) == ours[1]
