"""Forms of the browser binding, what is wrong with them, and the types of the repository."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

STATUS_OF = {
    "invalidArgument": 400,
    "filterNotValid": 400,
    "permissionDenied": 403,
    "streamNotSupported": 403,
    "objectNotFound": 404,
    "notSupported": 405,
    "constraint": 409,
    "contentAlreadyExists": 409,
    "nameConstraintViolation": 409,
    "updateConflict": 409,
    "versioning": 409,
    "storage": 500,
    "runtime": 500,
}
TEXT, WHOLE, MANY = "string", "integer", "many strings"
_OWN = {
    "fieldline:key": TEXT,
    "fieldline:event": TEXT,
    "fieldline:version": TEXT,
    "fieldline:tenant": TEXT,
    "fieldline:device": TEXT,
    "fieldline:asset": TEXT,
    "fieldline:customer": TEXT,
    "fieldline:severity": TEXT,
    "fieldline:state": TEXT,
    "fieldline:occurredAt": WHOLE,
}
BASE = {
    "cmis:name": TEXT,
    "cmis:objectTypeId": TEXT,
    "cmis:description": TEXT,
    "cmis:secondaryObjectTypeIds": MANY,
}
TYPES = {
    "cmis:folder": BASE,
    "cmis:document": BASE,
    "fieldline:serviceReport": BASE | _OWN,
    "fieldline:telemetrySnapshot": BASE | _OWN,
}
SECONDARY = {
    "fieldline:retention": {"fieldline:retentionClass": TEXT},
    "cmis:rm_clientMgtRetention": {"cmis:rm_expirationDate": WHOLE},
}
LONGEST = 4_000
_FIELD = re.compile(r"property(Id|Value)\[([0-9]+)\](?:\[([0-9]+)\])?")
_NAME = re.compile(r'name="([^"]*)"')


class CmisError(Exception):
    """An exception of the specification."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name, self.message = name, message


def properties_of(form: Mapping[str, str]) -> dict[str, Any]:
    """propertyId[n] and propertyValue[n] or propertyValue[n][m] (5.4.4.3)."""
    names: dict[str, str] = {}
    values: dict[str, Any] = {}
    for field_name, value in form.items():
        found = _FIELD.fullmatch(field_name)
        if found is None:
            continue
        if found[1] == "Id":
            names[found[2]] = value
        elif found[3] is None:
            values[found[2]] = value
        else:
            values.setdefault(found[2], []).append(value)
    return {name: values[place] for place, name in names.items() if place in values}


def form_of(kind: str, body: bytes) -> tuple[dict[str, str], tuple[str, bytes] | None]:
    """Fields of a form, and the content stream with its media type where there is one."""
    if kind.startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True)), None
    found = re.search(r'boundary="?([^";]+)"?', kind)
    if not kind.startswith("multipart/form-data") or found is None:
        raise CmisError("invalidArgument", "The request is no form.")
    fields: dict[str, str] = {}
    content: tuple[str, bytes] | None = None
    pieces = (b"\r\n" + body).split(b"\r\n--" + found[1].encode())
    for piece in pieces[1:]:
        if piece.startswith(b"--"):
            break
        head, _, value = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        text = head.decode("utf-8", "replace")
        name = _NAME.search(text)
        if "filename" in text:
            media = re.search(r"(?i)content-type: *(\S+)", text)
            content = (media[1] if media else "", value)
        elif name is not None:
            fields[name[1]] = value.decode("utf-8")
    return fields, content
