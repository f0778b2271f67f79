"""What is kept of a partition as a whole, beside its devices: one row of bytes.

A JSON object: `rules`, the version that the partition works by, `memory`, what storms and
detectors' histories come to, in base64 by name, the seal over the devices' rows
(pipeline.state.seal): `checkpoint`, its number, and `seal`, the total, and `until`: the offset
before which every reading is part of the state. It is noted before Kafka is told of it, so what
is acknowledged never lies beyond it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import NamedTuple

import orjson

from pipeline.state.device_state import StateError

NO_RULES = 0
"""Version of a partition that nothing was noted for."""


class Kept(NamedTuple):
    """`memory` is that of pipeline.core.detect.Detection.remembered."""

    rules_version: int
    memory: Mapping[str, bytes]
    checkpoint: int = 0
    seal: int = 0
    until: int | None = 0
    """None where it was not noted: a program before this one wrote the note."""

    def lacks(self, acknowledged: int | None) -> bool:
        """Whether readings before `acknowledged`, an offset, are surely not in this state."""
        known = acknowledged is not None and self.until is not None
        return known and acknowledged > self.until  # type: ignore[operator]  # both are known


def encode(kept: Kept) -> bytes:
    """`kept` as bytes; equal for equal contents."""
    memory = {name: base64.b64encode(data).decode() for name, data in kept.memory.items()}
    return orjson.dumps(
        {
            "rules": kept.rules_version,
            "memory": memory,
            "checkpoint": kept.checkpoint,
            "seal": kept.seal,
            "until": kept.until,
        },
        option=orjson.OPT_SORT_KEYS,
    )


def decode(data: bytes | None) -> Kept:
    """What was kept; nothing for None. StateError where the bytes are something else."""
    if data is None:
        return Kept(NO_RULES, {})
    try:
        read = orjson.loads(data)
        memory = {
            str(name): base64.b64decode(text, validate=True)
            for name, text in read["memory"].items()
        }
        until = read.get("until")
        return Kept(
            int(read["rules"]),
            memory,
            int(read["checkpoint"]),
            int(read["seal"]),
            None if until is None else int(until),
        )
    except (orjson.JSONDecodeError, binascii.Error, KeyError, TypeError, ValueError) as error:
        raise StateError(
            f"The stored note of a partition is damaged ({type(error).__name__}): stop the worker "
            "and build its state again from the changelog with fieldline state rebuild."
        ) from error
