"""Which loopback ports the parts get: the last ones where free, else new ones.

New ones lie below the range from which systems take the near end of outgoing connections
(Linux from 32768, macOS from 49152). Inside that range a client that keeps trying the port
of a stopped server can be given that very port as its near end and connect to itself, and
then the server cannot come back.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterable, Mapping

from infra.local.part import StackError

LOOPBACK = "127.0.0.1"
FIRST = 20_000
LAST = 31_999
TRIES = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As our servers do: a connection of the last run in TIME_WAIT is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except (OSError, OverflowError):
            return False
    return True


def draw() -> int:
    """Any port of our range."""
    return FIRST + secrets.randbelow(LAST - FIRST + 1)


def choose(
    names: Iterable[str],
    remembered: Mapping[str, int],
    *,
    taken: Iterable[int] = (),
    free: Callable[[int], bool] = is_free,
    pick: Callable[[], int] = draw,
) -> dict[str, int]:
    """A free port for every name, all different and none in `taken`.

    A remembered port is kept where it is free. StackError when none is found.
    """
    used = set(taken)
    chosen: dict[str, int] = {}
    for name in names:
        port = remembered.get(name, 0)
        tries = 0
        while port <= 0 or port in used or not free(port):
            if tries == TRIES:
                raise StackError(
                    f"No free port was found between {FIRST} and {LAST} on {LOOPBACK}: "
                    "end some of the servers that listen there."
                )
            tries += 1
            port = pick()
        used.add(port)
        chosen[name] = port
    return chosen
