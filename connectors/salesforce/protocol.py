"""Conversations with Salesforce: deliver and look up. Pure.

    read what is there → make what is missing │ change what is there │ leave what has it
                          1: upsert            up to 200 by Id
                          2 to 200: collection
                          bulk_from or more: Bulk API 2.0

A batch in the steady state is two requests. Records are kept to once by their key (External ID
and Unique); changes by their mark in the record's log, and by versions (mapping.py). With
`platform_event` each record goes with its event in one composite: that is a plain write, for
an event cannot be looked for, but its record can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from connectors.answers import Kind
from connectors.base import Checked, Conversation, Delivery
from connectors.fields import Policy
from connectors.mapped import in_order
from connectors.salesforce.answers import (
    AMBIGUOUS,
    DUPLICATE,
    NAME,
    NO_QUERY,
    NO_RECORD,
    Failure,
    again,
    outcome,
    told,
)
from connectors.salesforce.bulk import Bulk
from connectors.salesforce.checks import Checks
from connectors.salesforce.config import COLLECTION, SalesforceSettings
from connectors.salesforce.mapping import (
    Mapper,
    Seen,
    Wanted,
    after,
    aim,
    changes,
    done,
    mapped,
)
from connectors.salesforce.publish import Publisher
from connectors.salesforce.records import Done, Records, Result, Values
from connectors.salesforce.session import Session
from pipeline.core.events import Action
from pipeline.core.outcome import (
    Delivered,
    Found,
    LookUp,
    NotFound,
    Outcome,
    Rejected,
    Retryable,
    Scope,
    Undecidable,
    Unknown,
)

ONE_BY_ONE = 10
"""Records in one conversation where each goes with its event: a request takes a second or so,
and nothing is written once settle_s (30 s) is over."""
_NOT_ITS_OWN = frozenset({Kind.BUSY, Kind.FAILED, Kind.UNCLEAR, Kind.EXPIRED})
"""Trouble that the next request would have as well."""

State = Seen | Failure | None
Write = tuple[Wanted, Seen | None, Values]


class SalesforceConnector:
    """Records of one object. `clock` gives seconds since the Unix epoch."""

    name = NAME

    def __init__(
        self, settings: SalesforceSettings, policy: Policy, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._mapper = Mapper(settings, policy)
        session = Session(settings, clock)
        self._records = Records(session, settings)
        self._bulk = Bulk(session, settings)
        self._publisher = Publisher(session, self._records, settings)
        self._checks = Checks(session, settings)
        self.keyed = not settings.platform_event
        self.batch_size = batch_size(settings)

    def deliver(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[Outcome]]:
        """Bring the events to Salesforce; one outcome per delivery, in order.

        What is raised goes first, and changes of one record one after the other.
        """
        wanted, refused = mapped(self._mapper, deliveries)
        results: dict[str, Outcome] = dict(refused)
        if wanted:
            states = yield from self._read(wanted, "read")
            results.update((yield from self._rounds(wanted, states, raced=False)))
        return in_order(deliveries, results)

    def look_up(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[LookUp]]:
        """Ask by key; one answer per delivery, in order.

        For a change: whether the record has its mark, or a newer change.
        """
        sought = [aim(delivery) for delivery in deliveries]
        states = yield from self._read(sought, "look_up")
        answers: list[LookUp] = []
        for one in sought:
            state = states.get(one.entity)
            if isinstance(state, Failure):
                told_twice = state.row is AMBIGUOUS
                answers.append(
                    Undecidable(code=state.row.code, message=state.message)
                    if told_twice
                    else again(state)
                )
            elif state is not None and done(one, state):
                answers.append(Found(target_id=state.id))
            else:
                answers.append(NotFound())
        return answers

    def check(self) -> Conversation[Sequence[Checked]]:
        """Login, version, object, fields, limits. Only reads."""
        return self._checks.run()

    # -- a batch

    def _read(self, wanted: Sequence[Wanted], step: str) -> Conversation[dict[str, State]]:
        found = yield from self._records.read((one.entity for one in wanted), step)
        return dict(found)

    def _rounds(
        self, wanted: Sequence[Wanted], states: dict[str, State], *, raced: bool
    ) -> Conversation[dict[str, Outcome]]:
        """Each wanted's outcome; in a round each record is written once. `raced`: once only."""
        results: dict[str, Outcome] = {}
        stuck: dict[str, Outcome] = {}
        left = list(wanted)
        while left:
            now: dict[str, Wanted] = {}
            for one in left:
                now.setdefault(one.entity, one)
            left = [one for one in left if now[one.entity] is not one]
            writes: list[Write] = []
            for one in now.values():
                planned = self._plan(one, states.get(one.entity), stuck.get(one.entity))
                if isinstance(planned, tuple):
                    writes.append(planned)
                else:
                    results[one.key] = planned
            made = yield from self._write(writes, results, states)
            lost = [w for w, _, _ in writes if _is_raced(made.get(w.key))]
            if lost and not raced:
                fresh = yield from self._read(lost, "read_again")
                for one in lost:
                    states[one.entity] = fresh.get(one.entity)
                results.update((yield from self._race(lost, states)))
            for one, _, _ in writes:
                if isinstance(results[one.key], Retryable | Unknown):
                    stuck[one.entity] = results[one.key]
        return results

    def _race(
        self, lost: Sequence[Wanted], states: dict[str, State]
    ) -> Conversation[dict[str, Outcome]]:
        """Those that lost a race, looked at again: what is there is left or changed once more."""
        results: dict[str, Outcome] = {}
        there: list[Wanted] = []
        for one in lost:
            if states.get(one.entity) is None:  # so another of its values is taken
                failure = told(DUPLICATE)
                results[one.key] = Rejected(code=failure.row.code, message=failure.message)
            else:
                there.append(one)
        if there:
            results.update((yield from self._rounds(there, states, raced=True)))
        return results

    def _plan(self, one: Wanted, state: State, stuck: Outcome | None) -> Write | Outcome:
        if stuck is not None:  # an earlier change of the record is not through: this one waits
            code = stuck.code if isinstance(stuck, Retryable | Unknown) else NAME
            why = "An earlier change of the same record has to go first."
            return Retryable(code=code, message=why, scope=Scope.SYSTEM)
        raises = one.action is Action.RAISE
        if isinstance(state, Failure) and not (raises and state.row is NO_QUERY):
            return outcome(state)
        if state is None or isinstance(state, Failure):
            if raises:
                return one, None, one.fields
            failure = told(NO_RECORD, f"key {one.entity}")
            final = one.action is Action.CLEAR
            return Rejected(code=failure.row.code, message=failure.message, final=final)
        if done(one, state):
            return Delivered(target_id=state.id, created=False)
        return one, state, changes(one, state, self._settings)

    def _write(
        self,
        writes: Sequence[Write],
        results: dict[str, Outcome],
        states: dict[str, State],
    ) -> Conversation[dict[str, Result]]:
        """Send them; `results` and `states` get what came of it."""
        made: dict[str, Result] = {}
        if self._settings.platform_event:
            yield from self._one_by_one(writes, made)
        else:
            fresh = [write for write in writes if write[1] is None]
            items = [(one.entity, values) for one, _, values in fresh]
            if 0 < self._settings.bulk_from <= len(items):
                sent = yield from self._bulk.upsert(items)
            else:
                sent = yield from _in_pieces(self._records.upsert, items)
            made |= {one.key: r for (one, _, _), r in zip(fresh, sent, strict=True)}
            known = [(one, seen, values) for one, seen, values in writes if seen is not None]
            changed = [(seen.id, values) for _, seen, values in known]
            sent = yield from _in_pieces(self._records.update, changed)
            made |= {one.key: r for (one, _, _), r in zip(known, sent, strict=True)}
        for one, seen, values in writes:
            result = made[one.key]
            if isinstance(result, Done):
                results[one.key] = Delivered(target_id=result.id, created=result.created)
                states[one.entity] = after(one, seen, values, result.id)
            else:
                results[one.key] = outcome(result, keyed=self.keyed)
        return made

    def _one_by_one(self, writes: Sequence[Write], made: dict[str, Result]) -> Conversation[None]:
        """Each record with its event. After trouble of the system the rest is not sent."""
        trouble: Failure | None = None
        for one, seen, values in writes:
            if trouble is not None:
                made[one.key] = trouble
                continue
            own_id = None if seen is None else seen.id
            result = yield from self._publisher.write(one.entity, own_id, values, one.message)
            made[one.key] = result
            if isinstance(result, Failure) and result.row.kind in _NOT_ITS_OWN:
                trouble = result.before()


def batch_size(settings: SalesforceSettings) -> int:
    """Most events in one conversation: so many that a backlog can grow to a Bulk job.

    Up to 200 are one request. The engine gives no more than the sink's in_hand (500 unless
    infra/config/sinks.yaml says more); what lies between goes as collections one after the
    other, which is no loss: side by side they would wait for each other's lock on the account.
    """
    if settings.platform_event:
        return ONE_BY_ONE
    return max(COLLECTION, settings.bulk_from)


def _in_pieces(
    send: Callable[[Sequence[tuple[str, Values]]], Conversation[list[Result]]],
    items: Sequence[tuple[str, Values]],
) -> Conversation[list[Result]]:
    """COLLECTION at a time. After trouble of the system the rest is not sent."""
    results: list[Result] = []
    for at in range(0, len(items), COLLECTION):
        piece = items[at : at + COLLECTION]
        results += yield from send(piece)
        last = results[-1]
        if isinstance(last, Failure) and last.row.kind in _NOT_ITS_OWN:
            results += [last.before()] * (len(items) - len(results))
            break
    return results


def _is_raced(result: Result | None) -> bool:
    return isinstance(result, Failure) and result.row.kind is Kind.RACED
