"""Outcomes of events as the topic detection.feedback carries them.

Key: the event's id. Value: a JSON object (UTF-8) with the fields of
pipeline.core.feedback.Outcome; `outcome` is confirmed, false_alarm or withdrawn. One
partition, so that of two outcomes of an event everybody agrees which came later.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

import orjson

from pipeline.core.feedback import Outcome, Verdict

MAX_RECORD: Final = 16_384
"""Largest record that is read, bytes."""
MAX_WHY: Final = 500
"""Longest name or reason, characters."""

_TEXTS: Final = ("event_id", "detector", "metric", "tenant", "who", "why")


class UnusableOutcomeError(ValueError):
    """A record that is no outcome; the text says why."""


def encode(outcome: Outcome) -> tuple[bytes, bytes]:
    """Key and value of the message."""
    return outcome.event_id.encode(), orjson.dumps(asdict(outcome))


def decode(value: bytes | None) -> Outcome:
    """The outcome in a message value; UnusableOutcomeError where it is none."""
    if value is None or len(value) > MAX_RECORD:
        raise UnusableOutcomeError(f"it is empty or over {MAX_RECORD} bytes")
    try:
        record = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise UnusableOutcomeError(f"it is not JSON ({error})") from error
    if not isinstance(record, dict):
        raise UnusableOutcomeError("it is no JSON object")
    texts: dict[str, str] = {}
    for name in _TEXTS:
        text = record.get(name)
        if not isinstance(text, str) or len(text) > MAX_WHY:
            raise UnusableOutcomeError(f"{name} is no text of at most {MAX_WHY} characters")
        texts[name] = text
    if not texts["event_id"]:
        raise UnusableOutcomeError("event_id is empty")
    at_ms = record.get("at_ms")
    if not isinstance(at_ms, int) or isinstance(at_ms, bool) or at_ms < 0:
        raise UnusableOutcomeError("at_ms is no time in milliseconds")
    if record.get("outcome") not in list(Verdict):
        raise UnusableOutcomeError(f"outcome is none of {', '.join(Verdict)}")
    return Outcome(outcome=Verdict(record["outcome"]), at_ms=at_ms, **texts)
