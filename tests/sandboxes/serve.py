"""Serving a sandbox: on 127.0.0.1, in a thread of its own or until standard input ends."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.sandboxes.base import Sandbox
from tests.waiting import blocking_until

START_S = 20.0


class Protocol(HttpToolsProtocol):
    """Lets the app end a connection without a word: ASGI has no way to say so."""

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["transport"] = self.transport  # type: ignore[typeddict-unknown-key]


def server_of(sandbox: Sandbox) -> uvicorn.Server:
    """A server for it, not yet started."""
    config = uvicorn.Config(
        sandbox,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def listen(port: int = 0) -> socket.socket:
    """A listening socket on the loopback address; port 0 takes a free one."""
    # With its protocol named, for asyncio turns Nagle off only then: 40 ms a request.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock


@contextmanager
def running(sandbox: Sandbox) -> Iterator[str]:
    """The sandbox's address, for the length of the block."""
    sock = listen()
    sandbox.base = f"http://127.0.0.1:{sock.getsockname()[1]}"
    server = server_of(sandbox)
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[sock])), name=sandbox.name, daemon=True
    )
    thread.start()
    try:
        blocking_until(lambda: server.started, within_s=START_S)
        yield sandbox.base
    finally:
        server.should_exit = True
        thread.join(START_S)
        sock.close()
