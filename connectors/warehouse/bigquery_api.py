"""BigQuery's REST API, version 2: tables and jobs, over one HTTP client that goes nowhere else.

Facts from Google's documents ("jobs.insert", "jobs.get", "jobs.getQueryResults", "tables",
"Using OAuth 2.0 for Server to Server Applications"):

- A job has the id that its caller gives it; a second one of that id is refused with 409.
- A job that is DONE and has `status.errorResult` did nothing.
- Rows come as {"f": [{"v": …}]}, numbers as text; a page at a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import jwt

from connectors.answers import hide
from connectors.auth import Token, Tokens
from connectors.settings import host_of, stays_here
from connectors.warehouse.base import TroubleError, WrongError
from connectors.warehouse.config import BigQuerySettings
from pipeline.settings import SettingsError

SCOPES: Final = (
    "https://www.googleapis.com/auth/bigquery https://www.googleapis.com/auth/devstorage.read_only"
)
EXP_S: Final = 600.0
WAIT_S: Final = 3_600.0
"""Longest wait for a job; past that it is looked at by the next call."""
LOOK_S: Final = 1.0
_KEY_MAX: Final = 65_536
_ANSWER_MAX: Final = 32 * 1024 * 1024
_EXISTS, _MISSING, _MANY, _DENIED = 409, 404, 429, 401
_PASSES: Final = frozenset(
    {"backendError", "internalError", "rateLimitExceeded", "jobRateLimitExceeded", "stopped"}
)
_JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A service account's."""

    email: str
    private_key: str = field(repr=False)


