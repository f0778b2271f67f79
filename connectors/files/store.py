"""Files of a drop as requests: read, written whole, found by key. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx

from connectors.answers import json_of
from connectors.base import Call, Conversation, Effect, Reply
from connectors.files.answers import MISSING, PAGE, TITLE, row_of, words
from connectors.files.config import FilesSettings
from connectors.files.sigv4 import signed
from connectors.speech import Speech
from pipeline.core.outcome import Retryable

PLACE = re.compile(r"[0-9-]{10}/fl-[0-9a-f]{24}")
"""DAY/NAME, as marks and manifests have it."""
_SIGNATURE = re.compile(rb"Signature=[0-9a-f]+")


def mark_path(key: str) -> str:
    """A key's mark."""
    return f"keys/{key[:2]}/{key}.json"


def manifest_path(place: str) -> str:
    """The manifest of a batch."""
    return f"manifests/{place}.json"


class Store:
    """One drop. `clock` gives seconds since the Unix epoch, for S3's signatures."""

    def __init__(self, settings: FilesSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._base = settings.base()
        self.speech = Speech(title=TITLE, secrets=settings.secrets(), words=words, clock=clock)

    def put(
        self,
        step: str,
        path: str,
        body: bytes,
        *,
        kind: str = "application/json",
        effect: Effect = Effect.KEYED_WRITE,
        new: bool = False,
    ) -> Call:
        """Write a file whole; `new` only where there is none of that name."""
        headers = {"content-type": kind} | ({"if-none-match": "*"} if new else {})
        return self._call(step, "PUT", f"{self._base}/{path}", effect, headers, body)

    def head(self) -> Call:
        """Is the folder, or the bucket, there?"""
        where = f"{self._base}/" if self._settings.is_sftp else self._settings.bucket()
        return self._call("check", "HEAD", where, Effect.READ, {})

    def where(self, step: str, key: str) -> Conversation[str | Retryable]:
        """The data file that has a key: its mark, then the manifest; '' where none has."""
        mark = yield from self._get(step, mark_path(key))
        if not isinstance(mark, dict):
            return mark or ""
        place = mark.get("manifest")
        if not isinstance(place, str) or not PLACE.fullmatch(place):
            return self.speech.again(PAGE, _NONE)
        told = yield from self._get(step, manifest_path(place))
        if not isinstance(told, dict):
            return told or ""
        keys, files = told.get("keys"), told.get("files")
        first = files[0] if isinstance(files, list) and files else None
        path = first.get("path") if isinstance(first, dict) else None
        if not isinstance(keys, list) or not isinstance(path, str):
            return self.speech.again(PAGE, _NONE)
        return path if key in keys else ""

    def _get(self, step: str, path: str) -> Conversation[dict[str, Any] | Retryable | None]:
        """A file's JSON; None where the server says that it is not there."""
        reply = yield self._call(step, "GET", f"{self._base}/{path}", Effect.READ, {})
        row = row_of(reply)
        if row is not None:
            return None if row.code == MISSING else self.speech.again(row, heard(reply))
        body = json_of(reply) if isinstance(reply, httpx.Response) else None
        return body if isinstance(body, dict) else self.speech.again(PAGE, heard(reply))

    def _call(
        self,
        step: str,
        method: str,
        where: str,
        effect: Effect,
        headers: dict[str, str],
        body: bytes | None = None,
    ) -> Call:
        url = httpx.URL(where)
        if not self._settings.is_sftp:
            headers = self._signed(method, url, headers, body or b"")
        request = httpx.Request(method, url, headers=headers, content=body)
        return Call(step=step, request=request, effect=effect)

    def _signed(
        self, method: str, url: httpx.URL, headers: dict[str, str], body: bytes
    ) -> dict[str, str]:
        told = self._settings
        if told.session_token is not None:
            headers["x-amz-security-token"] = told.session_token.get_secret_value()
        secret = told.secret_access_key.get_secret_value() if told.secret_access_key else ""
        return signed(
            method,
            url,
            headers,
            body,
            access_key_id=told.access_key_id,
            secret_access_key=secret,
            region=told.region,
            now_s=self._clock(),
        )


_NONE = httpx.ReadError("")
"""For what is told without an answer of its own."""


def heard(reply: Reply) -> Reply:
    """An answer without the signature of our request, which it may repeat."""
    if isinstance(reply, httpx.TransportError) or not _SIGNATURE.search(reply.content):
        return reply
    told = {name: reply.headers[name] for name in ("retry-after",) if name in reply.headers}
    body = _SIGNATURE.sub(b"Signature=***", reply.content)
    return httpx.Response(reply.status_code, headers=told, content=body)
