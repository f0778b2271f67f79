"""The delivery ledger in Redis: rows as hashes, transitions as atomic scripts.

Row `fieldline:ledger:{sink}:{key}`: state, payload (SHA-256, hex), attempt, fence, target_id,
code, at_ms, owner (for a person: which worker began last). The scripts are written out of the
tables in pipeline/core/ledger.py, so Redis enforces the same rules that the tests draw.

Many keys go in one pipeline: one round trip for a `begin`, one for a `finish`, however many
deliveries they carry. A row is durable before `begin` returns where Redis runs with
`appendonly yes` and `appendfsync always`, which `check` looks at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from pipeline.core.ledger import (
    BEGIN,
    ENDINGS,
    FINISHED,
    TRANSITIONS,
    Begin,
    Event,
    IllegalTransitionError,
    KeyConflict,
    Row,
    State,
    decide,
)

DAY_MS = 86_400_000
_MAX_CODE = 200
_MAX_TARGET_ID = 1_024
_FIELDS = ("state", "payload", "attempt", "fence", "target_id", "code", "at_ms")


class LedgerUnavailable(Exception):  # noqa: N818 - a state of the ledger, which the driver waits out
    """Redis cannot be read or written now: send nothing, wait and try again."""


def _lua_table(rows: Mapping[str, str]) -> str:
    return "{" + ",".join(f"['{key}']='{value}'" for key, value in rows.items()) + "}"


_TABLES = f"""
local NEXT = {_lua_table({f"{s} {e}": n for (s, e), n in TRANSITIONS.items()})}
local FINAL = {_lua_table(dict.fromkeys(sorted(FINISHED), "1"))}
"""

_BEGIN = (
    _TABLES
    + f"""
local BEGIN = {_lua_table({f"{s} {int(r)}": e or "" for (s, r), e in BEGIN.items()})}
local row = redis.call('HMGET', KEYS[1], 'state', 'payload', 'attempt', 'fence', 'target_id',
                       'code', 'at_ms')
local payload, replay, now, owner = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if row[1] and row[2] ~= payload then return {{'conflict'}} end
local state = row[1] or 'pending'
local event = BEGIN[state .. ' ' .. replay]
if not event then return redis.error_reply('ERR the ledger row has no known state') end
local attempt, fence, at = tonumber(row[3] or '0'), tonumber(row[4] or '0'), row[7] or now
if event ~= '' then
  fence = fence + 1
  if event == 'send' then attempt = attempt + 1; at = now end
  state = NEXT[row[1] and (row[1] .. ' ' .. event) or ('pending ' .. event)]
  redis.call('HSET', KEYS[1], 'state', state, 'payload', payload, 'attempt', attempt,
             'fence', fence, 'at_ms', at, 'owner', owner)
  redis.call('PERSIST', KEYS[1])
end
return {{event, state, payload, attempt, fence, row[5] or '', row[6] or '', at}}
"""
)

_FINISH = (
    _TABLES
    + """
