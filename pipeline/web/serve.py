"""The server of the identity map's API: one process, one desk."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

import typer
import uvicorn

from pipeline import logs
from pipeline.settings import Settings, SettingsError
from pipeline.state.identities_writer import desk
from pipeline.web.identity_api import Api
from pipeline.web.identity_operations import OPERATIONS
from pipeline.web.requests import Gate

MAX_AT_ONCE: Final = 64
"""Requests that are answered at once; more get 503."""
_BACKLOG: Final = 64


class _Server(uvicorn.Server):
    """Ends in order: uvicorn's own way raises the signal again, before the desk is closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever started it."""
        yield

    def end(self) -> None:
        """Answer what is under way, then end; at once where it is told twice."""
        self.force_exit = self.should_exit
        self.should_exit = True


def serve(settings: Settings, *, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM. SettingsError where it cannot start, else as desk()."""
    Gate(settings.api_token)  # said before anything is opened
    logs.configure(logging.WARNING)
    with _listening(host, port) as listener:
        asyncio.run(_serve(settings, listener))


def _listening(host: str, port: int) -> socket.socket:
    try:
        [(family, kind, proto, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise SettingsError(f"--host {host!r} is no address of this machine: {error}.") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"Nothing can listen on {host} port {port} ({error.strerror}): choose another --port."
        ) from error
    return listener


async def _serve(settings: Settings, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    async with desk(settings) as made:
        await made.settle()
        config = uvicorn.Config(
            Api(made, settings).app(OPERATIONS),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            limit_concurrency=MAX_AT_ONCE,
            timeout_keep_alive=5,
        )
        shown = f"[{host}]" if ":" in host else host
        typer.echo(f"The identity map is served at http://{shown}:{port}; Ctrl-C ends it.")
        if not ip_address(host).is_loopback:
            typer.echo(
                "Others can reach it, and the token goes in the clear: put TLS in front of it.",
                err=True,
            )
        server = _Server(config)
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sign, server.end)
        await server.serve(sockets=[listener])
