"""SuiteTalk REST's addresses. Errors as recordings have them; the rest as the help says.

Traps: unknown fields are taken with 204 and X-NetSuite-PropertyValidation unless the request
asks for an error; an upsert answers 204 whether it made or changed; a batch is always
asynchronous; too many requests at once are refused without Retry-After; a second write of
incomingMessage is a second message.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tests.sandboxes.base import Sandbox
from tests.sandboxes.netsuite import suiteql
from tests.sandboxes.netsuite.door import (
    ACCOUNT,
    CONSUMER_KEY,
    CONSUMER_SECRET,
    TOKEN_ID,
    TOKEN_PATH,
    TOKEN_SECRET,
    Door,
)
from tests.sandboxes.netsuite.form import (
    COLLECTION,
    PAGE_MAX,
    answer,
    body_of,
    busy,
    external_id,
    number_in,
    refused,
    schema_of,
    stub,
    unknown_names,
)
from tests.sandboxes.netsuite.jobs import Job, Jobs
from tests.sandboxes.netsuite.records import (
    LISTS,
    TYPES,
    Record,
    Records,
    Refusal,
    Type,
)

REST = "/services/rest"
BATCH_MAX = 100
Handler = Callable[[Request], Awaitable[Response]]


class Netsuite(Sandbox):
    """One account. `customers` and `assets` are names by external id."""

    name = "netsuite"

    def __init__(
        self, *, customers: Mapping[str, str], assets: Mapping[str, str], concurrency: int
    ) -> None:
        self.concurrency = concurrency
        """Most requests at once."""
        self._customers, self._assets = dict(customers), dict(assets)
        self.door = Door()
        super().__init__()
        self.forget()

    def routes(self) -> Sequence[BaseRoute]:
        """The services."""
        one = f"{REST}/record/v1/{{kind}}/{{own_id}}"
        every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        job = f"{REST}/async/v1/job/{{job}}"
        return [
            Route(TOKEN_PATH, self._token, methods=["POST"]),
            Route(f"{REST}/query/v1/suiteql", self._in(self._suiteql), methods=["POST"]),
            Route(f"{REST}/record/v1/metadata-catalog", self._in(self._catalog)),
            Route(f"{REST}/record/v1/metadata-catalog/{{kind}}", self._in(self._schema)),
            Route(f"{REST}/record/v1/{{kind}}", self._in(self._many), methods=every),
            Route(one, self._in(self._one), methods=every),
            Route(f"{REST}/system/v1/governanceLimits", self._in(self._limits)),
            Route(job, self._in(self._job)),
            Route(f"{job}/task", self._in(self._tasks)),
            Route(f"{job}/task/{{task}}", self._in(self._task)),
            Route(f"{job}/task/{{task}}/result", self._in(self._result)),
        ]

    def values(self) -> Mapping[str, Any]:
        """A connector's settings for it, by token-based authentication."""
        return {
            "url": self.base,
            "account": ACCOUNT,
            "consumer_key": CONSUMER_KEY,
            "consumer_secret": CONSUMER_SECRET,
            "token_id": TOKEN_ID,
            "token_secret": TOKEN_SECRET,
        }

    def forget(self) -> None:
        """Master data only."""
        self.records = Records(self.knobs, self.journal)
        self.jobs = Jobs()
        for key, name in self._customers.items():
            self.records.seed("customer", key, {"companyName": name})
        for key, name in self._assets.items():
            self.records.seed("customrecord_fieldline_asset", key, {"name": name})
        self.expire()

    def expire(self) -> None:
        """OAuth 2.0 tokens end; TBA's do not."""
        self.door.expire()

    def over_limit(self, request: Request, reset_s: float) -> Response:
        """Without Retry-After."""
        del request, reset_s
        return refused(busy())

    # -- the door

    def _in(self, handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            if self.at_once > self.concurrency:
                self.limited += 1
                return refused(busy())
            if not self.door.lets_in(request):
                return refused(
                    Refusal(
                        status=401,
                        code="INVALID_LOGIN",
                        detail="Invalid login attempt. For more details, see the Login Audit Trail "
                        "in the NetSuite UI.",
                    )
                )
            self.jobs.work()
            try:
                return await handler(request)
            except Refusal as refusal:
                return refused(refusal)

        return handle

    async def _token(self, request: Request) -> Response:
        return await self.door.token(request, self.base)

    # -- records

    async def _many(self, request: Request) -> Response:
        kind = self.records.type(request.path_params["kind"])
        if request.method == "GET":
            return self._page(request, [stub(one) for one in self._table(kind)])
        media = request.headers.get("content-type", "")
        if "type=collection" in media.replace(" ", ""):
            return await self._batch(request, kind)
        if request.method != "POST":
            raise Refusal(status=405, code="INVALID_REQUEST", detail="Method not allowed.")
        body = await body_of(request)
        external = str(body.get("externalId") or "")
        return self._written(request, kind, body, lambda: self._create(kind, body, external))

    async def _one(self, request: Request) -> Response:
        kind, own_id = self.records.type(request.path_params["kind"]), request.path_params["own_id"]
        if request.method == "GET":
            return self._shown(kind, self.records.get(kind, own_id))
        if request.method == "DELETE":
            self.records.delete(kind, self.records.get(kind, own_id))
            return Response(status_code=204)
        body = await body_of(request)
        if request.method == "PUT":
            return self._written(request, kind, body, lambda: self._upsert(kind, body, own_id))
        if request.method != "PATCH":
            raise Refusal(status=405, code="INVALID_REQUEST", detail="Method not allowed.")
        return self._written(request, kind, body, lambda: self._update(kind, body, own_id))

    def _create(self, kind: Type, body: Mapping[str, Any], external: str) -> str:
        if external and self.records.find(kind, f"eid:{external}"):
            detail = "Error while accessing a resource. This entity already exists."
            raise Refusal(status=400, code="USER_ERROR", detail=detail)
        return self._where(kind, self.records.save(kind, body, None, external_id(external)))

    def _upsert(self, kind: Type, body: Mapping[str, Any], own_id: str) -> str:
        if not own_id.startswith("eid:"):
            detail = "Upsert takes an external ID: use the prefix eid:."
            raise Refusal(status=400, code="INVALID_PARAMETER", detail=detail)
        before = self.records.find(kind, own_id)
        external = external_id(own_id.removeprefix("eid:"))
        return self._where(kind, self.records.save(kind, body, before, external))

    def _update(self, kind: Type, body: Mapping[str, Any], own_id: str) -> str:
        return self._where(kind, self.records.save(kind, body, self.records.get(kind, own_id)))

    def _written(
        self, request: Request, kind: Type, body: Mapping[str, Any], task: Callable[[], str]
    ) -> Response:
        """One record, now or by a job."""
        left_out = unknown_names(request, kind, body)
        if "respond-async" in request.headers.get("prefer", ""):
            return self._accepted(request, [task])
        headers = {"location": task()}
        if left_out:
            headers["x-netsuite-propertyvalidation"] = ",".join(left_out)
        return Response(status_code=204, headers=headers)

    # -- batches and jobs

    async def _batch(self, request: Request, kind: Type) -> Response:
        if "respond-async" not in request.headers.get("prefer", ""):
            detail = "Batch operations are asynchronous: use the header Prefer: respond-async."
            raise Refusal(status=400, code="INVALID_HEADER", detail=detail)
        items = (await body_of(request)).get("items")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise Refusal(status=400, code="INVALID_CONTENT", detail="items is not a list.")
        if not 0 < len(items) <= BATCH_MAX:
            detail = f"A batch has 1 to {BATCH_MAX} records."
            raise Refusal(status=400, code="INVALID_CONTENT", detail=detail)
        return self._accepted(request, [self._item(request, kind, item) for item in items])

    def _item(self, request: Request, kind: Type, item: dict[str, Any]) -> Callable[[], str]:
        def task() -> str:
            unknown_names(request, kind, item)
            external, own_id = str(item.get("externalId") or ""), str(item.get("id") or "")
            if request.method == "POST":
                return self._create(kind, item, external)
            if request.method == "PUT":
                return self._upsert(kind, item, f"eid:{external}")
            return self._update(kind, item, own_id or f"eid:{external}")

        return task

    def _accepted(self, request: Request, tasks: list[Callable[[], str]]) -> Response:
        key = request.headers.get("x-netsuite-idempotency-key", "")
        applied = {"preference-applied": "respond-async"}
        if earlier := self.jobs.before(key):
            refusal = Refusal(
                status=400,
                code="IDEMPOTENCY_ERROR",
                detail="A request with the same idempotency key is already submitted. See the "
                "Location header for a link to the previously submitted job.",
            )
            return refused(refusal, applied | {"location": self._job_url(earlier)})
        job = self.jobs.add(key, tasks)
        headers = applied | {"location": self._job_url(job)}
        return Response(status_code=202, headers=headers, media_type="application/json")

    async def _job(self, request: Request) -> Response:
        job = self._found(request)
        job.looks += 1
        return answer(self.jobs.as_json(job, f"{self.base}{REST}/async/v1/job"))

    async def _tasks(self, request: Request) -> Response:
        job = self._found(request)
        where = f"{self._job_url(job)}/task"
        links = [[{"rel": "self", "href": f"{where}/{n}"}] for n in range(1, len(job.tasks) + 1)]
        return self._page(request, [{"links": link} for link in links])

    async def _task(self, request: Request) -> Response:
        job, at = self._task_of(request)
        where = f"{self._job_url(job)}/task/{at + 1}"
        progress = "pending"
        if job.done is not None:
            progress = "failed" if job.done[at][1] else "succeeded"
        links = [{"rel": "self", "href": where}, {"rel": "related", "href": f"{where}/result"}]
        shown = {"links": links, "completed": job.completed, "id": str(at + 1)}
        return answer(shown | {"progress": progress})

    async def _result(self, request: Request) -> Response:
        """As the request itself would have answered; unverified for a record of a batch."""
        job, at = self._task_of(request)
        if job.done is None:
            raise Refusal(status=404, code="NONEXISTENT_ID", detail="There is no result yet.")
        where, refusal = job.done[at]
        return (
            refused(refusal) if refusal else Response(status_code=204, headers={"location": where})
        )

    def _task_of(self, request: Request) -> tuple[Job, int]:
        job, task = self._found(request), request.path_params["task"]
        if not task.isdigit() or not 0 < int(task) <= len(job.tasks):
            raise Refusal(status=404, code="NONEXISTENT_ID", detail="There is no such task.")
        return job, int(task) - 1

    def _found(self, request: Request) -> Job:
        job = self.jobs.all.get(request.path_params["job"])
        if job is None:
            raise Refusal(status=404, code="NONEXISTENT_ID", detail="There is no such job.")
        return job

    # -- queries and what describes

    async def _suiteql(self, request: Request) -> Response:
        if "transient" not in request.headers.get("prefer", ""):
            detail = "The required request header 'Prefer' is missing or is not 'transient'."
            raise Refusal(status=400, code="INVALID_HEADER", detail=detail)
        query = (await body_of(request)).get("q")
        if not isinstance(query, str):
            raise Refusal(status=400, code="INVALID_CONTENT", detail="q is missing.")
        rows = suiteql.run(query, self.records.tables)
        return self._page(request, [{"links": [], **row} for row in rows])

    async def _catalog(self, request: Request) -> Response:
        if "swagger" in request.headers.get("accept", ""):
            asked = [name for name in request.query_params.get("select", "").split(",") if name]
            kinds = [self.records.type(name) for name in asked] or list(TYPES.values())
            schemas = {kind.name: schema_of(kind) for kind in kinds}
            does: dict[str, Any] = {"get": {}, "patch": {}, "put": {}}
            paths = {f"/{kind.name}/{{id}}": does for kind in kinds}
            return answer({"openapi": "3.0.1", "paths": paths, "components": {"schemas": schemas}})
        return answer({"items": [{"name": kind.name, "links": []} for kind in TYPES.values()]})

    async def _schema(self, request: Request) -> Response:
        return answer(schema_of(self.records.type(request.path_params["kind"])))

    async def _limits(self, request: Request) -> Response:
        del request
        limits = {
            "type": "accountLimit",
            "accountConcurrencyLimit": self.concurrency,
            "accountUnallocatedConcurrencyLimit": self.concurrency,
        }
        return answer({"links": [], **limits})

    # -- pieces

    def _table(self, kind: Type) -> list[Record]:
        return list(self.records.tables[kind.name.lower()].values())

    def _where(self, kind: Type, record: Record) -> str:
        return f"{self.base}{REST}/record/v1/{kind.name}/{record.id}"

    def _job_url(self, job: Job) -> str:
        return f"{self.base}{REST}/async/v1/job/{job.id}"

    def _shown(self, kind: Type, record: Record) -> Response:
        shown: dict[str, Any] = {"links": [], "id": record.id, "externalId": record.external_id}
        for name, value in record.values.items():
            points_at = kind.references.get(name)
            if points_at is None:
                shown[name] = value
                continue
            if points_at in LISTS:
                called = LISTS[points_at].get(value, "")
            else:
                other = self.records.tables[points_at].get(value)
                called = next(iter(other.values.values()), "") if other else ""
            shown[name] = {"id": value, "refName": called, "links": []}
        return answer(shown)

    def _page(self, request: Request, rows: Sequence[Mapping[str, Any]]) -> Response:
        limit = number_in(request, "limit", PAGE_MAX)
        offset = number_in(request, "offset", 0)
        if not 0 < limit <= PAGE_MAX or offset % limit:
            detail = "limit is 1 to 1000, and offset a multiple of it."
            raise Refusal(status=400, code="INVALID_PARAMETER", detail=detail)
        shown = list(rows[offset : offset + limit])
        page = {
            "links": [{"rel": "self", "href": str(request.url)}],
            "count": len(shown),
            "hasMore": offset + len(shown) < len(rows),
            "items": shown,
            "offset": offset,
            "totalResults": len(rows),
        }
        return answer(page, COLLECTION)
