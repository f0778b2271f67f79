"""A WebDAV store (RFC 4918, class 1 and 2), as Apache's mod_dav behaves.

| trap | where it comes from |
|---|---|
| PUT below a collection that is not there: 409 | RFC 4918, 9.7.1 |
| MKCOL of what is there: 405; without its parent: 409 | 9.3.1 |
| PROPPATCH answers 207 with a status for each property, and does all or none: 424 | 9.2 |
| If-None-Match: * on what is there, a stale If-Match: 412 | RFC 9110, 13.1 |
| a locked resource: 423 without the lock's token | 9.10 |
| the page of a 404 is HTML; the ETag does not change with dead properties | mod_dav |
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit
from xml.etree.ElementTree import Element, ParseError, SubElement, tostring

from defusedxml.ElementTree import fromstring
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tests.sandboxes.base import Sandbox
from tests.sandboxes.journal import Op

USERNAME = "fieldline"
PASSWORD = "webdav-password-of-the-sandbox"
ROOT = "/dav"
DAV = "{DAV:}"
SPACE = "urn:fieldline:dms"
METHODS = (
    "OPTIONS GET HEAD PUT DELETE MKCOL COPY MOVE PROPFIND PROPPATCH LOCK UNLOCK".split()  # noqa: SIM905 - reads better
)
PROTECTED = {
    f"{DAV}getetag",
    f"{DAV}getcontentlength",
    f"{DAV}resourcetype",
    f"{DAV}getlastmodified",
}
MODIFIED = "Sat, 21 Nov 2026 12:00:00 GMT"
_REASONS = {200: "OK", 403: "Forbidden", 404: "Not Found", 423: "Locked", 424: "Failed Dependency"}
_REASONS |= {507: "Insufficient Storage", 409: "Conflict"}


@dataclass(slots=True, kw_only=True)
class Resource:
    """A file, or a collection where `content` is None. `dead` are its dead properties."""

    id: str
    content: bytes | None = None
    kind: str = ""
    dead: dict[str, str] = field(default_factory=dict)
    lock: str = ""

    @property
    def etag(self) -> str:
        """Of the content alone."""
        return f'"{hashlib.sha256(self.content or b"").hexdigest()[:20]}"'


class Webdav(Sandbox):
    """One collection with one user."""

    name = "webdav"

    def __init__(self) -> None:
        super().__init__()
        self.forget()

    def routes(self) -> Sequence[BaseRoute]:
        """Everything below /dav."""
        return [Route(f"{ROOT}{{path:path}}", self._dav, methods=METHODS)]

    def forget(self) -> None:
        """An empty collection."""
        self._ids = itertools.count(1)
        self.resources: dict[str, Resource] = {"": Resource(id="root")}
        self.refused_properties: dict[str, int] = {}
        """Statuses that PROPPATCH gives for properties of these names."""

    def expire(self) -> None:
        """Basic credentials do not end."""

    def _may(self, request: Request) -> bool:
        wanted = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode())
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        return kind == "Basic" and hmac.compare_digest(given.encode(), wanted)

    async def _dav(self, request: Request) -> Response:
        if not self._may(request):
            return Response(status_code=401, headers={"WWW-Authenticate": 'Basic realm="dav"'})
        path = unquote(request.path_params["path"]).rstrip("/")
        body = await request.body()
        there = self.resources.get(path)
        if request.method == "OPTIONS":
            return Response(headers={"DAV": "1, 2", "Allow": ", ".join(METHODS)})
        if request.method == "PUT":
            return self._write(request, path, body)
        if request.method == "MKCOL":
            return self._collection(path, body)
        if there is None:
            return _page(404)
        do = {
            "GET": self._read,
            "HEAD": self._read,
            "DELETE": self._gone,
            "COPY": self._copy,
            "MOVE": self._copy,
            "PROPFIND": self._find,
            "PROPPATCH": self._patch,
            "LOCK": self._lock,
            "UNLOCK": self._unlock,
        }
        return do[request.method](request, path, there, body)

    # -- content

    def _read(self, request: Request, path: str, there: Resource, body: bytes) -> Response:
        del request, path, body
        if there.content is None:
            return Response("", media_type="text/html")
        headers = {"ETag": there.etag, "Last-Modified": MODIFIED}
        return Response(there.content, headers=headers, media_type=there.kind)

    def _write(self, request: Request, path: str, body: bytes) -> Response:
        parent = self.resources.get(path.rpartition("/")[0])
        there = self.resources.get(path)
        if parent is None or parent.content is not None:
            return _page(409)
        if there is not None and there.content is None:
            return _page(405)
        if refused := _condition(request, there):
            return refused
        if _locked(request, there):
            return _page(423)
        if code := self.knobs.error(path + body.decode("utf-8", "replace")):
            return _page(int(code))
        kind = request.headers.get("content-type", "application/octet-stream")
        if there is None:
            there = self.resources[path] = Resource(id=f"res-{next(self._ids)}")
        created = there.content is None
        there.content, there.kind = body, kind
        op: Op = "create" if created else "update"
        text = {"content": body.decode("utf-8", "replace")}
        self.journal.note(op, "resource", path, there.id, text)
        return Response(status_code=201 if created else 204, headers={"ETag": there.etag})

    def _collection(self, path: str, body: bytes) -> Response:
        parent = self.resources.get(path.rpartition("/")[0])
        if path in self.resources:
            return _page(405)
        if parent is None or parent.content is not None:
            return _page(409)
        if body:
            return _page(415)
        self.resources[path] = Resource(id=f"res-{next(self._ids)}")
        self.journal.note("create", "collection", path, self.resources[path].id, {})
        return Response(status_code=201)

    def _gone(self, request: Request, path: str, there: Resource, body: bytes) -> Response:
        del body
        if _locked(request, there):
            return _page(423)
        for own in [p for p in self.resources if p == path or p.startswith(f"{path}/")]:
            gone = self.resources.pop(own)
            self.journal.note("delete", _kind(gone), own, gone.id, {})
        return Response(status_code=204)

    def _copy(self, request: Request, path: str, there: Resource, body: bytes) -> Response:
        """COPY and MOVE, of everything below too."""
        del body
        aim = unquote(urlsplit(request.headers.get("destination", "")).path).rstrip("/")
        target = aim.removeprefix(ROOT)
        if not aim.startswith(ROOT) or target == path:
            return _page(403)
        if target.rpartition("/")[0] not in self.resources:
            return _page(409)
        replaced = target in self.resources
        if replaced and request.headers.get("overwrite", "T") == "F":
            return _page(412)
        if request.method == "MOVE" and _locked(request, there):
            return _page(423)
        for own in [p for p in self.resources if p == path or p.startswith(f"{path}/")]:
            one = self.resources[own]
            made = Resource(
                id=f"res-{next(self._ids)}", content=one.content, kind=one.kind, dead=dict(one.dead)
            )
            self.resources[target + own.removeprefix(path)] = made
            self.journal.note("create", _kind(made), target + own.removeprefix(path), made.id, {})
            if request.method == "MOVE":
                del self.resources[own]
        return Response(status_code=204 if replaced else 201)

    # -- properties

    def _find(self, request: Request, path: str, there: Resource, body: bytes) -> Response:
        depth = request.headers.get("depth", "infinity")
        if depth == "infinity":
            return _page(403)
        try:
            root = fromstring(body, forbid_dtd=True) if body else None
        except (ParseError, ValueError):
            return _page(400)
        named = root.find(f"{DAV}prop") if root is not None else None
        wanted = None if named is None else [one.tag for one in named]
        shown = {path: there}
        if depth == "1" and there.content is None:
            shown |= {
                p: one for p, one in self.resources.items() if p and p.rpartition("/")[0] == path
            }
        answer = Element(f"{DAV}multistatus")
        for own, one in shown.items():
            _told(SubElement(answer, f"{DAV}response"), own, one, wanted)
        return _multistatus(answer)

    def _patch(self, request: Request, path: str, there: Resource, body: bytes) -> Response:
        try:
            root = fromstring(body, forbid_dtd=True)
        except (ParseError, ValueError):
            return _page(400)
        if refused := _condition(request, there):
            return refused
        if _locked(request, there):
            return _page(423)
        changes: list[tuple[str, str | None]] = [
            (one.tag, (one.text or "") if part.tag == f"{DAV}set" else None)
            for part in root
            for prop in part.iter(f"{DAV}prop")
            for one in prop
        ]
        bad = {tag: 403 for tag, _ in changes if tag in PROTECTED}
        bad |= {
            tag: self.refused_properties[tag.rpartition("}")[2]]
            for tag, _ in changes
            if tag.rpartition("}")[2] in self.refused_properties
        }
        before = there.dead.get(_tag("fieldline-state"))
        if not bad:
            for tag, value in changes:
                there.dead.pop(tag, None)
                if value is not None:
                    there.dead[tag] = value
            after = there.dead.get(_tag("fieldline-state"))
            op: Op = (
                "update" if before in {None, after} else "close" if after == "closed" else "reopen"
            )
            told = {tag.rpartition("}")[2]: value for tag, value in changes}
            self.journal.note(op, "properties", path, there.id, told)
        answer = Element(f"{DAV}multistatus")
        response = SubElement(answer, f"{DAV}response")
        SubElement(response, f"{DAV}href").text = quote(ROOT + path)
        for tag, _ in changes:
            _stat(response, [(tag, "")], bad.get(tag, 424 if bad else 200))
        return _multistatus(answer)

    # -- locks

    def _lock(self, request: Request, path: str, there: Resource, body: bytes) -> Response:
        del body, path
        if there.lock and there.lock not in request.headers.get("if", ""):
            return _page(423)
        there.lock = f"urn:uuid:{uuid.uuid4()}"
        return Response(
            '<?xml version="1.0" encoding="utf-8"?><D:prop xmlns:D="DAV:"/>',
            media_type="application/xml",
            headers={"Lock-Token": f"<{there.lock}>"},
        )

    def _unlock(self, request: Request, path: str, there: Resource, body: bytes) -> Response:
        del body, path
        if request.headers.get("lock-token", "") != f"<{there.lock}>":
            return _page(409)
        there.lock = ""
        return Response(status_code=204)


def _condition(request: Request, there: Resource | None) -> Response | None:
    """If-Match and If-None-Match; '*' is whatever there is."""
    etag = there.etag if there is not None and there.content is not None else None
    match, none = request.headers.get("if-match"), request.headers.get("if-none-match")
    if match is not None and (etag is None or match not in {"*", etag}):
        return _page(412)
    if none is not None and etag is not None and none in {"*", etag}:
        return _page(412)
    return None


def _locked(request: Request, there: Resource | None) -> bool:
    return bool(there and there.lock and there.lock not in request.headers.get("if", ""))


def _told(response: Element, path: str, one: Resource, wanted: Sequence[str] | None) -> None:
    """The properties of one resource, found and not found apart."""
    SubElement(response, f"{DAV}href").text = quote(
        f"{ROOT}{path}{'' if one.content is not None else '/'}"
    )
    live: dict[str, str] = {
        f"{DAV}displayname": path.rpartition("/")[2],
        f"{DAV}getlastmodified": MODIFIED,
        f"{DAV}creationdate": "2026-11-21T12:00:00Z",
    }
    if one.content is not None:
        live |= {
            f"{DAV}getetag": one.etag,
            f"{DAV}getcontentlength": str(len(one.content)),
            f"{DAV}getcontenttype": one.kind,
        }
    known: Mapping[str, str] = live | one.dead | {f"{DAV}resourcetype": ""}
    tags = list(known) if wanted is None else wanted
    collection = one.content is None
    _stat(response, [(t, known[t]) for t in tags if t in known], 200, collection=collection)
    if missing := [(t, "") for t in tags if t not in known]:
        _stat(response, missing, 404)


def _stat(
    response: Element,
    properties: Sequence[tuple[str, str]],
    status: int,
    *,
    collection: bool = False,
) -> None:
    stat = SubElement(response, f"{DAV}propstat")
    prop = SubElement(stat, f"{DAV}prop")
    for tag, value in properties:
        element = SubElement(prop, tag)
        element.text = value
        if collection and tag == f"{DAV}resourcetype":
            SubElement(element, f"{DAV}collection")
    SubElement(stat, f"{DAV}status").text = f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}"


def _multistatus(answer: Element) -> Response:
    text = tostring(answer, encoding="utf-8", xml_declaration=True)
    return Response(text, 207, media_type="application/xml")


def _page(status: int) -> Response:
    return Response(f"<html><h1>{status}</h1></html>", status, media_type="text/html")


def _tag(name: str) -> str:
    return f"{{{SPACE}}}{name}"


def _kind(one: Resource) -> str:
    return "collection" if one.content is None else "resource"


def make() -> Webdav:
    """With the standard credentials."""
    return Webdav()
