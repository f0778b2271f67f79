"""What people told of alarms: from the topic, or from a file that `feedback list --json` made."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Final

from aiokafka.errors import KafkaError

from pipeline.core.feedback import Told, standing
from pipeline.ops import feedback, rules
from pipeline.ops.report.data import Feedback
from pipeline.settings import Settings, SettingsError
from pipeline.state import feedback_topic
from pipeline.state.feedback_topic import UnusableOutcomeError
from pipeline.state.rules_file import RulesFileError

WITHIN_S: Final = 20.0
"""Longest wait for Kafka: the page can be made without it."""
MAX_FILE: Final = 256 * 1024 * 1024
COUNTS: Final = "counts"
"""What `fieldline feedback list` says of an outcome that stands."""


def from_kafka(settings: Settings) -> Feedback:
    """The outcomes that stand in the topic; unknown, with the reason, where it cannot be read."""

    async def look() -> Feedback:
        async with asyncio.timeout(WITHIN_S):
            return Feedback(outcomes=tuple(feedback.told(await rules.look(settings)).values()))

    try:
        return asyncio.run(look())
    except LookupError as error:
        return Feedback(unknown=f"Kafka has no topic {error}")
    except (KafkaError, OSError, TimeoutError):
        return Feedback(unknown=f"Kafka does not answer at {settings.kafka_bootstrap}")
    except (SettingsError, RulesFileError) as error:
        return Feedback(unknown=str(error).rstrip("."))


def from_file(path: Path) -> Feedback:
    """The outcomes that stand by a file of JSON lines; SettingsError where it is none."""
    try:
        if path.stat().st_size > MAX_FILE:
            raise SettingsError(f"{path} is over {MAX_FILE:,} bytes: give a smaller --feedback.")
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read ({error.strerror}): name the output of "
            "`fieldline feedback list --json` with --feedback."
        ) from error
    log: list[Told] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            outcome = feedback_topic.decode(line)
            counts = json.loads(line).get("state", COUNTS) == COUNTS
        except (UnusableOutcomeError, ValueError) as error:
            raise SettingsError(
                f"{path}, line {number}, is no outcome ({error}): give the output of "
                "`fieldline feedback list --json`."
            ) from error
        if counts:
            log.append(Told(offset=number, outcome=outcome))
    return Feedback(outcomes=tuple(standing(told.outcome for told in log).values()))
