"""Files in, one conversation: marks, a data file, and the manifest that makes it count. Pure.

    keys/KEY.json            where a key went: {"manifest": NAME}; ours, nobody else needs it
    data/DAY/NAME-SUM.csv    rows of one batch
    manifests/DAY/NAME.json  files, rows, keys, checksums: what it names is there and whole

A reader looks at manifests only. A manifest is written last and never changed, so a batch is
there or not: nothing before it has an effect, whatever becomes of the connection. NAME comes
from the keys of the batch, DAY from its first event, SUM from the rows, so the same batch is
the same files and no file is ever written over by another content.

A retry may come in another batch, and a file server keeps no key to once. So each key has a
mark, written before the manifest: no mark, never sent; a mark whose manifest is not there,
not sent. That holds while manifests stay: readers may delete data, but manifests only when no
event in them can come again (the ledger's retention).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import httpx
import orjson

from connectors.answers import Kind
from connectors.base import Checked, Conversation, Delivery, Effect
from connectors.fields import Policy
from connectors.files.answers import EXISTS, NAME, row_of, row_of_write
from connectors.files.config import FilesSettings
from connectors.files.formats import encode, manifest, name_of
from connectors.files.mapping import KEY, to_row
from connectors.files.store import Store, heard, manifest_path, mark_path
from connectors.mapped import in_order
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
    Unknown,
)

NO_RECORD = f"{NAME}.no_record"
_ENDINGS = {"csv": "csv", "xml": "xml", "flat": "txt"}
_TYPES = {"csv": "text/csv; charset=utf-8", "xml": "application/xml", "flat": "text/plain"}
_WAITS = Retryable(
    code=f"{NAME}.waits",
    message="The event that raised this has to wait, so this waits for it.",
    scope=Scope.ITEM,
)
_NOBODY = "fieldline-check"
"""A key that no event has: `check` asks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A row on its way, and what it is of."""

    key: str
    entity: str
    action: Action
    row: dict[str, str]


@dataclass(slots=True, kw_only=True)
class Progress:
    """What one conversation knows so far.

    `outcomes` are by key; `there` are keys whose manifest is written, with their data file;
    `marks` what was written into keys' marks just now; `waiting` are keys whose own trouble puts
    them off; `lost` is why nothing more is sent.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    there: dict[str, str] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    lost: Retryable | None = None


