"""OData V2 $batch: multipart/mixed written and read. Pure.

Requests: each write in a change set of its own, so that one that is refused rolls back no
other; reads outside of change sets (OData V2, "Batch Processing"). Answers come in the same
order; a change set that failed is one plain error part, not a nested multipart.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

import httpx
import orjson

PARTS_MAX = 1_000
"""Most parts read of one answer."""
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3})[ \r\n]?")
_NAME = re.compile(r"[a-z0-9-]{1,64}")
_BOUNDARY_MAX = 70
"""RFC 2046, 5.1.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One request to a service. `path` is below its root, with its query; `body` JSON or None."""

    step: str
    method: str
    path: str
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        """The body as it is sent: one line, so that no boundary can stand in it."""
        return b"" if self.body is None else orjson.dumps(self.body)


def encode(ops: Sequence[Op]) -> tuple[str, bytes]:
    """Content type and body of a $batch request. The same requests make the same bytes."""
    seed = hashlib.sha256(b"\n".join(_request(op) for op in ops)).hexdigest()[:24]
    boundary = f"batch_{seed}"
    lines: list[bytes] = []
    for number, op in enumerate(ops):
        lines.append(f"--{boundary}".encode())
        if op.method == "GET":
            lines += [_part_head(), _request(op)]
            continue
        inner = f"changeset_{seed}_{number}"
        lines += [
            f"Content-Type: multipart/mixed; boundary={inner}\r\n".encode(),
            f"--{inner}".encode(),
            _part_head(),
            _request(op),
            f"--{inner}--\r\n".encode(),
        ]
    lines.append(f"--{boundary}--\r\n".encode())
    return f"multipart/mixed; boundary={boundary}", b"\r\n".join(lines)


def _part_head() -> bytes:
    return b"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"


def _request(op: Op) -> bytes:
    content = op.content()
    headers = {"Accept": "application/json", **op.headers}
    if content:
        headers |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    lines = [f"{op.method} {op.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    # Without the empty line after the head the gateway calls the batch malformed.
    return "\r\n".join([*lines, "", ""]).encode() + content + b"\r\n"


def decode(reply: httpx.Response) -> list[httpx.Response] | None:
    """The answers in a $batch answer, one for each change set and read, in order.

    None where it is no whole multipart. A change set with several answers gives its last.
    """
    parts = _parts(reply.headers.get("content-type", ""), reply.content)
    if parts is None:
        return None
    answers = []
    for head, body in parts:
        kind = head.get("content-type", "")
        if kind.lower().startswith("multipart/mixed"):
            inner = _parts(kind, body)
            if not inner:
                return None
            body = inner[-1][1]  # noqa: PLW2901 - the same, one layer in
        answer = _response(body)
        if answer is None:
            return None
        answers.append(answer)
    return answers


def _parts(content_type: str, body: bytes) -> list[tuple[dict[str, str], bytes]] | None:
    """Head and body of each part; None where it does not end as it should (it was cut off)."""
    message = Message()
    message["content-type"] = content_type[:1_000]
    boundary = (
        message.get_param("boundary") if message.get_content_maintype() == "multipart" else ""
    )
    if not isinstance(boundary, str) or not 0 < len(boundary) <= _BOUNDARY_MAX:
        return None
    mark = re.escape(boundary.encode("utf-8", "replace"))
    line = re.compile(rb"(?:^|\r?\n)--" + mark + rb"(--)?[ \t]*(?=\r?\n|$)")
    found = []
    start: int | None = None
    for match in line.finditer(body):
        if start is not None:
            found.append(body[start : match.start()])
        if match.group(1):
            return [_split(one) for one in found]
        if len(found) >= PARTS_MAX:
            return None
        start = match.end()
    return None


def _split(part: bytes) -> tuple[dict[str, str], bytes]:
    part = part.removeprefix(b"\r").removeprefix(b"\n")
    pieces = _HEAD_END.split(part, maxsplit=1)
    return _headers(pieces[0]), pieces[1] if len(pieces) > 1 else b""


def _headers(head: bytes) -> dict[str, str]:
    pairs = (line.partition(b":") for line in head.splitlines() if b":" in line)
    return {
        name.strip().decode("ascii", "replace").lower(): value.strip().decode("latin-1")
        for name, _, value in pairs
    }


def _response(part: bytes) -> httpx.Response | None:
    status = _STATUS.match(part.lstrip())
    if status is None:
        return None
    head, body = _split(part.lstrip())
    length = head.pop("content-length", "")
    if length.isascii() and length.isdigit():
        body = body[: int(length[:10])]
    headers = [
        (name.encode(), value.encode("latin-1"))
        for name, value in head.items()
        if _NAME.fullmatch(name) and name not in {"content-encoding", "transfer-encoding"}
    ]
    return httpx.Response(int(status.group(1)), headers=headers, content=body)
