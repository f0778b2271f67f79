"""The parts of the local stack, in the order they are named to people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from connectors.registry import system
from connectors.settings import variables
from infra.local.kafka import Kafka
from infra.local.mosquitto import Mosquitto
from infra.local.part import Part
from infra.local.redis import Redis
from infra.local.s3proxy import S3Proxy
from infra.local.sandbox import SandboxPart
from infra.local.tryton import Tryton

CONTROLLER = "kafka-controller"
SANDBOXES = ("salesforce", "sap", "netsuite")
"""Systems that the sample goes to besides the real ERP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """How to make one part, and which settings say that the user has one already.

    `variables`: the first decides, the others go with it. `ports`: names of the ports it
    takes, the part's own first. `build(ports by name, folder, log folder)`.
    """

    name: str
    variables: tuple[str, ...]
    ports: tuple[str, ...]
    build: Callable[[Mapping[str, int], Path, Path], Part]


def _sandbox(name: str) -> Spec:
    return Spec(
        name=name,
        variables=variables(system(name).settings),
        ports=(name,),
        # It keeps nothing on disk, and its log is the process's output.
        build=lambda ports, *_: SandboxPart(name=name, port=ports[name]),
    )


PARTS: tuple[Spec, ...] = (
    Spec(
        name="kafka",
        variables=("KAFKA_BOOTSTRAP",),
        ports=("kafka", CONTROLLER),
        build=lambda ports, folder, log_dir: Kafka(
            port=ports["kafka"], controller_port=ports[CONTROLLER], folder=folder, log_dir=log_dir
        ),
    ),
    Spec(
        name="mosquitto",
        variables=("MQTT_URL",),
        ports=("mosquitto",),
        build=lambda ports, folder, log_dir: Mosquitto(
            port=ports["mosquitto"], folder=folder, log_dir=log_dir
        ),
    ),
    Spec(
        name="redis",
        variables=("REDIS_URL",),
        ports=("redis",),
        build=lambda ports, folder, log_dir: Redis(
            port=ports["redis"], folder=folder, log_dir=log_dir
        ),
    ),
    Spec(
        name="s3proxy",
        variables=("S3_ENDPOINT", "S3_BUCKET", "S3_REGION", "S3_ACCESS_KEY", "S3_SECRET_KEY"),
        ports=("s3proxy",),
        build=lambda ports, folder, log_dir: S3Proxy(
            port=ports["s3proxy"], folder=folder, log_dir=log_dir
        ),
    ),
    Spec(
        name="tryton",
        variables=("TRYTON_URL", "TRYTON_USER", "TRYTON_PASSWORD"),
        ports=("tryton",),
        build=lambda ports, folder, log_dir: Tryton(
            port=ports["tryton"], folder=folder, log_dir=log_dir
        ),
    ),
    *(_sandbox(name) for name in SANDBOXES),
)
NAMES = tuple(spec.name for spec in PARTS)
