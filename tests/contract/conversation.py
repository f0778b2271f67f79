"""Drive a connector's conversation: with canned replies, or over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import httpx

from connectors.base import Call, Conversation, Reply

T = TypeVar("T")


def converse(conversation: Conversation[T], replies: Iterable[Reply]) -> tuple[T, list[Call]]:
    """What the conversation returns, and every call it made, given these replies in order.

    Fails where it wants more replies than there are, or leaves some unasked for.
    """
    calls: list[Call] = []
    left = list(replies)
    try:
        call = next(conversation)
        while True:
            calls.append(call)
            assert left, f"no canned reply for step {call.step}"
            call = conversation.send(left.pop(0))
    except StopIteration as end:
        assert not left, f"{len(left)} replies were not asked for, after {steps(calls)}"
        return end.value, calls


async def converse_over(
    client: httpx.AsyncClient,
    conversation: Conversation[T],
    *,
    before: Callable[[Call], Any] | None = None,
) -> tuple[T, list[Call]]:
    """The same over the network. `before` may be awaited, before each call is sent."""
    calls: list[Call] = []
    try:
        call = next(conversation)
        while True:
            calls.append(call)
            if before is not None:
                await before(call)
            reply: Reply
            try:
                reply = await client.send(call.request, follow_redirects=False)
            except httpx.TransportError as error:
                reply = error
            call = conversation.send(reply)
    except StopIteration as end:
        return end.value, calls


def steps(calls: Iterable[Call]) -> list[str]:
    """The calls' names, in order."""
    return [call.step for call in calls]


def body(call: Call) -> Any:  # noqa: ANN401 - JSON
    """The call's body, parsed."""
    return json.loads(call.request.content)
