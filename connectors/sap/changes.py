"""Updates and clears: read the notification, do the next thing that is missing, read again. Pure.

    update   reopen it where it is completed; then a line, and the priority where the new one
             is more urgent (a person's lower one is left alone otherwise)
    clear    a line, then completed; one that a person has completed is left as it is

The line ends with the change's own mark, so a change that was made is known and never made
twice; every write carries the ETag of what was read, so nothing that people or other workers
did in between is overwritten: SAP answers 412 then (428 where it wanted one and there was
none), and it is read again once. The long text has room for 1,333 characters: our oldest lines
give way to new ones, and a change whose line is gone is known to the ledger only. A
notification with the deletion flag is not touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

import httpx

from connectors.answers import Kind
from connectors.base import Conversation, Effect
from connectors.mapped import in_turns
from connectors.sap.answers import CHANGED, DELETED, NO_RECORD, Trouble, of_record, says_error
from connectors.sap.batch import Op
from connectors.sap.config import SapSettings
from connectors.sap.mapping import Change, date_literal, marks, time_literal, with_line
from connectors.sap.records import SERVICE, Seen, at, find, literal, read
from connectors.sap.session import TITLE, Session
from pipeline.core.outcome import (
    Delivered,
    Found,
    LookUp,
    NotFound,
    Outcome,
    Rejected,
    Retryable,
    Scope,
)

ROUNDS = 6
"""Most rounds of reading and writing: a clear takes two, reopening two, a race one more."""


@dataclass(slots=True, kw_only=True)
class _Turn:
    """A change on its way. `noted`: its line was written, whether or not it is shown."""

    change: Change
    number: str
    races: int = 0
    wrote: bool = False
    noted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Next:
    """The next request. `ends`: nothing is left to do after it."""

    op: Op
    ends: bool
    notes: bool = False


class Changes:
    """Changes of notifications in one system."""

    def __init__(self, session: Session, settings: SapSettings) -> None:
        self._session = session
        self._settings = settings

    def apply(self, changes: Sequence[Change]) -> Conversation[dict[str, Outcome]]:
        """Bring them to their notifications, those of one notification one after the other."""
        return (yield from in_turns(changes, lambda one: one.reference, self._apply))

    def look_up(self, changes: Sequence[Change]) -> Conversation[dict[str, LookUp]]:
        """Whether they were made, by their keys."""
        found = yield from find(self._session, {one.reference for one in changes})
        if not isinstance(found, dict):
            return dict.fromkeys([one.key for one in changes], self._session.again(found))
        shown = yield from read(self._session, sorted(set(found.values())))
        return {
            one.key: self._made(one, shown.get(found.get(one.reference, ""))) for one in changes
        }

    def _made(self, change: Change, one: Seen | Trouble | Retryable | None) -> LookUp:
        if one is None or (isinstance(one, Trouble) and one.row is NO_RECORD):
            return NotFound()
        if not isinstance(one, Seen):
            return self._session.again(one)
        turn = _Turn(change=change, number=one.id)
        left = self._next(turn, one)
        done = left is None and (change.mark in marks(one.text) or change.clears)
        return Found(target_id=one.id) if done else NotFound()

    def _apply(self, now: Mapping[str, Change]) -> Conversation[dict[str, Outcome]]:
        """One change for each of some references."""
        found = yield from find(self._session, now.keys())
        if not isinstance(found, dict):
            return {one.key: self._session.again(found) for one in now.values()}
        results: dict[str, Outcome] = {}
        turns: list[_Turn] = []
        for ref, change in now.items():
            if ref in found:
                turns.append(_Turn(change=change, number=found[ref]))
            else:
                results[change.key] = no_record(change)
        for _ in range(ROUNDS):
            turns = [turn for turn in turns if turn.change.key not in results]
            if not turns:
                break
            results |= yield from self._round(turns)
        for turn in turns:
            results.setdefault(turn.change.key, _still_changing(turn))
        return results

    def _round(self, turns: Sequence[_Turn]) -> Conversation[dict[str, Outcome]]:
        """Read all, write what is next for each; the outcomes of those that are through."""
        results: dict[str, Outcome] = {}
        shown = yield from read(self._session, [turn.number for turn in turns])
        planned: list[tuple[_Turn, _Next]] = []
        for turn in turns:
            one = shown[turn.number]
            if not isinstance(one, Seen):
                gone = isinstance(one, Trouble) and one.row is NO_RECORD
                results[turn.change.key] = (
                    no_record(turn.change) if gone else self._session.again(one)
                )
                continue
            step = self._next(turn, one)
            if isinstance(step, Rejected):
                results[turn.change.key] = step
            elif step is None:
                results[turn.change.key] = Delivered(target_id=turn.number, created=turn.wrote)
            else:
                planned.append((turn, step))
        if planned:
            results |= yield from self._write(planned)
        return results

    def _write(self, planned: Sequence[tuple[_Turn, _Next]]) -> Conversation[dict[str, Outcome]]:
        results: dict[str, Outcome] = {}
        answers = yield from self._session.send(
            SERVICE,
            [step.op for _, step in planned],
            effect=Effect.KEYED_WRITE,
            batch_step="change_batch",
        )
        for (turn, step), answer in zip(planned, answers, strict=True):
            if isinstance(answer, httpx.Response):
                turn.wrote = True
                doubtful = says_error(answer)
                turn.noted = turn.noted or (step.notes and not doubtful)
                if step.ends and not doubtful:
                    results[turn.change.key] = Delivered(target_id=turn.number, created=True)
                continue
            told = _of_record(answer)
            if isinstance(told, Trouble) and told.row.kind is Kind.RACED and not turn.races:
                turn.races += 1  # somebody else was faster: read again, once
                continue
            results[turn.change.key] = self._session.outcome(told, effect=Effect.KEYED_WRITE)
        return results

    def _next(self, turn: _Turn, one: Seen) -> _Next | Rejected | None:
        """What is left to do; None where nothing is."""
        change = turn.change
        order = marks(one.text)
        marked = turn.noted or change.mark in order
        if one.deleted:
            return Rejected(
                code=DELETED.code,
                message=f"Notification {one.id} has the deletion flag in SAP: it stays as it is.",
                final=True,
            )
        if not change.clears:
            return None if marked else self._update(change, one)
        if one.completed or (marked and self._passed(change, order)):
            return None
        completes = self._settings.complete_on_clear
        body = {} if marked else self._line(change, one)
        if body:
            return _patch(one, body, ends=not completes)
        return _complete(change, one) if completes else None

    def _update(self, change: Change, one: Seen) -> _Next | None:
        if one.completed:
            path = f"SetMaintNotifToInProcess?MaintenanceNotification={literal(one.id)}"
            op = Op(step="reopen", method="POST", path=path, headers=_if_match(one))
            return _Next(op=op, ends=False)
        body = self._line(change, one)
        if change.priority and (not one.priority or change.priority < one.priority):
            body["MaintPriority"] = change.priority
        return _patch(one, body, ends=True) if body else None

    def _line(self, change: Change, one: Seen) -> dict[str, str]:
        text = change.line if self._settings.long_text_log else with_line(one.text, change.line)
        return {"MaintNotifLongTextForEdit": text} if text else {}

    def _passed(self, change: Change, order: Sequence[str]) -> bool:
        """Whether a later change of ours came after that clear. A log's order is not known."""
        return (
            not self._settings.long_text_log and change.mark in order and order[-1] != change.mark
        )


