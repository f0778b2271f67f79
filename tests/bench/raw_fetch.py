"""The ceiling: a plain aiokafka consumer that fetches telemetry.readings and decodes nothing.

Start: python -m tests.bench.raw_fetch BOOTSTRAP MESSAGES. Writes one JSON line: the messages
of the first answer, of all, their bytes, and the seconds from the first answer to the last.
"""

from __future__ import annotations

import json
import sys
import time

import uvloop
from aiokafka import AIOKafkaConsumer

from pipeline.topology import READINGS

FETCH_BYTES = 16 * 1024 * 1024


async def fetch(bootstrap: str, messages: int) -> dict[str, float]:
    """Fetch so many messages; all partitions, from the beginning."""
    client = AIOKafkaConsumer(
        READINGS,
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_bytes=4 * FETCH_BYTES,
    )
    await client.start()
    first = count = size = 0
    began = ended = time.perf_counter()
    try:
        while count < messages:
            for found in (await client.getmany(timeout_ms=1_000)).values():
                count += len(found)
                size += sum(len(message.value) for message in found)
            ended = time.perf_counter()
            if not first:
                first, began = count, ended
    finally:
        await client.stop()
    return {"first": first, "messages": count, "bytes": size, "seconds": ended - began}


def main(arguments: list[str]) -> None:
    """See the module."""
    answer = uvloop.run(fetch(arguments[0], int(arguments[1])))
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
