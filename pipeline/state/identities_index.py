"""The identity map's index in Redis: one hash, made from the topic and never the truth.

    fieldline:identity:{<cluster id>}    hash
        :at                  offset in identity.map below which it is complete
        row:<key>            the entry as in the topic (Avro)
        meta:<key>           JSON: r = keys that its periods name, h = fields that it holds
        id/<system.object>/<value>, cmd/<id>     key of the entry that holds it

Everything is in one hash, with the offset: so it can be there or be lost, and nothing between
(an eviction, FLUSHALL or a restored snapshot cannot take part of it unseen). Whoever reads it
knows how far the topic goes, and does not trust an index that says less. The name has Kafka's
cluster id, so that an index is never read as another cluster's.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from pipeline.core.identity import Entry
from pipeline.state import identities_record
from pipeline.state.ledger_scripts import Script
from pipeline.wire.avro import Codec, UnreadableError

MAX_ASKED: Final = 500
"""Keys of one script call: a few milliseconds in which Redis does nothing else."""
MAX_DECODED: Final = 8_192
"""Entries that are kept decoded, by their bytes: they rarely change, and decoding is half of it."""
_PAGE: Final = 500
_AT: Final = ":at"

READ_SCRIPT: Final = Script.of(
    """
-- ARGV: how deep references are followed, how many keys, the keys, then fields.
-- Answer: :at, the fields' values, then key and row in turn.
local index, depth, count = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local rows, seen = {}, {}
local function take(key, left)
  if seen[key] then return end
  seen[key] = true
  local row = redis.call('HGET', index, 'row:' .. key)
  if not row then return end
  rows[#rows + 1] = key
  rows[#rows + 1] = row
  if left == 0 then return end
  for _, ref in ipairs(cjson.decode(redis.call('HGET', index, 'meta:' .. key)).r) do
    take(ref, left - 1)
  end
end
for i = 1, count do take(ARGV[2 + i], depth) end
local fields = {}
for i = 3 + count, #ARGV do fields[#fields + 1] = redis.call('HGET', index, ARGV[i]) end
return {redis.call('HGET', index, ':at'), fields, rows}
"""
)

APPLY_SCRIPT: Final = Script.of(
    """
-- ARGV: from and to offset, then offset, key, row and meta in turn. Answer: :at afterwards,
-- or before where records between are missing: then nothing was done.
local index, first, last = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local at = tonumber(redis.call('HGET', index, ':at') or '0')
if at < first or at >= last then return at end
for i = 3, #ARGV, 4 do
  if tonumber(ARGV[i]) >= at then
    local key, row, meta = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    local old = redis.call('HGET', index, 'meta:' .. key)
    if old then
      for _, held in ipairs(cjson.decode(old).h) do
        if redis.call('HGET', index, held) == key then redis.call('HDEL', index, held) end
      end
    end
    redis.call('HSET', index, 'row:' .. key, row, 'meta:' .. key, meta)
    for _, held in ipairs(cjson.decode(meta).h) do redis.call('HSET', index, held, key) end
  end
end
redis.call('HSET', index, ':at', string.format('%.0f', last))
return last
"""
)


class IdentitiesUnavailable(Exception):  # noqa: N818 - a state of the index, which callers wait out
    """The index cannot be read, or is not complete yet: wait and ask again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a reading gave, and how far the index was complete at that moment (`at`).

    `entries` by key, only those there are; `owners` by field.
    """

    at: int
    entries: dict[str, Entry] = field(default_factory=dict)
    owners: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Placed:
    """An entry and the offset of its record; None: a record that nobody can read."""

    offset: int
    entry: Entry | None


class Index:
    """The hash. Every method raises IdentitiesUnavailable, and nothing else, when Redis fails."""

    def __init__(self, redis: Redis, codec: Codec, cluster: str) -> None:
        self._redis = redis
        self._codec = codec
        self._decoded: dict[bytes, Entry] = {}
        self.name = f"fieldline:identity:{{{cluster}}}"

    async def at(self) -> int:
        """The offset below which it is complete; 0 where it is not there."""
        try:
            found: Any = await self._redis.hget(self.name, _AT)
            return int(found or 0)
        except (RedisError, OSError, ValueError) as error:
            raise _unavailable(error) from error

    async def read(
        self, keys: Collection[str], fields: Collection[str] = (), *, depth: int = 0
    ) -> Found:
        """Entries and owners in one trip, with what they name `depth` steps on.

        With more than MAX_ASKED keys it is several trips; `at` is then the least of them.
        """
        keys, names = list(keys), list(fields)
        out = Found(at=1 << 62)
        for first in range(0, max(len(keys), len(names), 1), MAX_ASKED):
            part, asked = keys[first : first + MAX_ASKED], names[first : first + MAX_ASKED]
            at, values, rows = await self._run(READ_SCRIPT, [depth, len(part), *part, *asked])
            try:
                out = Found(at=min(out.at, int(at or 0)), entries=out.entries, owners=out.owners)
                for name, value in zip(asked, values, strict=True):
                    out.owners[name] = None if value is None else _text(value)
                for key, row in zip(rows[::2], rows[1::2], strict=True):
                    out.entries[_text(key)] = self._entry(bytes(row))
            except (ValueError, UnreadableError) as error:
                raise _unavailable(error) from error
        return out

    def _entry(self, row: bytes) -> Entry:
        found = self._decoded.get(row)
        if found is None:
            if len(self._decoded) >= MAX_DECODED:
                self._decoded.clear()
            found = self._decoded[row] = identities_record.decode(self._codec, row)
        return found

    async def apply(self, first: int, last: int, records: Sequence[Placed]) -> int:
        """Take in the records from offset `first` to before `last`, all there are.

        How far it is complete then: less than `first` where it was not so far, and nothing
        was done. May be repeated, by as many processes as like, at the same time.
        """
        words: list[Any] = [first, last]
        for placed in records:
            entry = placed.entry
            if entry is None:
                continue
            meta = json.dumps({"r": entry.refs, "h": entry.holds})
            row = identities_record.encode(self._codec, entry)
            words += [placed.offset, entry.key, row, meta]
        try:
            return int(await self._run(APPLY_SCRIPT, words))
        except (TypeError, ValueError) as error:
            raise _unavailable(error) from error

    async def drop(self) -> None:
        """Forget all of it: it is made again from the topic."""
        try:
            await self._redis.unlink(self.name)
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error

    async def scan(self) -> AsyncIterator[Entry]:
        """Every entry, in no order; one that changes meanwhile may be missed or come twice."""
        cursor = 0
        while True:
            try:
                reply: Any = await self._redis.hscan(self.name, cursor, match="row:*", count=_PAGE)
                cursor, page = reply
            except (RedisError, OSError) as error:
                raise _unavailable(error) from error
            for row in page.values():
                try:
                    yield identities_record.decode(self._codec, bytes(row))
                except UnreadableError as error:
                    raise _unavailable(error) from error
            if cursor == 0:
                return

    async def _run(self, script: Script, words: Sequence[Any]) -> Any:  # noqa: ANN401 - a reply
        try:
            try:
                return await self._redis.evalsha(script.sha, 1, self.name, *words)
            except NoScriptError:
                return await self._redis.eval(script.text, 1, self.name, *words)
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error


def _text(value: Any) -> str:  # noqa: ANN401 - a reply's type depends on the client's decoding
    return value.decode() if isinstance(value, bytes) else str(value)


def _unavailable(error: Exception) -> IdentitiesUnavailable:
    return IdentitiesUnavailable(
        f"The identity map's index in Redis cannot be used ({type(error).__name__})."
    )
