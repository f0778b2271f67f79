"""The HTTP client that conversations go through: where it may go, and where it may not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from connectors.registry import settings_of, system
from connectors.settings import host_of, stays_here


def make_client(sink: str, values: Mapping[str, Any] | None = None) -> httpx.AsyncClient:
    """A client for one system: certificates verified, no redirect followed, no other host.

    What an answer points at (a Location, the address of a job) is held to that too, and to
    https but for loopback: clear http would show credentials to the network.

    SettingsError where the system's settings are unusable. `values` as in make_connector.
    """
    found = system(sink)
    settings = settings_of(sink, values)
    allowed = settings.hosts()

    async def keep_to_hosts(request: httpx.Request) -> None:
        host = host_of(str(request.url))
        if host not in allowed:
            raise httpx.UnsupportedProtocol(
                f"{host or 'it'} is not among the hosts of {sink}", request=request
            )
        if request.url.scheme == "http" and not stays_here(host):
            raise httpx.UnsupportedProtocol(f"{host} is spoken to by https only", request=request)

    return httpx.AsyncClient(
        follow_redirects=False,
        timeout=settings.timeout_s,
        event_hooks={"request": [keep_to_hosts]},
        mounts=dict(found.mounts(settings)),
    )
