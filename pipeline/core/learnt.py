"""What a target says of its own limits, read from the headers of its answers.

| header                                      | from                                           |
|---------------------------------------------|------------------------------------------------|
| RateLimit, RateLimit-Policy                 | draft-ietf-httpapi-ratelimit-headers-10 (and   |
|                                             | the dictionary form of -07)                    |
| RateLimit-Limit, -Remaining, -Reset         | the same until -06                             |
| X-RateLimit-…, X-Rate-Limit-…               | by custom; Reset in seconds, or since 1970     |
| x-ms-ratelimit-burst-remaining-xrm-requests | Dynamics 365: requests left of 6,000 in 300 s  |
| x-ms-ratelimit-time-remaining-xrm-requests  | the same: seconds of its work left of 1,200    |
| Sforce-Limit-Info: api-usage=used/limit     | Salesforce: calls in 24 h                      |
| Retry-After, with 429 or 503                | RFC 9110, seconds or a date                    |

NetSuite's 429 says nothing but that too much went on at once: Concurrency takes care of it.
A target may be broken or hostile: what cannot be read is left out, what is absurd is cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus

MAX_WINDOW_S = 3_600.0
"""No header keeps us away for longer; after that one request asks again."""
MAX_REQUESTS = 1e9
_MAX_TEXT = 1_024
_MAX_ITEMS = 16
_EPOCH_S = 1e8
"""A Reset above this is a time since 1970, not a number of seconds."""
_MILLISECONDS = 1e11
_SPARE = 0.1
"""Above this share of the limit nothing is slowed; below it the rest is spread over the time."""
_ROLLING_PART = 0.05
"""A window that rolls on has room again after a part of it."""
_DYNAMICS = (6_000.0, 300.0, 1_200.0)
_SALESFORCE_S = 86_400.0
BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""Answers of a target that has too much to do."""

