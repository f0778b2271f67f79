"""Every resource below /services/data/vXX.0/, as one function that composite can call too."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from tests.sandboxes.journal import Journal
from tests.sandboxes.salesforce import soql
from tests.sandboxes.salesforce.asked import Answered, Asked, filled, parsed
from tests.sandboxes.salesforce.jobs import Jobs
from tests.sandboxes.salesforce.schema import OBJECTS, describe
from tests.sandboxes.salesforce.store import Record, Refusal, Store

COLLECTION = 200
COMPOSITE = 25
CREATED_SINCE = 46
"""Versions before it answer an upsert that updates with 204, and never say 'created'."""
_HALTED = "The transaction was rolled back since another operation in the same transaction failed."
NOT_FOUND = "The requested resource does not exist"


class Rest:
    """The org's resources."""

    def __init__(
        self,
        knob: Callable[[str], str | None],
        journal: Callable[[], Journal],
        usage: Callable[[], Any],
    ) -> None:
        self._journal = journal
        self._usage = usage
        self.store = Store(knob, journal)
        self.jobs = Jobs(self.store)
        self._pages: dict[str, list[dict[str, Any]]] = {}

    def handle(self, asked: Asked) -> Answered:
        """Any request."""
        try:
            return self._handle(asked)
        except Refusal as refusal:
            return Answered(status=refusal.status, body=refusal.alone())

    def _handle(self, asked: Asked) -> Answered:  # noqa: PLR0911 - one per resource
        match [asked.method, *asked.path]:
            case ["GET", "sobjects"]:
                return Answered(
                    status=200,
                    body={
                        "encoding": "UTF-8",
                        "sobjects": [_short(describe(name)) for name in OBJECTS],
                    },
                )
            case ["GET", "limits"]:
                return Answered(status=200, body={"DailyApiRequests": self._usage()})
            case ["GET", "query" | "queryAll"]:
                return self._query(asked)
            case ["GET", "query" | "queryAll", locator]:
                return self._page(locator, asked.version)
            case [_, "sobjects", name, *rest]:
                return self._rows(asked, name, rest)
            case ["POST", "composite"]:
                return self._composite(asked)
            case [_, "composite", "sobjects", *rest]:
                return self._collection(asked, rest)
            case [_, "jobs", "ingest", *rest]:
                return self._ingest(asked, rest)
        raise Refusal("NOT_FOUND", NOT_FOUND)

    # -- one record

    def _rows(  # noqa: PLR0911 - one per resource
        self, asked: Asked, name: str, rest: Sequence[str]
    ) -> Answered:
        self.store.columns(name)
        match [asked.method, *rest]:
            case ["GET"]:
                shown = {"objectDescribe": _short(describe(name)), "recentItems": []}
                return Answered(status=200, body=shown)
            case ["GET", "describe"]:
                return Answered(status=200, body=describe(name))
            case ["POST"]:
                return self._create(asked, name)
            case ["GET", own_id]:
                return Answered(status=200, body=_shown(name, self.store.get(name, own_id), asked))
            case ["PATCH", own_id]:
                self.store.update(name, own_id, asked.json())
                return Answered(status=204)
            case ["DELETE", own_id]:
                self.store.delete(name, own_id)
                return Answered(status=204)
            case ["GET" | "PATCH" | "DELETE", by, value]:
                return self._by_key(asked, name, by, value)
        raise Refusal("METHOD_NOT_ALLOWED", f"HTTP Method '{asked.method}' not allowed")

    def _create(self, asked: Asked, name: str) -> Answered:
        record = self.store.create(name, asked.json())
        errors = []
        if name.endswith("__e"):
            words = "-".join(secrets.token_hex(n) for n in (4, 2, 2, 2, 6))
            errors = [{"statusCode": "OPERATION_ENQUEUED", "message": words, "fields": []}]
        place = {"location": f"/services/data/v{asked.version}/sobjects/{name}/{record['Id']}"}
        body = {"id": record["Id"], "success": True, "errors": errors}
        return Answered(status=201, body=body, headers=place)

    def _by_key(self, asked: Asked, name: str, by: str, value: str) -> Answered:
        if asked.method == "PATCH":
            given = asked.json()
            if by in given:
                message = f"The {by} field should not be specified in the sobject data."
                raise Refusal("INVALID_FIELD", message, by)
            only = asked.query.get("updateOnly") == "true"
            record, made = self.store.upsert(name, by, value, given, only=only)
            modern = float(asked.version) >= CREATED_SINCE
            if not made and not modern:
                return Answered(status=204)
            body = {"id": record["Id"], "success": True, "errors": []}
            if modern:
                body["created"] = made
            return Answered(status=201 if made else 200, body=body)
        found = self.store.matches(name, by, value)
        if not found:
            raise Refusal("NOT_FOUND", NOT_FOUND)
        if len(found) > 1:
            return Answered(
                status=300,
                body=[f"/services/data/v{asked.version}/sobjects/{name}/{r['Id']}" for r in found],
            )
        if asked.method == "DELETE":
            self.store.delete(name, found[0]["Id"])
            return Answered(status=204)
        return Answered(status=200, body=_shown(name, found[0], asked))

    # -- queries

    def _query(self, asked: Asked) -> Answered:
        deleted = asked.path[0] == "queryAll"
        rows, count = soql.run(self.store, asked.query.get("q", ""), deleted=deleted)
        if count:
            return Answered(status=200, body={"totalSize": len(rows), "done": True, "records": []})
        locator = "01g" + secrets.token_hex(6)
        self._pages[locator] = rows
        return self._page(f"{locator}-0", asked.version)

    def _page(self, place: str, version: str) -> Answered:
        locator, _, start = place.partition("-")
        rows = self._pages.get(locator)
        if rows is None or not start.isdigit():
            raise Refusal("INVALID_QUERY_LOCATOR", "invalid query locator")
        end = int(start) + soql.PAGE
        body: dict[str, Any] = {"totalSize": len(rows), "done": end >= len(rows)}
        if not body["done"]:
            body["nextRecordsUrl"] = f"/services/data/v{version}/query/{locator}-{end}"
        return Answered(status=200, body=body | {"records": rows[int(start) : end]})

    # -- several records

    def _collection(self, asked: Asked, rest: Sequence[str]) -> Answered:
        match [asked.method, *rest]:
            case ["GET", name]:
                ids = asked.query.get("ids", "").split(",")
                return self._retrieve(name, ids, asked.query.get("fields", "Id").split(","))
            case ["POST", name]:
                wanted = asked.json()
                return self._retrieve(name, wanted.get("ids") or [], wanted.get("fields") or ["Id"])
            case ["DELETE"]:
                each = [{"id": own_id} for own_id in asked.query.get("ids", "").split(",")]
                every = asked.query.get("allOrNone") == "true"
                return self._each(each, self._delete_any, all_or_none=every)
        given = asked.json()
        records = _records(given, rest)
        match [asked.method, *rest]:
            case ["POST"]:
                act: Callable[[Record], dict[str, Any]] = self._insert
            case ["PATCH"]:
                act = self._change
            case ["PATCH", _, by]:
                act = self._upserter(by)
            case _:
                raise Refusal("METHOD_NOT_ALLOWED", f"HTTP Method '{asked.method}' not allowed")
        return self._each(records, act, all_or_none=given.get("allOrNone") is True)

    def _each(
        self,
        records: Sequence[Record],
        act: Callable[[Record], dict[str, Any]],
        *,
        all_or_none: bool,
    ) -> Answered:
        before = self._mark()
        results = []
        for record in records:
            try:
                results.append({**act(record), "success": True, "errors": []})
            except Refusal as refusal:
                if refusal.whole:
                    self._roll_back(before)
                    raise
                results.append(refusal.among())
        if all_or_none and not all(one["success"] for one in results):
            self._roll_back(before)
            rolled = Refusal("ALL_OR_NONE_OPERATION_ROLLED_BACK", "Record rolled back").among()
            results = [rolled if one["success"] else one for one in results]
        return Answered(status=200, body=results)

    def _insert(self, record: Record) -> dict[str, Any]:
        return {"id": self.store.create(record["attributes"]["type"], record)["Id"]}

    def _change(self, record: Record) -> dict[str, Any]:
        own_id = str(record.get("id") or record.get("Id") or "")
        return {"id": self.store.update(record["attributes"]["type"], own_id, record)["Id"]}

    def _upserter(self, by: str) -> Callable[[Record], dict[str, Any]]:
        def act(record: Record) -> dict[str, Any]:
            given = {k: v for k, v in record.items() if k != by}
            key = str(record.get(by) or "")
            if not key:
                raise Refusal("MISSING_ARGUMENT", f"{by} not specified", by)
            made, new = self.store.upsert(record["attributes"]["type"], by, key, given)
            return {"id": made["Id"], "created": new}

        return act

    def _delete_any(self, record: Record) -> dict[str, Any]:
        for name in OBJECTS:
            if record["id"][:15] in self.store.records[name]:
                self.store.delete(name, record["id"])
                return {"id": record["id"]}
        raise Refusal("ENTITY_IS_DELETED", "entity is deleted")

    def _retrieve(self, name: str, ids: Sequence[str], fields: Sequence[str]) -> Answered:
        columns = self.store.columns(name)
        for one in fields:
            if one not in columns:
                raise Refusal("INVALID_FIELD", f"No such column '{one}' on entity '{name}'")
        found = [self.store.records[name].get(own_id[:15]) for own_id in ids]
        shown = [
            None
            if r is None or r["IsDeleted"]
            else {"attributes": {"type": name}} | {f: r.get(f) for f in fields}
            for r in found
        ]
        return Answered(status=200, body=shown)

    # -- composite

    def _composite(self, asked: Asked) -> Answered:
        given = asked.json()
        parts = given.get("compositeRequest")
        if not isinstance(parts, list) or not 0 < len(parts) <= COMPOSITE:
            message = f"The composite request needs 1 to {COMPOSITE} subrequests"
            raise Refusal("JSON_PARSER_ERROR", message, whole=True)
        before = self._mark()
        done: dict[str, Any] = {}
        answers: list[dict[str, Any]] = []
        for part in parts:
            answer = self._part(part, done)
            if answer.status < 300:
                done[part["referenceId"]] = answer.body
            answers.append(
                {
                    "body": answer.body,
                    "httpHeaders": {k.title(): v for k, v in answer.headers.items()},
                    "httpStatusCode": answer.status,
                    "referenceId": part["referenceId"],
                }
            )
        failed = [one for one in answers if one["httpStatusCode"] >= 300]
        if failed and given.get("allOrNone") is True:
            self._roll_back(before)
            halted = [{"errorCode": "PROCESSING_HALTED", "message": _HALTED}]
            for one in answers:
                if one is not failed[0]:
                    one |= {"body": halted, "httpStatusCode": 400, "httpHeaders": {}}
        return Answered(status=200, body={"compositeResponse": answers})

    def _part(self, part: Mapping[str, Any], done: Mapping[str, Any]) -> Answered:
        try:
            full = filled({"url": part["url"], "body": part.get("body")}, done)
        except Refusal as refusal:
            return Answered(status=refusal.status, body=refusal.alone())
        asked = parsed(str(part["method"]), full["url"], orjson.dumps(full["body"] or {}))
        if asked is None or list(asked.path) == ["composite"]:
            return Answered(status=400, body=Refusal("NOT_FOUND", NOT_FOUND).alone())
        return self.handle(asked)

    # -- all or nothing

    def _mark(self) -> tuple[Any, ...]:
        return (
            copy.deepcopy(self.store.records),
            len(self.store.events),
            len(self._journal().effects),
        )

    def _roll_back(self, mark: tuple[Any, ...]) -> None:
        self.store.records, events, effects = mark
        del self.store.events[events:]
        del self._journal().effects[effects:]

    # -- Bulk 2.0

    def _ingest(  # noqa: PLR0911 - one per resource
        self, asked: Asked, rest: Sequence[str]
    ) -> Answered:
        jobs = self.jobs
        if not rest:
            if asked.method == "POST":
                return Answered(status=200, body=jobs.create(asked.json(), asked.version))
            every = [jobs.info(job, asked.version) for job in jobs.jobs.values()]
            return Answered(status=200, body={"done": True, "records": every})
        job = jobs.get(rest[0])
        match [asked.method, *rest[1:]]:
            case ["GET"]:
                jobs.ask(job)
                return Answered(status=200, body=jobs.info(job, asked.version))
            case ["PATCH"]:
                jobs.set_state(job, asked.json().get("state"))
                return Answered(status=200, body=jobs.info(job, asked.version))
            case ["DELETE"]:
                del jobs.jobs[job.id]
                return Answered(status=204)
            case ["PUT", "batches"]:
                jobs.upload(job, asked.body)
                return Answered(status=201)
            case ["GET", name]:
                csv = {"content-type": "text/csv"}
                return Answered(status=200, body=jobs.result(job, name.lower()), headers=csv)
        raise Refusal("METHOD_NOT_ALLOWED", f"HTTP Method '{asked.method}' not allowed")


