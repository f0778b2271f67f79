"""A repository by CMIS 1.1's browser binding, as Apache Chemistry's in-memory server has it.

| trap | where it comes from |
|---|---|
| an object found by path is the latest version; a working copy is not filed | CMIS 1.1, 2.1.13 |
| a document has one working copy: checked out again it is 409 versioning | 2.2.7.1 |
| a copy that was checked in is gone: 404 objectNotFound | 2.2.7.3 |
| 403 permissionDenied for a known user, 401 for nobody | CmisBrowserBindingServlet |
| full (not succinct) objects unless `succinct=true` | 5.2.11 |
| unknown properties and types are invalidArgument | 2.2.4.1 |
"""

from __future__ import annotations

import base64
import hmac
import itertools
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tests.sandboxes.base import Sandbox
from tests.sandboxes.dms.forms import (
    BASE,
    LONGEST,
    SECONDARY,
    STATUS_OF,
    TYPES,
    WHOLE,
    CmisError,
    form_of,
    properties_of,
)
from tests.sandboxes.journal import Op

CLIENT_ID = "fieldline"
CLIENT_SECRET = "repository-secret-of-the-sandbox"
USERNAME = "fieldline"
PASSWORD = "cmis-password-of-the-sandbox"
OTHER = ("clerk", "clerk-password-of-the-sandbox")
REPOSITORY = "main"
LASTS_S = 3_600
_WHERE = re.compile(r"SELECT (.+) FROM (\S+) WHERE (\S+) = '((?:[^']|\\')*)'", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[/\\:*?"<>|]')


@dataclass(slots=True, kw_only=True)
class Version:
    """One version, or a working copy: properties and content."""

    id: str
    properties: dict[str, Any]
    content: bytes
    label: str = ""


@dataclass(slots=True, kw_only=True)
class Series:
    """A document with all its versions, the newest last."""

    id: str
    path: str
    versions: list[Version] = field(default_factory=list)
    working: Version | None = None
    by: str = ""


class Dms(Sandbox):
    """One repository with two users and an empty folder /fieldline."""

    name = "dms"

    def __init__(self) -> None:
        super().__init__()
        self._tokens: dict[str, float] = {}
        self.forget()

    def routes(self) -> Sequence[BaseRoute]:
        """OAuth's token endpoint and the three addresses of the binding (5.3)."""
        return [
            Route("/oauth2/token", self._token, methods=["POST"]),
            Route("/browser", self._services, methods=["GET"]),
            Route("/browser/{repository}", self._repository, methods=["GET", "POST"]),
            Route("/browser/{repository}/root{path:path}", self._root, methods=["GET", "POST"]),
        ]

    def forget(self) -> None:
        """No documents."""
        self._tokens.clear()
        self.folders = {"": "folder-0", "/fieldline": "folder-1"}
        self.documents: dict[str, Series] = {}
        """By path."""
        self._ids = itertools.count(100)

    def expire(self) -> None:
        """Every token ends."""
        self._tokens.clear()

    async def _token(self, request: Request) -> Response:
        fields = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        known = {"grant_type": "client_credentials", "client_id": CLIENT_ID}
        secret = fields.get("client_secret", "").encode()
        if any(fields.get(k) != v for k, v in known.items()) or not hmac.compare_digest(
            secret, CLIENT_SECRET.encode()
        ):
            return _json({"error": "invalid_client"}, 401)
        token = secrets.token_urlsafe(32)
        self._tokens[token] = time.monotonic() + LASTS_S
        return _json({"access_token": token, "token_type": "Bearer", "expires_in": LASTS_S})

    def _who(self, request: Request) -> str:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind == "Bearer" and self._tokens.get(given, 0) > time.monotonic():
            return CLIENT_ID
        for user, password in ((USERNAME, PASSWORD), OTHER):
            wanted = base64.b64encode(f"{user}:{password}".encode())
            if kind == "Basic" and hmac.compare_digest(given.encode(), wanted):
                return user
        return ""

    # -- the addresses

    async def _services(self, request: Request) -> Response:
        if not self._who(request):
            return _nobody()
        return _json({REPOSITORY: self._info()})

    async def _repository(self, request: Request) -> Response:
        if not self._who(request):
            return _nobody()
        asked = dict(request.query_params)
        if request.path_params["repository"] != REPOSITORY:
            return _error(CmisError("objectNotFound", "Unknown repository"))
        try:
            if request.method == "POST":
                asked, _ = form_of(request.headers.get("content-type", ""), await request.body())
            return _json(self._selected(asked))
        except CmisError as error:
            return _error(error)

    def _selected(self, asked: Mapping[str, str]) -> dict[str, Any]:
        selector = asked.get("cmisselector") or asked.get("cmisaction") or "repositoryInfo"
        if selector == "repositoryInfo":
            return {REPOSITORY: self._info()}
        if selector == "typeDefinition":
            kind = asked.get("typeId", "")
            known = TYPES.get(kind) or SECONDARY.get(kind)
            if known is None:
                raise CmisError("objectNotFound", f"Type {kind} is unknown")
            return {"id": kind, "propertyDefinitions": {name: {"id": name} for name in known}}
        if selector == "query":
            return self._query(asked.get("q") or asked.get("statement") or "")
        raise CmisError("notSupported", "Unknown operation")

    async def _root(self, request: Request) -> Response:
        who = self._who(request)
        if not who:
            return _nobody()
        path = unquote(request.path_params["path"]).rstrip("/")
        try:
            if request.method == "GET":
                return self._read(path, dict(request.query_params))
            form, content = form_of(request.headers.get("content-type", ""), await request.body())
            return self._post(who, path, form, content)
        except CmisError as error:
            return _error(error)

    def _read(self, path: str, asked: Mapping[str, str]) -> Response:
        series = self._by_id(asked["objectId"]) if "objectId" in asked else None
        series = series or self.documents.get(path)
        selector = asked.get("cmisselector", "content" if series else "children")
        if series is None and (path not in self.folders or selector == "content"):
            raise CmisError("objectNotFound", f"Object not found: {path}")
        if series is None:
            under = [s for p, s in self.documents.items() if p.rpartition("/")[0] == path]
            if selector == "object":
                properties = {
                    "cmis:objectId": self.folders[path],
                    "cmis:objectTypeId": "cmis:folder",
                    "cmis:path": path or "/",
                }
                return _json({"succinctProperties": properties})
            return _json({"objects": [{"object": self._shown(one, asked)} for one in under]})
        if selector == "content":
            return Response(series.versions[-1].content)
        if selector == "versions":
            shown = [self._shown(series, asked, one) for one in reversed(series.versions)]
            return _json(shown)
        return _json(self._shown(series, asked))

    def _post(
        self, who: str, path: str, form: Mapping[str, str], content: tuple[str, bytes] | None
    ) -> Response:
        action = form.get("cmisaction", "")
        if action in {"createDocument", "createFolder"}:
            return self._create(path, form, content)
        series = self._by_id(form.get("objectId", "")) or self.documents.get(path)
        if series is None:
            raise CmisError("objectNotFound", f"Object not found: {form.get('objectId')}")
        latest = series.versions[-1]
        if action == "checkOut":
            if series.working is not None:
                raise CmisError("versioning", "The document is already checked out.")
            self._wanted(latest.properties, {})
            copy = Version(
                id=f"{series.id}-pwc-{next(self._ids)}",
                properties=dict(latest.properties),
                content=latest.content,
            )
            series.working, series.by = copy, who
            return _json(self._shown(series, form, copy), 201)
        if action in {"checkIn", "cancelCheckOut"}:
            return self._end(who, series, form, content)
        if action == "delete":
            del self.documents[series.path]
            self._note("delete", series, {})
            return Response(status_code=200)
        raise CmisError("notSupported", "Unknown operation")

    def _create(
        self, path: str, form: Mapping[str, str], content: tuple[str, bytes] | None
    ) -> Response:
        if path not in self.folders:
            raise CmisError("objectNotFound", f"Folder not found: {path}")
        given = properties_of(form)
        name, kind = given.get("cmis:name", ""), given.get("cmis:objectTypeId", "")
        if not name or _FORBIDDEN.search(name):
            raise CmisError("nameConstraintViolation", f"Name is not valid: {name}")
        own = f"{path}/{name}"
        taken = own in self.folders or own in self.documents
        if form["cmisaction"] == "createFolder":
            if taken:
                raise CmisError("nameConstraintViolation", f"{name} already exists")
            self.folders[own] = f"folder-{next(self._ids)}"
            self.journal.note("create", "cmis:folder", own, self.folders[own], given)
            properties = {"cmis:objectId": self.folders[own], "cmis:name": name}
            return _json({"succinctProperties": properties}, 201)
        self._wanted(given, {})
        if kind not in TYPES or kind == "cmis:folder":
            raise CmisError("invalidArgument", f"Invalid type: {kind}")
        if taken:
            raise CmisError("nameConstraintViolation", f"{name} already exists")
        if content is None:
            raise CmisError("constraint", "The type requires a content stream.")
        series = Series(id=f"series-{next(self._ids)}", path=own)
        series.versions.append(self._version(series, given, content[1]))
        self.documents[own] = series
        self._note("create", series, given)
        return _json(self._shown(series, form), 201)

    def _end(
        self,
        who: str,
        series: Series,
        form: Mapping[str, str],
        content: tuple[str, bytes] | None,
    ) -> Response:
        """checkIn and cancelCheckOut, of the working copy alone."""
        copy = series.working
        if copy is None or form.get("objectId") not in {None, copy.id}:
            raise CmisError("versioning", "The object is no working copy.")
        if who != series.by:
            raise CmisError("updateConflict", f"It is checked out by {series.by}.")
        if form["cmisaction"] == "cancelCheckOut":
            series.working = None
            return Response(status_code=200)
        given = properties_of(form)
        self._wanted(copy.properties, given)
        before = series.versions[-1].properties.get("fieldline:state")
        series.working = None
        body = content[1] if content else copy.content
        series.versions.append(self._version(series, copy.properties | given, body))
        after = series.versions[-1].properties.get("fieldline:state")
        op: Op = "update" if before == after else "close" if after == "closed" else "reopen"
        self._note(op, series, given)
        return _json(self._shown(series, form), 201)

    # -- objects

    def _version(self, series: Series, properties: dict[str, Any], content: bytes) -> Version:
        label = f"{len(series.versions) + 1}.0"
        own = f"{series.id};{label}"
        return Version(id=own, properties=properties, content=content, label=label)

    def _wanted(self, before: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        """What a repository checks before it takes properties."""
        whole = {**before, **given}
        if code := self.knobs.error(json.dumps(whole, ensure_ascii=False)):
            raise CmisError(code, f"{code}, as told")
        known = dict(TYPES.get(str(whole.get("cmis:objectTypeId")), BASE))
        for secondary in whole.get("cmis:secondaryObjectTypeIds", []):
            if secondary not in SECONDARY:
                raise CmisError("invalidArgument", f"Invalid secondary type: {secondary}")
            known |= SECONDARY[secondary]
        for name, value in whole.items():
            if name not in known:
                raise CmisError("invalidArgument", f"{name} is unknown!")
            if known[name] == WHOLE and not re.fullmatch(r"-?[0-9]+", str(value)):
                raise CmisError("invalidArgument", f"{name} value is not an integer value!")
            if len(str(value)) > LONGEST:
                raise CmisError("constraint", f"{name} is too long")

    def _by_id(self, own: str) -> Series | None:
        for series in self.documents.values():
            ids = {series.id, *(one.id for one in series.versions)}
            if own in ids or (series.working is not None and own == series.working.id):
                return series
        return None

    def _shown(
        self, series: Series, asked: Mapping[str, str], version: Version | None = None
    ) -> dict[str, Any]:
        one = version or series.versions[-1]
        out = series.working is not None
        properties = {
            **one.properties,
            "cmis:objectId": one.id,
            "cmis:baseTypeId": "cmis:document",
            "cmis:versionSeriesId": series.id,
            "cmis:versionLabel": one.label,
            "cmis:isLatestVersion": one is series.versions[-1],
            "cmis:isPrivateWorkingCopy": one is series.working,
            "cmis:isVersionSeriesCheckedOut": out,
            "cmis:versionSeriesCheckedOutBy": series.by if out else None,
            "cmis:versionSeriesCheckedOutId": series.working.id if series.working else None,
            "cmis:contentStreamLength": len(one.content),
        }
        wanted = {name.strip() for name in asked.get("filter", "*").split(",")}
        properties = {k: v for k, v in properties.items() if {k, "*"} & wanted}
        if asked.get("succinct") == "true":
            return {"succinctProperties": properties}
        return {"properties": {k: {"id": k, "value": v} for k, v in properties.items()}}

    def _query(self, text: str) -> dict[str, Any]:
        found = _WHERE.fullmatch(text.strip())
        if found is None or found[2] not in TYPES:
            raise CmisError("invalidArgument", f"Query is not understood: {text[:100]}")
        hits = [
            self._shown(series, {"succinct": "true"})
            for series in self.documents.values()
            if series.versions[-1].properties.get("cmis:objectTypeId") == found[2]
            and series.versions[-1].properties.get(found[3]) == found[4]
        ]
        return {"results": hits, "hasMoreItems": False, "numItems": len(hits)}

    def _note(self, op: Op, series: Series, fields: Mapping[str, Any]) -> None:
        latest = series.versions[-1]
        content = latest.content.decode("utf-8", "replace")
        self.journal.note(
            op,
            str(latest.properties["cmis:objectTypeId"]),
            str(latest.properties.get("fieldline:key", "")),
            series.id,
            {**fields, "content": content},
        )

    def _info(self) -> dict[str, Any]:
        here = f"{self.base}/browser/{REPOSITORY}"
        return {
            "repositoryId": REPOSITORY,
            "productName": "sandbox",
            "cmisVersionSupported": "1.1",
            "rootFolderId": self.folders[""],
            "repositoryUrl": here,
            "rootFolderUrl": f"{here}/root",
            "capabilities": {"capabilityPWCUpdatable": True, "capabilityQuery": "metadataonly"},
        }


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def _error(error: CmisError) -> Response:
    told = {"exception": error.name, "message": error.message}
    return _json(told, STATUS_OF.get(error.name, 500))


def _nobody() -> Response:
    return Response(
        "Authorization Required", 401, headers={"WWW-Authenticate": 'Basic realm="CMIS"'}
    )


def make() -> Dms:
    """With the standard credentials."""
    return Dms()
