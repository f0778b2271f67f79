"""Quix Streams, a StreamingDataFrame with state per message key, as its manual teaches.

Start: python -m tests.bench.peers.quix
"""

from __future__ import annotations

import math
from typing import Any

from quixstreams import Application, State  # type: ignore[import-not-found] # the peers' own

from tests.bench.peers.task import THRESHOLD, WARM_UP, WINDOW, Task


def judged(reading: dict[str, Any], state: State) -> dict[str, Any] | None:
    """The reading with its distance from the running mean, in deviations.

    None where the device has sent this sample before.
    """
    slot = f"seen:{reading['seq'] % WINDOW}"
    sample = [reading["session"], reading["seq"]]
    if state.get(slot, [0, 0]) >= sample:
        return None
    state.set(slot, sample)
    series = f"stats:{reading['metric']}"
    count, mean, squares = state.get(series, [0, 0.0, 0.0])
    deviation = math.sqrt(squares / count) if count else 0.0
    surprise = reading["value"] - mean
    reading["score"] = surprise / deviation if deviation and count >= WARM_UP else 0.0
    mean += surprise / (count + 1)
    squares += surprise * (reading["value"] - mean)
    state.set(series, [count + 1, mean, squares])
    return reading


def main() -> None:
    """Run until SIGTERM."""
    task = Task.from_environment()
    app = Application(
        broker_address=task.bootstrap,
        consumer_group=task.name,
        auto_offset_reset="earliest",
        processing_guarantee="at-least-once",
        state_dir=task.folder,
    )
    source = app.topic(task.source, key_deserializer="str", value_deserializer="json")
    output = app.topic(task.output, key_serializer="str", value_serializer="json")
    alarms = app.topic(task.alarms, key_serializer="str", value_serializer="json")
    readings = app.dataframe(source)
    readings = readings.apply(judged, stateful=True).filter(lambda reading: reading is not None)
    readings.filter(lambda reading: abs(reading["score"]) > THRESHOLD).to_topic(alarms)
    readings.to_topic(output)
    app.run()


if __name__ == "__main__":
    main()
