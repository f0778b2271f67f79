"""What a far end has taken, in order: the checker's only witness."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Op = Literal["create", "update", "close", "reopen", "delete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One thing that was done. `key` is the external key as it arrived, `id` the system's own.

    `kind` is the object ('Case', 'MaintenanceNotification'); `fields` what was written.
    """

    place: int
    op: Op
    kind: str
    key: str
    id: str
    fields: Mapping[str, Any] = field(default_factory=dict)


class Journal:
    """Effects in the order in which they were committed."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []

    def note(self, op: Op, kind: str, key: str, own_id: str, fields: Mapping[str, Any]) -> None:
        """One effect, at the moment it is committed. A write that changes nothing is none."""
        kept = copy.deepcopy(dict(fields))
        place = len(self.effects) + 1
        self.effects.append(Effect(place=place, op=op, kind=kind, key=key, id=own_id, fields=kept))

    def as_json(self) -> list[dict[str, Any]]:
        """For the control endpoint."""
        return [asdict(effect) for effect in self.effects]
