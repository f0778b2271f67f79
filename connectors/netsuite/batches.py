"""Many new records in one request, which NetSuite works through by itself. Pure.

NetSuite help, Batch Operations: at most 100 records of one type, always asynchronous; 202 with
the job's address in Location. The same X-NetSuite-Idempotency-Key again is answered with 400
IDEMPOTENCY_ERROR and the earlier job's address: that job is followed then. What a job's task
says of a single record is documented nowhere, so nothing is read from it: what came of a job
is looked up, record by record, and what is not there is sent by itself.

The idempotency key is made of the batch, so a worker that takes over from one that died sends
the same batch once only if it puts the same events together. Else a job of the dead one may
yet write a record again: the same one, with the fields of its raise.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import orjson

from connectors.answers import json_of
from connectors.base import Conversation, Effect, Reply
from connectors.netsuite.access import Access
from connectors.netsuite.answers import DUPLICATE, code_of
from connectors.netsuite.config import NetsuiteSettings
from pipeline.core.outcome import Retryable

POLLS = 8
"""How often a job is looked at in one conversation. There is no waiting in one: a job that
runs on is looked at again when the engine comes back, after its own wait."""
COLLECTION = "application/vnd.oracle.resource+json; type=collection"
STRICT = {
    "x-netsuite-propertynamevalidation": "Error",
    "x-netsuite-propertyvaluevalidation": "Error",
}
"""Else a field that NetSuite does not know is left out without an error (R)."""
_JOB = re.compile(r"/async/v1/job/([A-Za-z0-9_-]{1,64})/?$")
_SPACE = uuid.UUID("5b6f2d51-8f6e-4f43-9a0e-4f0c2a9f7d10")


class Batches:
    """Jobs of one account."""

    def __init__(self, settings: NetsuiteSettings, access: Access) -> None:
        self._settings = settings
        self._access = access

    def submit(self, bodies: Sequence[Mapping[str, Any]]) -> Conversation[Reply | Retryable]:
        """One upsert of them all; `job_of` reads the answer."""
        body = {"items": list(bodies)}
        return (
            yield from self._access.send(
                "create_batch",
                "PUT",
                f"/record/v1/{self._settings.record_type}",
                effect=Effect.KEYED_WRITE,
                body=body,
                headers=STRICT
                | {
                    "content-type": COLLECTION,
                    "prefer": "respond-async",
                    "x-netsuite-idempotency-key": self._key(body),
                },
            )
        )

    def follow(self, job: str) -> Conversation[bool | Reply | Retryable]:
        """True when it is over, False where it still runs; else what kept us from seeing it.

        A job that NetSuite does not know any more is over.
        """
        for _ in range(POLLS):
            reply = yield from self._access.send(
                "job", "GET", f"/async/v1/job/{job}", effect=Effect.READ
            )
            if isinstance(reply, Retryable | httpx.TransportError):
                return reply
            body = json_of(reply)
            completed = body.get("completed") if isinstance(body, dict) else None
            if reply.status_code == httpx.codes.NOT_FOUND and code_of(reply):
                return True
            if reply.status_code != httpx.codes.OK or not isinstance(completed, bool):
                return reply
            if completed:
                return True
        return False

    def _key(self, body: Mapping[str, Any]) -> str:
        """A UUID (D: RFC 4122) that is the same for the same records."""
        content = orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode()
        return str(uuid.uuid5(_SPACE, f"{self._settings.realm}\n{content}"))


def job_of(reply: Reply) -> str | None:
    """Id of the job that an answer names: of this batch, or of the same one sent before."""
    if isinstance(reply, httpx.TransportError):
        return None
    accepted = reply.status_code == httpx.codes.ACCEPTED
    again = reply.status_code == httpx.codes.BAD_REQUEST and code_of(reply) == DUPLICATE.when
    if not accepted and not again:
        return None
    found = _JOB.search(reply.headers.get("location", "").partition("?")[0])
    return found[1] if found else None
