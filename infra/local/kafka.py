"""Apache Kafka: one KRaft node that is broker and controller, on loopback."""

from __future__ import annotations

import base64
import shutil
import socket
import struct
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from infra.local import jars, tools
from infra.local.files import write_private
from infra.local.part import Command, StackError
from infra.local.ports import LOOPBACK

PROFILE = "kafka"
FORMAT_LIMIT_S = 60
PROBE_S = 2.0
ANSWER_BYTES = 65_536
"""Greatest answer the probe reads; one broker and no topic need about 60 bytes."""

SETTINGS = """\
process.roles=broker,controller
node.id=1
# A static quorum: a dynamic one keeps the controller's address in the data, and then a start
# on other ports would not find itself.
controller.quorum.voters=1@{host}:{controller_port}
controller.listener.names=CONTROLLER
listeners=CLIENT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=CLIENT://{host}:{port}
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
log.dirs={data}
auto.create.topics.enable=false
# One node holds everything once.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# A broker killed with SIGKILL is let in again only when its old session has run out. Half of
# the default, so that a crash costs 4 s; shorter would fence a live broker on a slow disk.
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
# Topics carry their own retention (pipeline/topology.py); this is for all others.
log.retention.hours=168
log.segment.bytes=268435456
log.retention.check.interval.ms=300000
# The cleaner's default buffer of 128 MiB would be a sixth of the heap.
log.cleaner.dedupe.buffer.size=33554432
num.network.threads=2
num.io.threads=4
"""

_LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
    # Hundreds of lines of configuration at every start.
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config.AbstractConfig=warn",
)


class Kafka:
    """The broker. Data, cluster id and settings are under `folder`; they outlive the ports."""

    name = "kafka"

    def __init__(self, *, port: int, controller_port: int, folder: Path, log_dir: Path) -> None:
        self.port = port
        self._controller_port = controller_port
        self._folder = folder
        self._data = folder / "data"
        self._config = folder / "server.properties"
        self._format_log = log_dir / "kafka-format.log"

    def needs(self) -> tuple[str, ...]:
        """Programs it cannot do without."""
        return (tools.JAVA,) if jars.present(PROFILE) else (tools.JAVA, tools.MVN)

    def prepare(self) -> None:
        """Jars, settings, and on first use a formatted data folder."""
        jars.ensure(PROFILE)
        write_private(
            self._config,
            SETTINGS.format(
                host=LOOPBACK,
                port=self.port,
                controller_port=self._controller_port,
                data=self._data,
            ),
        )
        mark = self._folder / "cluster-id"  # written last: without it the format was cut short
        if not mark.exists():
            shutil.rmtree(self._data, ignore_errors=True)
            cluster = cluster_id(uuid.uuid4())
            self._format(cluster)
            write_private(mark, cluster + "\n")

    def _format(self, cluster: str) -> None:
        self._format_log.parent.mkdir(parents=True, exist_ok=True)
        argv = (*self._java(*_LOGGING), "kafka.tools.StorageTool", "format")
        with self._format_log.open("wb") as output:
            done = subprocess.run(
                # One word: an id may begin with a dash, and would be taken for an option.
                [*argv, f"--cluster-id={cluster}", "-c", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=FORMAT_LIMIT_S,
                check=False,
            )
        if done.returncode != 0:
            raise StackError(
                f"Kafka cannot format its data folder: mend what {self._format_log} says."
            )

    def _java(self, *options: str) -> tuple[str, ...]:
        return (tools.path(tools.JAVA), *options, "-cp", jars.classpath(PROFILE))

    def command(self) -> Command:
        """Java with a heap of at most 768 MB; it ends rather than limps when that is too little."""
        options = ("-Xms256m", "-Xmx768m", "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError")
        java = self._java(*options, *_LOGGING)
        return Command(argv=(*java, "kafka.Kafka", str(self._config)), cwd=self._folder)

    def ready(self) -> bool:
        """Whether our own cluster answers a metadata request and lists its broker as alive."""
        try:
            cluster = (self._folder / "cluster-id").read_text(encoding="ascii").strip()
            answer = _metadata(self.port)
        except (OSError, struct.error, ValueError):
            return False
        return answer == (cluster, {(LOOPBACK, self.port)})

    def after_start(self) -> None:
        """Nothing: topics belong to pipeline/topology.py."""

    def settings(self) -> Mapping[str, str]:
        """KAFKA_BOOTSTRAP."""
        return {"KAFKA_BOOTSTRAP": f"{LOOPBACK}:{self.port}"}


def cluster_id(number: uuid.UUID) -> str:
    """A cluster id as Kafka writes it: 16 bytes in URL-safe base64, without padding."""
    return base64.urlsafe_b64encode(number.bytes).decode().rstrip("=")


def _metadata(port: int) -> tuple[str, set[tuple[str, int]]]:
    """Cluster id and the addresses of its unfenced brokers.

    Kafka protocol, Metadata request version 2 with an empty list of topics. OSError,
    struct.error or ValueError where there is no such answer.
    """
    client = b"fieldline"
    body = struct.pack(f">hhih{len(client)}si", 3, 2, 1, len(client), client, 0)
    with socket.create_connection((LOOPBACK, port), PROBE_S) as link:
        link.settimeout(PROBE_S)
        link.sendall(struct.pack(">i", len(body)) + body)
        (size,) = struct.unpack(">i", _exactly(link, 4))
        if not 0 < size <= ANSWER_BYTES:
            raise ValueError(f"An answer of {size} bytes is not Kafka's.")
        answer = _exactly(link, size)
    _, count = struct.unpack_from(">ii", answer)
    at, brokers = 8, set()
    for _ in range(count):
        host, at = _string(answer, at + 4)
        (broker_port,) = struct.unpack_from(">i", answer, at)
        brokers.add((host, broker_port))
        _, at = _string(answer, at + 4)
    return _string(answer, at)[0], brokers


def _string(answer: bytes, at: int) -> tuple[str, int]:
    """A nullable string (null reads as empty) and where the next field begins."""
    (size,) = struct.unpack_from(">h", answer, at)
    end = at + 2 + max(size, 0)
    return answer[at + 2 : end].decode(), end


def _exactly(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = link.recv(size - len(data))
        if not more:
            raise ConnectionError("The server closed the connection within an answer.")
        data += more
    return data