local row = redis.call('HMGET', KEYS[1], 'state', 'fence')
local fence, wanted, event, target, code, now, keep =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
if not row[1] or row[2] ~= fence then return 0 end
if row[1] == wanted then return 1 end
local state = NEXT[row[1] .. ' ' .. event]
if not state then return row[1] end
redis.call('HSET', KEYS[1], 'state', state, 'target_id', target, 'code', code, 'at_ms', now)
if FINAL[state] then redis.call('PEXPIRE', KEYS[1], keep) end
return 1
"""
)


def _text(value: Any) -> str:  # noqa: ANN401 - a reply's type depends on the client's decoding
    return value.decode() if isinstance(value, bytes) else str(value)


def _row(values: Sequence[Any]) -> Row:
    state, payload, attempt, fence, target_id, code, at_ms = (
        "" if value is None else _text(value) for value in values
    )
    return Row(
        state=State(state),
        payload_hash=payload,
        attempt=int(attempt),
        fence=int(fence),
        target_id=target_id or None,
        code=code,
        at_ms=int(at_ms),
    )


class Ledger:
    """The ledger. `retention_ms` is how long finished rows stay; unfinished ones never go.

    Every method raises LedgerUnavailable, and nothing else, where Redis does not do as asked.
    A repeated `begin` whose first answer got lost finds the row in flight and says
    LookUpFirst; a repeated `finish` says the same as the first: both are safe to repeat.
    """

    def __init__(self, redis: Redis, *, retention_ms: int = 30 * DAY_MS) -> None:
        self._redis = redis
        self._retention_ms = retention_ms
        self._shas: dict[str, str] = {}

    async def begin(
        self, sink: str, claims: Sequence[tuple[str, str, bool]], owner: str, now_ms: int
    ) -> list[Begin]:
        """Claim each (key, payload hash, is a replay); one decision each, in order."""
        calls = [
            (_name(sink, key), payload_hash, int(replay), now_ms, owner)
            for key, payload_hash, replay in claims
        ]
        return [_decision(reply) for reply in await self._run(_BEGIN, calls)]

    async def finish(
        self, sink: str, endings: Sequence[tuple[str, int, State, str | None, str]], now_ms: int
    ) -> list[bool]:
        """End each (key, fence, state, target id, code); False where the fence is not ours.

        Nothing is written where it is False: another worker has taken over, or the row is
        gone. IllegalTransitionError is a fault in the program.
        """
        calls = [
            (
                _name(sink, key),
                fence,
                state.value,
                ENDINGS.get(state, ""),
                (target_id or "")[:_MAX_TARGET_ID],
                code[:_MAX_CODE],
                now_ms,
                self._retention_ms,
            )
            for key, fence, state, target_id, code in endings
        ]
        replies = await self._run(_FINISH, calls)
        for reply, (*_, state, _target, _code) in zip(replies, endings, strict=True):
            if not isinstance(reply, int):
                raise IllegalTransitionError(
                    f"A delivery cannot go from {_text(reply)} to {state}."
                )
        return [reply == 1 for reply in replies]

    async def states(self, sink: str, keys: Sequence[str]) -> list[Row | None]:
        """The rows of these keys, None where there is none."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hmget(_name(sink, key), list(_FIELDS))
                rows = await pipe.execute()
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error
        return [_row(values) if values[0] is not None else None for values in rows]

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
        config = {_text(name): _text(value) for name, value in found.items()}
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

    async def _run(self, script: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """One script call per tuple (row name, then arguments), all in one round trip.

        A Redis that has not seen the script yet (new, restarted) costs two more.
        """
        if not calls:
            return []
        try:
            sha = self._shas.get(script) or await self._load(script)
            replies = await self._pipeline(sha, calls)
            missed = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if missed:
                sha = await self._load(script)
                again = await self._pipeline(sha, [calls[i] for i in missed])
                for i, reply in zip(missed, again, strict=True):
                    replies[i] = reply
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error
        for reply in replies:
            if isinstance(reply, Exception):
                raise _unavailable(reply) from reply
        return replies

    async def _load(self, script: str) -> str:
        self._shas[script] = _text(await self._redis.script_load(script))
        return self._shas[script]

    async def _pipeline(self, sha: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for name, *arguments in calls:
                pipe.evalsha(sha, 1, name, *arguments)
            return list(await pipe.execute(raise_on_error=False))


def _name(sink: str, key: str) -> str:
    return f"fieldline:ledger:{sink}:{key}"


def _decision(reply: Sequence[Any]) -> Begin:
    event, *values = reply
    name = _text(event)
    if name == "conflict":
        return KeyConflict()
    state, payload, attempt, fence, target_id, code, at_ms = values
    row = _row((state, payload, attempt, fence, target_id, code, at_ms))
    return decide(Event(name) if name else None, row)


def _unavailable(error: Exception) -> LedgerUnavailable:
    return LedgerUnavailable(
        f"Redis does not take the delivery ledger's rows ({type(error).__name__}): "
        "deliveries wait until it does."
    )