_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")
_THOUSANDS = re.compile(r"[0-9]{1,3}(,[0-9]{3}){1,4}(\.[0-9]{1,9})?")
_USAGE = re.compile(r"(?:^|[;,\s])api-usage=([0-9]{1,12})/([0-9]{1,12})(?![0-9])")
_ENTRY = re.compile(r'(?:[^,"]|"[^"]*")+')
_PART = re.compile(r'(?:[^;"]|"[^"]*")+')
_PREFIXES = ("ratelimit", "x-ratelimit", "x-rate-limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """`remaining` requests may go until `until_s` (same clock as `now_s`); `limit` of a window."""

    remaining: float
    until_s: float
    limit: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The target's limit as it was told last, counted down by what has gone since."""

    learnt: Learnt | None = None
    next_s: float = 0.0

    def learn(self, learnt: Learnt | None) -> Quota:
        """After an answer; None says nothing new."""
        return self if learnt is None else replace(self, learnt=learnt)

    def admit(self, now_s: float, n: int = 1) -> tuple[Quota, float]:
        """Ask for n requests: wait 0 and they are counted, or seconds to wait before asking."""
        told = self.learnt
        if told is None or now_s >= told.until_s:
            return Quota(), 0.0
        # Never longer than a window, whatever the clock did.
        left_s = min(told.until_s - now_s, MAX_WINDOW_S)
        if told.remaining < 1:
            return self, left_s
        counted = replace(told, remaining=told.remaining - n)
        if told.limit is None or told.remaining >= _SPARE * told.limit:
            return replace(self, learnt=counted), 0.0
        if (wait := min(self.next_s - now_s, left_s)) > 0:
            return self, wait
        return Quota(learnt=counted, next_s=now_s + left_s / told.remaining), 0.0


def learnt(headers: Mapping[str, str], status: int, now_s: float) -> Learnt | None:
    """The tightest of all limits that an answer tells of; None where it tells of none.

    `now_s` in seconds since the Unix epoch. Names of headers in any case.
    """
    low = {
        str(name).lower(): str(value)
        for name, value in headers.items()
        if len(str(value)) <= _MAX_TEXT
    }
    found = [
        _kept(one, now_s)
        for source in (_retry_after(low, status, now_s), *(f(low, now_s) for f in _READERS))
        for one in source
    ]
    return min(found, key=lambda one: _tightness(one, now_s), default=None)


def _tightness(one: Learnt, now_s: float) -> tuple[float, float]:
    """The lower the tighter: the requests per second that are left, then the longest."""
    left_s = max(one.until_s - now_s, 1e-3)
    return (0.0, -left_s) if one.remaining < 1 else (one.remaining / left_s, -left_s)


def _kept(one: Learnt, now_s: float) -> Learnt:
    return Learnt(
        remaining=min(max(one.remaining, 0.0), MAX_REQUESTS),
        until_s=min(max(one.until_s, now_s), now_s + MAX_WINDOW_S),
        limit=None if one.limit is None else min(max(one.limit, 1.0), MAX_REQUESTS),
    )


def _number(text: str | None) -> float | None:
    """A plain number, 0 or more; '1,198.56' as Dynamics writes it too."""
    text = "" if text is None else text.strip()
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    return float(text) if _NUMBER.fullmatch(text) else None


def _retry_after(low: Mapping[str, str], status: int, now_s: float) -> list[Learnt]:
    text = low.get("retry-after")
    if status not in BUSY or text is None:
        return []
    delay = _number(text)
    if delay is None:
        try:
            when = parsedate_to_datetime(text.strip())
            delay = when.replace(tzinfo=when.tzinfo or UTC).timestamp() - now_s
        except (ValueError, TypeError, OverflowError):
            return []
    return [Learnt(remaining=0.0, until_s=now_s + delay)] if delay > 0 else []


def _draft(low: Mapping[str, str], now_s: float) -> list[Learnt]:
    """RateLimit and RateLimit-Policy: lists of names with parameters (RFC 9651)."""
    limits, policies = _items(low.get("ratelimit")), dict(_items(low.get("ratelimit-policy")))
    flat = {name: _number(value) for name, own in limits for value in own.get("", [])}
    left, reset = flat.get("remaining"), flat.get("reset")
    if left is not None and reset is not None:
        return [Learnt(remaining=left, until_s=now_s + reset, limit=flat.get("limit"))]
    only = next(iter(policies.values())) if len(policies) == 1 else {}
    out = []
    for name, params in limits:
        policy = policies.get(name, only)
        left, window = _parameter(params, "r"), _parameter(params, "t")
        window = _parameter(policy, "w") if window is None else window
        # Other units are bytes, or conversations at once.
        requests = policy.get("qu", ["requests"])[0] == "requests"
        if left is not None and window is not None and requests:
            quota = _parameter(policy, "q")
            out.append(Learnt(remaining=left, until_s=now_s + window, limit=quota))
    return out


def _parameter(params: Mapping[str, Sequence[str]], name: str) -> float | None:
    return _number(params.get(name, [""])[0])


def _items(text: str | None) -> list[tuple[str, dict[str, list[str]]]]:
    """Name and parameters of each entry: 'a=1;b=2' is ('a', {'': ['1'], 'b': ['2']})."""
    out = []
    for entry in _ENTRY.findall(text or "")[:_MAX_ITEMS]:
        parts = _PART.findall(entry)[:_MAX_ITEMS] or [""]
        name, _, value = parts[0].strip().partition("=")
        params = {"": [value]} if value else {}
        for part in parts[1:]:
            key, _, value = part.partition("=")
            params[key.strip()] = [value.strip().strip('"')]
        out.append((name.strip().strip('"'), params))
    return out


def _triple(low: Mapping[str, str], now_s: float) -> list[Learnt]:
    """…-Limit, …-Remaining, …-Reset under any of their prefixes."""
    out = []
    for prefix in _PREFIXES:
        left, reset = _number(low.get(f"{prefix}-remaining")), _number(low.get(f"{prefix}-reset"))
        if left is not None and reset is not None:
            limit = _number(re.split("[,;]", low.get(f"{prefix}-limit", ""), maxsplit=1)[0])
            out.append(Learnt(remaining=left, until_s=_instant(reset, now_s), limit=limit))
    return out


def _instant(reset: float, now_s: float) -> float:
    if reset >= _MILLISECONDS:
        return reset / 1_000
    return reset if reset >= _EPOCH_S else now_s + reset


def _rolling(remaining: float, limit: float, window_s: float, now_s: float) -> Learnt:
    window_s = min(window_s, MAX_WINDOW_S)
    part = 1.0 if remaining >= 1 else _ROLLING_PART
    return Learnt(remaining=remaining, until_s=now_s + window_s * part, limit=limit)


def _dynamics(low: Mapping[str, str], now_s: float) -> list[Learnt]:
    limit, window_s, work_s = _DYNAMICS
    burst = _number(low.get("x-ms-ratelimit-burst-remaining-xrm-requests"))
    work = _number(low.get("x-ms-ratelimit-time-remaining-xrm-requests"))
    shares = [] if burst is None else [burst]
    if work is not None:
        shares.append(limit * min(work / work_s, 1.0))
    return [_rolling(min(shares), limit, window_s, now_s)] if shares else []


def _salesforce(low: Mapping[str, str], now_s: float) -> list[Learnt]:
    match = _USAGE.search(low.get("sforce-limit-info", ""))
    if match is None or not (limit := float(match[2])):
        return []
    return [_rolling(max(limit - float(match[1]), 0.0), limit, _SALESFORCE_S, now_s)]


_READERS = (_draft, _triple, _dynamics, _salesforce)
