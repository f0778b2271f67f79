"""A redis-server for a test: started here, killed here."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from pipeline.state.ledger import Ledger

DEADLINE_S = 10.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Server:
    """A redis-server with a log that is on disk before it answers."""

    def __init__(self, folder: Path, *extra: str) -> None:
        self.folder = folder
        self._extra = extra
        self.port = free_port()
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        options = {
            "--port": str(self.port),
            "--dir": str(self.folder),
            "--bind": "127.0.0.1",
            "--save": "",
            "--appendonly": "yes",
            "--appendfsync": "always",
        }
        flat = [word for option in options.items() for word in option]
        process = subprocess.Popen(["redis-server", *flat, *self._extra], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                with SyncRedis(port=self.port) as client:
                    client.ping()
            except RedisError:
                if time.monotonic() > deadline or process.poll() is not None:
                    process.kill()
                    raise
                time.sleep(0.01)
            else:
                return process

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.process = self._start()

    def client(self) -> Redis:
        return Redis(port=self.port, retry=Retry(NoBackoff(), 0))

    @asynccontextmanager
    async def ledger(self) -> AsyncIterator[Ledger]:
        async with self.client() as client:
            yield Ledger(client)
