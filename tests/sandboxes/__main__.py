"""python -m tests.sandboxes [--stay] NAME[=PORT] …: serve sandboxes until standard input ends.

With --stay, until SIGTERM or Ctrl-C.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from importlib import import_module

from tests.sandboxes.base import Sandbox
from tests.sandboxes.serve import listen, server_of


def make(name: str) -> Sandbox:
    """The sandbox of that name, with its standard credentials."""
    made: Sandbox = import_module(f"tests.sandboxes.{name}").make()
    return made


async def serve(wanted: Sequence[str], *, stay: bool) -> None:
    """All of them, each on a port of its own; one line of JSON says where: {name: address}."""
    servers, said = [], {}
    for text in wanted:
        name, _, port = text.partition("=")
        sandbox, sock = make(name), listen(int(port or 0))
        sandbox.base = said[name] = f"http://127.0.0.1:{sock.getsockname()[1]}"
        servers.append((server_of(sandbox), sock))
    tasks = [asyncio.create_task(server.serve(sockets=[sock])) for server, sock in servers]
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    if not stay:
        await asyncio.to_thread(sys.stdin.buffer.read)
        for server, _ in servers:
            server.should_exit = True
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    names = [text for text in sys.argv[1:] if text != "--stay"]
    asyncio.run(serve(names, stay="--stay" in sys.argv))
