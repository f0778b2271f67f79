"""BigQuery's REST API as its reference describes it, over DuckDB: tables and jobs.

| request | answers |
|---|---|
| POST /token | an access token for a service account's signed JWT (RS256); 400 otherwise |
| GET, POST, PATCH …/datasets/D/tables[/T] | a table's resource; 409 there, 404 not there |
| POST …/jobs | starts a job; 409 where a job of that id is there, whatever it is |
| GET …/jobs/J | its resource: RUNNING at first, then DONE |
| GET …/queries/J | its rows, a page at a time |

A load or query job is atomic; `table$YYYYMMDD` with WRITE_TRUNCATE replaces one day and refuses
rows of another. gs://BUCKET is a folder of this machine. SQL is rewritten by sqlglot.
"""

# ruff: noqa: S608 - names are those of the tables that it made

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import duckdb
import jwt
import sqlglot
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.sandboxes.base import Sandbox

PROJECT, DATASET, BUCKET = "fieldline-test", "fieldline", "gs://lake"
EMAIL = "loader@fieldline-test.iam.gserviceaccount.com"
PAGE = 50
_TYPES = {
    "BOOLEAN": "BOOLEAN",
    "INTEGER": "BIGINT",
    "FLOAT": "DOUBLE",
    "STRING": "VARCHAR",
    "BYTES": "BLOB",
    "DATE": "DATE",
    "NUMERIC": "DECIMAL(38, 0)",
    "TIMESTAMP": "TIMESTAMPTZ",
}
_NAME = re.compile(rf"`{PROJECT}\.{DATASET}\.(\w+)`")


class JobError(Exception):
    """A job did nothing: reason and message."""


