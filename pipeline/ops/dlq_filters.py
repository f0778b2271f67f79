"""Which dead letters a person means: by sink, device, tenant, time and cause."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from pipeline.core.events import tenant_of
from pipeline.settings import SettingsError

_AGO: Final = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What an entry must be; '' and None match everything.

    `device` and `cause` are patterns as in a shell (`acme/*`, `tryton.*`); `cause` is of the
    cause's class or its code. `since_ms` and `until_ms`: given up from and before, Unix epoch.
    """

    device: str = ""
    tenant: str = ""
    cause: str = ""
    since_ms: int | None = None
    until_ms: int | None = None

    def __bool__(self) -> bool:
        """Whether it leaves anything out."""
        return self != Filter()

    def takes(self, record: Mapping[str, Any]) -> bool:
        """Whether a dead letter's record is meant."""
        at_ms = record["at_ms"]
        tenant = record["tenant"] or tenant_of(record["key"])
        return (
            (not self.device or fnmatchcase(record["key"], self.device))
            and (not self.tenant or fnmatchcase(tenant, self.tenant))
            and (
                not self.cause
                or any(fnmatchcase(record[part], self.cause) for part in ("cause_class", "code"))
            )
            and (self.since_ms is None or at_ms >= self.since_ms)
            and (self.until_ms is None or at_ms < self.until_ms)
        )


def instant(text: str, *, option: str, now_ms: int) -> int | None:
    """Milliseconds since the Unix epoch of '2h', '3d' (ago) or an ISO 8601 time; None for ''.

    A time without a zone is UTC. SettingsError where it is neither.
    """
    text = text.strip()
    if not text:
        return None
    if ago := _AGO.fullmatch(text):
        return now_ms - int(ago[1]) * _UNIT_MS[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1_000)
    except (ValueError, OverflowError) as error:
        raise SettingsError(
            f"{option} {text[:40]!r} is no time: write 2h, 3d or 2026-11-21T15:30."
        ) from error
