"""The delivery ledger in Redis: rows as hashes, transitions as atomic scripts.

The scripts (ledger_scripts.py, with the layout of all keys) are written out of the core's
tables, so Redis enforces the same rules that the tests draw.

A `begin`, a `finish` and a `hold` are one script call each, so one round trip, however many
deliveries and partitions they carry. A row is durable before `begin` returns where Redis runs
with `appendonly yes` and `appendfsync always`, which `check` looks at.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import NoScriptError, RedisError, ResponseError

from pipeline.core.ledger import (
    AlreadyDone,
    AlreadyFinished,
    Begin,
    Claim,
    Ending,
    Fenced,
    Gone,
    Held,
    Hold,
    IllegalTransitionError,
    KeyConflict,
    LookUpFirst,
    Note,
    Place,
    Row,
    Send,
    State,
    Superseded,
)
from pipeline.state.ledger_scripts import (
    BEGIN_SCRIPT,
    FINISH_SCRIPT,
    HOLD_SCRIPT,
    NOTE_FIELDS,
    ROW_FIELDS,
    Call,
    Script,
    begin_call,
    finish_call,
    hold_call,
    row_name,
)

DAY_MS = 86_400_000
MAX_ITEMS = 1_000
"""Items of one script call, about 10 ms in which Redis does nothing else; more are split."""
_PAGE = 500
_REFUSALS: Mapping[str, Begin] = {"conflict": KeyConflict(), "fenced": Fenced(), "gone": Gone()}


class LedgerUnavailable(Exception):  # noqa: N818 - a state of the ledger, which the driver waits out
    """Redis cannot be read or written now: send nothing, wait and try again."""


class Ledger:
    """The ledger. `retention_ms` is how long finished rows stay; unfinished ones never go.

    Every method raises LedgerUnavailable, and nothing else, where Redis does not do as asked.
    All are safe to repeat where an answer got lost: a `begin` then finds the row in flight
    and says LookUpFirst, a `finish` says the same as the first, a `hold` fences the first.
    """

    def __init__(self, redis: Redis | RedisCluster, *, retention_ms: int = 30 * DAY_MS) -> None:
        self._redis = redis
        self._retention_ms = retention_ms
        self._held: set[tuple[str, int]] = set()

    async def hold(
        self, sink: str, partitions: Mapping[int, Place], owner: str, now_ms: int
    ) -> dict[int, Hold]:
        """Take these partitions of the sink's topic: whoever held them before is fenced.

        To be called once they are surely ours, with places read after that.
        """
        known = {
            partition: replace(place, held=place.held or (sink, partition) in self._held)
            for partition, place in partitions.items()
        }
        if not known:
            return {}
        replies = await self._run(HOLD_SCRIPT, hold_call(sink, known, owner=owner, now_ms=now_ms))
        self._held |= {(sink, partition) for partition in known}
        return {
            partition: Hold(token=int(token), doubt_below=int(doubt))
            for partition, (token, doubt) in zip(known, replies, strict=True)
        }

    async def begin(
        self, sink: str, claims: Sequence[Claim], owner: str, now_ms: int
    ) -> list[Begin]:
        """Claim deliveries; one decision each, in order."""
        out: list[Begin] = []
        for first in range(0, len(claims), MAX_ITEMS):
            call = begin_call(
                sink,
                claims[first : first + MAX_ITEMS],
                owner=owner,
                now_ms=now_ms,
                retention_ms=self._retention_ms,
            )
            out += [_decision(reply) for reply in await self._run(BEGIN_SCRIPT, call)]
        return out

    async def finish(
        self, sink: str, endings: Sequence[Ending], now_ms: int, owner: str = ""
    ) -> list[Held]:
        """End attempts; what became of each, in order. IllegalTransitionError is our fault."""
        out: list[Held] = []
        for first in range(0, len(endings), MAX_ITEMS):
            part = endings[first : first + MAX_ITEMS]
            call = finish_call(
                sink, part, owner=owner, now_ms=now_ms, retention_ms=self._retention_ms
            )
            for reply, ending in zip(await self._run(FINISH_SCRIPT, call), part, strict=True):
                said = reply_text(reply)
                if said.startswith("no "):
                    raise IllegalTransitionError(said[3:], ending.state)
                out.append(Held(said))
        return out

    async def states(self, sink: str, keys: Sequence[str]) -> list[Row | None]:
        """The rows of these keys, None where there is none."""
        if not keys:
            return []
        fields = [*ROW_FIELDS, "notes", *NOTE_FIELDS]
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hmget(row_name(sink, key), fields)
                rows = await pipe.execute()
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error
        return [_row(values) if values[0] is not None else None for values in rows]

    async def scan(
        self, sink: str, older_than_ms: int, states: Collection[State]
    ) -> AsyncIterator[tuple[str, Row]]:
        """Keys and rows in one of `states` since before `older_than_ms` (Unix epoch).

        Goes over all of Redis in small steps (SCAN): a row that changes meanwhile may be
        missed or come twice.
        """
        start = row_name(sink, "")
        pattern = re.sub(r"([\\*?\[\]])", r"\\\1", start) + "*"
        page: list[str] = []
        names = self._redis.scan_iter(match=pattern, count=_PAGE).__aiter__()
        more = True
        while more:
            try:
                page.append(reply_text(await anext(names)).removeprefix(start))
            except StopAsyncIteration:
                more = False
            except (RedisError, OSError) as error:
                raise _unavailable(error) from error
            if len(page) < _PAGE and more:
                continue
            for key, row in zip(page, await self.states(sink, page), strict=True):
                if row is not None and row.state in states and row.at_ms < older_than_ms:
                    yield key, row
            page = []

    async def check(self) -> str | None:
        """A warning for the operator where Redis could forget rows; None where it is well.

        Also None where CONFIG is forbidden, as managed services do: then ask the service.
        """
        try:
            found = {
                **await self._redis.config_get("append*"),
                **await self._redis.config_get("maxmemory-policy"),
            }
        except ResponseError:
            return None
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error
        config = {reply_text(name): reply_text(value) for name, value in found.items()}
        if config.get("appendonly", "yes") != "yes":
            return (
                "Redis keeps the delivery ledger in memory only, so a crash of Redis may "
                "deliver twice: set 'appendonly yes' and 'appendfsync always'."
            )
        if (fsync := config.get("appendfsync", "always")) != "always":
            return (
                f"Redis writes the delivery ledger to disk late (appendfsync {fsync}), so a "
                "power cut may deliver twice: set 'appendfsync always'."
            )
        if (policy := config.get("maxmemory-policy", "noeviction")) != "noeviction":
            return (
                f"Redis may drop ledger rows when memory is short (maxmemory-policy {policy}): "
                "set 'maxmemory-policy noeviction'."
            )
        return None

    async def _run(self, script: Script, call: Call) -> list[Any]:
        """The script's answers. A Redis that has not seen it (new, restarted) costs one more."""
        words: list[Any] = call.keys + call.args
        try:
            try:
                replies: Any = await self._redis.evalsha(script.sha, len(call.keys), *words)
            except NoScriptError:
                replies = await self._redis.eval(script.text, len(call.keys), *words)
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error
        return list(replies)


