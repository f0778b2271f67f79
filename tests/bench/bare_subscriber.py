"""A bare aiomqtt subscriber at QoS 1, which does nothing with what it gets: the bridge's ceiling.

Start: python -m tests.bench.bare_subscriber HOST PORT CLIENT_ID COUNT. With COUNT 0 it only
makes its session and leaves, so that the broker keeps messages for it. The answer is one JSON
line: messages, seconds from connecting to the last, and processor time.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import aiomqtt
import uvloop
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

TOPIC = "telemetry/+/+"
_EXPIRY_S = 3_600


async def subscribe(host: str, port: int, client_id: str, count: int) -> dict[str, float]:
    """Take so many messages of the session."""
    properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's
    properties.SessionExpiryInterval = _EXPIRY_S
    client = aiomqtt.Client(
        host,
        port,
        identifier=client_id,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=False,
        properties=properties,
    )
    # From before connecting: paho hands over many messages before the loop below sees one.
    taken, began, cpu = 0, time.perf_counter(), time.process_time()
    async with client:
        await client.subscribe(TOPIC, qos=1)
        if count:
            async for _ in client.messages:
                taken += 1
                if taken == count:
                    break
        ended = time.perf_counter()
    return {"messages": taken, "seconds": ended - began, "cpu_s": time.process_time() - cpu}


def main(arguments: list[str]) -> None:
    """See the module."""
    host, port, client_id, count = arguments
    answer = uvloop.run(subscribe(host, int(port), client_id, int(count)))
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
