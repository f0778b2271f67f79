"""The Web API's addresses, its token endpoint, and $batch.

| trap | where it comes from |
|---|---|
| 204 for create and update alike, 201 or 200 with return=representation | wire-formats.md |
| a $batch's first error becomes its own status, and nothing after it is done | Learn, batch |
| a change set is done as a whole or not at all | Learn, batch |
| keys with / < > * % & : \\ ? + do not work, encoded or not | Learn, alternate keys |
| a case is not resolved by PATCH; a resolved one cannot be changed | code CaseAlreadyResolved |
| 429 with Retry-After and three codes | Learn, service protection limits |
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tests.sandboxes.base import Sandbox
from tests.sandboxes.dynamics.batch import API, Answer, Asked, Batch, error_of, sent
from tests.sandboxes.dynamics.query import filtered, ordered, selected
from tests.sandboxes.dynamics.schema import BY_SET, TABLES, Table, csdl, definition, picklists
from tests.sandboxes.dynamics.store import GUID, RefusedError, Row, Store

TENANT = "0f7c6f2e-9a55-4b1d-8d35-f1e1d11e0001"
CLIENT_ID = "5b0d1f62-0f2b-4d19-9d0c-3c2f5a1e7a10"
CLIENT_SECRET = "dataverse-secret-of-the-sandbox"
ACCOUNT = "6a1f0c9e-2f55-ec11-8c62-000d3a11f1e1"
LASTS_S = 3_599
PAGE_MAX = 5_000
BURST = 6_000
_PATH = re.compile(r"([A-Za-z0-9_]+)(?:\((.*?)\))?(?:/(.+))?", re.DOTALL)
_NAMED = re.compile(r"([A-Za-z0-9_]+)='((?:[^']|'')*)'")


class Dynamics(Sandbox):
    """One environment with one application user and one account."""

    name = "dynamics"

    def __init__(self) -> None:
        super().__init__()
        self._tokens: dict[str, float] = {}
        self.forget()

    def routes(self) -> Sequence[BaseRoute]:
        """Microsoft's login, and the Web API."""
        return [
            Route("/{tenant}/oauth2/v2.0/token", self._token, methods=["POST"]),
            Route(f"{API}{{path:path}}", self._api, methods=["GET", "POST", "PATCH", "DELETE"]),
        ]

    def forget(self) -> None:
        """One account, no cases."""
        self._tokens.clear()
        self.store = Store(self._note, self._wrong)
        given = {"accountid": ACCOUNT, "name": "Acme Cold Chain", "accountnumber": "C-1"}
        self.store.create(TABLES["account"], given, {})  # not in the journal: no transaction

    def _wrong(self, text: str) -> str | None:
        return self.knobs.error(text)  # the knobs are others after the control room's DELETE

    def _note(self, op: str, table: str, key: str, own: str, fields: Mapping[str, Any]) -> None:
        self.journal.note(op, table, key, own, fields)  # type: ignore[arg-type]

    def expire(self) -> None:
        """Every token ends."""
        self._tokens.clear()

    def over_limit(self, request: Request, reset_s: float) -> Response:
        """The first service protection limit."""
        del request
        text = "Number of requests exceeded the limit of 6000 over time window of 300 seconds."
        wait = {"Retry-After": str(max(1, round(reset_s + 0.5)))}
        return sent(error_of("0x80072322", text), wait)

    def told(self, left: int, limit: int) -> Mapping[str, str]:
        """In the units of the true limits: 6,000 requests and 1,200 seconds in 300."""
        return {
            "x-ms-ratelimit-burst-remaining-xrm-requests": str(left * BURST // max(limit, 1)),
            "x-ms-ratelimit-time-remaining-xrm-requests": "1,198.56",
        }

    # -- login

    async def _token(self, request: Request) -> Response:
        fields = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        wanted = {"grant_type": "client_credentials", "client_id": CLIENT_ID}
        good = all(fields.get(k) == v for k, v in wanted.items())
        secret = fields.get("client_secret", "").encode()
        if request.path_params["tenant"] != TENANT:
            return _login_error(400, "invalid_request", "AADSTS90002: Tenant not found.")
        if not good or not hmac.compare_digest(secret, CLIENT_SECRET.encode()):
            return _login_error(
                401, "invalid_client", "AADSTS7000215: Invalid client secret provided."
            )
        if fields.get("scope") != f"{self.base}/.default":
            return _login_error(400, "invalid_scope", "AADSTS70011: The scope is not valid.")
        token = secrets.token_urlsafe(48)
        self._tokens[token] = time.monotonic() + LASTS_S
        made = {
            "token_type": "Bearer",
            "expires_in": LASTS_S,
            "ext_expires_in": LASTS_S,
            "access_token": token,
        }
        return Response(orjson.dumps(made), media_type="application/json")

    def _let_in(self, request: Request) -> bool:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return kind == "Bearer" and self._tokens.get(token, 0) > time.monotonic()

    # -- the API

    async def _api(self, request: Request) -> Response:
        if not self._let_in(request):
            challenge = (
                f'Bearer authorization_uri="https://login.example/{TENANT}/oauth2/authorize"'
            )
            return Response(status_code=401, headers={"WWW-Authenticate": challenge})
        body = await request.body()
        raw = request.scope["raw_path"].decode("ascii")
        path = raw.split("?", 1)[0].removeprefix(API)
        if path == "$batch" or unquote(path) == "$batch":
            batch = Batch(
                self.base,
                done=self._done,
                execute=self._execute,
                transaction=self.store.transaction,
            )
            return batch.respond(request.headers, body)
        query = dict(request.query_params)
        asked = Asked(
            method=request.method, path=path, query=query, headers=request.headers, body=body
        )
        return sent(self._done(asked))

    def _done(self, asked: Asked) -> Answer:
        """One request by itself: its own transaction."""
        try:
            with self.store.transaction():
                return self._execute(asked)
        except RefusedError as error:
            return error_of(error.code, error.message, error.status)

    def _execute(self, asked: Asked) -> Answer:  # noqa: PLR0911, C901 - one kind of address each
        if asked.path == "$metadata":
            return Answer(status=200, body=csdl(), headers={"Content-Type": "application/xml"})
        found = _PATH.fullmatch(unquote(asked.path))
        if found is None:
            raise RefusedError("0x80060888", "Bad Request - Error in query syntax.")
        name, key, rest = found[1], found[2], found[3]
        if name == "WhoAmI":
            ids = ("BusinessUnitId", "UserId", "OrganizationId")
            return Answer(status=200, body={one: str(uuid.uuid5(_SELF, one)) for one in ids})
        if name == "EntityDefinitions":
            return self._metadata(asked, key, rest)
        if name == "CloseIncident" and asked.method == "POST":
            self.store.close_incident(_object(asked.body))
            return Answer(status=204)
        if name == "BulkDelete" and asked.method == "POST":
            return self._bulk_delete(_object(asked.body))
        table = BY_SET.get(name)
        if table is None:
            raise RefusedError("0x8006088a", f"Resource not found for the segment '{name}'.")
        if key is not None and rest is None:
            return self._one(asked, table, key)
        if rest is not None and rest.startswith("Microsoft.Dynamics.CRM.") and key is None:
            return self._multiple(asked, table, rest.removeprefix("Microsoft.Dynamics.CRM."))
        if rest is None and asked.method == "GET":
            return self._query(asked, table)
        if rest is None and asked.method == "POST":
            return self._created(asked, table, self.store.create(table, _object(asked.body), {}))
        raise RefusedError("0x80060888", "The method is not allowed here.", 405)

    def _one(self, asked: Asked, table: Table, key: str) -> Answer:
        """A row by id or by alternate key: GET, PATCH (an upsert), DELETE."""
        keys: dict[str, str] = {}
        if GUID.fullmatch(key):
            row, given = self.store.by_id(table, key), {table.id: key.lower()}
        elif (named := _NAMED.fullmatch(key)) is not None:
            keys = {named[1]: named[2].replace("''", "'")}
            row, given = self.store.by_key(table, named[1], keys[named[1]]), {}
        else:
            raise RefusedError("0x80060888", "Bad Request - Error in query syntax.")
        match, none_match = asked.headers.get("if-match"), asked.headers.get("if-none-match")
        if asked.method == "PATCH" and row is None and match is None:
            made = self.store.create(table, given | _object(asked.body), keys)
            return self._created(asked, table, made)
        if row is None:
            code = "0x80060891" if keys else "0x80040217"
            raise RefusedError(code, f"{table.name} With {key} Does Not Exist")
        if match not in {None, "*", row["@odata.etag"]}:
            raise RefusedError(
                "0x80060882",
                "The version of the existing record doesn't match the RowVersion property "
                "provided.",
            )
        if asked.method == "GET":
            return Answer(status=200, body=self._shown(table, row, asked.query.get("$select", "")))
        if asked.method == "DELETE":
            self.store.delete(table, row)
            return Answer(status=204)
        if none_match == "*":
            raise RefusedError("0x80040237", "A record with matching key values already exists.")
        self.store.update(table, row, _object(asked.body))
        if "return=representation" in asked.headers.get("prefer", ""):
            shown = self._shown(table, row, asked.query.get("$select", ""))
            return Answer(status=200, body=shown, headers=_APPLIED)
        return Answer(status=204, headers=self._where(table, row))

    def _created(self, asked: Asked, table: Table, row: Row) -> Answer:
        if "return=representation" in asked.headers.get("prefer", ""):
            shown = self._shown(table, row, asked.query.get("$select", ""))
            return Answer(status=201, body=shown, headers=_APPLIED)
        where = self._where(table, row)
        return Answer(status=204, headers=where | {"Location": where["OData-EntityId"]})

    def _where(self, table: Table, row: Row) -> dict[str, str]:
        return {"OData-EntityId": f"{self.base}{API}{table.entity_set}({row[table.id]})"}

    def _shown(self, table: Table, row: Row, select: str) -> dict[str, Any]:
        kept = {k: v for k, v in row.items() if k not in table.lookups}
        kept |= {f"_{name}_value": row.get(name) for name in table.lookups}
        known = {*table.columns, table.id, *(f"_{name}_value" for name in table.lookups)}
        context = f"{self.base}{API}$metadata#{table.entity_set}/$entity"
        return {"@odata.context": context} | selected(kept, select, table.id, known)

    def _query(self, asked: Asked, table: Table) -> Answer:
        asks = asked.query
        rows: Sequence[Mapping[str, Any]] = list(self.store.rows[table.name].values())
        rows = filtered(rows, asks["$filter"]) if asks.get("$filter") else rows
        rows = ordered(rows, asks.get("$orderby", ""))
        body: dict[str, Any] = {"@odata.context": f"{self.base}{API}$metadata#{table.entity_set}"}
        if asks.get("$count") == "true":
            body["@odata.count"] = len(rows)
        rows = rows[: int(asks["$top"])] if asks.get("$top", "").isdigit() else rows
        size = re.search(r"odata\.maxpagesize=([0-9]+)", asked.headers.get("prefer", ""))
        most = min(int(size[1]), PAGE_MAX) if size else PAGE_MAX
        page = int(asks["$skiptoken"]) if asks.get("$skiptoken", "").isdigit() else 0
        shown = rows[page * most : (page + 1) * most]
        select = asks.get("$select", "")
        body["value"] = [self._shown(table, dict(row), select) for row in shown]
        if (page + 1) * most < len(rows):
            more = {k: v for k, v in asks.items() if k != "$skiptoken"} | {
                "$skiptoken": str(page + 1)
            }
            text = "&".join(f"{quote(k, safe='$')}={quote(v)}" for k, v in more.items())
            body["@odata.nextLink"] = f"{self.base}{API}{table.entity_set}?{text}"
        return Answer(status=200, body=body)

    def _multiple(self, asked: Asked, table: Table, action: str) -> Answer:
        """CreateMultiple, UpdateMultiple, UpsertMultiple: all or nothing."""
        targets = _object(asked.body).get("Targets")
        if not isinstance(targets, list) or not targets or asked.method != "POST":
            raise RefusedError("0x80048d19", "Error identified in Payload: Targets")
        if action == "CreateMultiple":
            made = [self.store.create(table, target, {}) for target in targets]
            return Answer(status=200, body={"Ids": [row[table.id] for row in made]})
        for target in targets:
            at = str(target.get("@odata.id") or f"{table.entity_set}({target.get(table.id)})")
            found = _PATH.fullmatch(at)
            named = _NAMED.fullmatch(found[2] or "") if found else None
            if action == "UpsertMultiple" and named is not None:
                keys = {named[1]: named[2].replace("''", "'")}
                row = self.store.by_key(table, named[1], keys[named[1]])
                if row is None:
                    self.store.create(table, target, keys)
                    continue
            else:
                bound = self.store.bound(at)
                if bound is None:
                    raise RefusedError("0x80048d19", "Error identified in Payload: @odata.id")
                row = bound[1]
            self.store.update(table, row, target)
        return Answer(status=204)

    def _bulk_delete(self, body: dict[str, Any]) -> Answer:
        """An asynchronous job in truth; here it is done at once."""
        try:
            [query] = body["QuerySet"]
            [condition] = query["Criteria"]["Conditions"]
            table, ids = TABLES[query["EntityName"]], [v["Value"] for v in condition["Values"]]
        except (KeyError, TypeError, ValueError) as error:
            raise RefusedError("0x80040203", "QuerySet") from error
        for own in ids:
            if (row := self.store.by_id(table, own)) is not None:
                self.store.delete(table, row)
        return Answer(status=200, body={"JobId": str(uuid.uuid4())})

    def _metadata(self, asked: Asked, key: str | None, rest: str | None) -> Answer:
        rows: Sequence[Mapping[str, Any]] = [definition(table) for table in TABLES.values()]
        if key is None:
            rows = filtered(rows, asked.query["$filter"]) if asked.query.get("$filter") else rows
            select = asked.query.get("$select", "")
            wanted = {n.strip() for n in select.split(",") if n.strip()} | {"MetadataId"}
            expanded = {part.split("(")[0] for part in asked.query.get("$expand", "").split(",")}
            everything = {name for row in rows for name in row} - _EXPANDED
            keep = expanded | (wanted if select else everything)
            return Answer(
                status=200,
                body={"value": [{k: v for k, v in row.items() if k in keep} for row in rows]},
            )
        named = _NAMED.fullmatch(key)
        table = next(
            (
                t
                for t in TABLES.values()
                if t.metadata_id == key or (named is not None and t.name == named[2])
            ),
            None,
        )
        if table is None:
            raise RefusedError("0x80060888", f"Could not find an entity {key}.", 404)
        made = definition(table)
        if rest is None:
            return Answer(status=200, body={k: v for k, v in made.items() if k not in _EXPANDED})
        if rest in _EXPANDED:
            return Answer(status=200, body={"value": made[rest]})
        if rest == "Attributes/Microsoft.Dynamics.CRM.PicklistAttributeMetadata":
            return Answer(status=200, body={"value": picklists(table)})
        raise RefusedError("0x8006088a", f"Resource not found for the segment '{rest}'.")


_SELF = uuid.UUID("9b2b6a58-2d2c-5a0f-8a43-2f0f3b7a1d11")
_APPLIED = {"Preference-Applied": "return=representation"}
_EXPANDED = frozenset({"Keys", "Attributes"})


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body)
    except ValueError as error:
        raise RefusedError("0x80048d19", "Error identified in Payload: no JSON") from error
    if not isinstance(given, dict):
        raise RefusedError("0x80048d19", "Error identified in Payload: no object")
    return given


def _login_error(status: int, error: str, text: str) -> Response:
    return Response(
        orjson.dumps({"error": error, "error_description": text, "error_codes": [7000215]}),
        status,
        media_type="application/json",
    )


def make() -> Dynamics:
    """With the standard credentials."""
    return Dynamics()
