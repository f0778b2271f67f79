"""A repository by CMIS 1.1, browser binding (OASIS, CMIS-v1.1, chapter 5), in succinct form. Pure.

A new document is kept to once by its name, which the repository keeps unique in a folder
(nameConstraintViolation); one that renames instead is found out. A new version is kept to once
by its working copy: checked out by one, checked in once. What was checked out and never checked
in, by a worker that died, is ours by name and is used again. It is looked for by path, not by
query: full-text indexes lag behind (Alfresco's Solr by seconds).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx

from connectors.answers import Kind, Row, text_of
from connectors.base import Checked, Conversation, Delivery, Effect, Reply
from connectors.dms.answers import (
    BROKEN,
    CHECKED_OUT,
    NO_REPOSITORY,
    RENAMED,
    exception,
    fields_of,
    properties_of,
    trouble,
)
from connectors.dms.mapping import REPORT, VERSION, Document
from connectors.dms.session import Session, Wanted
from connectors.dms.store import TOLD_WRITING, TRIES, Seen, no_record, one_by_one
from pipeline.core.events import Action
from pipeline.core.outcome import Delivered, Found, LookUp, NotFound, Outcome, Retryable

TITLE = "The repository"
OK, CREATED = httpx.codes.OK, httpx.codes.CREATED
GONE = "objectNotFound"
NAME_TAKEN = frozenset({"nameConstraintViolation", "contentAlreadyExists"})
_FILTER = (
    "cmis:objectId,cmis:name,cmis:versionSeriesId,cmis:isVersionSeriesCheckedOut,"
    f"cmis:versionSeriesCheckedOutBy,cmis:versionSeriesCheckedOutId,{VERSION}"
)
Said = Reply | Retryable


class Cmis:
    """One repository."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._settings = session.settings
        self._root = ""
        self._repository = ""

    # -- what a store does

    def create(self, documents: Sequence[Document]) -> Conversation[Outcome]:
        """One after the other; what is there already stays as it is."""
        return (yield from one_by_one(documents, self._create))

    def change(self, one: Delivery, documents: Sequence[Document]) -> Conversation[Outcome]:
        """A new version of each. The snapshot may be the first one; the report may not."""
        return (yield from one_by_one(documents, partial(self._change, one)))

    def look_up(self, one: Delivery, path: str) -> Conversation[LookUp]:
        """By path."""
        seen = yield from self._read(path)
        if isinstance(seen, Retryable):
            return seen
        changed = one.event.action is not Action.RAISE
        if seen is None or (changed and seen.version < one.event.version):
            return NotFound()
        return Found(target_id=seen.id)

    def check(self) -> Conversation[Sequence[Checked]]:
        """The repository, and its two types."""
        problem = yield from self._open()
        if problem is not None:
            return [Checked(what="repository", ok=False, detail=problem.message)]
        lines = [Checked(what="repository", ok=True, detail=f"{TITLE} answers.")]
        for kind in (self._settings.report_type, self._settings.snapshot_type):
            query = urlencode({"cmisselector": "typeDefinition", "typeId": kind})
            url = f"{self._repository}?{query}"
            reply = yield from self._session.talk(_wanted("check_type", "GET", url, Effect.READ))
            row = None if isinstance(reply, Retryable) else trouble(reply, (OK,))
            lines.append(self._session.checked(f"type {kind}", row, reply))
        told = f"{TOLD_WRITING} Names must be unique within a folder."
        return [*lines, Checked(what="writing", ok=None, detail=told)]

    # -- a document

    def _create(  # noqa: PLR0911 - step by step
        self, document: Document, *, again: bool = True
    ) -> Conversation[Outcome]:
        fields = _fields(document, {"cmis:name": document.name, "cmis:objectTypeId": document.type})
        form = {"cmisaction": "createDocument", "versioningState": "major", **fields}
        reply = yield from self._post("create_document", document.folder, form, document)
        row = _object(reply, (OK, CREATED))
        if isinstance(row, dict):
            if text_of(row.get("cmis:name")) not in {None, document.name}:
                return self._session.outcome(RENAMED, reply)
            own = text_of(row.get("cmis:versionSeriesId"))
            if own is None:
                return self._session.outcome(BROKEN, reply)
            return Delivered(target_id=own, created=True)
        said = "" if isinstance(reply, Retryable) else exception(reply)
        if said in NAME_TAKEN:
            seen = yield from self._read(document.path)
            if isinstance(seen, Seen):
                return Delivered(target_id=seen.id, created=False)
            return seen or self._session.outcome(row, reply)
        if said == GONE and again:
            made = yield from self._folders(document.folder)
            return made or (yield from self._create(document, again=False))
        return self._session.outcome(row, reply)

    def _change(self, one: Delivery, document: Document) -> Conversation[Outcome]:
        outcome: Outcome | None = None
        for _ in range(TRIES):
            seen = yield from self._read(document.path)
            if isinstance(seen, Retryable):
                return seen
            if seen is None and document.role == REPORT:
                return no_record(one)
            if seen is None:
                return (yield from self._create(document))
            if seen.version >= document.version:
                return Delivered(target_id=seen.id, created=False)
            outcome, raced = yield from self._version(document, seen)
            if not raced:
                break
        assert outcome is not None  # noqa: S101 - TRIES is not 0
        return outcome

    def _version(self, document: Document, seen: Seen) -> Conversation[tuple[Outcome, bool]]:
        """A new version of what was read, and whether somebody came between."""
        working = seen.pwc
        if working and seen.pwc_by != self._settings.us:
            busy = httpx.Response(OK)
            return self._session.outcome(CHECKED_OUT, busy), False
        if not working:
            form = {"cmisaction": "checkOut", "objectId": seen.object_id, "succinct": "true"}
            reply = yield from self._post("check_out", "", form, None)
            out = _object(reply, (OK, CREATED))
            if isinstance(out, Row):
                return self._session.outcome(out, reply), out.kind is Kind.RACED
            working = text_of(out.get("cmis:objectId")) or ""
            if not working:
                return self._session.outcome(BROKEN, reply), False
        form = {
            "cmisaction": "checkIn",
            "objectId": working,
            "major": "true",
            "checkinComment": document.version,
            **_fields(document, {}),
        }
        reply = yield from self._post("check_in", "", form, document)
        row = _object(reply, (OK, CREATED))
        if isinstance(row, dict):
            if "cmis:objectId" not in row or row.get(VERSION) not in {None, document.version}:
                return self._session.outcome(BROKEN, reply), False
            return Delivered(target_id=seen.id, created=True), False
        gone = not isinstance(reply, Retryable) and exception(reply) == GONE
        return self._session.outcome(row, reply), gone or row.kind is Kind.RACED

    def _read(self, path: str) -> Conversation[Seen | Retryable | None]:
        """The document at a path; None where the repository itself says that there is none."""
        problem = yield from self._open()
        if problem is not None:
            return problem
        query = urlencode({"cmisselector": "object", "succinct": "true", "filter": _FILTER})
        url = f"{self._root}{quote(path)}?{query}"
        reply = yield from self._session.talk(_wanted("read", "GET", url, Effect.READ))
        told = _object(reply, (OK,))
        if isinstance(told, Row):
            absent = not isinstance(reply, Retryable) and exception(reply) == GONE
            return None if absent else self._session.again(told, reply)
        series, own = text_of(told.get("cmis:versionSeriesId")), text_of(told.get("cmis:objectId"))
        if series is None or own is None:
            return self._session.again(BROKEN, reply)
        out = told.get("cmis:isVersionSeriesCheckedOut") is True
        return Seen(
            id=series,
            object_id=own,
            version=text_of(told.get(VERSION)) or "",
            pwc=(text_of(told.get("cmis:versionSeriesCheckedOutId")) or "") if out else "",
            pwc_by=(text_of(told.get("cmis:versionSeriesCheckedOutBy")) or "") if out else "",
        )

    # -- folders and the way in

    def _folders(self, path: str) -> Conversation[Outcome | None]:
        """Every folder on the way; one that is there already is good."""
        parent = ""
        for name in path.strip("/").split("/"):
            form = {
                "cmisaction": "createFolder",
                "succinct": "true",
                **_pairs({"cmis:name": name, "cmis:objectTypeId": "cmis:folder"}),
            }
            reply = yield from self._post("create_folder", parent, form, None)
            row = _object(reply, (OK, CREATED))
            there = not isinstance(reply, Retryable) and exception(reply) in NAME_TAKEN
            if isinstance(row, Row) and not there:
                return self._session.outcome(row, reply)
            parent = f"{parent}/{name}"
        return None

    def _open(self) -> Conversation[Retryable | None]:
        """Where the repository is: its service document says so (5.3.1). Asked for once."""
        if self._root:
            return None
        url = self._settings.url
        reply = yield from self._session.talk(_wanted("service", "GET", url, Effect.READ))
        if isinstance(reply, Retryable):
            return reply
        if (row := trouble(reply, (OK,))) is not None:
            return self._session.again(row, reply)
        found = fields_of(reply)
        known = {k: v for k, v in found.items() if isinstance(v, dict)}
        if self._settings.repository:
            one = known.get(self._settings.repository)
        else:
            one = next(iter(known.values())) if len(known) == 1 else None
        here, root = (
            text_of((one or {}).get(n), 2_048) for n in ("repositoryUrl", "rootFolderUrl")
        )
        if here is None or root is None or not (_same(here, url) and _same(root, url)):
            return self._session.again(NO_REPOSITORY, reply)
        self._repository, self._root = here.rstrip("/"), root.rstrip("/")
        return None

    def _post(
        self, step: str, path: str, form: Mapping[str, str], document: Document | None
    ) -> Conversation[Said]:
        problem = yield from self._open()
        if problem is not None:
            return problem
        content, kind = _body(form, document)
        wanted = _wanted(
            step, "POST", f"{self._root}{quote(path)}", Effect.KEYED_WRITE, content, kind
        )
        return (yield from self._session.talk(wanted))