def read_key(settings: BigQuerySettings) -> Key:
    """The key of the settings; SettingsError where there is none."""
    if settings.credentials_file is None:
        raise SettingsError(
            "Set BIGQUERY_CREDENTIALS_FILE (or GOOGLE_APPLICATION_CREDENTIALS) to the key of a "
            "service account."
        )
    try:
        with settings.credentials_file.open("rb") as file:
            told = json.loads(file.read(_KEY_MAX))
        return Key(email=str(told["client_email"]), private_key=str(told["private_key"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise SettingsError(
            "The file of BIGQUERY_CREDENTIALS_FILE is no service account's key: make one in the "
            "project's IAM as JSON."
        ) from None


class BigQueryApi:
    """One project. `clock` in seconds since the Unix epoch; `sleep` waits seconds."""

    def __init__(
        self,
        settings: BigQuerySettings,
        key: Key,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._settings = settings
        self._key = key
        self._clock = clock
        self._sleep = sleep
        self._tokens = Tokens("bigquery", self._ask, clock=clock)
        self._allowed = {host_of(settings.url), host_of(settings.token_url)}
        self._client = httpx.Client(
            follow_redirects=False,
            timeout=settings.timeout_s,
            event_hooks={"request": [self._keep_to_hosts]},
        )
        self._base = f"{settings.url}/bigquery/v2/projects/{settings.project}"

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    # -- tables

    def table(self, name: str) -> Mapping[str, Any] | None:
        """A table's resource; None where it is not there."""
        return self._call("GET", f"{self._tables}/{name}", missing=True)

    def make_table(self, resource: Mapping[str, Any]) -> None:
        """Make a table; one that is there stays."""
        self._call("POST", self._tables, body=resource, exists=True)

    def change_table(self, name: str, resource: Mapping[str, Any]) -> None:
        """Give a table another schema."""
        self._call("PATCH", f"{self._tables}/{name}", body=resource)

    @property
    def _tables(self) -> str:
        return f"/datasets/{self._settings.dataset}/tables"

    # -- jobs

    def begin(self, job_id: str, configuration: Mapping[str, Any]) -> bool:
        """Start a job; False where one of that id is there."""
        reference = {
            "projectId": self._settings.project,
            "jobId": job_id,
            "location": self._settings.location,
        }
        body = {"jobReference": reference, "configuration": configuration}
        return self._call("POST", "/jobs", body=body, exists=True) is not None

    def ended(self, job_id: str) -> Mapping[str, Any]:
        """The job's resource once it is done; TroubleError where that takes too long."""
        until = self._clock() + WAIT_S
        while True:
            query = urlencode({"location": self._settings.location})
            job = self._call("GET", f"/jobs/{job_id}?{query}")
            if job and job.get("status", {}).get("state") == "DONE":
                return job
            if self._clock() > until:
                raise TroubleError(f"BigQuery still works at job {job_id}: look again later.")
            self._sleep(LOOK_S)

    def query(self, sql: str, job_id: str) -> list[tuple[Any, ...]]:
        """A statement's rows, texts each."""
        configuration = {"query": {"query": sql, "useLegacySql": False}}
        self.begin(job_id, configuration)
        failed = failure(self.ended(job_id))
        if failed is not None:
            raise failed
        rows: list[tuple[Any, ...]] = []
        page: dict[str, str] = {"location": self._settings.location, "maxResults": "10000"}
        while True:
            told = self._call("GET", f"/queries/{job_id}?{urlencode(page)}") or {}
            rows += [tuple(cell.get("v") for cell in row["f"]) for row in told.get("rows", ())]
            if not told.get("pageToken"):
                return rows
            page["pageToken"] = str(told["pageToken"])

    # -- HTTP

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        missing: bool = False,
        exists: bool = False,
    ) -> Mapping[str, Any] | None:
        """The answer's JSON; None for 404 or 409 where they are allowed."""
        for fresh in (False, True):
            token = self._token()
            reply = self._send(
                httpx.Request(
                    method,
                    f"{self._base}{path}",
                    json=body,
                    headers={"authorization": f"Bearer {token.text}"},
                )
            )
            if reply.status_code != _DENIED or fresh:
                break
            self._tokens.spent(token)
        if (missing and reply.status_code == _MISSING) or (exists and reply.status_code == _EXISTS):
            return None
        if not reply.is_success:
            raise self._refused(reply, token)
        try:
            told = reply.json()
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise TroubleError("BigQuery's answer is no JSON object: it is asked again.")
        return told

    def _refused(self, reply: httpx.Response, token: Token) -> Exception:
        try:
            said = str(reply.json()["error"]["message"])
        except (ValueError, KeyError, TypeError):
            said = ""
        line = " ".join(hide(said, (token.text, self._key.private_key)).split())[:300]
        text = f"BigQuery refused ({reply.status_code}): {line or 'it says no more'}"
        passes = reply.is_server_error or reply.status_code == _MANY
        return TroubleError(text) if passes else WrongError(text)

    def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            reply = self._client.send(request)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TroubleError(
                f"BigQuery does not answer ({type(error).__name__}): it is tried again; check "
                "BIGQUERY_URL."
            ) from error
        if len(reply.content) > _ANSWER_MAX:
            raise TroubleError("BigQuery's answer is too large: it is asked again.")
        return reply

    def _token(self) -> Token:
        conversation = self._tokens.get()
        try:
            call = next(conversation)
            while True:
                reply: httpx.Response | httpx.TransportError
                try:
                    reply = self._client.send(call.request)
                except httpx.TransportError as error:
                    reply = error
                call = conversation.send(reply)
        except StopIteration as end:
            if isinstance(end.value, Token):
                return end.value
            raise TroubleError(f"{end.value.message}") from None

    def _ask(self, now_s: float) -> httpx.Request:
        claims = {
            "iss": self._key.email,
            "scope": SCOPES,
            "aud": self._settings.token_url,
            "iat": int(now_s),
            "exp": int(now_s + EXP_S),
        }
        try:
            assertion = jwt.encode(claims, self._key.private_key, algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError):
            raise WrongError(
                "The private key of BIGQUERY_CREDENTIALS_FILE cannot be used: make a new one."
            ) from None
        form = urlencode({"grant_type": _JWT_BEARER, "assertion": assertion})
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return httpx.Request("POST", self._settings.token_url, content=form, headers=headers)

    def _keep_to_hosts(self, request: httpx.Request) -> None:
        host = host_of(str(request.url))
        if host not in self._allowed or (request.url.scheme == "http" and not stays_here(host)):
            raise httpx.UnsupportedProtocol(f"{host} is not a host of BigQuery", request=request)


def failure(job: Mapping[str, Any]) -> TroubleError | WrongError | None:
    """Why a job that is done did nothing; None where it did its work."""
    told = job.get("status", {}).get("errorResult")
    if not told:
        return None
    reason = str(told.get("reason", ""))
    line = " ".join(str(told.get("message", "")).split())[:300]
    text = f"BigQuery's job failed ({reason}): {line}"
    return TroubleError(text) if reason in _PASSES | {"notFound"} else WrongError(text)
