"""What all workers of a sink share, in Redis: the breaker, the wish to be left alone, the rates.

    fieldline:{SINK}:breaker          hash: serial, open, until_us, openings, owner, reason
    fieldline:{SINK}:probe            the worker whose probe is out, for so long
    fieldline:{SINK}:pause            there while the target asked all to stay away
    fieldline:{SINK}:rate[:TENANT]    GCRA: when all that went is paid for, µs

All keys of a sink are in one hash slot. Times are Redis's own (TIME), so clocks of workers
need not agree. Serial numbers come from that time too, so that those after Redis was emptied
are still greater than those before.

Redis away is no error here: each method then says None, the worker's own breaker and rates
decide, and nothing is sent anyway because the ledger waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from pipeline.core.breaker import Shared
from pipeline.core.ratelimit import MAX_ASK, Limits, Rate
from pipeline.state.ledger import reply_text

PATIENCE_S: Final = 1.0
"""Longest wait for Redis; after that the local decision holds."""
MAX_S: Final = 86_400.0
"""Longest opening, pause or probe that is written."""
MAX_TENANTS: Final = 1_000
"""Most tenants in one ask."""
_MAX_TEXT: Final = 200

_NOW = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local function whole(n) return string.format('%.0f', n) end
"""
_READ = (
    _NOW
    + """
local row = redis.call('HMGET', KEYS[1], 'serial', 'open', 'until_us', 'openings', 'owner',
                       'reason')
local left = math.max(0, tonumber(row[3] or '0') - now)
return {row[1] or '0', row[2] or '0', whole(left), row[4] or '0', row[5] or '', row[6] or '',
        math.max(0, redis.call('PTTL', KEYS[2]))}
"""
)
_OPENED = (
    _NOW
    + """
local row = redis.call('HMGET', KEYS[1], 'serial', 'open', 'until_us', 'openings')
local serial, till, openings = tonumber(row[1] or '0'), now + ARGV[2], tonumber(ARGV[3])
if row[2] == '1' then
  till = math.max(till, tonumber(row[3]))
  openings = math.max(openings, tonumber(row[4]))
end
serial = math.max(serial + 1, now)
redis.call('HSET', KEYS[1], 'serial', whole(serial), 'open', '1', 'until_us', whole(till),
           'openings', openings, 'owner', ARGV[1], 'reason', ARGV[4])
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return whole(serial)
"""
)
_CLOSED = """
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
local row = redis.call('HMGET', KEYS[1], 'serial', 'open')
if row[2] ~= '1' or row[1] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'open', '0')
return 1
"""
_PROBE = (
    _NOW
    + """
local row = redis.call('HMGET', KEYS[1], 'open', 'until_us')
if row[1] == '1' and tonumber(row[2]) > now then return 0 end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
return redis.call('GET', KEYS[2]) == ARGV[1] and 1 or 0
"""
)
_NO_PROBE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
_PAUSE = """
if redis.call('PTTL', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
return 1
"""
# As pipeline.core.ratelimit.Limits.admit does it. ARGV: µs per event and burst of the sink,
# the same of a tenant (0: no limit), then one number for each tenant in KEYS[3], KEYS[4], ….
_TOKENS = (
    _NOW
    + f"""
local function debt(key, step, burst)
  local owed = math.max(0, tonumber(redis.call('GET', key) or '0') - now)
  return math.min(owed, (burst + {MAX_ASK}) * step)
end
local function pay(key, owed)
  redis.call('SET', key, whole(now + owed), 'PX', whole(math.ceil(owed / 1000) + 1000))
end
"""
    + """
local step, burst, tenant_step, tenant_burst =
  tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local pause = math.max(0, redis.call('PTTL', KEYS[2])) * 1000
local owed, out = debt(KEYS[1], step, burst), {}
for i = 3, #KEYS do
  local n, theirs = tonumber(ARGV[i + 2]), debt(KEYS[i], tenant_step, tenant_burst)
  local wait = math.max(0, pause, owed - (burst - 1) * step,
                        theirs - (tenant_burst - 1) * tenant_step)
  out[i - 2] = whole(math.ceil(wait))
  if wait == 0 then
    owed = owed + n * step
    if tenant_step > 0 then pay(KEYS[i], theirs + n * tenant_step) end
    if step > 0 then pay(KEYS[1], owed) end
  end
end
return out
"""
)


