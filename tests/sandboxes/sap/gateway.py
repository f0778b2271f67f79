"""One request to a service, whether it came by itself or as a part of a batch. No HTTP here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from tests.sandboxes.sap.model import Service
from tests.sandboxes.sap.odata import (
    NO_SEGMENT,
    Filter,
    Refusal,
    Reply,
    from_url,
    malformed,
    to_json,
)
from tests.sandboxes.sap.store import Row, Store

_ENTITY = re.compile(r"(\w+)\((?:(\w+)=)?'((?:[^']|'')*)'\)")
_OPTIONS = {"$filter", "$select", "$top", "$skip", "$orderby", "$inlinecount", "$format"}
PAGE = 1_000


class Gateway:
    """The OData part: `base` is the system's own address."""

    def __init__(self, store: Store, user: str) -> None:
        self._store = store
        self._user = user
        self.base = ""
        self.if_match_missing = 428
        """Older releases say 412."""

    def handle(
        self, service: Service, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        """The answer to one request; Refusal where it is an error."""
        route, _, query = path.partition("?")
        route = unquote(route)
        options = dict(parse_qsl(query, keep_blank_values=True))
        unknown = [one for one in options if one.startswith("$") and one not in _OPTIONS]
        if unknown:
            raise malformed(f"Invalid system query option '{unknown[0]}'")
        if route in service.functions:
            return self._function(service, route, method, options, headers)
        if route == service.set:
            return self._set(service, method, options, body)
        if route == f"{service.set}/$count" and method == "GET":
            return Reply(status=200, body=len(self._rows(service, options)))
        found = _ENTITY.fullmatch(route)
        if not found or found.group(1) != service.set or found.group(2) not in {None, service.key}:
            raise Refusal(404, NO_SEGMENT, f"Resource not found for the segment '{route[:60]}'")
        row = self._store.row(service, found.group(3).replace("''", "'"))
        return self._entity(service, method, row, options, headers, body)

    # -- resources

    def _set(self, service: Service, method: str, options: Mapping[str, str], body: bytes) -> Reply:
        if method == "POST":
            row, ignored = self._store.create(service, _given(body), self._user)
            shown = self._shown(service, row, None)
            headers = {"location": shown["__metadata"]["uri"], "etag": _etag(service, row)}
            return Reply(status=201, body={"d": shown}, headers=headers | _warning(ignored))
        if method != "GET":
            raise Refusal(405, "/IWBEP/CM_MGW_RT/018", f"Method {method} is not allowed")
        rows = self._rows(service, options)
        count = {"__count": str(len(rows))} if options.get("$inlinecount") == "allpages" else {}
        skip, top = (_number(options, name) for name in ("$skip", "$top"))
        rows = rows[skip or 0 :][: PAGE if top is None else top]
        select = self._select(service, options)
        return Reply(
            status=200,
            body={"d": {**count, "results": [self._shown(service, row, select) for row in rows]}},
        )

    def _rows(self, service: Service, options: Mapping[str, str]) -> list[Row]:
        rows = list(self._store.rows[service.set].values())
        if text := options.get("$filter"):
            test = Filter(text, service.properties)
            rows = [row for row in rows if test.holds(row.values)]
        name, _, way = options.get("$orderby", service.key).partition(" ")
        if name not in service.properties or way not in {"", "asc", "desc"}:
            raise malformed(f"Property {name} in $orderby is invalid")
        rows.sort(key=lambda row: str(row.values.get(name) or ""), reverse=way == "desc")
        return rows

    def _entity(
        self,
        service: Service,
        method: str,
        row: Row,
        options: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Reply:
        if method == "GET":
            shown = self._shown(service, row, self._select(service, options))
            return Reply(status=200, body={"d": shown}, headers={"etag": _etag(service, row)})
        if method not in {"PATCH", "MERGE", "PUT"}:
            raise Refusal(405, "/IWBEP/CM_MGW_RT/018", f"Method {method} is not allowed")
        self._match(service, row, headers, needed=True)
        given = _given(body)
        ignored = self._store.update(service, row, given, self._user, whole=method == "PUT")
        return Reply(status=204, headers={"etag": _etag(service, row)} | _warning(ignored))

    def _function(
        self,
        service: Service,
        name: str,
        method: str,
        options: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> Reply:
        if method != "POST":
            raise Refusal(405, "/IWBEP/CM_MGW_RT/018", f"Method {method} is not allowed")
        known = {one[0]: one for one in service.functions[name]}
        values: dict[str, Any] = {}
        for given, text in options.items():
            if given.startswith(("$", "sap-")):
                continue
            if given not in known:
                raise malformed("Invalid Function Import Parameter")
            _, kind, most, _ = known[given]
            values[given] = from_url(kind, text)
            if most and len(str(values[given])) > most:
                raise malformed("Invalid Function Import Parameter")
        if missing := [one for one, spec in known.items() if spec[3] and one not in values]:
            raise malformed(f"Function Import Parameter {missing[0]} is missing")
        row = self._store.row(service, values[service.key])
        self._match(service, row, headers, needed=False)
        self._store.call(name, row, values)
        return Reply(
            status=200,
            body={"d": self._shown(service, row, None)},
            headers={"etag": _etag(service, row)},
        )

    # -- parts

    def _match(
        self, service: Service, row: Row, headers: Mapping[str, str], *, needed: bool
    ) -> None:
        given = headers.get("if-match")
        if given is None and needed:
            status = self.if_match_missing
            raise Refusal(status, "/IWFND/CM_MGW/065", "The header If-Match is missing")
        if given not in {None, "*", _etag(service, row)}:
            raise Refusal(412, "/IWFND/CM_MGW/064", "Precondition failed: the ETag is outdated")

    def _select(self, service: Service, options: Mapping[str, str]) -> list[str] | None:
        if "$select" not in options or options["$select"] == "*":
            return None
        names = [name.strip() for name in options["$select"].split(",")]
        for name in names:
            if name not in service.properties:
                raise malformed(f"Property {name} is invalid")
        return names

    def _shown(self, service: Service, row: Row, select: list[str] | None) -> dict[str, Any]:
        kind = f"{service.name.partition(';')[0]}.{service.set}Type"
        own = f"{self.base}/sap/opu/odata/sap/{service.name}/{service.set}"
        uri = f"{own}('{row.values[service.key]}')"
        meta = {"id": uri, "uri": uri, "type": kind, "etag": _etag(service, row)}
        return {"__metadata": meta} | {
            name: to_json(one, row.values.get(name))
            for name, one in service.properties.items()
            if select is None or name in select
        }


def _etag(service: Service, row: Row) -> str:
    return f"W/\"'{row.values[service.key]}-{row.version:06}'\""


def _given(body: bytes) -> dict[str, Any]:
    """The properties of a body, wrapped in 'd' or not."""
    try:
        given = json.loads(body)
    except ValueError:
        given = None
    if isinstance(given, dict) and set(given) == {"d"}:
        given = given["d"]
    if not isinstance(given, dict):
        raise malformed("Error while parsing the JSON body")
    return given


def _number(options: Mapping[str, str], name: str) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    if not text.isdigit():
        raise malformed(f"Invalid value for {name}")
    return int(text)


def _warning(ignored: list[str]) -> dict[str, str]:
    """Messages on a success travel in a header (OData V2), as JSON in ASCII."""
    if not ignored:
        return {}
    said = {
        "code": "IM/807",
        "message": f"{', '.join(ignored)} cannot be set and was passed over",
        "severity": "warning",
        "target": ignored[0],
        "transition": False,
        "details": [],
    }
    return {"sap-message": json.dumps(said)}
