"""One look at one target: what it says of events that the books call delivered, and what it has.

Only reads: a request that could have an effect is never sent. Batches of the connector's own
size, one conversation at a time, with a pause between two. A target that is away, or says
something else than yes and no, proves nothing: what was not looked at stays as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice
from typing import Protocol, TypeVar, runtime_checkable

import httpx

from connectors.base import Connector, Conversation
from connectors.exchange import converse
from pipeline.core.fates import End, Fate
from pipeline.core.ledger import State
from pipeline.core.outcome import Found, LookUp, NotFound, Retryable, Undecidable
from pipeline.core.reconcile import (
    OPEN_MAX,
    STUCK_MS,
    Finding,
    Kind,
    Record,
    missing_at_target,
    not_listed_by_us,
    stuck,
)
from pipeline.ops.reconcile_fold import lowest_note
from pipeline.ops.reconcile_sample import delivered, delivery, sampled
from pipeline.ops.reconcile_store import Store
from pipeline.state.ledger import Ledger, LedgerUnavailable

PAUSE_S = 0.05
"""Between two conversations."""
AGAIN_S = 2.0
"""What is not there is looked up a second time after this."""
OVERLAP = 1_000
"""So many records before the last one that was listed are listed again: a target may show
records in another order than it numbered them."""
_CHUNK = 500

T = TypeVar("T")


class _Seen(Protocol):
    @property
    def key(self) -> str: ...
    @property
    def id(self) -> int: ...


@runtime_checkable
class Lists(Protocol):
    """A connector whose target can list our records, ids rising from after `since_id`."""

    def find_orders(self, *, since_id: int) -> Conversation[Sequence[_Seen] | Retryable]:
        """All records that bear our mark."""
        ...


@dataclass(frozen=True, slots=True)
class Trouble:
    """A question that got no answer; the text is one sentence. `always`: it never gets one."""

    text: str
    always: bool = False


@dataclass(slots=True, kw_only=True)
class Look:
    """What came of a look.

    `troubles` are why some of it could not be done; `untold` is why this target never tells.
    """

    sink: str
    looked_up: int = 0
    listed: int | None = None
    findings: list[Finding] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    untold: str = ""
    _asked: set[str] = field(default_factory=set)
    _listed_after: int | None = None
    _scanned: bool = False

    def looked(self, finding: Finding) -> bool:
        """Whether this look would have found that mismatch again."""
        if finding.sink != self.sink:
            return False
        if finding.kind is Kind.MISSING_AT_TARGET:
            return finding.subject in self._asked
        if finding.kind is Kind.STUCK_IN_FLIGHT:
            return self._scanned
        if finding.kind is Kind.BALANCE:
            return False
        return self._listed_after is not None and int(finding.subject) > self._listed_after

    def asked(self, event_ids: Iterable[str]) -> None:
        """What is to be said of these is known now."""
        self._asked.update(event_ids)

    def scanned(self) -> None:
        """The whole ledger was looked at."""
        self._scanned = True

    def covered(self, since_id: int, records: int) -> None:
        """All records after that one were listed."""
        self._listed_after, self.listed = since_id, records

    def cannot(self, trouble: Trouble) -> None:
        """Something could not be done."""
        if trouble.always:
            self.untold = trouble.text
        elif trouble.text not in self.troubles:
            self.troubles.append(trouble.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One sink's target and how it is asked. `request_s` bounds one request, seconds."""

    sink: str
    connector: Connector
    client: httpx.AsyncClient
    ledger: Ledger
    request_s: float

    async def look(
        self,
        store: Store,
        opened: Sequence[Finding],
        *,
        sample: int | None,
        seed: int,
        now_ms: int,
        caught_up: Callable[[], Awaitable[None]],
    ) -> Look:
        """Compare.

        `sample` None looks up every delivered event; `opened` are open mismatches, which are
        looked at again; `caught_up` waits until the books know what Kafka has now.
        """
        look = Look(sink=self.sink)
        before = [f for f in opened if f.sink == self.sink]
        await self._delivered(store, look, before, sample=sample, seed=seed)
        await self._records(store, look, before, caught_up=caught_up, everything=sample is None)
        await self._ledger_rows(store, look, now_ms)
        return look

    # -- what was delivered

    async def _delivered(
        self, store: Store, look: Look, before: Sequence[Finding], *, sample: int | None, seed: int
    ) -> None:
        again = {
            f.subject: fate
            for f in before
            if f.kind is Kind.MISSING_AT_TARGET and (fate := store.fate(self.sink, f.subject))
        }
        # What the books no longer call delivered is not missed any more.
        look.asked(name for name, fate in again.items() if fate.end is not End.DELIVERED)
        chosen = (
            delivered(store.fates(self.sink))
            if sample is None
            else sampled(store, self.sink, seed, sample)
        )
        known = {name: fate for name, fate in again.items() if fate.end is End.DELIVERED}
        rest = (pair for pair in chosen if pair[0] not in known)
        for pairs in _chunks(chain(known.items(), rest), _CHUNK):
            fates = dict(pairs)
            answers = await self._ask_twice(fates)
            if isinstance(answers, Trouble):
                look.cannot(answers)
                return
            look.looked_up += len(answers)
            look.asked(answers)
            for name, answer in answers.items():
                if isinstance(answer, NotFound) and len(look.findings) < OPEN_MAX:
                    fate = fates[name]
                    look.findings.append(
                        missing_at_target(self.sink, name, fate.target_id, fate.action)
                    )

    async def _ask_twice(self, fates: Mapping[str, Fate]) -> dict[str, LookUp] | Trouble:
        answers = await self._ask(fates)
        if isinstance(answers, Trouble):
            return answers
        absent = {name: fates[name] for name, a in answers.items() if isinstance(a, NotFound)}
        if absent:
            await asyncio.sleep(AGAIN_S)
            second = await self._ask(absent)
            if isinstance(second, Trouble):
                return second
            answers |= second
        return answers

    async def _ask(self, fates: Mapping[str, Fate]) -> dict[str, LookUp] | Trouble:
        """One answer for each, or why there is none."""
        out: dict[str, LookUp] = {}
        for names in _chunks(iter(fates), self.connector.batch_size):
            batch = [delivery(name, fates[name]) for name in names]
            answers = await self._converse(partial(self.connector.look_up, batch))
            if isinstance(answers, Trouble):
                return answers
            for name, answer in zip(names, answers, strict=True):
                if isinstance(answer, Undecidable):
                    return Trouble(f"{self.sink} cannot be asked: {answer.message}", always=True)
                if isinstance(answer, Retryable):
                    return Trouble(f"{self.sink} does not tell: {answer.message}")
                out[name] = answer
            await asyncio.sleep(PAUSE_S)
        return out

    async def _converse(self, begin: Callable[[], Conversation[T]]) -> T | Trouble:
        # Whatever could have an effect is late: it is not sent.
        exchange = await converse(begin, self.client, request_s=self.request_s, late=lambda: True)
        if exchange.late:
            return Trouble(f"{self.sink}'s connector wanted to write where it should only read.")
        if exchange.result is None:
            return Trouble(f"{self.sink}'s connector failed ({exchange.bug}): see its log.")
        return exchange.result

    # -- what it has

    async def _records(
        self,
        store: Store,
        look: Look,
        before: Sequence[Finding],
        *,
        caught_up: Callable[[], Awaitable[None]],
        everything: bool,
    ) -> None:
        connector = self.connector
        if not isinstance(connector, Lists):
            return
        note = f"listed {self.sink}"
        last = int(store.note(note) or b"0")
        opened = [
            int(f.subject)
            for f in before
            if f.kind in {Kind.UNKNOWN_AT_LEDGER, Kind.DOUBLED_AT_TARGET}
        ]
        since = 0 if everything else max(0, min([last - OVERLAP, *(n - 1 for n in opened)]))
        listed = await self._converse(lambda: connector.find_orders(since_id=since))
        if isinstance(listed, Trouble | Retryable):
            text = listed.text if isinstance(listed, Trouble) else listed.message
            look.cannot(Trouble(f"{self.sink} does not list its records: {text}"))
            return
        await caught_up()
        records = [Record(key=seen.key, id=seen.id) for seen in listed]
        lowest = int(store.note(lowest_note(self.sink)) or b"0")
        pruned = int(store.note(pruned_note(self.sink)) or b"-1")
        found = not_listed_by_us(
            self.sink,
            records,
            known=lambda key: store.fate(self.sink, key) is not None,
            first=lambda record: store.first_record(self.sink, record.key, record.id),
            since=max(lowest, pruned + 1),
        )
        sure = await self._confirmed(store, found)
        if isinstance(sure, Trouble):
            look.cannot(sure)
            return
        look.findings += sure[:OPEN_MAX]
        look.covered(since, len(records))
        if records:
            store.put_note(note, b"%d" % max(last, records[-1].id))

    async def _confirmed(self, store: Store, found: Sequence[Finding]) -> list[Finding] | Trouble:
        """Those that the ledger does not know either, and those whose first record is there."""
        strange = [f for f in found if f.kind is Kind.UNKNOWN_AT_LEDGER]
        try:
            rows = await self.ledger.states(self.sink, [f.event_id or "" for f in strange])
        except LedgerUnavailable as error:
            return Trouble(str(error))
        out = [f for f, row in zip(strange, rows, strict=True) if row is None]
        twice = {f.event_id: f for f in found if f.kind is Kind.DOUBLED_AT_TARGET and f.event_id}
        blank = Fate(tenant="", device_id="", partition=0)
        answers = await self._ask({key: store.fate(self.sink, key) or blank for key in twice})
        if isinstance(answers, Trouble):
            return answers
        for finding in found:
            if finding.kind is not Kind.DOUBLED_AT_TARGET:
                continue
            answer = answers.get(finding.event_id or "")
            if isinstance(answer, Found) and answer.target_id == finding.target_id:
                # The one that was first is not there any more.
                store.put_first_record(self.sink, finding.event_id or "", int(answer.target_id))
            else:
                out.append(finding)
        return out

    # -- what is under way

    async def _ledger_rows(self, store: Store, look: Look, now_ms: int) -> None:
        found = []
        try:
            async for key, row in self.ledger.scan(
                self.sink, now_ms - STUCK_MS, {State.IN_FLIGHT, State.UNKNOWN}
            ):
                fate = store.fate(self.sink, key)
                if fate is not None and fate.end is None and fate.parked:
                    continue  # its worker comes back to it
                since = datetime.fromtimestamp(row.at_ms / 1000, tz=UTC)
                found.append(
                    stuck(
                        self.sink,
                        key,
                        state=row.state.value,
                        owner=row.owner,
                        since=f"{since:%Y-%m-%d %H:%M:%S} UTC",
                    )
                )
                if len(found) >= OPEN_MAX:
                    break
        except LedgerUnavailable as error:
            look.cannot(Trouble(str(error)))
            return
        look.findings += found
        look.scanned()


def pruned_note(sink: str) -> str:
    """Name of the note with the highest record at the target whose row was forgotten."""
    return f"pruned {sink}"


def _chunks(rows: Iterator[T], size: int) -> Iterator[list[T]]:
    while chunk := list(islice(rows, size)):
        yield chunk