def _short(described: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in described.items() if k != "fields"}


def _shown(name: str, record: Record, asked: Asked) -> dict[str, Any]:
    url = f"/services/data/v{asked.version}/sobjects/{name}/{record['Id']}"
    wanted = asked.query.get("fields")
    names = wanted.split(",") if wanted else list(OBJECTS[name])
    for one in names:
        if one not in OBJECTS[name]:
            raise Refusal("INVALID_FIELD", f"No such column '{one}' on sobject of type {name}")
    return {"attributes": {"type": name, "url": url}} | {one: record.get(one) for one in names}


def _records(given: Mapping[str, Any], rest: Sequence[str]) -> list[Record]:
    """What a collection brings, checked as a whole."""
    records = given.get("records")
    if not isinstance(records, list) or not records:
        raise Refusal("JSON_PARSER_ERROR", "records is missing", whole=True)
    if len(records) > COLLECTION:
        message = f"record limit reached. cannot submit more than {COLLECTION} records in this call"
        raise Refusal("LIMIT_EXCEEDED", message, whole=True)
    for record in records:
        kind = record.get("attributes", {}).get("type") if isinstance(record, dict) else None
        if kind not in OBJECTS or (rest and kind != rest[0]):
            raise Refusal("INVALID_TYPE", f"sObject type '{kind}' is not supported.", whole=True)
    return records
