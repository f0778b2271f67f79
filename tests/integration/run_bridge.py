"""A bridge as a process of its own, so that a test can kill it."""

from __future__ import annotations

import asyncio

import uvloop

from pipeline.bridge.service import run
from pipeline.settings import load


async def main() -> None:
    await run(load(), stop=asyncio.Event())


if __name__ == "__main__":
    uvloop.run(main())
