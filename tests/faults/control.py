"""The proxy's command socket: a line of JSON each way, so that another process can script it.

    {"do": "arm", "strike": {"way": "commit_reset", "aim": "writes"}}  → {"armed": 1}
    {"do": "lift", "armed": 1}   {"do": "reset"}   → {}
    {"do": "status"} → {"port": …, "served": …, "armed": {"1": {"hits": …, "keys": […]}}}

What cannot be done is answered with {"error": sentence}. `python -m tests.faults.control
HOST:PORT` starts a proxy before that target and says both ports in one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, Final

from tests.faults.proxy import LOOPBACK, Armed, Proxy
from tests.faults.strikes import from_json

LINE_BYTES: Final = 65_536


class Control:
    """The command socket of one proxy, on loopback."""

    def __init__(self, proxy: Proxy) -> None:
        self.port = 0
        self._proxy = proxy
        self._armed: dict[int, Armed] = {}
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port; `port` is it."""
        self._server = await asyncio.start_server(self._talk, LOOPBACK, 0, limit=LINE_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._do(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):  # ValueError: a line longer than LINE_BYTES
            pass
        finally:
            writer.close()

    async def _do(self, line: bytes) -> dict[str, Any]:
        try:
            command = json.loads(line)
            match command["do"]:
                case "arm":
                    armed = await self._proxy.arm(from_json(command["strike"]))
                    self._armed[armed.number] = armed
                    return {"armed": armed.number}
                case "lift":
                    await self._proxy.lift(self._armed[command["armed"]])
                case "reset":
                    self._proxy.reset_all()
                case "status":
                    return self._status()
                case other:
                    return {"error": f"There is no command {other!r}: arm, lift, reset or status."}
        except (ValueError, TypeError, KeyError) as error:
            return {"error": f"The command cannot be read ({error!r}): correct it."}
        return {}

    def _status(self) -> dict[str, Any]:
        armed = {
            str(a.number): {"hits": a.hits, "keys": sorted(a.keys)} for a in self._armed.values()
        }
        return {"port": self._proxy.port, "served": self._proxy.served, "armed": armed}


async def tell(port: int, command: dict[str, Any]) -> dict[str, Any]:
    """Send one command to a command socket on loopback; its answer."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port, limit=LINE_BYTES)
    try:
        writer.write(json.dumps(command).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await reader.readline())
        return answer
    finally:
        writer.close()


async def _main(target: str) -> None:
    host, _, port = target.rpartition(":")
    proxy = Proxy((host, int(port)))
    control = Control(proxy)
    await proxy.start()
    await control.start()
    sys.stdout.write(json.dumps({"port": proxy.port, "control": control.port}) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
