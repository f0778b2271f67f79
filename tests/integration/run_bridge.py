"""A bridge as a process of its own, so that a test can kill it. SIGTERM stops it in good order."""

from __future__ import annotations

import asyncio
import signal

import uvloop

from pipeline.bridge.service import run
from pipeline.settings import load


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await run(load(), stop=stop)


if __name__ == "__main__":
    uvloop.run(main())
