"""The ceiling: httpx alone, posting the bodies and headers that our connector would.

Start: python -m tests.bench.bare_http EVENTS DEVICES BATCH LANES, with WEBHOOK_URL and
WEBHOOK_SECRET. All bodies are made and signed before the clock starts. Writes one JSON line:
events, requests, seconds from the first answer to the last, answers' p50 and p99 in ms.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Iterator

import httpx
import uvloop

from connectors.base import Delivery
from connectors.settings import make
from connectors.webhook import WebhookConnector, WebhookSettings
from tests.bench.delivery_world import event

Post = tuple[dict[str, str], bytes, int]


def posts(settings: WebhookSettings, events: int, devices: int, batch: int) -> Iterator[Post]:
    """Headers, body and number of events of each request."""
    connector = WebhookConnector(settings, clock=time.time)
    for first in range(0, events, batch):
        numbers = range(first, min(first + batch, events))
        made = [event(number, devices) for number in numbers]
        call = next(connector.deliver([Delivery(event=one, key=one.id) for one in made]))
        headers = dict(call.request.headers)
        del headers["host"], headers["content-length"]
        yield headers, call.request.content, len(made)


async def run(settings: WebhookSettings, ready: list[Post], lanes: int) -> dict[str, float]:
    """Post them all, `lanes` at a time."""
    ended: list[float] = []
    took: list[float] = []
    left = iter(ready)
    async with httpx.AsyncClient(follow_redirects=False, timeout=20.0) as client:

        async def lane() -> None:
            for headers, body, _ in left:
                began = time.perf_counter()
                answer = await client.post(settings.url, content=body, headers=headers)
                answer.raise_for_status()
                ended.append(time.perf_counter())
                took.append(ended[-1] - began)

        await asyncio.gather(*(lane() for _ in range(lanes)))
    cuts = statistics.quantiles(took, n=100)
    return {
        "events": sum(number for _, _, number in ready[1:]),
        "requests": len(ready),
        "seconds": max(ended) - min(ended),
        "p50_ms": cuts[49] * 1_000,
        "p99_ms": cuts[98] * 1_000,
    }


def main(arguments: list[str]) -> None:
    """See the module."""
    events, devices, batch, lanes = map(int, arguments)
    settings = make(WebhookSettings, {"batch": batch})
    ready = list(posts(settings, events, devices, batch))
    sys.stdout.write(json.dumps(uvloop.run(run(settings, ready, lanes))) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