def no_record(change: Change) -> Rejected:
    """What a change comes to where there is nothing to change."""
    what = "clear" if change.clears else "update"
    return Rejected(
        code=NO_RECORD.code,
        message=f"{TITLE} has no notification with reference {change.reference} to {what}: "
        "what raised it was not delivered here.",
        final=change.clears,
    )


def _if_match(one: Seen) -> dict[str, str]:
    return {"If-Match": one.etag} if one.etag else {}


def _patch(one: Seen, body: Mapping[str, str], *, ends: bool) -> _Next:
    op = Op(
        step="update", method="PATCH", path=at(one.id), body={"d": body}, headers=_if_match(one)
    )
    return _Next(op=op, ends=ends, notes="MaintNotifLongTextForEdit" in body)


def _complete(change: Change, one: Seen) -> _Next:
    path = f"CompleteMaintNotification?MaintenanceNotification={literal(one.id)}"
    for name, value in (
        ("NotificationReferenceDate", date_literal(change.date)),
        ("NotificationReferenceTime", time_literal(change.time)),
    ):
        path += f"&{name}={quote(value, safe='')}" if value else ""
    op = Op(step="complete", method="POST", path=path, headers=_if_match(one))
    return _Next(op=op, ends=True)


def _still_changing(turn: _Turn) -> Retryable:
    return Retryable(
        code=CHANGED.code,
        message=f"Notification {turn.number} in SAP changed each time it was to be written.",
        scope=Scope.ITEM,
    )


def _of_record(answer: Trouble | Retryable) -> Trouble | Retryable:
    """The same, where a 404 is about the notification and not about the service."""
    if isinstance(answer, Retryable):
        return answer
    return replace(answer, row=of_record(answer.row, answer.reply))
