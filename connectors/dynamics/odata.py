"""Requests of the Web API, one by one or as a $batch, and what comes back of each. Pure.

Format: OData 4.0 part 1, 11.7 (multipart batch), and Microsoft Learn, 'Execute batch
operations using the Web API': CRLF, at most 1,000 requests, reads outside of change sets. Each
`Ask` that writes is a change set of its own, so it is done as a whole or not at all and does
not undo another's; with odata.continue-on-error the batch answers 200 and each part for itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from connectors.base import Reply
from connectors.dynamics.config import DynamicsSettings
from connectors.dynamics.mapping import quoted

CRLF = b"\r\n"
BATCH = "fieldline_batch"
CHANGES = "fieldline_changes"
"""Boundaries: no line of ours begins so, for bodies are JSON on one line and begin with '{'."""
PARTS_MAX = 3_000
_BOUNDARY = re.compile(r'boundary="?([^";,\s]{1,200})"?', re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |$)")
_KEPT = (b"odata-entityid", b"retry-after", b"content-type")
_COMMON = {"OData-Version": "4.0", "OData-MaxVersion": "4.0", "Accept": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request: `path` below the API's root, encoded; `body` JSON or none."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        return b"" if self.body is None else orjson.dumps(self.body)


Ask = tuple[Step, ...]
"""What is done for one event: several steps are one transaction."""


def record_path(settings: DynamicsSettings, key: str) -> str:
    """The record with that key, below the API's root."""
    value = quote(quoted(key), safe="'")
    return f"{settings.entity_set}({settings.key_attribute}={value})"


def request(api: str, asks: Sequence[Ask], token: str) -> httpx.Request:
    """The HTTP request for all of them: plain where it is one step, else a $batch."""
    headers = _COMMON | {"Authorization": f"Bearer {token}"}
    if len(asks) == 1 and len(asks[0]) == 1:
        step = asks[0][0]
        typed = {"Content-Type": "application/json; charset=utf-8"} if step.body is not None else {}
        return httpx.Request(
            step.method,
            f"{api}/{step.path}",
            headers=headers | typed | dict(step.headers),
            content=step.content if step.body is not None else None,
        )
    headers |= {
        "Content-Type": f'multipart/mixed; boundary="{BATCH}"',
        "Prefer": "odata.continue-on-error",
    }
    return httpx.Request("POST", f"{api}/$batch", headers=headers, content=_batch(api, asks))


def _batch(api: str, asks: Sequence[Ask]) -> bytes:
    lines: list[bytes] = []
    number = 0
    for place, ask in enumerate(asks):
        lines.append(b"--" + BATCH.encode())
        if ask[0].method == "GET":
            lines += _part(api, ask[0], None)
            continue
        inner = f"{CHANGES}_{place}"
        lines += [f'Content-Type: multipart/mixed; boundary="{inner}"'.encode(), b""]
        for step in ask:
            number += 1
            lines += [f"--{inner}".encode(), *_part(api, step, number)]
        lines += [f"--{inner}--".encode(), b""]
    return CRLF.join([*lines, f"--{BATCH}--".encode(), b""])


def _part(api: str, step: Step, number: int | None) -> list[bytes]:
    head = [b"Content-Type: application/http", b"Content-Transfer-Encoding: binary"]
    if number is not None:
        head.append(f"Content-ID: {number}".encode())
    inner = [f"{step.method} {api}/{step.path} HTTP/1.1".encode(), b"Accept: application/json"]
    if step.body is not None:
        inner.append(b"Content-Type: application/json; charset=utf-8; type=entry")
    inner += [f"{name}: {value}".encode() for name, value in step.headers.items()]
    return [*head, b"", *inner, b"", step.content]


def answers(reply: Reply, asks: Sequence[Ask]) -> list[Reply | None]:
    """One answer per ask, in order; None where the batch's answer says nothing of it.

    Of a change set it is the first step's answer, or the error that undid it. An error that is
    no multipart is everybody's: the batch as a whole was refused. A success that is none (the
    page of a proxy) says nothing.
    """
    if isinstance(reply, httpx.TransportError) or (len(asks) == 1 and len(asks[0]) == 1):
        return [reply] * len(asks)
    outer = _split(reply.headers.get("content-type", ""), reply.content)
    if outer is None:
        return [None if reply.is_success else reply] * len(asks)
    owners: dict[bytes, int] = {}
    for place, ask in enumerate(asks):
        for _ in ask if ask[0].method != "GET" else ():
            owners[str(len(owners) + 1).encode()] = place
    found: dict[int, list[httpx.Response]] = {}
    for place, (head, body) in enumerate(outer):
        nested = _split(head.get(b"content-type", b"").decode("latin-1"), body)
        for inner_head, inner in nested if nested is not None else [(head, body)]:
            made = _response(inner, reply)
            if made is not None:
                found.setdefault(owners.get(inner_head.get(b"content-id", b""), place), []).append(
                    made
                )
    return [_verdict(found.get(place, ()), ask) for place, ask in enumerate(asks)]


def _verdict(said: Sequence[httpx.Response], ask: Ask) -> Reply | None:
    wrong = [one for one in said if not one.is_success]
    if wrong:
        return wrong[0]
    return said[0] if len(said) == len(ask) else None


Head = dict[bytes, bytes]


def _split(kind: str, body: bytes) -> list[tuple[Head, bytes]] | None:
    """The parts of a multipart body; None where it is none."""
    found = _BOUNDARY.search(kind[:1_024])
    if not kind.lower().startswith("multipart/") or found is None:
        return None
    mark = re.escape(b"--" + found[1].encode("latin-1", "replace"))
    pieces = re.split(
        rb"(?:\A|\r?\n)" + mark + rb"(?:--)?[ \t]*(?=\r?\n|\Z)", body, maxsplit=PARTS_MAX
    )
    return [_headed(piece.lstrip(b"\r\n")) for piece in pieces[1:] if piece.strip()]


def _headed(text: bytes) -> tuple[Head, bytes]:
    pieces = re.split(rb"\r?\n\r?\n", text, maxsplit=1)
    lines = (line.partition(b":") for line in pieces[0].splitlines())
    head = {name.strip().lower(): value.strip() for name, colon, value in lines if colon}
    return head, pieces[1] if len(pieces) > 1 else b""


def _response(text: bytes, outer: httpx.Response) -> httpx.Response | None:
    """The answer that a part holds; None where it holds none.

    Only headers that are read are kept, as bytes: httpx must not decode or count anything.
    """
    line, _, rest = text.lstrip(b"\r\n").partition(b"\n")
    status = _STATUS.match(line.strip())
    if status is None:
        return None
    # Without headers the blank line comes at once.
    head, body = _headed(rest) if rest.strip(b"\r\n") else ({}, b"")
    headers = [(name, head[name]) for name in _KEPT if name in head]
    if b"retry-after" not in head and "retry-after" in outer.headers:
        headers.append((b"retry-after", outer.headers["retry-after"].encode("latin-1", "replace")))
    return httpx.Response(int(status[1]), headers=headers, content=body.strip(b"\r\n"))
