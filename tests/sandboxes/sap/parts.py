"""$batch as SAP Gateway reads and writes it: multipart/mixed, change sets, CRLF."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from http import HTTPStatus

from tests.sandboxes.sap.odata import Reply, malformed

OPERATIONS_MAX = 1_000
_LINE = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One request of a batch; names of headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def parse(content_type: str, body: bytes) -> list[Part | list[Part]]:
    """The requests in order; a change set is a list."""
    found: list[Part | list[Part]] = []
    for piece in _pieces(content_type, body):
        if piece.get_content_type() == "multipart/mixed":
            inner = piece.get_payload()
            if not isinstance(inner, list):
                raise malformed("Malformed changeset")
            changes = [_part(one) for one in inner if isinstance(one, Message)]
            if any(one.method == "GET" for one in changes):
                raise malformed("Retrieve requests are not allowed within a changeset")
            found.append(changes)
        else:
            found.append(_part(piece))
    if len(found) > OPERATIONS_MAX:
        raise malformed("Too many operations in the batch")
    return found


def _pieces(content_type: str, body: bytes) -> list[Message]:
    if not content_type.lower().startswith("multipart/mixed") or "boundary=" not in content_type:
        raise malformed("The batch needs content type multipart/mixed with a boundary")
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1")
    whole = BytesParser().parsebytes(head + body)
    pieces = whole.get_payload()
    if not isinstance(pieces, list) or whole.defects:
        raise malformed("Malformed multipart body")
    return [piece for piece in pieces if isinstance(piece, Message)]


def _part(piece: Message) -> Part:
    raw = piece.get_payload(decode=True)
    if piece.get_content_type() != "application/http" or not isinstance(raw, bytes):
        raise malformed("A part of the batch is no application/http")
    head, gap, body = raw.lstrip(b"\r\n").partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    first = _LINE.fullmatch(lines[0])
    if not gap or not first:
        raise malformed("A request of the batch is malformed: its empty line is missing")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        headers[name.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
    length = headers.get("content-length")
    kept = body[: int(length)] if length and length.isdigit() else body.rstrip(b"\r\n")
    return Part(
        method=first.group(1).decode(), path=first.group(2).decode(), headers=headers, body=kept
    )


def render(answers: Sequence[Reply | list[Reply]]) -> tuple[str, bytes]:
    """Content type and body of the answer. A list is a change set that went well."""
    boundary = secrets.token_hex(16).upper()
    out = b""
    for answer in answers:
        out += f"--{boundary}\r\n".encode()
        if isinstance(answer, Reply):
            out += _http(answer)
            continue
        inner = secrets.token_hex(16).upper()
        body = b"".join(f"--{inner}\r\n".encode() + _http(one) for one in answer)
        body += f"--{inner}--\r\n".encode()
        head = f"Content-Type: multipart/mixed; boundary={inner}\r\nContent-Length: {len(body)}"
        out += head.encode() + b"\r\n\r\n" + body + b"\r\n"
    return f"multipart/mixed; boundary={boundary}", out + f"--{boundary}--\r\n".encode()


def _http(one: Reply) -> bytes:
    body = b"" if one.body is None else json.dumps(one.body, ensure_ascii=False).encode()
    lines = [f"HTTP/1.1 {one.status} {HTTPStatus(one.status).phrase}"]
    if one.body is not None:
        lines.append("Content-Type: application/json;charset=utf-8")
    lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in one.headers.items()]
    inner = "\r\n".join([*lines, "dataserviceversion: 2.0", "", ""]).encode() + body
    head = f"Content-Type: application/http\r\nContent-Length: {len(inner)}\r\n"
    return head.encode() + b"content-transfer-encoding: binary\r\n\r\n" + inner + b"\r\n"
