"""The audit trail: what a person did, to what, when and why. Written before it is done."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from pipeline.core.scrub import scrub
from pipeline.settings import Settings, SettingsError
from pipeline.topology import AUDIT
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.kafka import Progress, read_through

MAX_WHY: Final = 500
"""Characters of a reason."""
_MAX_NAME: Final = 100
_MAX_CHANGE: Final = 1_000
_SCHEMA: Final = "operator_action.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One action of a person. Fields as in schemas/avro/operator_action; hashes are SHA-256, hex.

    `dlq_offset` is -1 where it is not about a dead letter.
    """

    id: str
    at_ms: int
    who: str
    why: str
    action: str
    sink: str
    event_id: str
    dlq_offset: int = -1
    before_hash: str | None = None
    after_hash: str | None = None
    changes: Mapping[str, str] = field(default_factory=dict)


def operator(settings: Settings) -> str:
    """Who types the commands: FIELDLINE_OPERATOR, else the login's name."""
    name = settings.operator.strip()
    if not name:
        try:
            name = getpass.getuser()
        except (OSError, KeyError) as error:
            raise SettingsError("Your name is not known here: set FIELDLINE_OPERATOR.") from error
    if len(name) > _MAX_NAME or not name.isprintable():
        raise SettingsError(
            f"The operator's name is not 1 to {_MAX_NAME} printable characters: "
            "correct FIELDLINE_OPERATOR."
        )
    return name


def reason(text: str, *, needed: bool) -> str:
    """The reason as the audit keeps it; SettingsError where it is missing or unusable."""
    why = text.strip()
    if needed and not why:
        raise SettingsError("Say why with --why: the audit trail keeps it.")
    if len(why) > MAX_WHY or not why.isprintable():
        raise SettingsError(f"--why must be at most {MAX_WHY} printable characters.")
    return why


async def write(producer: Any, codec: Codec, act: Act) -> None:  # noqa: ANN401 - aiokafka has no types
    """Put an action into operations.audit; it is in Kafka (acks=all) when this returns."""
    changes = {name: scrub(change, most=_MAX_CHANGE) for name, change in act.changes.items()}
    record = {**asdict(act), "changes": changes}
    await producer.send_and_wait(
        AUDIT, key=act.event_id.encode(), value=codec.encode(_SCHEMA, record)
    )


async def read(settings: Settings, codec: Codec, *, progress: Progress | None = None) -> list[Act]:
    """Every action so far, oldest first; a record that is none is left out."""
    out = []
    async for message in read_through(settings, AUDIT, progress=progress):
        try:
            out.append(Act(**codec.decode(_SCHEMA, message.value)))
        except UnreadableError:
            continue
    return out
