"""Mosquitto: the MQTT broker, on loopback, queueing at QoS 1 for a bridge that is away."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Mapping
from pathlib import Path

from infra.local import tools
from infra.local.files import write_private
from infra.local.part import Command
from infra.local.ports import LOOPBACK

PROBE_S = 2.0

SETTINGS = """\
# Loopback only, so whoever can connect is on this machine.
listener {port} {host}
allow_anonymous true
# Started by root it would become the user `mosquitto`, who cannot write here.
user {user}

persistence true
persistence_location {data}/
# The whole store is written once a second. What came in since the last time is lost if the
# broker itself is killed with SIGKILL: it acknowledges to the device from memory.
autosave_interval 1

# In flight to one client: a batch of the bridge stays unacknowledged until Kafka has it.
max_inflight_messages 20000
# An outage of the bridge of 100 s at 2,000 messages/s. Measured with payloads of 200 bytes:
# 111 MB of memory, 52 MB on disk, 0.13 s to write. Beyond it new messages are dropped.
max_queued_messages 200000
max_queued_bytes 268435456
# Four times the bridge's own limit, so that what is too large is quarantined, not refused.
max_packet_size 1048576

log_dest stderr
log_type error
log_type warning
log_type notice
log_timestamp_format %Y-%m-%dT%H:%M:%S
"""

CONNECT = bytes.fromhex("10 0d 0004 4d515454 05 02 000a 00 0000")
"""MQTT 5, 3.1: 13 bytes follow; 'MQTT', version 5, clean start, keep alive 10 s, no properties,
an empty client id."""
DISCONNECT = bytes.fromhex("e0 00")
CONNACK = 0x20
CONNACK_HEAD = 4
"""Type, remaining length, flags, reason code."""


class Mosquitto:
    """The broker. Its store and settings are under `folder`."""

    name = "mosquitto"

    def __init__(self, *, port: int, folder: Path, log_dir: Path) -> None:
        self.port = port
        self._folder = folder
        self._data = folder / "data"
        self._config = folder / "mosquitto.conf"
        self._log_dir = log_dir

    def needs(self) -> tuple[str, ...]:
        """Programs it cannot do without."""
        return (tools.MOSQUITTO,)

    def prepare(self) -> None:
        """Settings and data folder."""
        self._data.mkdir(parents=True, exist_ok=True)
        user = pwd.getpwuid(os.geteuid()).pw_name
        write_private(
            self._config,
            SETTINGS.format(port=self.port, host=LOOPBACK, user=user, data=self._data),
        )

    def command(self) -> Command:
        """In the foreground."""
        return Command(argv=(tools.path(tools.MOSQUITTO), "-c", str(self._config)))

    def ready(self) -> bool:
        """Whether it accepts an MQTT 5 connection."""
        try:
            with socket.create_connection((LOOPBACK, self.port), PROBE_S) as link:
                link.settimeout(PROBE_S)
                link.sendall(CONNECT)
                answer = b""
                while len(answer) < CONNACK_HEAD and (more := link.recv(64)):
                    answer += more
                link.sendall(DISCONNECT)
        except OSError:
            return False
        return len(answer) >= CONNACK_HEAD and answer[0] == CONNACK and answer[3] == 0

    def after_start(self) -> None:
        """Nothing."""

    def settings(self) -> Mapping[str, str]:
        """MQTT_URL."""
        return {"MQTT_URL": f"mqtt://{LOOPBACK}:{self.port}"}
