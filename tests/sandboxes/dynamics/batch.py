"""Requests and answers of the Web API, one by one or in a $batch (OData 4.0 part 1, 11.7)."""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.responses import Response

from tests.sandboxes.dynamics.store import RefusedError

API = "/api/data/v9.2/"
BATCH_MAX = 1_000
_JSON = "application/json; odata.metadata=minimal"
_LINE = re.compile(rb"([A-Z]+) (\S+)(?: HTTP/1\.1)?")
_BOUNDARY = re.compile(r'boundary="?([^";,\s]+)"?', re.IGNORECASE)


@dataclass(slots=True, kw_only=True)
class Asked:
    """One request, on its own or in a batch. `path` below the API's root, still encoded."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes
    content_id: str = ""


@dataclass(slots=True, kw_only=True)
class Answer:
    """What comes back of it."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        if isinstance(self.body, str):
            return self.body.encode()
        return b"" if self.body is None else orjson.dumps(self.body)


class Batch:
    """`done` does one request in a transaction of its own, `execute` within the current one."""

    def __init__(
        self,
        base: str,
        *,
        done: Callable[[Asked], Answer],
        execute: Callable[[Asked], Answer],
        transaction: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._base, self._done, self._execute = base, done, execute
        self._transaction = transaction

    def respond(self, headers: Mapping[str, str], body: bytes) -> Response:
        """The answer to a whole batch."""
        outer = _parts(headers.get("content-type", ""), body)
        if outer is None:
            return sent(error_of("0x80048d19", "The batch has no boundary."))
        go_on = "odata.continue-on-error" in headers.get("prefer", "")
        status, lines = 200, []
        boundary = f"batchresponse_{uuid.uuid4()}"
        count = itertools.count(1)
        for head, content in outer:
            inner = _parts(head.get("content-type", ""), content)
            try:
                asked = [self._part(one, text) for one, text in inner or [(head, content)]]
            except RefusedError as error:
                return sent(error_of(error.code, error.message, error.status))
            if [next(count) for _ in asked][-1:] > [BATCH_MAX]:
                return sent(error_of("0x80060888", "A batch holds at most 1000 requests."))
            answers = [self._done(asked[0])] if inner is None else self._change_set(asked)
            lines.append(_shown_part(boundary, answers, asked, nested=inner is not None))
            failed = next((one.status for one in answers if one.status >= 400), 0)
            if failed and not go_on:
                status = failed
                break
        text = b"".join(lines) + f"--{boundary}--\r\n".encode()
        kind = f"multipart/mixed; boundary={boundary}"
        return Response(text, status, headers={"Content-Type": kind, "OData-Version": "4.0"})

    def _change_set(self, asked: list[Asked]) -> list[Answer]:
        """All of it or nothing; then the answer is the one error."""
        if any(one.method == "GET" for one in asked):
            return [error_of("0x80060888", "GET is not allowed in a change set.")]
        answers: list[Answer] = []
        made: dict[str, str] = {}
        try:
            with self._transaction():
                for one in asked:
                    answers.append(self._execute(_referred(one, made)))
                    if where := answers[-1].headers.get("OData-EntityId"):
                        made[one.content_id] = where
        except RefusedError as error:
            return [error_of(error.code, error.message, error.status)]
        return answers

    def _part(self, head: Mapping[str, str], content: bytes) -> Asked:
        first, _, rest = content.lstrip(b"\r\n").partition(b"\r\n")
        line = _LINE.fullmatch(first.strip())
        if head.get("content-type", "").split(";")[0] != "application/http" or line is None:
            raise RefusedError("0x80048d19", "A part of the batch is no HTTP request.")
        inner, body = _headed(rest) if not rest.startswith(b"\r\n") else ({}, rest[2:])
        address = line[2].decode("ascii", "replace").removeprefix(self._base)
        path, _, query = address.removeprefix(API).partition("?")
        return Asked(
            method=line[1].decode(),
            path=path,
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers=inner,
            body=body.strip(b"\r\n"),
            content_id=head.get("content-id", ""),
        )


def _referred(asked: Asked, made: Mapping[str, str]) -> Asked:
    """'$1' in address and body is what the request with that Content-ID made."""
    path, text = asked.path, asked.body.decode("utf-8", "replace")
    for number, where in made.items():
        own = where.partition(API)[2]
        path = own if path == f"${number}" else path
        text = text.replace(f'"${number}"', f'"/{own}"')
    if path.startswith("$"):
        raise RefusedError("0x80060888", f"Content-ID Reference: '{path}' does not exist.")
    return Asked(
        method=asked.method,
        path=path,
        query=asked.query,
        headers=asked.headers,
        body=text.encode(),
        content_id=asked.content_id,
    )


def _shown_part(boundary: str, answers: list[Answer], asked: list[Asked], *, nested: bool) -> bytes:
    if not nested:
        return f"--{boundary}\r\n".encode() + _http(answers[0], "")
    own = f"changesetresponse_{uuid.uuid4()}"
    head = f"--{boundary}\r\nContent-Type: multipart/mixed; boundary={own}\r\n\r\n".encode()
    parts = [
        f"--{own}\r\n".encode() + _http(answer, one.content_id)
        for answer, one in zip(answers, asked, strict=False)
    ]
    return head + b"".join(parts) + f"--{own}--\r\n".encode()


def _http(answer: Answer, content_id: str) -> bytes:
    head = ["Content-Type: application/http", "Content-Transfer-Encoding: binary"]
    head += [f"Content-ID: {content_id}"] if content_id else []
    inner = [f"HTTP/1.1 {answer.status} {'OK' if answer.status < 400 else 'Error'}"]
    inner += ["OData-Version: 4.0", *(f"{k}: {v}" for k, v in answer.headers.items())]
    inner += [f"Content-Type: {_JSON}"] if answer.body is not None else []
    lines = "\r\n".join([*head, "", *inner, "", ""]).encode()
    return lines + answer.content + b"\r\n"


def _parts(kind: str, body: bytes) -> list[tuple[dict[str, str], bytes]] | None:
    """A multipart body's parts. Lines end with CRLF, as Dataverse wants them."""
    found = _BOUNDARY.search(kind)
    if not kind.lower().startswith("multipart/mixed") or found is None:
        return None
    mark = f"--{found[1]}".encode()
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)[1:]
    return [_headed(piece.removeprefix(b"\r\n")) for piece in pieces if piece[:2] != b"--"]


def _headed(text: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = text.partition(b"\r\n\r\n")
    pairs = (line.partition(":") for line in head.decode("latin-1").split("\r\n"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}, body


def error_of(code: str, message: str, status: int = 0) -> Answer:
    """An error as the API tells it."""
    known = RefusedError(code, message, status)
    return Answer(status=known.status, body={"error": {"code": code, "message": message}})


def sent(answer: Answer, more: Mapping[str, str] | None = None) -> Response:
    """An answer that is not part of a batch."""
    headers = {"OData-Version": "4.0", **answer.headers, **(more or {})}
    if answer.body is not None:
        headers.setdefault("Content-Type", _JSON)
    return Response(answer.content, answer.status, headers=headers)
