"""One conversation with a target: the only place where a connector's requests are sent.

Nothing a connector, its target or the HTTP client does leaves here as an exception (a
cancellation does): it comes back as an `Exchange`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import httpx

from connectors.base import Call, Conversation, Effect, Reply

MAX_ANSWER = 8 * 1024 * 1024
"""Greatest answer that is read, bytes after decompression."""
MAX_CALLS = 10_000
"""Most requests in one conversation: one that asks more goes round in circles."""

T = TypeVar("T")
_BODY_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange(Generic[T]):
    """What came of a conversation.

    `result` is None where the connector's code failed (`bug`: its exception's type) or where
    the conversation was broken off (`late`). `calls` counts requests, `wrote` says whether
    one that can have an effect went out; `request_hash` is SHA-256, hex, of the last of those
    (method, address, body). `status` and `headers` are of the answer to the last
    request; 0 where there was none.
    """

    result: T | None
    calls: int
    wrote: bool
    bug: str = ""
    late: bool = False
    request_hash: str | None = None
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


async def converse(
    begin: Callable[[], Conversation[T]],
    client: httpx.AsyncClient,
    *,
    request_s: float,
    late: Callable[[], bool],
) -> Exchange[T]:
    """Begin a conversation and hold it to its end. `request_s` bounds each request, seconds.

    `late` is asked before each request that can have an effect; where it says yes, the
    request is not sent and the conversation is over.
    """
    exchange: Exchange[T] = Exchange(result=None, calls=0, wrote=False)
    reply: Reply | None = None
    try:
        conversation = begin()
        while exchange.calls < MAX_CALLS:
            call = next(conversation) if reply is None else conversation.send(reply)
            writes = _writes(call)
            if writes and late():
                conversation.close()
                return replace(exchange, late=True)
            exchange = replace(
                exchange,
                calls=exchange.calls + 1,
                wrote=exchange.wrote or writes,
                request_hash=_hash(call.request) if writes else exchange.request_hash,
            )
            reply = await _send(call.request, client, request_s)
            if isinstance(reply, httpx.Response):
                exchange = replace(exchange, status=reply.status_code, headers=reply.headers)
            else:
                exchange = replace(exchange, status=0, headers={})
    except StopIteration as end:
        return replace(exchange, result=end.value)
    except Exception as error:  # noqa: BLE001 - whatever a connector raises is an outcome here
        return replace(exchange, bug=type(error).__name__)
    return replace(exchange, bug="endless conversation")


def _hash(request: httpx.Request) -> str:
    head = f"{request.method}\n{request.url.copy_with(userinfo=b'')}\n".encode()
    return hashlib.sha256(head + request.read()).hexdigest()


def _writes(call: Call) -> bool:
    return call.effect is not Effect.READ


async def _send(request: httpx.Request, client: httpx.AsyncClient, request_s: float) -> Reply:
    """The answer, or the trouble as a TransportError.

    Trouble that httpx does not call a TransportError becomes the nearest one: an address
    that cannot be used was certainly not sent (UnsupportedProtocol); an answer that cannot
    be read came from the target (RemoteProtocolError); all else may have been sent (ReadError).
    """
    try:
        async with asyncio.timeout(request_s):
            return await _read(request, client)
    except TimeoutError:
        return httpx.ReadTimeout(f"no whole answer within {request_s:g} s", request=request)
    except httpx.TransportError as error:
        return error
    except httpx.InvalidURL:
        return httpx.UnsupportedProtocol("the address cannot be used", request=request)
    except httpx.RequestError as error:
        return httpx.RemoteProtocolError(type(error).__name__, request=request)
    except Exception as error:  # noqa: BLE001 - the HTTP stack leaks others (OSError, RuntimeError)
        return httpx.ReadError(type(error).__name__, request=request)


async def _read(request: httpx.Request, client: httpx.AsyncClient) -> httpx.Response:
    response = await client.send(request, stream=True, follow_redirects=False)
    try:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER:
                raise httpx.RemoteProtocolError(
                    f"its answer is larger than {MAX_ANSWER} bytes", request=request
                )
    finally:
        await response.aclose()
    headers = [
        (name, value)
        for name, value in response.headers.raw
        if name.lower().decode("latin-1") not in _BODY_HEADERS
    ]
    # The body is decoded by now: leaving Content-Encoding would have httpx decode it twice.
    return httpx.Response(
        response.status_code,
        headers=headers,
        content=bytes(body),
        request=response.request,
        extensions={k: v for k, v in response.extensions.items() if k != "network_stream"},
    )
