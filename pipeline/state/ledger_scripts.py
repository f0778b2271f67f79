"""The ledger's Redis scripts, written out of the tables in pipeline/core/ledger_table.py.

All names of a sink have the hash tag {sink}, so that a script may touch them together in a
cluster:

    fieldline:ledger:{sink}:row:<key>         hash: state, payload (SHA-256, hex), attempt, fence,
                                              target_id, code, at_ms, owner, notes, n0..n15
    fieldline:ledger:{sink}:mark:<partition>  hash: token, doubt_below, owner, at_ms
    fieldline:ledger:{sink}:newest:<entity>   text: greatest version that ended

`notes` counts notes; the i-th is in field n<i mod 16> as at_ms|state|owner|code.

One call carries a whole batch, over however many partitions: KEYS are the marks that are to
be looked at, then one row an item, followed by its entity where the item has a version. ARGV
begin with the number of marks and their tokens; an item names its mark by number, 0 for none.

Rows written before an error in the middle of a call stay: each row is whole by itself, and
a batch that is repeated finds them in flight.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.core.ledger import HISTORY, SUPERSEDED_CODE, Claim, Ending, Place
from pipeline.core.ledger_table import (
    BEGIN,
    ENDINGS,
    FINISHED,
    KEEPS_VERSION,
    OTHER_PAYLOAD,
    TRANSITIONS,
)

_MAX_CODE = 200
_MAX_OWNER = 100
_MAX_TARGET_ID = 1_024

ROW_FIELDS = ("state", "payload", "attempt", "fence", "target_id", "code", "at_ms", "owner")
NOTE_FIELDS = tuple(f"n{n}" for n in range(HISTORY))


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text, and the name that EVALSHA knows it by: SHA-1 of the text, hex."""

    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> Script:
        """The script with this text."""
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class Call:
    """One script call's KEYS and ARGV."""

    keys: list[str]
    args: list[str | int]


def row_name(sink: str, key: str) -> str:
    """Redis key of a delivery's row."""
    return f"fieldline:ledger:{{{sink}}}:row:{key}"


def mark_name(sink: str, partition: int) -> str:
    """Redis key of a partition's marker."""
    return f"fieldline:ledger:{{{sink}}}:mark:{partition}"


def newest_name(sink: str, entity: str) -> str:
    """Redis key of an entity's newest version."""
    return f"fieldline:ledger:{{{sink}}}:newest:{entity}"


def _lua(value: str | Mapping[str, object]) -> str:
    if isinstance(value, str):
        return f"'{value}'"
    pairs = ",".join(f"['{key}']={_lua(item)}" for key, item in value.items())  # type: ignore[arg-type]  # nested
    return "{" + pairs + "}"


def _nested(pairs: Iterable[tuple[str, str, str]]) -> str:
    """A Lua table of tables: outer[second][first] = value."""
    outer: dict[str, dict[str, str]] = defaultdict(dict)
    for first, second, value in pairs:
        outer[second][first] = value
    return _lua(outer)


_COMMON = f"""
local NEXT = {_nested((s, e, n) for (s, e), n in TRANSITIONS.items())}
local FINAL = {_lua(dict.fromkeys(sorted(FINISHED), "1"))}
local now, owner, marks = ARGV[1], ARGV[2], tonumber(ARGV[3])

-- What keeps the holder of each mark from writing, if anything.
local barred = {{}}
for i = 1, marks do
  local token = redis.call('HGET', KEYS[i], 'token')
  if token ~= ARGV[3 + i] then barred[i] = token and 'fenced' or 'gone' end
end

-- By bytes; Lua's own < goes by the server's locale.
local function earlier(a, b)
  if a == b then return false end
  for i = 1, math.min(#a, #b) do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return #a < #b
end
"""

BEGIN_SCRIPT = Script.of(
    _COMMON
    + f"""
local BEGIN = {_nested((s, m, e or "") for (s, m), e in BEGIN.items())}
local OTHER = {_nested((s, m, "1") for s, m in sorted(OTHER_PAYLOAD))}

local function begin(key, payload, mode, entity, version)
  local row = redis.call('HMGET', key, 'state', 'payload', 'attempt', 'fence', 'at_ms', 'notes')
  local state = row[1] or 'pending'
  if row[1] and row[2] ~= payload and not (OTHER[mode] and OTHER[mode][state]) then
    return {{'conflict'}}
  end
  local event = BEGIN[mode][state]
  if not event then error('the ledger row has no known state') end
  local attempt, fence = tonumber(row[3] or 0), tonumber(row[4] or 0) + 1
  if event == '' then
    local known = redis.call('HMGET', key, 'target_id', 'code')
    return {{'known', state, known[1] or '', known[2] or '', attempt}}
  end
  local at, notes, newer, code = row[5] or now, tonumber(row[6] or 0), '', ''
  local newest = entity and redis.call('GET', entity)
  if newest and earlier(version, newest) then newer = newest end
  if event == 'send' then
    at = now
    if newer == '' then attempt = attempt + 1
    else event, code = 'supersede', '{SUPERSEDED_CODE}' end
  end
  local reached = NEXT[event][state]
  local note = now .. '|' .. reached .. '|' .. owner .. '|' .. code
  if FINAL[state] then redis.call('PERSIST', key) end
  redis.call('HSET', key, 'state', reached, 'payload', payload, 'attempt', attempt,
             'fence', fence, 'at_ms', at, 'owner', owner,
             'notes', notes + 1, 'n' .. notes % {HISTORY}, note)
  if event == 'supersede' then
    redis.call('HSET', key, 'code', code)
    redis.call('PEXPIRE', key, ARGV[4 + marks])
    return {{'superseded', newer}}
  end
  if event == 'send' then return {{'send', fence, attempt}} end
  return {{'look', fence, attempt, at, newer}}
end

local k, a, out = marks, 4 + marks, {{}}
while a < #ARGV do
  local bar, version = barred[tonumber(ARGV[a + 1])], ARGV[a + 4]
  local key, entity = KEYS[k + 1], version ~= '' and KEYS[k + 2]
  out[#out + 1] = bar and {{bar}} or begin(key, ARGV[a + 2], ARGV[a + 3], entity, version)
  k, a = k + (entity and 2 or 1), a + 4
end
return out
"""
)