class BigQuery(Sandbox):
    """One project with one dataset; `lake` is the folder behind gs://lake."""

    name = "bigquery"

    def __init__(self, lake: Path) -> None:
        super().__init__()
        self.lake = lake
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.tokens: set[str] = set()
        self.issued = 0
        self.polls = 1
        """How often a job is RUNNING before it is DONE."""
        self.forget()

    def key_file(self) -> str:
        """The service account's key as Google's console gives it."""
        pem = self._private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return json.dumps({"client_email": EMAIL, "private_key": pem.decode()})

    def routes(self) -> Sequence[BaseRoute]:
        """What it serves."""
        base = f"/bigquery/v2/projects/{PROJECT}"
        tables = f"{base}/datasets/{DATASET}/tables"
        return [
            Route("/token", self._token, methods=["POST"]),
            Route(tables, self._make, methods=["POST"]),
            Route(f"{tables}/{{table}}", self._table, methods=["GET", "PATCH"]),
            Route(f"{base}/jobs", self._insert, methods=["POST"]),
            Route(f"{base}/jobs/{{job}}", self._job, methods=["GET"]),
            Route(f"{base}/queries/{{job}}", self._rows, methods=["GET"]),
        ]

    def forget(self) -> None:
        """No tables, no jobs."""
        self.db = duckdb.connect(":memory:")
        self.db.execute("SET TimeZone = 'UTC'")
        self.tables: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self._answers: dict[str, tuple[list[str], list[tuple[Any, ...]]]] = {}

    def expire(self) -> None:
        """Tokens end."""
        self.tokens.clear()

    # -- tokens

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        try:
            claims = jwt.decode(
                form["assertion"],
                self._private.public_key(),
                algorithms=["RS256"],
                audience=f"{self.base}/token",
                issuer=EMAIL,
                options={"require": ["exp", "iat", "iss", "aud"]},
            )
            allowed = "auth/bigquery" in claims["scope"]
        except (jwt.PyJWTError, KeyError):
            allowed = False
        if not allowed:
            return JSONResponse({"error": "invalid_grant"}, 400)
        self.issued += 1
        token = f"ya29.token-{self.issued}"
        self.tokens.add(token)
        return JSONResponse({"access_token": token, "expires_in": 3600, "token_type": "Bearer"})

    def _refuses(self, request: Request) -> Response | None:
        word = request.headers.get("authorization", "").removeprefix("Bearer ")
        return None if word in self.tokens else _error(401, "authError", "Invalid Credentials")

    # -- tables

    async def _make(self, request: Request) -> Response:
        if refused := self._refuses(request):
            return refused
        told = await request.json()
        name = told["tableReference"]["tableId"]
        if name in self.tables:
            return _error(409, "duplicate", f"Already Exists: Table {name}")
        lines = ", ".join(f'"{f["name"]}" {_type(f)}' for f in told["schema"]["fields"])
        self.db.execute(f'CREATE TABLE "{name}" ({lines})')
        self.tables[name] = told | {
            "creationTime": str(1_795_257_000_000 + len(self.journal.effects))
        }
        self.journal.note("create", "table", name, name, {})
        return JSONResponse(self.tables[name])

    async def _table(self, request: Request) -> Response:
        if refused := self._refuses(request):
            return refused
        name = request.path_params["table"]
        if name not in self.tables:
            return _error(404, "notFound", f"Not found: Table {name}")
        if request.method == "PATCH":
            wanted = (await request.json())["schema"]["fields"]
            there = {f["name"] for f in self.tables[name]["schema"]["fields"]}
            if not there <= {f["name"] for f in wanted}:
                return _error(400, "invalid", "Provided Schema does not match: a field is missing")
            for field in wanted:
                if field["name"] not in there:
                    self.db.execute(
                        f'ALTER TABLE "{name}" ADD COLUMN "{field["name"]}" {_type(field)}'
                    )
            self.tables[name]["schema"] = {"fields": wanted}
            self.journal.note("update", "table", name, name, {})
        return JSONResponse(self.tables[name])

    # -- jobs

    async def _insert(self, request: Request) -> Response:
        if refused := self._refuses(request):
            return refused
        told = await request.json()
        job_id = told["jobReference"]["jobId"]
        if not re.fullmatch(r"[\w-]{1,1024}", job_id):
            return _error(400, "invalid", "Invalid job ID")
        if job_id in self.jobs:
            return _error(409, "duplicate", f"Already Exists: Job {job_id}")
        if code := self.knobs.error(job_id):
            return _error(int(code), "backendError", "try again")
        job = self.jobs[job_id] = told | {"status": {"state": "RUNNING"}, "statistics": {}}
        job["looks"] = self.polls
        self.db.execute("BEGIN")
        try:
            self._run(job_id, told["configuration"], job)
            self.db.execute("COMMIT")
        except (JobError, duckdb.Error, sqlglot.errors.SqlglotError) as error:
            self.db.execute("ROLLBACK")
            known = isinstance(error, JobError)
            job["status"]["errorResult"] = {
                "reason": error.args[0] if known else "invalidQuery",
                "message": error.args[1] if known else str(error),
            }
        return JSONResponse(_shown(job))

    def _run(self, job_id: str, wanted: dict[str, Any], job: dict[str, Any]) -> None:
        if "load" in wanted:
            load = wanted["load"]
            assert load["sourceFormat"] == "PARQUET"
            assert len(load["sourceUris"]) <= 10_000
            rows = self._place(load, f"SELECT * FROM {self._read(load['sourceUris'])}")
            job["statistics"]["load"] = {"outputRows": str(rows)}
            self.journal.note("create", "load", job_id, job_id, {"rows": rows})
            return
        query = wanted["query"]
        for name, told in query.get("tableDefinitions", {}).items():
            reads = self._read(told["sourceUris"])
            self.db.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS SELECT * FROM {reads}')
        [sql] = sqlglot.transpile(_NAME.sub(r"`\1`", query["query"]), "bigquery", "duckdb")
        if "destinationTable" in query:
            rows = self._place(query, sql)
            self.journal.note("create", "load", job_id, job_id, {"rows": rows})
            return
        cursor = self.db.execute(sql)
        names = [one[0] for one in cursor.description or ()]
        self._answers[job_id] = (names, cursor.fetchall())
        if rename := re.search(
            r"ALTER TABLE `[^`]*\.(\w+)` RENAME COLUMN `(\w+)` TO `(\w+)`", query["query"]
        ):
            for field in self.tables[rename[1]]["schema"]["fields"]:
                field["name"] = rename[3] if field["name"] == rename[2] else field["name"]

    def _read(self, addresses: Sequence[str]) -> str:
        paths = [self.lake / one.removeprefix(f"{BUCKET}/") for one in addresses]
        for path, address in zip(paths, addresses, strict=True):
            if not address.startswith(f"{BUCKET}/") or not path.is_file():
                raise JobError("notFound", f"Not found: URI {address}")
        files = ", ".join(f"'{path}'" for path in paths)
        return f"read_parquet([{files}], union_by_name = true, hive_partitioning = false)"

    def _place(self, told: dict[str, Any], sql: str) -> int:
        """Rows of a SELECT into the destination, by name; how many."""
        name, _, day = told["destinationTable"]["tableId"].partition("$")
        if name not in self.tables:
            raise JobError("notFound", f"Not found: Table {name}")
        known = {f["name"] for f in self.tables[name]["schema"]["fields"]}
        brought = [row[0] for row in self.db.execute(f"DESCRIBE {sql}").fetchall()]
        if extra := set(brought) - known:
            raise JobError("invalid", f"Provided Schema does not match Table {name}: {extra}")
        if day:
            time = self.tables[name]["timePartitioning"]["field"]
            date = f"{day[:4]}-{day[4:6]}-{day[6:]}"
            [(wrong,)] = self.db.execute(
                f"SELECT count(*) FROM ({sql}) WHERE CAST(\"{time}\" AS DATE) <> DATE '{date}'"
            ).fetchall()
            if wrong:
                raise JobError("invalid", f"{wrong} rows belong to other partitions than {day}")
            if told["writeDisposition"] == "WRITE_TRUNCATE":
                self.db.execute(
                    f'DELETE FROM "{name}" WHERE CAST("{time}" AS DATE) = DATE \'{date}\''
                )
        elif told["writeDisposition"] != "WRITE_APPEND":
            self.db.execute(f'DELETE FROM "{name}"')
        [(rows,)] = self.db.execute(f'INSERT INTO "{name}" BY NAME {sql}').fetchall()
        return int(rows)

    async def _job(self, request: Request) -> Response:
        if refused := self._refuses(request):
            return refused
        job = self.jobs.get(request.path_params["job"])
        if job is None:
            return _error(404, "notFound", "Not found: Job")
        job["looks"] -= 1
        if job["looks"] < 0:
            job["status"]["state"] = "DONE"
        return JSONResponse(_shown(job))

    async def _rows(self, request: Request) -> Response:
        if refused := self._refuses(request):
            return refused
        _, rows = self._answers[request.path_params["job"]]
        start = int(request.query_params.get("pageToken", 0))
        told: dict[str, Any] = {
            "jobComplete": True,
            "totalRows": str(len(rows)),
            "rows": [
                {"f": [{"v": None if v is None else str(v)} for v in row]}
                for row in rows[start : start + PAGE]
            ],
        }
        if start + PAGE < len(rows):
            told["pageToken"] = str(start + PAGE)
        return JSONResponse(told)


def _shown(job: dict[str, Any]) -> dict[str, Any]:
    # Before it is done, a job tells of no end.
    if job["status"]["state"] == "DONE":
        return {name: value for name, value in job.items() if name != "looks"}
    return {
        "jobReference": job["jobReference"],
        "configuration": job["configuration"],
        "status": {"state": "RUNNING"},
    }


def _type(field: dict[str, Any]) -> str:
    if field["type"] == "RECORD":
        inner = ", ".join(f'"{one["name"]}" {_type(one)}' for one in field["fields"])
        kind = f"STRUCT({inner})"
    else:
        kind = _TYPES[field["type"]]
    return f"{kind}[]" if field.get("mode") == "REPEATED" else kind


def _error(status: int, reason: str, message: str) -> Response:
    told = {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}
    return JSONResponse({"error": told}, status)
