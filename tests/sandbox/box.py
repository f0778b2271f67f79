"""The receiver as a test holds it: started, told what to do, asked what it has."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.sandbox.faults import Fault, Limit

SECRET = "whsec_c2FuZGJveC1zZWNyZXQtb2YtMzItYnl0ZXMtLS0tLS0="
WAIT_S = 20.0


class Box:
    """A receiver that runs. `url` takes events; `look_up_url` has {key} in it; `pid` is its own."""

    def __init__(self, base: str, client: httpx.AsyncClient, pid: int, secret: str) -> None:
        self.base = base
        self.url = f"{base}/events"
        self.look_up_url = f"{base}/events/{{key}}"
        self.pid = pid
        self.secret = secret
        self._client = client

    @property
    def env(self) -> dict[str, str]:
        """Settings of a worker that delivers to it."""
        return {
            "WEBHOOK_URL": self.url,
            "WEBHOOK_LOOK_UP_URL": self.look_up_url,
            "WEBHOOK_SECRET": self.secret,
        }

    async def stats(self) -> dict[str, Any]:
        """Counts: keys, requests, events, effects, doubled, out_of_order, … (store.Store)."""
        found: dict[str, Any] = (await self._done("GET", "/control")).json()
        return found

    async def journal(self) -> list[dict[str, Any]]:
        """Every key in the order in which it came first: device, sequence, effects, …"""
        found: list[dict[str, Any]] = (await self._done("GET", "/control/journal")).json()
        return found

    async def faults(self, *faults: Fault) -> None:
        """These faults and no others; none = it is well again."""
        await self._done("PUT", "/control/faults", [fault.as_json() for fault in faults])

    async def limit(self, limit: Limit | None) -> None:
        """A rate limit, or none."""
        wanted = limit and {"events": limit.events, "window_s": limit.window_s}
        await self._done("PUT", "/control/limit", wanted)

    async def clear(self) -> None:
        """Forget everything: what was taken, faults and limit."""
        await self._done("DELETE", "/control")

    async def until(
        self, holds: Callable[[dict[str, Any]], bool], *, within_s: float = WAIT_S
    ) -> dict[str, Any]:
        """Wait until its counts are so; TimeoutError where they never are."""
        async with asyncio.timeout(within_s):
            while not holds(stats := await self.stats()):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        return stats

    async def _done(self, method: str, path: str, body: object = None) -> httpx.Response:
        content = None if method in {"GET", "DELETE"} else json.dumps(body).encode()
        answer = await self._client.request(method, f"{self.base}{path}", content=content)
        answer.raise_for_status()
        return answer


@asynccontextmanager
async def sandbox(*, secret: str = SECRET, keyed: bool = True) -> AsyncIterator[Box]:
    """A receiver in a process of its own, for the length of the block.

    `secret` '' = it takes unsigned requests. `keyed` False: it does again what it is sent
    again.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.sandbox"),
        *([] if keyed else ["--unkeyed"]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"SANDBOX_SECRET": secret},
    )
    assert process.stdin
    assert process.stdout
    try:
        async with asyncio.timeout(WAIT_S):
            told = json.loads(await process.stdout.readline())
        async with httpx.AsyncClient(timeout=WAIT_S, trust_env=False) as client:
            yield Box(f"http://127.0.0.1:{told['port']}", client, process.pid, secret)
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