def _object(reply: Said, good: Sequence[int]) -> dict[str, Any] | Row:
    """The object that an answer shows, or what the answer means instead."""
    if isinstance(reply, Retryable):
        return BROKEN  # Session.outcome tells the trouble itself
    row = trouble(reply, good)
    return row if row is not None else properties_of(reply) or BROKEN


def _fields(document: Document, more: Mapping[str, str]) -> dict[str, str]:
    """The properties as form fields (5.4.4.3), and that the answer be succinct."""
    secondary = {"cmis:secondaryObjectTypeIds": document.secondary} if document.secondary else {}
    return {"succinct": "true", **_pairs({**more, **document.properties, **secondary})}


def _pairs(properties: Mapping[str, Any]) -> dict[str, str]:
    made: dict[str, str] = {}
    for place, (name, value) in enumerate(properties.items()):
        made[f"propertyId[{place}]"] = name
        if isinstance(value, tuple):
            for index, item in enumerate(value):
                made[f"propertyValue[{place}][{index}]"] = str(item)
        else:
            made[f"propertyValue[{place}]"] = str(value)
    return made


def _body(form: Mapping[str, str], document: Document | None) -> tuple[bytes, str]:
    """The form and its media type: multipart/form-data (RFC 7578) where there is content.

    The boundary is a hash of what it parts: nothing in there can be it.
    """
    if document is None:
        return urlencode(form).encode(), "application/x-www-form-urlencoded; charset=utf-8"
    whole = repr(sorted(form.items())).encode() + document.content
    kind = f"multipart/form-data; boundary=fieldline-{hashlib.sha256(whole).hexdigest()[:32]}"
    files = {"content": (document.name, document.content, document.mime)}
    made = httpx.Request("POST", "http://x", data=form, files=files, headers={"content-type": kind})
    return made.read(), kind


def _same(address: str, ours: str) -> bool:
    """Whether an address that we were told is at the place that we were given."""
    try:
        told, given = urlsplit(address), urlsplit(ours)
        same = (told.scheme, told.hostname, told.port) == (given.scheme, given.hostname, given.port)
    except ValueError:
        return False
    return same and not (told.query or told.fragment or told.username)


def _wanted(
    step: str, method: str, url: str, effect: Effect, content: bytes | None = None, kind: str = ""
) -> Wanted:
    headers = {"accept": "application/json"} | ({"content-type": kind} if kind else {})
    return Wanted(
        step=step, method=method, url=url, effect=effect, headers=headers, content=content
    )
