"""Bulk API 2.0 ingest: one job per CSV, for a backlog of new records. Pure.

create → upload → UploadComplete → ask until it is over → three results. Nothing is taken
before UploadComplete, so a failure until then is none of the records'. Each question is a
request, never a wait, and there are `polls` of them: a job that is not over by then is aborted
and its records are Unknown. They come again, are looked for, and only what is missing is sent.

The results repeat whole rows, and an answer is read up to 8 MiB, so a job has 5 MiB at most
(Salesforce takes 150 MB, 100 MB before base64). Rows come in any order, so they are matched by
key; that the names of the columns come back as they were sent is from the guide's examples.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

import httpx

from connectors.answers import json_of, text_of
from connectors.base import Conversation, Effect, Reply
from connectors.salesforce.answers import (
    BULK_SILENT,
    BULK_UNFINISHED,
    BULK_UNPROCESSED,
    UNCLEAR,
    Failure,
    bulk_errors,
    refused,
    told,
)
from connectors.salesforce.config import SalesforceSettings
from connectors.salesforce.mapping import flat
from connectors.salesforce.records import Done, Result, Values
from connectors.salesforce.session import Session

JOB_BYTES = 5 * 1024 * 1024
_OVER = frozenset({"JobComplete", "Failed", "Aborted"})
_UNDER_WAY = frozenset({"Open", "UploadComplete", "InProgress"})
_FIELD_MAX = 1024 * 1024
_JOB_ID_MAX = 64

Row = Mapping[str, str]


class Bulk:
    """Ingest jobs for one object under one session."""

    def __init__(self, session: Session, settings: SalesforceSettings) -> None:
        self._session = session
        self._object = settings.object
        self._key = settings.external_id_field
        self._polls = settings.bulk_polls

    def upsert(self, items: Sequence[tuple[str, Values]]) -> Conversation[list[Result]]:
        """Make these records, by key; one result each, in order."""
        results: dict[str, Result] = {}
        rows = [flat({**values, self._key: key}) for key, values in items]
        for piece in pieces(rows):
            keys = [row[self._key] for row in piece]
            results.update((yield from self._job(keys, csv_of(piece))))
        return [results[key] for key, _ in items]

    def _job(self, keys: Sequence[str], content: bytes) -> Conversation[dict[str, Result]]:
        job = yield from self._begin(content)
        if isinstance(job, Failure):
            return dict.fromkeys(keys, job)
        state = yield from self._wait(job)
        if state is None:
            yield from self._state(job, "bulk_abort", "Aborted")
            return dict.fromkeys(keys, told(BULK_UNFINISHED, f"job {job}"))
        return (yield from self._results(job, keys))

    def _begin(self, content: bytes) -> Conversation[str | Failure]:
        """The id of a job that has its data and is under way."""
        wanted = {
            "object": self._object,
            "operation": "upsert",
            "externalIdFieldName": self._key,
            "contentType": "CSV",
            "lineEnding": "LF",
        }
        reply = yield from self._session.call(
            *("bulk_create", "POST", self._session.path("jobs/ingest"), Effect.KEYED_WRITE),
            body=wanted,
        )
        job = self._job_id(reply)
        if job is None:
            return self._failure(reply).before()
        path = self._session.path(f"jobs/ingest/{job}/batches")
        reply = yield from self._session.call(
            "bulk_upload", "PUT", path, Effect.KEYED_WRITE, csv=content
        )
        if not isinstance(reply, httpx.Response) or reply.status_code != httpx.codes.CREATED:
            return self._failure(reply).before()
        reply = yield from self._state(job, "bulk_start", "UploadComplete")
        return job if self._job_id(reply) == job else self._failure(reply)

    def _state(self, job: str, step: str, state: str) -> Conversation[Reply | Failure]:
        path = self._session.path(f"jobs/ingest/{job}")
        return (
            yield from self._session.call(
                step, "PATCH", path, Effect.KEYED_WRITE, body={"state": state}
            )
        )

    def _wait(self, job: str) -> Conversation[str | None]:
        """The state in which the job is over; None where it is not, or nobody says."""
        for _ in range(self._polls):
            reply = yield from self._session.call(
                "bulk_poll", "GET", self._session.path(f"jobs/ingest/{job}"), Effect.READ
            )
            body = json_of(reply) if isinstance(reply, httpx.Response) else None
            state = body.get("state") if isinstance(body, dict) else None
            if state in _OVER:
                return str(state)
            if state not in _UNDER_WAY:
                return None
        return None

    def _results(self, job: str, keys: Sequence[str]) -> Conversation[dict[str, Result]]:
        results: dict[str, Result] = dict.fromkeys(keys, told(BULK_SILENT, f"job {job}"))
        for step, name in (
            ("bulk_unprocessed", "unprocessedrecords"),
            ("bulk_failed", "failedResults"),
            ("bulk_successful", "successfulResults"),
        ):
            reply = yield from self._session.call(
                *(step, "GET", self._session.path(f"jobs/ingest/{job}/{name}/"), Effect.READ),
                accept="text/csv",
            )
            if not isinstance(reply, httpx.Response) or reply.status_code != httpx.codes.OK:
                continue  # what it would have told of stays unclear
            for row in rows_of(reply.content):
                if (key := row.get(self._key, "")) in results:
                    results[key] = _result(name, row)
        return results

    def _job_id(self, reply: Reply | Failure) -> str | None:
        if not isinstance(reply, httpx.Response) or reply.status_code != httpx.codes.OK:
            return None
        body = json_of(reply)
        job = text_of(body.get("id"), _JOB_ID_MAX) if isinstance(body, dict) else None
        return job if job is not None and job.isalnum() else None

    def _failure(self, reply: Reply | Failure) -> Failure:
        return reply if isinstance(reply, Failure) else self._session.failure(reply)


def csv_of(rows: Sequence[Row]) -> bytes:
    """A CSV with a header, all quoted, lines ended by LF.

    A field that a row lacks is empty there, which Salesforce does not write.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def rows_of(content: bytes) -> list[dict[str, str]]:
    """The rows of a CSV that Salesforce made; none where it is none."""
    csv.field_size_limit(_FIELD_MAX)
    text = io.StringIO(content.decode("utf-8", "replace"), newline="")
    try:
        return [
            {str(name): str(value) for name, value in row.items() if name is not None}
            for row in csv.DictReader(text)
        ]
    except csv.Error:
        return []


def pieces(rows: Sequence[Row], most: int = JOB_BYTES) -> Iterator[list[Row]]:
    """The rows in runs of at most `most` bytes of CSV; a row that is larger goes alone."""
    piece: list[Row] = []
    size = 0
    for row in rows:
        # Two quotes and a comma or line end each; a quote inside is doubled (RFC 4180, 2.7).
        own = sum(len(text.encode()) + text.count('"') + 3 for text in row.values())
        if piece and size + own > most:
            yield piece
            piece, size = [], 0
        piece.append(row)
        size += own
    if piece:
        yield piece


def _result(name: str, row: Row) -> Result:
    if name == "successfulResults":
        own_id = row.get("sf__Id", "")
        created = row.get("sf__Created", "").lower() == "true"
        return Done(id=own_id[:64], created=created) if own_id else told(UNCLEAR)
    if name == "failedResults":
        return refused(bulk_errors(row.get("sf__Error", "")))
    return told(BULK_UNPROCESSED)
