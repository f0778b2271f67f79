"""The sinks' file (YAML) as policies. Every error names file, line, field and the mend.

What each field means stands in infra/config/SINKS.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pipeline.core.breaker import BreakerPolicy
from pipeline.core.retry import RetryPolicy
from pipeline.core.sinks import RetryClass, SinkPolicy
from pipeline.settings import Settings, SettingsError
from pipeline.state.rules_fields import Fields, RulesFileError, Value, read_text, root

MAX_BYTES: Final = 262_144
"""Largest sinks' file that is read."""
MAX_SINKS: Final = 100
MAX_CLASSES: Final = 50
MAX_NAMES: Final = 100
DEFAULTS: Final = "defaults"
_DAY_S: Final = 86_400.0
_SINK_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_CODES: Final = re.compile(r"[A-Za-z0-9_.:*?\[\]!-]{1,100}")

Read = Callable[[Value], Any]


def _number(least: float, most: float) -> Read:
    return lambda value: value.number(least, most)


def _whole(least: int, most: int) -> Read:
    return lambda value: value.count(least, most)


def _rate(value: Value) -> float | None:
    return None if value.is_off or value.is_null else value.number(0.001, 1e6)


def _names(value: Value) -> frozenset[str]:
    return frozenset(one.text() for one in value.items(MAX_NAMES))


RETRY: Final[Mapping[str, Read]] = {
    "base_s": _number(0.001, _DAY_S),
    "cap_s": _number(0.001, _DAY_S),
    "max_attempts": _whole(1, 10_000),
    "max_elapsed_s": _number(0, 366 * _DAY_S),
    "retry_after_cap_s": _number(0, _DAY_S),
    "request_s": _number(0.001, _DAY_S),
    "settle_s": _number(0.001, _DAY_S),
}
CLASS: Final[Mapping[str, Read]] = {
    name: RETRY[name] for name in ("base_s", "cap_s", "max_attempts", "max_elapsed_s")
}
BREAKER: Final[Mapping[str, Read]] = {
    "failures": _whole(1, 10_000),
    "open_s": _number(0.001, _DAY_S),
    "cap_s": _number(0.001, _DAY_S),
}
SINK: Final[Mapping[str, Read]] = {
    "retention_days": _whole(1, 3_660),
    "park_after_s": _number(0, _DAY_S),
    "in_hand": _whole(1, 100_000),
    "lanes": _whole(1, 1_000),
    "tenant_lanes": _whole(1, 1_000),
    "rate_per_s": _rate,
    "tenant_rate_per_s": _rate,
    "burst_s": _number(0, 3_600),
    "retry_share": _number(0, 1),
    "retry_floor_per_s": _number(0.01, 1e6),
    "masked": _names,
    "withheld": _names,
    "regions": _names,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkFields:
    """What the file says of one sink, the file's defaults included; the rest is left out.

    `where` is "FILE line N: sinks.NAME", for errors that need the settings to be seen.
    """

    where: str
    retry: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[RetryClass, ...] = ()
    breaker: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)

    def policy(self, *, request_s: float, settle_s: float) -> SinkPolicy:
        """The policy, with these times where the file leaves them out.

        SettingsError where figures contradict each other.
        """
        lanes = self.own.get("lanes", SinkPolicy().lanes)
        tenant_lanes = min(self.own.get("tenant_lanes", lanes), lanes)
        try:
            return SinkPolicy(
                retry=RetryPolicy(**{"request_s": request_s, "settle_s": settle_s, **self.retry}),
                classes=self.classes,
                breaker=BreakerPolicy(**self.breaker),
                **{**self.own, "tenant_lanes": tenant_lanes},
            )
        except ValueError as error:
            text = str(error).rstrip(".")
            raise SettingsError(
                f"{self.where} cannot be used ({text[:1].lower()}{text[1:]})."
            ) from error


def load_sinks(path: Path) -> Mapping[str, SinkFields]:
    """By sink what the file at `path` says, and under DEFAULTS what it says of all others.

    SettingsError with one sentence where the file cannot be read or used.
    """
    try:
        text = read_text(
            path,
            "sinks' file",
            MAX_BYTES,
            unreadable="set FIELDLINE_SINKS_FILE to a readable file",
            too_long="shorten it",
        )
    except RulesFileError as error:
        raise SettingsError(str(error)) from error
    return parse_sinks(text, str(path))


def parse_sinks(text: str, source: str) -> Mapping[str, SinkFields]:
    """As `load_sinks`, of a text; `source` is the file's name for errors."""
    try:
        return _parse(text, source)
    except RulesFileError as error:
        raise SettingsError(str(error)) from error


def policy_of(policies: Mapping[str, SinkFields], sink: str, settings: Settings) -> SinkPolicy:
    """The policy of a sink; one that the file does not name has the file's defaults."""
    fields = policies.get(sink) or policies[DEFAULTS]
    return fields.policy(request_s=settings.delivery_request_s, settle_s=settings.delivery_settle_s)


def _parse(text: str, source: str) -> Mapping[str, SinkFields]:
    top = root(text, source).fields(("version", DEFAULTS, "sinks"))
    top.need("version").count(1, 1)
    empty = SinkFields(where=f"{source} line 1: {DEFAULTS}")
    given = top.get(DEFAULTS)
    defaults = empty if given is None else _sink(given, empty)
    out = {DEFAULTS: defaults}
    if (sinks := top.get("sinks")) is not None:
        for name, value in sinks.fields(most=MAX_SINKS):
            if not _SINK_NAME.fullmatch(name) or name == DEFAULTS:
                value.refuse("is no sink's name; write a lower-case word, a-z 0-9 -")
            out[name] = _sink(value, defaults)
    return out


def _sink(value: Value, base: SinkFields) -> SinkFields:
    fields = value.fields(("retry", "classes", "breaker", *SINK))
    classes = fields.get("classes")
    items = [] if classes is None or classes.is_null else classes.items(MAX_CLASSES)
    return SinkFields(
        where=f"{value.source} line {value.line}: {value.path}",
        retry={**base.retry, **_group(fields, "retry", RETRY)},
        # A sink's own classes come before those of the defaults: the first one counts.
        classes=(*(_class(item) for item in items), *base.classes),
        breaker={**base.breaker, **_group(fields, "breaker", BREAKER)},
        own={**base.own, **_values(fields, SINK)},
    )


def _class(item: Value) -> RetryClass:
    fields = item.fields(("codes", *CLASS))
    codes = fields.need("codes")
    pattern = codes.text()
    if not _CODES.fullmatch(pattern):
        codes.refuse("must be a code or a pattern of codes, such as '*.rate_limit'")
    values = _values(fields, CLASS)
    if not values:
        item.refuse(f"changes nothing; add one of {', '.join(CLASS)} or leave it out")
    return RetryClass(codes=pattern, **values)


def _group(fields: Fields, name: str, known: Mapping[str, Read]) -> dict[str, Any]:
    value = fields.get(name)
    return {} if value is None else _values(value.fields(tuple(known)), known)


def _values(fields: Fields, known: Mapping[str, Read]) -> dict[str, Any]:
    return {name: known[name](value) for name, value in fields if name in known}
