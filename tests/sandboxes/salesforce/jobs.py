"""Bulk API 2.0 ingest: create, upload, UploadComplete, ask, three results."""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.sandboxes.salesforce.schema import OBJECTS
from tests.sandboxes.salesforce.store import Refusal, Store

ENDS = {"LF": "\n", "CRLF": "\r\n"}
DELIMITERS = {
    "COMMA": ",",
    "SEMICOLON": ";",
    "TAB": "\t",
    "PIPE": "|",
    "CARET": "^",
    "BACKQUOTE": "`",
}

Row = dict[str, str]


@dataclass(kw_only=True)
class Job:
    """One ingest job. `asked` counts how often it was asked about since it began."""

    id: str
    object: str
    operation: str
    external: str
    ends: str
    delimiter: str
    state: str = "Open"
    upload: bytes | None = None
    error: str = ""
    asked: int = 0
    header: list[str] = field(default_factory=list)
    taken: list[tuple[str, bool, Row]] = field(default_factory=list)
    refused: list[tuple[str, Row]] = field(default_factory=list)
    left: list[Row] = field(default_factory=list)


class Jobs:
    """All jobs. One ends at question number `lag` + 1; `stuck`: none is ever worked on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.jobs: dict[str, Job] = {}
        self.lag = 1
        self.stuck = False

    def create(self, wanted: Mapping[str, Any], version: str) -> dict[str, Any]:
        """POST jobs/ingest."""
        name, operation = wanted.get("object"), wanted.get("operation")
        if name not in OBJECTS:
            raise Refusal("INVALIDENTITY", f"Unable to find object: {name}")
        if operation not in {"insert", "update", "upsert", "delete"}:
            raise Refusal("INVALIDOPERATION", f"Operation {operation} not supported")
        if wanted.get("contentType", "CSV") != "CSV":
            raise Refusal("INVALIDJOB", "Only CSV is supported")
        external = str(wanted.get("externalIdFieldName") or "")
        if operation == "upsert":
            column = OBJECTS[str(name)].get(external)
            if column is None or not (column.external or external == "Id"):
                raise Refusal("INVALIDJOB", f"External ID field not found: {external}")
        job = Job(
            id="750" + secrets.token_hex(6)[:12] + "AAA",
            object=str(name),
            operation=str(operation),
            external=external,
            ends=str(wanted.get("lineEnding") or "LF"),
            delimiter=str(wanted.get("columnDelimiter") or "COMMA"),
        )
        self.jobs[job.id] = job
        return self.info(job, version)

    def get(self, own_id: str) -> Job:
        """A job by its id."""
        if own_id not in self.jobs:
            raise Refusal("NOT_FOUND", "The requested resource does not exist")
        return self.jobs[own_id]

    def upload(self, job: Job, content: bytes) -> None:
        """PUT …/batches: once."""
        if job.state != "Open" or job.upload is not None:
            raise Refusal("INVALIDJOBSTATE", "Found multiple contents for job: <" + job.id + ">")
        job.upload = content

    def set_state(self, job: Job, state: object) -> None:
        """PATCH: UploadComplete or Aborted."""
        if state == "Aborted" and job.state in {"Open", "UploadComplete", "InProgress"}:
            job.state = "Aborted"
        elif state == "UploadComplete" and job.state == "Open":
            job.state = "UploadComplete"
            if not self.stuck:
                self._work(job)
        else:
            message = f"Transitioning from current state {job.state} to {state} is not allowed"
            raise Refusal("INVALIDJOBSTATE", message)

    def ask(self, job: Job) -> None:
        """GET: time goes on."""
        if job.state in {"UploadComplete", "InProgress"}:
            job.asked += 1
            if self.stuck or job.asked <= self.lag:
                job.state = "InProgress"
            else:
                job.state = "Failed" if job.error else "JobComplete"

    def info(self, job: Job, version: str) -> dict[str, Any]:
        """JobInfo."""
        shown: dict[str, Any] = {
            "id": job.id,
            "object": job.object,
            "operation": job.operation,
            "state": job.state,
            "apiVersion": float(version),
            "contentType": "CSV",
            "lineEnding": job.ends,
            "columnDelimiter": job.delimiter,
            "concurrencyMode": "Parallel",
            "contentUrl": f"services/data/v{version}/jobs/ingest/{job.id}/batches",
        }
        if job.external:
            shown["externalIdFieldName"] = job.external
        if job.state in {"JobComplete", "Failed"}:
            failed = len(job.refused)
            shown |= {
                "numberRecordsProcessed": len(job.taken) + failed,
                "numberRecordsFailed": failed,
            }
        if job.error and job.state == "Failed":
            shown["errorMessage"] = job.error
        return shown

    def result(self, job: Job, name: str) -> str:
        """One of the three results, as CSV; rows come in an order of their own."""
        if name == "successfulresults":
            rows = [
                {"sf__Id": i, "sf__Created": str(new).lower(), **row} for i, new, row in job.taken
            ]
            return _csv(["sf__Id", "sf__Created", *job.header], rows)
        if name == "failedresults":
            rows = [{"sf__Id": "", "sf__Error": error, **row} for error, row in job.refused]
            return _csv(["sf__Id", "sf__Error", *job.header], rows)
        if name == "unprocessedrecords":
            return _csv(job.header, job.left)
        raise Refusal("NOT_FOUND", "The requested resource does not exist")

    def _work(self, job: Job) -> None:
        text = (job.upload or b"").decode("utf-8", "replace")
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=DELIMITERS[job.delimiter])
        rows = [{str(k): str(v or "") for k, v in row.items()} for row in reader]
        job.header = [str(name) for name in reader.fieldnames or []]
        columns = OBJECTS[job.object]
        for name in job.header:
            known = name in columns or any(
                name.partition(".")[0] == c.relation and "." in name for c in columns.values()
            )
            if not known:
                job.error = f"InvalidBatch : Field name not found : {name}"
                job.left = rows
                return
        for row in reversed(rows):
            self._take(job, row)

    def _take(self, job: Job, row: Row) -> None:
        given: dict[str, Any] = {}
        for name, value in row.items():
            head, _, rest = name.partition(".")
            if value and rest:
                given[head] = {rest: value}
            elif value:
                given[name] = None if value == "#N/A" else value
        try:
            if job.operation == "upsert":
                key = str(given.pop(job.external, ""))
                if not key:
                    raise Refusal("MISSING_ARGUMENT", f"{job.external} not specified")  # noqa: TRY301 - as the others
                record, made = self._store.upsert(job.object, job.external, key, given)
            elif job.operation == "insert":
                record, made = self._store.create(job.object, given), True
            elif job.operation == "update":
                record, made = self._store.update(job.object, row.get("Id", ""), given), False
            else:
                self._store.delete(job.object, row.get("Id", ""))
                record, made = {"Id": row.get("Id", "")}, False
        except Refusal as refusal:
            fields = ",".join(refusal.fields)
            job.refused.append((f"{refusal.code}:{refusal.message}:{fields} --", row))
        else:
            job.taken.append((str(record["Id"]), made, row))


def _csv(header: list[str], rows: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, header, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
