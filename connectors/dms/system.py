"""Document management as the registry knows it."""

from __future__ import annotations

from connectors.answers import transport_rows
from connectors.auth import token_rows
from connectors.base import Effect
from connectors.dms.answers import (
    BROKEN,
    CHECKED_OUT,
    DAV_STATUSES,
    EXCEPTIONS,
    NAME,
    NO_RECORD,
    NO_REPOSITORY,
    RENAMED,
)
from connectors.dms.config import DmsSettings
from connectors.dms.mapping import OCCURRED, PROPERTIES, REPORT_FIELDS, SNAPSHOT_FIELDS
from connectors.dms.protocol import DmsConnector
from connectors.system import CallSpec, MapSpec, System, reads

_KEY = "the raising event's id, in the document's name and in fieldline:key"
_AGAIN = "sent again at once: names are unique in a folder"
_CONFLICT = "versions are only added; an older event never comes after a newer one"
_WRITE = Effect.KEYED_WRITE


def _write(step: str, request: str, once: str, unknown: str = _AGAIN, key: str = _KEY) -> CallSpec:
    return CallSpec(step=step, request=request, effect=_WRITE, key=key, once=once, unknown=unknown)


SYSTEM = System(
    name=NAME,
    title="Document management (CMIS 1.1, WebDAV)",
    settings=DmsSettings,
    make=DmsConnector,
    objects={
        "service report": MapSpec(
            canonical="Document", fields=REPORT_FIELDS, owner="Fieldline", conflict=_CONFLICT
        ),
        "telemetry snapshot": MapSpec(
            canonical="Document", fields=SNAPSHOT_FIELDS, owner="Fieldline", conflict=_CONFLICT
        ),
        "properties": MapSpec(
            canonical="Document",
            fields=(*PROPERTIES, *OCCURRED.values()),
            owner="Fieldline for fieldline:*; the repository for the rest",
            conflict=_CONFLICT,
        ),
    },
    calls=(
        _write(
            "create_document",
            "POST {root}{folder} cmisaction=createDocument",
            "nameConstraintViolation the second time",
        ),
        _write(
            "create_folder",
            "POST {root}{folder} cmisaction=createFolder",
            "nameConstraintViolation the second time",
            key="the tenant, as the folder's name",
        ),
        _write(
            "check_out",
            "POST {root} cmisaction=checkOut",
            "a document has one working copy: versioning the second time",
            "read again: a working copy of ours is used again",
        ),
        _write(
            "check_in",
            "POST {root} cmisaction=checkIn",
            "a working copy is checked in once: objectNotFound the second time",
            "read again: fieldline:version tells whether it was taken",
        ),
        reads("read", "GET {root}{path}, or PROPFIND"),
        reads("service", "GET {url}"),
        reads("check_type", "GET {repository}?cmisselector=typeDefinition"),
        _write("put", "PUT {url}{path}, If-None-Match: *", "412 the second time"),
        _write("properties", "PROPPATCH {url}{path}", "sets plain values, with If-Match"),
        _write(
            "make_collection",
            "MKCOL {url}{folder}",
            "405 the second time",
            key="the tenant, as the collection's name",
        ),
        reads("options", "OPTIONS {url}"),
        reads("token", "POST {token_url}"),
    ),
    answers=(
        *EXCEPTIONS,
        *DAV_STATUSES,
        BROKEN,
        RENAMED,
        CHECKED_OUT,
        NO_REPOSITORY,
        NO_RECORD,
        *token_rows(NAME),
        *transport_rows(NAME),
    ),
    unsure=(
        "whether a repository keeps names unique: CMIS 1.1 leaves it open; a copy is found out",
        "that only versions of one type have the retention property: repositories differ",
        "OpenCMIS's statuses 429 and 503: no exception for them in CMIS 1.1",
    ),
)
