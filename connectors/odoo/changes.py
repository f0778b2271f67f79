"""Updates and clears: the request's state is set, then a note is left on it. Pure.

The note is a mail.message with an external id of its own, which is how a change is known as
made; so it comes last, and sent again nothing happens twice. What people wrote is not touched:

    update   the priority, and a note; a request that is closed is opened again
    clear    a note; the request is closed where nobody has taken it on (it still stands in the
             stage where requests begin): who took it on closes it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.base import Conversation
from connectors.odoo.answers import NO_RECORD
from connectors.odoo.config import OdooSettings
from connectors.odoo.mapping import NOTE, note_id, request_id
from connectors.odoo.records import INSERT, UPDATE, Records, Table
from connectors.odoo.requests import REQUESTS, STAGE, Requests
from pipeline.core.outcome import (
    Delivered,
    Found,
    LookUp,
    NotFound,
    Outcome,
    Rejected,
    Retryable,
)

MESSAGES = "mail.message"
STATE = ("stage_id", "done", "archive", "priority")
NOTE_COLUMNS = (
    *(field.target for field in NOTE),
    *("model", "res_id", "message_type", "subtype_id/id"),
)
"""A note that only colleagues see: no mail goes out for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An update or clear of the request of `entity`. `fields` and `note` by `load`'s columns."""

    key: str
    entity: str
    closes: bool
    fields: Mapping[str, Any]
    note: Mapping[str, Any]


class Changes:
    """Changes of requests under one user."""

    def __init__(self, records: Records, requests: Requests, settings: OdooSettings) -> None:
        self._records = records
        self._requests = requests
        self._by_archive = settings.close_by == "archive"

    def apply(self, changes: Sequence[Change]) -> Conversation[dict[str, Outcome]]:
        """One outcome for each, by key; those of one request one after the other."""
        results: dict[str, Outcome] = {}
        left = list(changes)
        while left:
            now: dict[str, Change] = {}
            for change in left:
                now.setdefault(change.entity, change)
            results |= yield from self._apply(tuple(now.values()))
            left = [change for change in left if change.key not in results]
        return results

    def look_up(self, entities: Mapping[str, str]) -> Conversation[dict[str, LookUp]]:
        """Whether the changes with these keys have left their notes on their entities."""
        names = {note_id(key) for key in entities} | {request_id(e) for e in entities.values()}
        found = yield from self._records.ids("look_up", names)
        if isinstance(found, Retryable):
            return dict.fromkeys(entities, found)
        answers: dict[str, LookUp] = {}
        for key, entity in entities.items():
            there = found.get(request_id(entity))
            made = there is not None and note_id(key) in found
            answers[key] = Found(target_id=str(there[1])) if there and made else NotFound()
        return answers

    def _apply(self, changes: Sequence[Change]) -> Conversation[dict[str, Outcome]]:
        """At most one change for each request."""
        names = {note_id(c.key) for c in changes} | {request_id(c.entity) for c in changes}
        found = yield from self._records.ids("look_up", names | {*self._requests.stage_names()})
        if isinstance(found, Retryable):
            return dict.fromkeys((c.key for c in changes), found)
        results: dict[str, Outcome] = {}
        wanted: dict[int, Change] = {}
        for change in changes:
            model, own = found.get(request_id(change.entity), ("", 0))
            if model != REQUESTS:
                results[change.key] = _nothing_there(change)
            elif note_id(change.key) in found:
                results[change.key] = Delivered(target_id=str(own), created=False)
            else:
                wanted[own] = change
        if not wanted:
            return results
        stages = self._requests.stages(found)
        if isinstance(stages, Retryable):
            return results | {c.key: stages for c in wanted.values()}
        rows = yield from self._records.search(
            "read_request", REQUESTS, [["id", "in", sorted(wanted)]], STATE
        )
        if isinstance(rows, Retryable):
            return results | {c.key: rows for c in wanted.values()}
        states = {row["id"]: row for row in rows}
        gone = [own for own in wanted if own not in states]
        results |= {wanted[own].key: _nothing_there(wanted[own]) for own in gone}
        left = {own: change for own, change in wanted.items() if own in states}
        failed = yield from self._set(left, states, stages)
        noted = yield from self._note({o: c for o, c in left.items() if c.key not in failed})
        return results | failed | noted

    def _set(
        self,
        changes: Mapping[int, Change],
        states: Mapping[int, Mapping[str, Any]],
        stages: tuple[int, int],
    ) -> Conversation[dict[str, Outcome]]:
        """Set what differs; only what failed, by key. One `load` for each set of columns."""
        tables: dict[tuple[str, ...], dict[str, Sequence[str]]] = {}
        for own, change in changes.items():
            values = self._values(change, states[own], stages)
            if values:
                row = {request_id(change.entity): [values[name] for name in values]}
                tables.setdefault(tuple(values), {}).update(row)
        failed: dict[str, Outcome] = {}
        keys = {request_id(change.entity): change.key for change in changes.values()}
        for columns, rows in tables.items():
            table = Table(REQUESTS, columns, rows)
            done = yield from self._records.load("change_request", table, UPDATE)
            failed |= {keys[name]: got for name, got in done.items() if not isinstance(got, int)}
        return failed

    def _values(
        self, change: Change, state: Mapping[str, Any], stages: tuple[int, int]
    ) -> dict[str, str]:
        """What of the request is to be set, in a fixed order of columns."""
        values: dict[str, str] = {}
        wanted = change.fields.get("priority")
        if wanted is not None and state.get("priority") != wanted:
            values["priority"] = str(wanted)
        open_stage, done_stage = stages
        stage = state.get("stage_id")
        now = stage[0] if isinstance(stage, list) and stage else 0
        archived, done = bool(state.get("archive")), bool(state.get("done"))
        if self._by_archive:
            if change.closes and not archived and not done and now == open_stage:
                values["archive"] = "1"
            elif not change.closes and archived and not done:
                values["archive"] = "0"
        elif change.closes and not archived and now == open_stage:
            values[STAGE] = str(done_stage)
        elif not change.closes and not archived and done:
            values[STAGE] = str(open_stage)
        return values

    def _note(self, changes: Mapping[int, Change]) -> Conversation[dict[str, Outcome]]:
        if not changes:
            return {}
        rows = {}
        for own, change in changes.items():
            about = {
                "model": REQUESTS,
                "res_id": str(own),
                "message_type": "comment",
                "subtype_id/id": "mail.mt_note",
            }
            note = {**change.note, **about}
            rows[note_id(change.key)] = [str(note.get(name) or "") for name in NOTE_COLUMNS]
        table = Table(MESSAGES, NOTE_COLUMNS, rows)
        made = yield from self._records.load("create_note", table, INSERT)
        results: dict[str, Outcome] = {}
        for own, change in changes.items():
            got = made[note_id(change.key)]
            results[change.key] = (
                Delivered(target_id=str(own), created=True) if isinstance(got, int) else got
            )
        return results


def _nothing_there(change: Change) -> Rejected:
    what = "clear" if change.closes else "update"
    return Rejected(
        code=NO_RECORD.code,
        message=f"Odoo has no request {request_id(change.entity)} to {what}: what raised it was "
        "not delivered here, or was deleted.",
        final=change.closes,
    )
