"""The bridge: MQTT in, Kafka out, acknowledged to the device only when Kafka has it.

    MQTT ─▶ decode ─▶ batch per partition ─▶ telemetry.readings ┐
                 └─▶ what was refused ─────▶ telemetry.quarantine ┴─▶ PUBACK

There is one way to recover, whatever fails: drop everything that is not acknowledged, close
both ends, connect again with the same MQTT session, and let the broker deliver it again.
What had reached Kafka meanwhile is there twice; dedup removes it.

The number of partitions is asked at each connection: restart the bridges after adding some.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict

import structlog
from aiokafka.errors import KafkaError

from pipeline.bridge.mqtt import Address, ConnectionLostError, RefusedError
from pipeline.bridge.session import Counters, Session
from pipeline.settings import Settings

BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Waits between attempts to connect; the last one repeats."""

log = structlog.get_logger(__name__)


async def run(
    settings: Settings,
    *,
    instance: str = "bridge-0",
    stop: asyncio.Event,
    shared: bool = True,
) -> None:
    """Carry messages until `stop` is set. Heals whatever fails; SettingsError only.

    `instance` names the MQTT session and must be the same after a restart, and another one
    for each bridge that runs beside it. `shared` False subscribes for this bridge alone: then
    no other may run beside it. Mosquitto 2.0.11 forgets shared subscriptions when it restarts
    (others it keeps), and throws away what devices send until the bridge has connected again.
    """
    address = Address.parse(settings.mqtt_url)
    counters = Counters()
    failures, down_since = 0, time.monotonic()
    while not stop.is_set():
        session = Session(settings, instance, address, counters, shared=shared)
        try:
            await session.run(stop, down_since)
        except Exception as error:
            now = time.monotonic()
            if session.connected:
                failures, down_since = 0, now
                counters.recoveries += 1
            wait_s = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
            failures += 1
            expected = isinstance(error, (KafkaError, ConnectionLostError, RefusedError, OSError))
            log.warning(
                "bridge interrupted",
                instance=instance,
                cause=_cause(error),
                dropped_messages=session.held_messages,
                down_s=round(now - down_since, 1),
                retry_in_s=wait_s,
                exc_info=None if expected else error,
            )
            await _wait(stop, wait_s)
    log.info("bridge stopped", instance=instance, **asdict(counters))


def _cause(error: Exception) -> str:
    name, text = type(error).__name__, str(error)
    return text if name in text else f"{name}: {text}"  # aiokafka's texts have it in them


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
