"""Breaks name resolution in a worker on request: Python imports this at its start.

FAULTS_HOST is a name that only exists here, for 127.0.0.1; while the file FAULTS_DNS_FLAG is
there, it cannot be resolved. uvloop's loop resolves by itself, so both ways are covered.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

_HOST = os.environ.get("FAULTS_HOST", "")
_FLAG = Path(os.environ.get("FAULTS_DNS_FLAG", ""))


def _resolved(host: str | bytes | None) -> str | bytes | None:
    if (host.decode() if isinstance(host, bytes) else host) != _HOST:
        return host
    if _FLAG.exists():
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return "127.0.0.1"


def _install() -> None:
    import uvloop  # noqa: PLC0415 - only where it is asked for

    by_libc, by_loop = socket.getaddrinfo, uvloop.Loop.getaddrinfo

    def blocking(host: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as in the library
        return by_libc(_resolved(host), *args, **kwargs)

    async def waiting(self: Any, host: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return await by_loop(self, _resolved(host), *args, **kwargs)

    socket.getaddrinfo = blocking
    uvloop.Loop.getaddrinfo = waiting  # type: ignore[method-assign]


if _HOST:
    _install()
