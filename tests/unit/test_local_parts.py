import socket
import sys
import threading
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.kafka import Kafka, cluster_id
from infra.local.mosquitto import CONNECT, Mosquitto
from infra.local.part import Part
from infra.local.parts import CONTROLLER, PARTS, Spec
from infra.local.ports import LOOPBACK
from infra.local.redis import Redis
from infra.local.s3proxy import S3Proxy


@given(st.uuids())
def test_a_cluster_id_is_what_kafka_reads_as_16_bytes(number: uuid.UUID) -> None:
    text = cluster_id(number)
    assert len(text) == 22
    assert "=" not in text


def test_the_remaining_length_of_the_mqtt_probe_is_right() -> None:
    assert CONNECT[1] == len(CONNECT) - 2


@pytest.mark.parametrize("spec", PARTS, ids=lambda spec: spec.name)
def test_every_part_is_made_from_its_ports_and_points_at_them(spec: Spec, tmp_path: Path) -> None:
    ports = {name: 20_000 + number for number, name in enumerate(spec.ports)}
    part = spec.build(ports, tmp_path, tmp_path / "log")
    assert part.name == spec.name == spec.ports[0]
    assert part.port == 20_000


def quick(folder: Path, port: int) -> list[Part]:
    log = folder / "log"
    return [
        Kafka(port=port, controller_port=port + 1, folder=folder, log_dir=log),
        Mosquitto(port=port, folder=folder, log_dir=log),
        Redis(port=port, folder=folder, log_dir=log),
        S3Proxy(port=port, folder=folder, log_dir=log),
    ]


@pytest.mark.parametrize("number", range(4))
def test_a_part_whose_port_nobody_answers_is_not_ready(number: int, tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as gone:
        port = gone.getsockname()[1]
    assert quick(tmp_path, port)[number].ready() is False


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize(
    "reply",
    [b"", b"\x00", b"HTTP/1.1 200 OK\r\n\r\n", b"\xff" * 64],
    ids=["nothing", "a byte", "a web server", "noise"],
)
def test_a_part_whose_port_somebody_else_answers_is_not_ready(
    number: int, reply: bytes, tmp_path: Path
) -> None:
    (tmp_path / "cluster-id").write_text("ours\n")
    with socket.create_server((LOOPBACK, 0)) as other:
        part = quick(tmp_path, other.getsockname()[1])[number]

        def answer() -> None:
            link, _ = other.accept()
            with link:
                link.recv(65_536)
                link.sendall(reply)

        thread = threading.Thread(target=answer)
        thread.start()
        assert part.ready() is False
        thread.join()


def test_redis_keeps_its_password_in_private_files_and_its_url_only(tmp_path: Path) -> None:
    part = Redis(port=20_000, folder=tmp_path, log_dir=tmp_path)
    part.prepare()
    password = (tmp_path / "password").read_text().strip()
    assert part.settings() == {"REDIS_URL": f"redis://:{password}@{LOOPBACK}:20000/0"}
    assert password in (tmp_path / "redis.conf").read_text()
    assert password not in " ".join(part.command().argv)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if path.is_file()} == {0o600}


@pytest.mark.parametrize("spec", PARTS, ids=lambda spec: spec.name)
def test_no_setting_of_a_server_names_another_address_than_loopback(
    spec: Spec, tmp_path: Path
) -> None:
    ports = dict.fromkeys(spec.ports, 20_000)
    part = spec.build(ports, tmp_path, tmp_path)
    text = getattr(sys.modules[type(part).__module__], "SETTINGS", "")
    assert "0.0.0.0" not in text  # noqa: S104 - it is what must not be there
    assert "//:" not in text


def test_kafkas_second_port_has_a_name_of_its_own() -> None:
    assert CONTROLLER not in {spec.name for spec in PARTS}
