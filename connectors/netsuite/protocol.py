"""Support cases by external id: PUT …/eid:{key} makes or completes, PATCH changes. Pure.

A batch in the steady state is one query for all its records, then one request per record, or
one job for many new ones (connectors/netsuite/batches.py). The query comes first because an
upsert would do more than make: it would put back what people changed since, and a case's first
message would be written a second time.

Each write carries the event's version (place among its device's events) into a field of ours.
So a record without one is not whole and is written again; and a change that is not newer than
what is there was made before, or is out of date: nothing is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx

from connectors.answers import Kind
from connectors.base import Checked, Conversation, Delivery, Effect, Reply
from connectors.fields import Policy
from connectors.mapped import in_order, mapped, one_by_one, sorted_out, stop_of
from connectors.netsuite.access import Access
from connectors.netsuite.answers import (
    IGNORED,
    NAME,
    NO_QUERY,
    NO_RECORD,
    RUNNING,
    UNREADABLE,
    Words,
    ignored,
    trouble,
    words,
)
from connectors.netsuite.batches import STRICT, Batches, job_of
from connectors.netsuite.check import check
from connectors.netsuite.config import NetsuiteSettings
from connectors.netsuite.mapping import case_fields, change_fields, for_record, urgent
from connectors.netsuite.queries import Case, Queries
from connectors.speech import Speech
from pipeline.core.events import Action
from pipeline.core.outcome import (
    Delivered,
    Found,
    LookUp,
    NotFound,
    Outcome,
    Rejected,
    Retryable,
    Unknown,
)

TITLE = "NetSuite"
BATCH_SIZE = 100
"""Most records of one batch (D)."""
JOBS_MAX = 1_000
"""Most records whose jobs are remembered."""
GONE = frozenset({f"{NAME}.no_such_id", f"{NAME}.gone"})
_LOCATION = re.compile(r"/record/v1/[^/]+/([0-9]{1,18})/?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An update or a clear on its way. `key` is the record's."""

    key: str
    body: Mapping[str, Any]
    action: Action
    version: str


