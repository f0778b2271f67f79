"""HTTP/1.x messages as bytes: just enough framing to know where one ends (RFC 9112, section 6).

The fault proxy passes messages on as they came, so nothing here is interpreted but the length
of a body and, for requests, what they would do at the target.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

HEAD_BYTES: Final = 65_536
"""Longest head of a message."""
BODY_BYTES: Final = 64 * 1024 * 1024
"""Longest body."""
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_LINGER_NOT: Final = struct.pack("ii", 1, 0)
_BODYLESS: Final = frozenset({204, 304})
_KEY: Final = re.compile(rb"FL-([a-z2-7]{24})")
_WRITING: Final = ("create", "write", "delete", "copy")
"""Last words of Tryton's model methods that change something (trytond/model/modelstorage.py)."""


class FramingError(Exception):
    """Bytes that are no HTTP/1.x message, or too many of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One request or answer: `head` up to and with the empty line, `body` as on the wire.

    `to_end`: the body had no length and ended with the connection.
    """

    head: bytes
    body: bytes
    to_end: bool = False

    @property
    def raw(self) -> bytes:
        """All of it, as it came."""
        return self.head + self.body

    @property
    def keeps_open(self) -> bool:
        """Whether another message may follow on the connection (RFC 9112, section 9.3)."""
        wish = _field(self.head, b"connection").lower()
        old = b"HTTP/1.0" in self.head.split(b"\r\n", 1)[0]
        return not self.to_end and b"close" not in wish and (not old or b"keep-alive" in wish)

    @property
    def writes(self) -> bool:
        """Whether this request changes something: by its JSON-RPC method, else by its verb."""
        with suppress(ValueError, AttributeError):
            method = json.loads(self.body).get("method")
            if isinstance(method, str):
                return method.rpartition(".")[2] in _WRITING
        return self.head.split(b" ", 1)[0] not in {b"GET", b"HEAD", b"OPTIONS"}

    @property
    def keys(self) -> tuple[str, ...]:
        """Idempotency keys of the orders in this request, each once, as they stand in it."""
        return tuple(dict.fromkeys(key.decode() for key in _KEY.findall(self.body)))


async def read_request(
    reader: asyncio.StreamReader, willing: Callable[[bytes], object] = lambda _: None
) -> Message | None:
    """The next request; None where the connection ended in order before it.

    `willing` is given CONTINUE to send where the client waits for that before the body; the
    head is then told without the wish (RFC 9110, section 10.1.1). FramingError or
    asyncio.IncompleteReadError where it is no request, or is cut short.
    """
    head = await _head(reader)
    if head is None:
        return None
    if _field(head, b"expect").lower() == b"100-continue":
        willing(CONTINUE)
        lines = head.split(b"\r\n")
        head = b"\r\n".join(one for one in lines if not one.lower().startswith(b"expect:"))
    return await _whole(reader, head, to_end=False)


async def read_answer(reader: asyncio.StreamReader) -> Message:
    """The answer to a request that may have a body in it; same errors."""
    head = await _head(reader)
    if head is None:
        raise asyncio.IncompleteReadError(b"", None)
    status = head.split(b" ", 2)[1] if head.count(b" ") > 1 else b""
    if not status.isdigit():
        raise FramingError("An answer begins with no status.")
    if int(status) in _BODYLESS or int(status) < 200:  # RFC 9110, 15.2
        return Message(head=head, body=b"")
    return await _whole(reader, head, to_end=True)


def answer(status: str, body: bytes, *headers: str, kind: str = "application/json") -> bytes:
    """An answer of our own, with its length, after which the connection closes."""
    lines = (
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _head(reader: asyncio.StreamReader) -> bytes | None:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    except asyncio.LimitOverrunError as error:
        raise FramingError(f"A head is longer than {HEAD_BYTES} bytes.") from error


async def _whole(reader: asyncio.StreamReader, head: bytes, *, to_end: bool) -> Message:
    if b"chunked" in _field(head, b"transfer-encoding").lower():
        return Message(head=head, body=await _chunks(reader))
    if length := _field(head, b"content-length"):
        if not length.isdigit() or int(length) > BODY_BYTES:
            raise FramingError(f"A body is longer than {BODY_BYTES} bytes, or of no length.")
        return Message(head=head, body=await reader.readexactly(int(length)))
    if not to_end:
        return Message(head=head, body=b"")
    body = bytearray()
    while part := await reader.read(65_536):
        body += part
        _capped(len(body))
    return Message(head=head, body=bytes(body), to_end=True)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """A chunked body as it stands on the wire, last chunk and trailer with it."""
    out = bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        out += line
        try:
            size = int(line.split(b";", 1)[0], 16)
        except ValueError as error:
            raise FramingError("A chunk begins with no size.") from error
        _capped(len(out) + size)
        if size == 0:
            break
        out += await reader.readexactly(size + 2)
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        out += line
    return bytes(out + line)


def _capped(size: int) -> None:
    if not 0 <= size <= BODY_BYTES:
        raise FramingError(f"A body is longer than {BODY_BYTES} bytes.")


def _field(head: bytes, name: bytes) -> bytes:
    """The value of a header; empty where it is not there."""
    for line in head.split(b"\r\n")[1:]:
        label, _, value = line.partition(b":")
        if label.strip().lower() == name:
            return value.strip()
    return b""


def reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN: a socket that does not linger is reset when it is closed (tcp(7))."""
    link = writer.get_extra_info("socket")
    if link is not None:
        with suppress(OSError):
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    writer.transport.abort()