class FilesConnector:
    """The connector. `clock` gives seconds since the Unix epoch, for S3's signatures."""

    name = NAME
    keyed = False

    def __init__(self, settings: FilesSettings, policy: Policy, clock: Callable[[], float]) -> None:
        self.batch_size = settings.batch
        self._settings = settings
        self._policy = policy
        self._store = Store(settings, clock)
        self._speech = self._store.speech

    def deliver(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[Outcome]]:
        """One file for all that can go; one outcome per delivery, in order."""
        progress = Progress()
        items: list[Item] = []
        first: dict[str, Delivery] = {}
        for one in deliveries:
            first.setdefault(one.key, one)
        for key, one in first.items():
            row = to_row(one, flat=self._settings.format == "flat", policy=self._policy)
            if isinstance(row, Rejected):
                progress.outcomes[key] = row
            else:
                event = one.event
                items.append(Item(key=key, entity=event.entity, action=event.action, row=row))
        groups = [items] if items else []
        while groups and progress.lost is None:
            halves = yield from self._bring(groups.pop(), progress)
            groups += reversed(halves)
        if progress.lost is not None:
            for item in items:
                progress.outcomes.setdefault(item.key, progress.lost)
        return in_order(deliveries, progress.outcomes)

    def look_up(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[LookUp]]:
        """Each key's mark, then the manifest that it names."""
        found: list[LookUp] = []
        for one in deliveries:
            there = (
                (yield from self._store.where("look_up", one.key)) if KEY.fullmatch(one.key) else ""
            )
            if isinstance(there, Retryable):
                found.append(there)
            else:
                found.append(Found(target_id=there) if there else NotFound())
        return found

    def check(self) -> Conversation[Sequence[Checked]]:
        """Whether the folder or bucket is there, and whether a missing file is told as such."""
        reply = yield self._store.head()
        row = row_of(reply)
        what = "folder" if self._settings.is_sftp else "bucket"
        if row is not None:
            detail = self._speech.message(row, heard(reply))
            if isinstance(reply, httpx.Response) and reply.status_code == httpx.codes.NOT_FOUND:
                detail = f"There is no such {what}: create it, or correct FILES_URL."
            return [Checked(what=what, ok=False, detail=detail)]
        there = yield from self._store.where("look_up", _NOBODY)
        if isinstance(there, Retryable):
            return [Checked(what="reading", ok=False, detail=there.message)]
        return [
            Checked(what=what, ok=True, detail=f"The {what} is there."),
            Checked(what="reading", ok=True, detail="What is missing is told as missing."),
            Checked(what="writing", ok=None, detail="That shows only when something is written."),
        ]

    # -- a group of rows

    def _bring(self, group: list[Item], progress: Progress) -> Conversation[Sequence[list[Item]]]:
        """Bring a group there; halves of it where it is refused and one row may be to blame."""
        place, left = _place(group), []
        here: set[str] = set()
        for item in group:
            ready = yield from self._ready(item, place, here, progress)
            if ready is None:
                left.append(item)
                here.add(item.key)
            elif isinstance(ready, Retryable) and ready.scope is Scope.SYSTEM:
                progress.lost = ready
                return ()
            else:
                progress.outcomes[item.key] = ready
                if isinstance(ready, Retryable):
                    progress.waiting.add(item.key)
        if not left:
            return ()
        place = _place(left)
        for item in left:
            if progress.marks.get(item.key) != place:
                mark = orjson.dumps({"manifest": place})
                reply = yield self._store.put("mark", mark_path(item.key), mark)
                row = row_of_write(reply)
                if row is not None:
                    progress.lost = self._speech.again(row, heard(reply))
                    return ()
        return (yield from self._write(place, left, progress))

    def _ready(
        self, item: Item, place: str, here: set[str], progress: Progress
    ) -> Conversation[Delivered | Rejected | Retryable | None]:
        """None where the row is to be written; else what is known of it without that.

        `here` are keys of rows before it in the same file.
        """
        if item.entity in progress.waiting:
            return _WAITS
        if item.action is not Action.RAISE and item.entity not in here:
            raised = yield from self._raised(item, progress)
            if raised is not None:
                return raised
        mark = orjson.dumps({"manifest": place})
        reply = yield self._store.put("mark", mark_path(item.key), mark, new=True)
        row = row_of_write(reply)
        if row is None:
            progress.marks[item.key] = place
            return None
        if row is not EXISTS:
            return self._speech.again(row, heard(reply))
        there = yield from self._store.where("look_up", item.key)
        if isinstance(there, str) and there:
            progress.there[item.key] = there
            return Delivered(target_id=there, created=False)
        return there if isinstance(there, Retryable) else None

    def _raised(self, item: Item, progress: Progress) -> Conversation[Rejected | Retryable | None]:
        """None where the event that raised this trouble is in a file already."""
        found = progress.there.get(item.entity)
        if not found:
            answer = yield from self._store.where("look_for_record", item.entity)
            if isinstance(answer, Retryable):
                return answer
            found = answer
        if not found:
            why = "No file has the event that raised this, so there is nothing to change."
            return Rejected(code=NO_RECORD, message=why, final=item.action is Action.CLEAR)
        progress.there[item.entity] = found
        return None

    def _write(
        self, place: str, items: list[Item], progress: Progress
    ) -> Conversation[Sequence[list[Item]]]:
        """The data file, then the manifest: only now do the rows count."""
        form, name = self._settings.format, place.partition("/")[2]
        rows = [item.row for item in items]
        data = encode(form, name, rows)
        path = f"data/{place}-{hashlib.sha256(data).hexdigest()[:8]}.{_ENDINGS[form]}"
        reply = yield self._store.put("data", path, data, kind=_TYPES[form])
        row = row_of_write(reply)
        if row is not None:
            if row.kind is not Kind.REFUSED:
                progress.lost = self._speech.again(row, heard(reply))
            elif len(items) == 1:
                refused = self._speech.outcome(row, heard(reply), keyed=False)
                progress.outcomes[items[0].key] = refused
            else:
                half = len(items) // 2
                return items[:half], items[half:]
            return ()
        told = manifest(form, name, path, rows, data)
        reply = yield self._store.put(
            "manifest", manifest_path(place), told, effect=Effect.WRITE, new=True
        )
        row = row_of_write(reply)
        there: str | Retryable = path
        if row is EXISTS:
            there = yield from self._store.where("look_up", items[0].key)
        if row is not None and row is not EXISTS:
            # What comes after may change what these raised.
            progress.lost = replace(self._speech.again(row, heard(reply)), scope=Scope.SYSTEM)
        for item in items:
            if row is not None and row is not EXISTS:
                progress.outcomes[item.key] = self._speech.outcome(row, heard(reply), keyed=False)
            elif isinstance(there, Retryable):
                progress.outcomes[item.key] = Unknown(code=there.code, message=there.message)
            else:
                progress.there[item.key] = there or path
                end = Delivered(target_id=there or path, created=row is None)
                progress.outcomes[item.key] = end
        return ()


def _place(items: Sequence[Item]) -> str:
    return f"{items[0].row['observed_at'][:10]}/{name_of([item.key for item in items])}"