def reply_text(value: Any) -> str:  # noqa: ANN401 - a reply's type depends on the client's decoding
    """A word of a reply of Redis."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _row(values: Sequence[Any]) -> Row:
    texts = ["" if value is None else reply_text(value) for value in values]
    state, payload, attempt, fence, target_id, code, at_ms, owner, notes, *lines = texts
    try:
        newest = int(notes or 0)
        order = range(max(0, newest - len(lines)), newest)
        return Row(
            state=State(state),
            payload_hash=payload,
            attempt=int(attempt),
            fence=int(fence),
            target_id=target_id or None,
            code=code,
            at_ms=int(at_ms),
            owner=owner,
            history=tuple(_note(lines[n % len(lines)]) for n in order),
        )
    except ValueError as error:
        raise _unavailable(error) from error


def _note(line: str) -> Note:
    at_ms, state, owner, code = line.split("|", 3)
    return Note(at_ms=int(at_ms), state=State(state), owner=owner, code=code)


def _decision(reply: Sequence[Any]) -> Begin:
    word, *values = map(reply_text, reply)
    if word == "send":
        fence, attempt = map(int, values)
        return Send(fence=fence, attempt=attempt)
    if word == "look":
        *numbers, newer = values
        fence, attempt, since_ms = map(int, numbers)
        return LookUpFirst(fence=fence, attempt=attempt, since_ms=since_ms, newer=newer)
    if word == "known":
        state, target_id, code, attempts = values
        if state == State.SUCCEEDED:
            return AlreadyDone(target_id=target_id, attempt=int(attempts))
        return AlreadyFinished(state=State(state), code=code, attempt=int(attempts))
    return Superseded(version=values[0]) if word == "superseded" else _REFUSALS[word]


def _unavailable(error: Exception) -> LedgerUnavailable:
    return LedgerUnavailable(
        f"Redis does not take the delivery ledger's rows ({type(error).__name__}): "
        "deliveries wait until it does."
    )