class NetsuiteConnector:
    """The connector. `clock` gives seconds since the Unix epoch."""

    name = NAME
    keyed = True

    def __init__(
        self, settings: NetsuiteSettings, policy: Policy, clock: Callable[[], float]
    ) -> None:
        self.batch_size = BATCH_SIZE if settings.async_from else 1
        self._settings = settings
        self._policy = policy
        self._clock = clock
        self._access = Access(settings, clock)
        self._queries = Queries(settings, self._access)
        self._batches = Batches(settings, self._access)
        self._jobs: dict[str, str] = {}
        """By key: the job that a record is in, as long as its end is not known."""

    @property
    def _speech(self) -> Speech:
        return Words(title=TITLE, secrets=self._access.secrets(), words=words, clock=self._clock)

    def deliver(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[Outcome]]:
        """Bring the events to NetSuite; one outcome per delivery, in order."""
        results, raised, changes = sorted_out(deliveries, self._mapped, Change)
        keys = raised.keys() | {change.key for change in changes.values()}
        held = yield from self._finish_jobs(keys)
        found = yield from self._find(keys - held.keys())
        if isinstance(found, Retryable):
            # Without queries an upsert still finds by itself what is there.
            goes = set(raised) if found.code == NO_QUERY.code else set[str]()
            held |= dict.fromkeys(keys - held.keys() - goes, found)
            found = {}
        made: dict[str, Outcome] = {
            key: Delivered(target_id=found[key].id, created=False)
            for key in raised
            if key in found and found[key].version
        } | held
        new = {key: body for key, body in raised.items() if key not in made}
        made |= yield from self._make(new, found)
        there = found | _now_there(new, made)
        results |= {key: made[key] for key in raised}
        results |= yield from one_by_one(changes, made, lambda one: self._change(one, there))
        return in_order(deliveries, results)

    def look_up(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[LookUp]]:
        """Ask by key: whether the record is there, and of a change whether it has been made."""
        found = yield from self._find({one.event.entity for one in deliveries})
        if isinstance(found, Retryable):
            return [found] * len(deliveries)
        answers: list[LookUp] = []
        for one in deliveries:
            case = found.get(one.event.entity)
            least = "" if one.event.action is Action.RAISE else one.event.version
            there = case is not None and case.version and case.version >= least
            answers.append(Found(target_id=case.id) if case and there else NotFound())
        return answers

    def check(self) -> Conversation[Sequence[Checked]]:
        """Whether credentials and rights are good for all that deliver does. Only reads."""
        return (yield from check(self._settings, self._access, self._queries, lambda: self._speech))

    # -- from events to bodies

    def _mapped(self, one: Delivery) -> dict[str, Any] | Change | Rejected:
        """A new record's fields with externalId, or the change of one."""
        names = self._settings.names
        if one.event.action is Action.RAISE:
            fields = case_fields(names)
            if one.record is not None:
                fields = for_record(fields, one.record)
            return mapped(fields, one, self._policy)
        body = mapped(change_fields(names), one, self._policy)
        if isinstance(body, Rejected):
            return body
        return Change(
            key=body.pop("externalId"),
            body=body,
            action=one.event.action,
            version=body[names.version],
        )

    def _find(self, keys: set[str]) -> Conversation[dict[str, Case] | Retryable]:
        if not keys:
            return {}
        return (yield from self._queries.find(keys, self._speech))

    # -- new records

    def _make(
        self, new: Mapping[str, dict[str, Any]], found: Mapping[str, Case]
    ) -> Conversation[dict[str, Outcome]]:
        """Upsert them all, each with an outcome. `found` are those that are there, not whole."""
        least = self._settings.async_from
        if least and len(new) >= least:
            made, left = yield from self._batch(new, found)
        else:
            made, left = {}, dict(new)
        stop: Retryable | None = None
        for key, body in left.items():
            if stop is None:
                made[key] = yield from self._put(key, body, created=key not in found)
                stop = stop_of(made[key])
            else:
                made[key] = stop
        return made

    def _put(self, key: str, body: Mapping[str, Any], *, created: bool) -> Conversation[Outcome]:
        fields = {name: value for name, value in body.items() if name != "externalId"}
        reply = yield from self._access.send(
            "create",
            "PUT",
            f"/record/v1/{self._settings.record_type}/eid:{key}",
            effect=Effect.KEYED_WRITE,
            body=fields,
            headers=STRICT,
        )
        if isinstance(reply, Retryable):
            return reply
        if isinstance(reply, httpx.TransportError) or reply.status_code != httpx.codes.NO_CONTENT:
            return self._outcome(reply)
        if ignored(reply):
            return self._speech.outcome(IGNORED, reply, keyed=True)
        own_id = _LOCATION.search(reply.headers.get("location", "").partition("?")[0])
        if own_id:
            return Delivered(target_id=own_id[1], created=created)
        there = yield from self._find({key})
        if isinstance(there, Retryable) or key not in there:
            return self._speech.outcome(UNREADABLE, reply, keyed=True)
        return Delivered(target_id=there[key].id, created=created)

    def _batch(
        self, new: Mapping[str, dict[str, Any]], found: Mapping[str, Case]
    ) -> Conversation[tuple[dict[str, Outcome], dict[str, dict[str, Any]]]]:
        """One job; outcomes, and the records that are better sent by themselves."""
        reply = yield from self._batches.submit(list(new.values()))
        if isinstance(reply, Retryable):
            return dict.fromkeys(new, reply), {}
        job = job_of(reply)
        if job is None:
            refused = not isinstance(reply, httpx.TransportError) and (
                trouble(reply).kind in {Kind.REFUSED, Kind.HELD}
            )
            if refused:  # perhaps for one record's sake: each says its own
                return {}, dict(new)
            return dict.fromkeys(new, self._outcome(reply)), {}
        for key in new:
            self._jobs[key] = job
        while len(self._jobs) > JOBS_MAX:
            self._jobs.pop(next(iter(self._jobs)))
        made = yield from self._finish_jobs(new.keys())
        if made:
            return made, {}
        there = yield from self._find(set(new))
        if isinstance(there, Retryable):
            return dict.fromkeys(new, Unknown(code=there.code, message=there.message)), {}
        made = {
            key: Delivered(target_id=case.id, created=key not in found)
            for key, case in there.items()
            if key in new and case.version
        }
        return made, {key: body for key, body in new.items() if key not in made}

    def _finish_jobs(self, keys: Collection[str]) -> Conversation[dict[str, Outcome]]:
        """Follow the jobs that these records are in; an outcome for each whose job runs on.

        Nothing is sent of a record whose job may still write it: it would be written twice,
        and the job's older state last.
        """
        held: dict[str, Outcome] = {}
        for job in {self._jobs[key]: None for key in sorted(keys) if key in self._jobs}:
            members = [key for key, its in self._jobs.items() if its == job]
            over = yield from self._batches.follow(job)
            if over is True:
                for key in members:
                    if self._jobs.get(key) == job:  # another lane may have seen it first
                        del self._jobs[key]
                continue
            if isinstance(over, Retryable):
                outcome: Outcome = Unknown(code=over.code, message=over.message)
            elif over is False:
                message = f"{TITLE} still works on job {job}: it is looked at again later."
                outcome = Unknown(code=RUNNING.code, message=message)
            else:
                again = self._speech.again(trouble(over), over)
                outcome = Unknown(code=again.code, message=again.message)
            held |= {key: outcome for key in members if key in keys}
        return held

    # -- changes

    def _change(self, change: Change, found: dict[str, Case]) -> Conversation[Outcome]:
        """PATCH what is ours: version, snapshot, a priority that rises, and the status."""
        case = found.get(change.key)
        if case is None:
            return _no_record(change)
        if case.version >= change.version:
            return Delivered(target_id=case.id, created=False)
        body = dict(change.body)
        priority = body.pop("priority", {}).get("id", "")
        if priority and urgent(priority) > urgent(case.priority):
            body["priority"] = {"id": priority}
        else:
            priority = case.priority
        settings, status = self._settings, case.status
        if change.action is Action.CLEAR:
            status = settings.status_closed
        elif case.status == settings.status_closed:
            status = settings.status_reopened
        if status != case.status:
            body["status"] = {"id": status}
        reply = yield from self._access.send(
            "change",
            "PATCH",
            f"/record/v1/{settings.record_type}/{case.id}",
            effect=Effect.KEYED_WRITE,
            body=body,
            headers=STRICT,
        )
        if isinstance(reply, Retryable):
            return reply
        if isinstance(reply, httpx.TransportError) or reply.status_code != httpx.codes.NO_CONTENT:
            outcome = self._outcome(reply)
            gone = isinstance(outcome, Rejected) and outcome.code in GONE
            return _no_record(change) if gone else outcome
        if ignored(reply):
            return self._speech.outcome(IGNORED, reply, keyed=True)
        found[change.key] = replace(case, status=status, priority=priority, version=change.version)
        return Delivered(target_id=case.id, created=True)

    def _outcome(self, reply: Reply) -> Outcome:
        """What an answer to a write means that is no success."""
        return self._speech.outcome(trouble(reply), reply, keyed=True)


def _now_there(
    new: Mapping[str, Mapping[str, Any]], made: Mapping[str, Outcome]
) -> dict[str, Case]:
    """What this batch has made of its new records, so that it can be changed in the same batch."""
    return {
        key: Case(id=outcome.target_id, priority=body.get("priority", {}).get("id", ""))
        for key, body in new.items()
        if isinstance(outcome := made[key], Delivered)
    }


def _no_record(change: Change) -> Rejected:
    return Rejected(
        code=NO_RECORD.code,
        message=f"{TITLE} does not have the record {change.key} that this changes.",
        final=change.action is Action.CLEAR,
    )