FINISH_SCRIPT = Script.of(
    _COMMON
    + f"""
local KEEPS = {_lua(dict.fromkeys(sorted(KEEPS_VERSION), "1"))}
local keep = ARGV[4 + marks]

local function finish(key, fence, wanted, event, target, code, entity, version)
  local row = redis.call('HMGET', key, 'state', 'fence', 'notes', 'owner')
  if row[2] ~= fence then return 'taken' end
  if row[1] == wanted then return 'ours' end
  local state = NEXT[event] and NEXT[event][row[1]]
  if not state then return 'no ' .. row[1] end
  if entity and KEEPS[state] then
    local newest = redis.call('GET', entity)
    if not newest or earlier(newest, version) then
      redis.call('SET', entity, version, 'PX', keep)
    end
  end
  local notes, by = tonumber(row[3] or 0), owner ~= '' and owner or row[4] or ''
  redis.call('HSET', key, 'state', state, 'target_id', target, 'code', code, 'at_ms', now,
             'notes', notes + 1, 'n' .. notes % {HISTORY},
             now .. '|' .. state .. '|' .. by .. '|' .. code)
  if FINAL[state] then redis.call('PEXPIRE', key, keep) end
  return 'ours'
end

local k, a, out = marks, 4 + marks, {{}}
while a < #ARGV do
  local bar, version = barred[tonumber(ARGV[a + 1])], ARGV[a + 7]
  local key, entity = KEYS[k + 1], version ~= '' and KEYS[k + 2]
  out[#out + 1] = bar or finish(key, ARGV[a + 2], ARGV[a + 3], ARGV[a + 4], ARGV[a + 5],
                                ARGV[a + 6], entity, version)
  k, a = k + (entity and 2 or 1), a + 7
end
return out
"""
)

HOLD_SCRIPT = Script.of("""
local now, owner, out = ARGV[1], ARGV[2], {}
for i, key in ipairs(KEYS) do
  local lost, log_end = ARGV[2 * i + 1], ARGV[2 * i + 2]
  local mark = redis.call('HMGET', key, 'token', 'doubt_below')
  local token, doubt = mark[1], mark[2]
  if token then
    token = string.format('%.0f', tonumber(token) + 1)
  else
    token, doubt = now, lost == '1' and log_end or '0'
  end
  redis.call('HSET', key, 'token', token, 'doubt_below', doubt, 'owner', owner, 'at_ms', now)
  out[i] = {token, doubt}
end
return out
""")


def begin_call(
    sink: str, claims: Sequence[Claim], *, owner: str, now_ms: int, retention_ms: int
) -> Call:
    """Call of BEGIN_SCRIPT."""
    call, marks = _opened(sink, claims, owner=owner, now_ms=now_ms, retention_ms=retention_ms)
    for claim in claims:
        version = _named(call, sink, claim)
        mark = marks.get((claim.partition, claim.token), 0)
        call.args.extend((mark, claim.payload_hash, claim.mode.value, version))
    return call


def finish_call(
    sink: str, endings: Sequence[Ending], *, owner: str, now_ms: int, retention_ms: int
) -> Call:
    """Call of FINISH_SCRIPT."""
    call, marks = _opened(sink, endings, owner=owner, now_ms=now_ms, retention_ms=retention_ms)
    for ending in endings:
        event = ENDINGS.get(ending.state, "")
        version = _named(call, sink, ending)
        mark = marks.get((ending.partition, ending.token), 0)
        target, code = (ending.target_id or "")[:_MAX_TARGET_ID], ending.code[:_MAX_CODE]
        state = ending.state.value
        call.args.extend((mark, ending.fence, state, event, target, code, version))
    return call


def hold_call(sink: str, partitions: Mapping[int, Place], *, owner: str, now_ms: int) -> Call:
    """Call of HOLD_SCRIPT."""
    args: list[str | int] = [max(now_ms, 1), _owner(owner)]
    for place in partitions.values():
        args += (int(place.lost), place.end)
    return Call([mark_name(sink, partition) for partition in partitions], args)


def _opened(
    sink: str, items: Sequence[Claim | Ending], *, owner: str, now_ms: int, retention_ms: int
) -> tuple[Call, dict[tuple[int, int], int]]:
    """A call with its marks, and the number of each (partition, token)."""
    marks: dict[tuple[int, int], int] = {}
    for item in items:
        if item.token:
            marks.setdefault((item.partition, item.token), len(marks) + 1)
    keys = [mark_name(sink, partition) for partition, _ in marks]
    tokens = [token for _, token in marks]
    return Call(keys, [now_ms, _owner(owner), len(marks), *tokens, retention_ms]), marks


def _named(call: Call, sink: str, item: Claim | Ending) -> str:
    """Add the item's keys; its version, '' where it has none."""
    call.keys.append(row_name(sink, item.key))
    if not (item.entity and item.version):
        return ""
    call.keys.append(newest_name(sink, item.entity))
    return item.version


def _owner(owner: str) -> str:
    return owner[:_MAX_OWNER].replace("|", "/")  # a bar ends it in a note
