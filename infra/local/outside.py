"""Servers of the user's own: where a setting names one, it is used instead of a part of ours."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from infra.local.part import StackError

REACH_S = 5.0
DEFAULT_PORTS = {
    "mqtt": 1883,
    "mqtts": 8883,
    "redis": 6379,
    "rediss": 6379,
    "http": 80,
    "https": 443,
    "kafka": 9092,
}


def values(variables: tuple[str, ...], environment: Mapping[str, str]) -> dict[str, str] | None:
    """What the environment says of a part; None where its first variable is unset or empty."""
    if not environment.get(variables[0]):
        return None
    return {name: environment[name] for name in variables if environment.get(name)}


def addresses(value: str) -> list[tuple[str, int]]:
    """Host and port of each server in a URL or in Kafka's list 'host:port,host:port'.

    ValueError where there is none or one cannot be read.
    """
    if "://" in value:
        urls = [urlsplit(value)]
    else:
        urls = [urlsplit(f"kafka://{one.strip()}") for one in value.split(",") if one.strip()]
    found = []
    for url in urls:
        port = url.port or DEFAULT_PORTS.get(url.scheme)
        if not url.hostname or port is None:
            raise ValueError("no host or no port")
        found.append((url.hostname, port))
    if not found:
        raise ValueError("no server")
    return found


def check(part: str, variable: str, value: str) -> None:
    """StackError unless one of the servers takes a connection.

    The message never repeats the value: it may hold a password.
    """
    mend = f"correct it, start that server, or unset {variable} to have one started here"
    try:
        servers = addresses(value)
    except ValueError as error:
        raise StackError(f"{variable} names no server of {part} ({error}): {mend}.") from error
    for server in servers:
        try:
            socket.create_connection(server, REACH_S).close()
        except OSError:
            continue
        return
    names = ", ".join(f"{host}:{port}" for host, port in servers)
    raise StackError(f"{variable} is set, but nothing takes connections at {names}: {mend}.")
