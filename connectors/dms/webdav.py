"""A collection by WebDAV (RFC 4918): for stores without CMIS. Pure.

    KEY-report.json                  what was raised; its properties show the state now
    KEY-report.VERSION.json          one for each update and clear
    KEY-snapshot.json, KEY-snapshot.VERSION.json

A resource is written with If-None-Match: *, so once: 412 the second time. Metadata are dead
properties in our own name space (PROPPATCH). WebDAV knows no transaction over the two: what was
written without its properties, by a worker that died, gets them when it is sent again. Not
found is told by a status alone, so a proxy's 404 cannot be told from the store's: a change may
be refused by mistake, but nothing is doubled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape

import httpx
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from connectors.answers import Kind, Row
from connectors.base import Checked, Conversation, Delivery, Effect, Reply
from connectors.dms.answers import BROKEN, dav_row, dav_trouble
from connectors.dms.mapping import STATE, VERSION, Document
from connectors.dms.session import Session, Wanted
from connectors.dms.store import TOLD_WRITING, TRIES, Seen, no_record, one_by_one
from pipeline.core.events import Action
from pipeline.core.outcome import Delivered, Found, LookUp, NotFound, Outcome, Retryable

SPACE = "urn:fieldline:dms"
"""Name space of the dead properties; 'fieldline:key' is there as 'fieldline-key'."""
DAV = "{DAV:}"
MULTI, MADE = (
    httpx.codes.MULTI_STATUS,
    (httpx.codes.CREATED, httpx.codes.NO_CONTENT, httpx.codes.OK),
)
MISSING = "dms.collection_missing"
THERE = "dms.there"
_STATUS = re.compile(r"HTTP/[0-9.]{1,3} ([1-5][0-9]{2})(?: |$)")
_HEAD = (VERSION, STATE, "fieldline:severity", "fieldline:event", "cmis:description")
"""Properties of the raised report that a change brings up to date."""
Said = Reply | Retryable


class WebDav:
    """One collection."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._url = session.settings.url

    def create(self, documents: Sequence[Document]) -> Conversation[Outcome]:
        """One after the other; what is there already stays as it is."""
        return (yield from one_by_one(documents, lambda one: self._put(one, one.name)))

    def change(self, one: Delivery, documents: Sequence[Document]) -> Conversation[Outcome]:
        """Each version as a resource of its own; then the raised report shows the new state."""
        report = documents[-1]
        outcome: Outcome | None = None
        for _ in range(TRIES):
            seen = yield from self._read(report.path)
            if isinstance(seen, Retryable):
                return seen
            if seen is None:
                return no_record(one)
            if seen.version >= report.version:
                return Delivered(target_id=seen.id, created=False)
            outcome = yield from one_by_one(
                documents, lambda version: self._put(version, version.version_name)
            )
            if not isinstance(outcome, Delivered):
                return outcome
            head = {name: report.properties[name] for name in _HEAD if name in report.properties}
            unchanged = {"if-match": seen.etag} if seen.etag else {}
            reply = yield from self._properties(report.path, head, unchanged)
            row = _patched(reply)
            if row is None:
                return Delivered(target_id=seen.id, created=True)
            outcome = self._session.outcome(row, reply)
            if row.kind is not Kind.RACED:
                break
        assert outcome is not None  # noqa: S101 - TRIES is not 0
        return outcome

    def look_up(self, one: Delivery, path: str) -> Conversation[LookUp]:
        """By path. A report without its properties is not there as a whole yet."""
        seen = yield from self._read(path)
        if isinstance(seen, Retryable):
            return seen
        changed = one.event.action is not Action.RAISE
        whole = seen is not None and bool(seen.version)
        if seen is None or not whole or (changed and seen.version < one.event.version):
            return NotFound()
        return Found(target_id=seen.id)

    def check(self) -> Conversation[Sequence[Checked]]:
        """Whether the collection answers, and speaks WebDAV."""
        reply = yield from self._talk("options", "OPTIONS", "", Effect.READ)
        row = None if isinstance(reply, Retryable) else dav_trouble(reply, MADE)
        lines = [self._session.checked("collection", row, reply)]
        if lines[0].ok and isinstance(reply, httpx.Response):
            classes = {part.strip() for part in reply.headers.get("dav", "").split(",")}
            speaks = "1" in classes
            told = "It speaks WebDAV." if speaks else "It does not say that it speaks WebDAV."
            lines.append(Checked(what="WebDAV", ok=speaks, detail=told))
            found = yield from self._read("")
            if isinstance(found, Retryable):
                lines.append(Checked(what="reading", ok=False, detail=found.message))
            else:
                lines.append(Checked(what="reading", ok=found is not None, detail="It was asked."))
        return [*lines, Checked(what="writing", ok=None, detail=TOLD_WRITING)]

    # -- a document

    def _put(  # noqa: PLR0911 - step by step
        self, document: Document, name: str, *, again: bool = True
    ) -> Conversation[Outcome]:
        path = f"{document.folder}/{name}"
        only_new = {"if-none-match": "*", "content-type": document.mime}
        reply = yield from self._talk(
            "put", "PUT", path, Effect.KEYED_WRITE, only_new, document.content
        )
        row = _row(reply, MADE)
        created = row is None
        if row is not None and row.code == MISSING and again:
            made = yield from self._collections(document.folder)
            return made or (yield from self._put(document, name, again=False))
        if row is not None and row.code == THERE:
            seen = yield from self._read(path)
            if isinstance(seen, Retryable):
                return seen
            if seen is None:
                return self._session.outcome(row, reply)
            if seen.version:
                return Delivered(target_id=seen.id, created=False)
        elif row is not None:
            return self._session.outcome(row, reply)
        reply = yield from self._properties(path, document.properties, {})
        row = _patched(reply)
        if row is not None:
            return self._session.outcome(row, reply)
        return Delivered(target_id=path.lstrip("/"), created=created)

    def _properties(
        self, path: str, properties: Mapping[str, Any], more: Mapping[str, str]
    ) -> Conversation[Said]:
        """Dead properties, all or none (RFC 4918, 9.2)."""
        lines = "".join(
            f"<f:{_tag(name)}>{escape(str(value))}</f:{_tag(name)}>"
            for name, value in properties.items()
        )
        text = (
            '<?xml version="1.0" encoding="utf-8"?>'
            f'<D:propertyupdate xmlns:D="DAV:" xmlns:f="{SPACE}">'
            f"<D:set><D:prop>{lines}</D:prop></D:set></D:propertyupdate>"
        )
        headers = {"content-type": "application/xml; charset=utf-8", **more}
        return (
            yield from self._talk(
                "properties", "PROPPATCH", path, Effect.KEYED_WRITE, headers, text.encode()
            )
        )

    def _read(self, path: str) -> Conversation[Seen | Retryable | None]:
        """The resource's version and ETag; None where the store says that it is not there."""
        text = (
            '<?xml version="1.0" encoding="utf-8"?>'
            f'<D:propfind xmlns:D="DAV:" xmlns:f="{SPACE}"><D:prop><D:getetag/>'
            f"<f:{_tag(VERSION)}/></D:prop></D:propfind>"
        )
        headers = {"depth": "0", "content-type": "application/xml; charset=utf-8"}
        reply = yield from self._talk("read", "PROPFIND", path, Effect.READ, headers, text.encode())
        if isinstance(reply, Retryable):
            return reply
        if isinstance(reply, httpx.Response) and reply.status_code == httpx.codes.NOT_FOUND:
            return None
        row = dav_trouble(reply, (MULTI,))
        if row is not None:
            return self._session.again(row, reply)
        found = _propstats(reply)
        if found is None:
            return self._session.again(BROKEN, reply)
        good = [one for status, one in found if status == httpx.codes.OK]
        told = {element.tag: (element.text or "").strip() for one in good for element in one}
        etag = told.get(f"{DAV}getetag", "")
        own = path.lstrip("/")
        return Seen(
            id=own,
            object_id=own,
            version=told.get(f"{{{SPACE}}}{_tag(VERSION)}", ""),
            etag=etag if etag.isascii() and etag.isprintable() else "",
        )

    def _collections(self, path: str) -> Conversation[Outcome | None]:
        """Every collection on the way; 405 says that it is there (RFC 4918, 9.3.1)."""
        parent = ""
        for name in path.strip("/").split("/"):
            parent = f"{parent}/{name}"
            reply = yield from self._talk("make_collection", "MKCOL", parent, Effect.KEYED_WRITE)
            row = _row(reply, (*MADE, httpx.codes.METHOD_NOT_ALLOWED))
            if row is not None:
                return self._session.outcome(row, reply)
        return None

    def _talk(
        self,
        step: str,
        method: str,
        path: str,
        effect: Effect,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Conversation[Said]:
        wanted = Wanted(
            step=step,
            method=method,
            url=f"{self._url}{quote(path)}" if path else f"{self._url}/",
            effect=effect,
            headers=headers or {},
            content=content,
        )
        return (yield from self._session.talk(wanted))


def _row(reply: Said, good: Sequence[int]) -> Row | None:
    """What an answer means; Session.outcome tells our own trouble with the token itself."""
    return BROKEN if isinstance(reply, Retryable) else dav_trouble(reply, good)


def _patched(reply: Said) -> Row | None:
    """What a PROPPATCH came to. Its 207 is a success only if every property says so."""
    row = _row(reply, (MULTI, *MADE))
    if row is not None or not isinstance(reply, httpx.Response) or reply.status_code != MULTI:
        return row
    found = _propstats(reply)
    if not found:
        return BROKEN
    wrong = [status for status, _ in found if not 200 <= status < 300]  # noqa: PLR2004 - success
    first = [s for s in wrong if s != httpx.codes.FAILED_DEPENDENCY] or wrong
    return dav_row(first[0]) if first else None


def _propstats(reply: Reply) -> list[tuple[int, Element]] | None:
    """Status and properties of each propstat of a 207; None where it cannot be read."""
    if isinstance(reply, httpx.TransportError):
        return None
    try:
        root = fromstring(reply.content, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return None
    found: list[tuple[int, Element]] = []
    for one in root.iter(f"{DAV}propstat"):
        status, properties = one.find(f"{DAV}status"), one.find(f"{DAV}prop")
        line = _STATUS.match((status.text or "").strip()) if status is not None else None
        if line is None or properties is None:
            return None
        found.append((int(line[1]), properties))
    return found if root.tag == f"{DAV}multistatus" else None


def _tag(name: str) -> str:
    """A property's name as XML takes it: no second colon."""
    return name.replace(":", "-")
