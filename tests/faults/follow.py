"""Reads delivery.results while the run goes on, and the DLQs at its end."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any, Final

from pipeline.settings import Settings
from pipeline.topology import RESULTS, dlq_topic
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from tests.crash.tail import tail
from tests.faults.checker import Told

RESULT: Final = "delivery_result.v2"
DEAD_LETTER: Final = "dead_letter.v2"
QUIET_S: Final = 60.0
"""Longer than any wait of a worker whose target is well."""
_LOOK_S: Final = 0.05


class Follower:
    """`told`: results by sink and event id, in their order. It takes no part."""

    def __init__(self, settings: Settings) -> None:
        self.told: dict[str, dict[str, list[Told]]] = defaultdict(lambda: defaultdict(list))
        self._settings = settings
        self._codec = Codec()

    async def run(self) -> None:
        """Follow until cancelled; a broker that is away is waited for."""
        await tail(self._settings, RESULTS, self._take, client_id="faults-follower")

    def _take(self, message: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        result = self._codec.decode(RESULT, message.value)
        told = Told(
            outcome=result["outcome"],
            at_ms=result["at_ms"],
            code=result["code"],
            cause_class=result["cause_class"],
            target_id=result["target_id"],
        )
        self.told[result["sink"]][result["event_id"]].append(told)

    def unfinished(self, sink: str, event_ids: Iterable[str]) -> list[str]:
        """Those of which nothing was told yet."""
        told = self.told[sink]
        return [event_id for event_id in event_ids if event_id and not told.get(event_id)]

    async def finished(self, sink: str, event_ids: Collection[str], deadline_s: float) -> bool:
        """Whether something was told of each within `deadline_s` seconds.

        Given up sooner where nothing more of them was told for QUIET_S.
        """
        begun = quiet_since = time.monotonic()
        left = self.unfinished(sink, event_ids)
        while left:
            await asyncio.sleep(_LOOK_S)
            now = time.monotonic()
            still = self.unfinished(sink, left)
            if len(still) < len(left):
                left, quiet_since = still, now
            elif now > min(begun + deadline_s, quiet_since + QUIET_S):
                return False
        return True


async def dead_letters(settings: Settings, sink: str) -> dict[str, list[bytes]]:
    """Payloads in a sink's DLQ by event id, '' for those that could not be read."""
    codec = Codec()
    out: dict[str, list[bytes]] = defaultdict(list)
    for message in await kafka.read_all(settings, dlq_topic(sink)):
        record = codec.decode(DEAD_LETTER, message.value)
        out[record["event_id"]].append(record["payload"])
    return dict(out)