class SinkBoard:
    """The board of one sink. `owner` names this worker; no two workers have the same name."""

    def __init__(self, redis: Redis, sink: str, owner: str) -> None:
        self._owner = owner[:_MAX_TEXT]
        base = f"fieldline:{{{sink}}}"
        self._breaker, self._probe = f"{base}:breaker", f"{base}:probe"
        self._pause, self._rate = f"{base}:pause", f"{base}:rate"
        self._scripts = {
            text: redis.register_script(text)
            for text in (_READ, _OPENED, _CLOSED, _PROBE, _NO_PROBE, _PAUSE, _TOKENS)
        }

    async def read(self) -> Shared | None:
        """The breaker and the pause now; None where Redis is away."""
        reply = await self._run(_READ, [self._breaker, self._pause], [])
        if reply is None:
            return None
        serial, is_open, left_us, openings, owner, reason, pause_ms = (reply_text(r) for r in reply)
        return Shared(
            serial=int(serial),
            is_open=is_open == "1",
            for_s=int(left_us) / 1e6,
            openings=int(openings),
            owner=owner,
            reason=reason,
            pause_s=int(pause_ms) / 1_000,
        )

    async def opened(self, for_s: float, openings: int, reason: str) -> int | None:
        """Our breaker has opened, for so many seconds: its serial number; None: Redis is away.

        Where another worker opened it too, the longer time counts. Ends our probe.
        """
        arguments = [self._owner, _micros(for_s), openings, reason[:_MAX_TEXT]]
        reply = await self._run(_OPENED, [self._breaker, self._probe], arguments)
        return None if reply is None else int(reply_text(reply))

    async def closed(self, serial: int) -> bool | None:
        """The opening with this number is over. False where a newer one counts. Ends our probe."""
        return _said(await self._run(_CLOSED, [self._breaker, self._probe], [self._owner, serial]))

    async def probe(self, for_s: float) -> bool | None:
        """Whether ours is the one probe of all workers, for so many seconds at most.

        False too while the board says that its time has not come; None where Redis is away.
        """
        arguments = [self._owner, max(1, _micros(for_s) // 1_000)]
        return _said(await self._run(_PROBE, [self._breaker, self._probe], arguments))

    async def no_probe(self) -> bool | None:
        """Our probe found nothing out: the next one may go at once."""
        return _said(await self._run(_NO_PROBE, [self._probe], [self._owner]))

    async def pause(self, for_s: float) -> bool | None:
        """The target asked to be left alone for so many seconds; a longer wish before counts."""
        return _said(await self._run(_PAUSE, [self._pause], [max(1, _micros(for_s) // 1_000)]))

    async def tokens(self, wants: Mapping[str, int], limits: Limits) -> dict[str, float] | None:
        """Ask for so many events of each tenant, for all workers together: as Limits.admit.

        By tenant 0, and they are paid, or seconds to wait before asking again. None where
        Redis is away: ask `limits` itself. Its rates count here, not its state.
        """
        asked = dict(list(wants.items())[:MAX_TENANTS])
        names = [f"{self._rate}:{tenant}" for tenant in asked]
        reply = await self._run(
            _TOKENS,
            [self._rate, self._pause, *names],
            [
                *_pace(None if limits.sink is None else limits.sink.rate),
                *_pace(limits.tenant),
                *(min(max(n, 0), MAX_ASK) for n in asked.values()),
            ],
        )
        if reply is None:
            return None
        waits = [int(reply_text(wait)) / 1e6 for wait in reply]
        later = dict.fromkeys(wants, max(waits, default=0.0) or PATIENCE_S)
        return {**later, **dict(zip(asked, waits, strict=True))}

    async def _run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:  # noqa: ANN401 - replies have no type
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._scripts[script](keys=keys, args=arguments)
        except (RedisError, OSError):  # TimeoutError is an OSError
            return None


def _pace(rate: Rate | None) -> tuple[str, str]:
    """Microseconds per event and burst; 0 for no limit."""
    return ("0", "1") if rate is None else (repr(1e6 / rate.per_s), repr(rate.burst))


def _micros(seconds: float) -> int:
    return int(min(max(seconds, 0.0), MAX_S) * 1e6)


def _said(reply: Any) -> bool | None:  # noqa: ANN401 - replies have no type
    return None if reply is None else reply == 1
