"""One version of the rules as the topic detection.rules carries it, and the topic's contents.

Key `version/N`, value a JSON object (UTF-8):

    version        N
    text           the rules file itself, with `version: N` in it
    factors        {detector: {metric: factor}}, what feedback has learnt; 1 is left out
    who, why       a person (or 'feedback') and the reason given
    at_ms          when, ms since the Unix epoch
    reverted_from  the version whose rules these are again, or null
    feedback_end   outcomes of detection.feedback before this offset are in `factors`,
    set_aside      but for those in these [start, end) spans, which a revert took out

Key `current`, value N in decimal digits: the version that is in force.
"""

from __future__ import annotations

import math
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from pipeline.core.feedback import Span
from pipeline.state.rules_file import MAX_BYTES, MAX_VERSION, RulesFileError, parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.core.detectors.table import Detector
    from pipeline.core.rules import Rules

CURRENT: Final = b"current"
_PREFIX: Final = b"version/"
_FIELDS: Final = frozenset(
    {
        "version",
        "text",
        "factors",
        "who",
        "why",
        "at_ms",
        "reverted_from",
        "feedback_end",
        "set_aside",
    }
)
MAX_RECORD: Final = 4 * MAX_BYTES
"""Largest record that is read or written, bytes."""
KEPT: Final = 1_000
"""Versions that stay readable: a publisher deletes what is older."""
_PARSED: Final = 8
"""Rules kept parsed: partitions of a worker are seldom more than a version or two apart."""


class UnusableError(ValueError):
    """A record of the topic that is no version of the rules; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version; see the module for its fields."""

    version: int
    text: str
    factors: Mapping[tuple[str, str], float] = field(default_factory=dict)
    who: str
    why: str
    at_ms: int
    reverted_from: int | None = None
    feedback_end: int = 0
    set_aside: tuple[Span, ...] = ()

    @property
    def key(self) -> bytes:
        """The message key."""
        return key_of(self.version)

    def encode(self) -> bytes:
        """The message value."""
        factors: dict[str, dict[str, float]] = {}
        for (detector, metric), factor in sorted(self.factors.items()):
            factors.setdefault(detector, {})[metric] = factor
        return orjson.dumps(
            {
                "version": self.version,
                "text": self.text,
                "factors": factors,
                "who": self.who,
                "why": self.why,
                "at_ms": self.at_ms,
                "reverted_from": self.reverted_from,
                "feedback_end": self.feedback_end,
                "set_aside": [[span.start, span.end] for span in self.set_aside],
            }
        )

    def rules(self, detectors: Sequence[Detector] | None = None) -> Rules:
        """The rules; RulesFileError where the text is unusable."""
        rules = parse(self.text, f"rules version {self.version}", detectors)
        if rules.version != self.version:
            raise RulesFileError(
                f"rules version {self.version} line 1: the text says version {rules.version}."
            )
        return replace(rules, factors=dict(self.factors))


def key_of(version: int) -> bytes:
    """Message key of a version."""
    return _PREFIX + str(version).encode()


def decode(value: bytes) -> Version:
    """The version in a message value; UnusableError where it is none."""
    if len(value) > MAX_RECORD:
        raise UnusableError(f"it is over {MAX_RECORD} bytes")
    try:
        record = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise UnusableError(f"it is not JSON ({error})") from error
    if not isinstance(record, dict) or not record.keys() >= _FIELDS:
        raise UnusableError(f"it has not the fields {', '.join(sorted(_FIELDS))}")
    try:
        return _version(record)
    except (TypeError, ValueError, AttributeError) as error:
        raise UnusableError(f"a field of it has a wrong type ({error})") from error


def _version(record: Mapping[str, Any]) -> Version:
    reverted = record["reverted_from"]
    return Version(
        version=_count(record["version"], 1),
        text=_text(record["text"]),
        factors={
            (detector, metric): _factor(factor)
            for detector, metrics in record["factors"].items()
            for metric, factor in metrics.items()
        },
        who=_text(record["who"]),
        why=_text(record["why"]),
        at_ms=_count(record["at_ms"], 0),
        reverted_from=None if reverted is None else _count(reverted, 1),
        feedback_end=_count(record["feedback_end"], 0),
        set_aside=tuple(
            Span(_count(start, 0), _count(end, 0)) for start, end in record["set_aside"]
        ),
    )


def _count(value: object, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{value!r} is no whole number from {least}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _factor(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is no number")
    if not (math.isfinite(value) and value > 0.0):
        raise ValueError(f"{value!r} is no factor")
    return float(value)


class Versions:
    """What the topic holds, message by message.

    Texts are kept packed, and few parsed: versions are many and hardly ever looked at.
    """

    def __init__(self) -> None:
        self.current = 0
        """Number under the key `current`; 0 while there is none."""
        self._packed: dict[int, bytes] = {}
        self._parsed: OrderedDict[int, Rules] = OrderedDict()

    def __len__(self) -> int:
        return len(self._packed)

    def apply(self, key: bytes | None, value: bytes | None) -> str | None:
        """One message in the topic's order; what is wrong with it, or None.

        What cannot be used changes nothing.
        """
        if key == CURRENT:
            return self._set_current(value)
        number = _number(key[len(_PREFIX) :]) if key and key.startswith(_PREFIX) else None
        if number is None:
            return f"its key {key!r} is neither 'current' nor 'version/N'"
        if value is None:
            self._packed.pop(number, None)
            self._parsed.pop(number, None)
            return None
        try:
            found = decode(value)
        except UnusableError as error:
            return str(error)
        if found.version != number:
            return f"its key says version {number} and its value {found.version}"
        self._packed[number] = zlib.compress(value, 1)
        self._parsed.pop(number, None)
        return None

    def _set_current(self, value: bytes | None) -> str | None:
        number = None if value is None else _number(value)
        if number is None:
            return f"its value {value!r:.40} is no version number"
        self.current = number
        return None

    def numbers(self) -> list[int]:
        """Versions that are there, oldest first."""
        return sorted(self._packed)

    def get(self, version: int) -> Version | None:
        """The record of a version, or None where there is none."""
        packed = self._packed.get(version)
        return None if packed is None else decode(zlib.decompress(packed))

    def rules(
        self, version: int, detectors: Sequence[Detector] | None = None
    ) -> Rules | RulesFileError | None:
        """Rules of a version, None where it is not there, the error where it is unusable."""
        if (rules := self._parsed.get(version)) is not None:
            self._parsed.move_to_end(version)
            return rules
        record = self.get(version)
        if record is None:
            return None
        try:
            rules = record.rules(detectors)
        except RulesFileError as error:
            return error
        self.keep(rules)
        return rules

    def keep(self, rules: Rules) -> None:
        """Keep rules that were parsed elsewhere from the record of their version."""
        self._parsed[rules.version] = rules
        while len(self._parsed) > _PARSED:
            self._parsed.popitem(last=False)


def _number(text: bytes) -> int | None:
    if not text.isdigit() or len(text) > len(str(MAX_VERSION)):
        return None
    number = int(text)
    return number if 1 <= number <= MAX_VERSION else None
