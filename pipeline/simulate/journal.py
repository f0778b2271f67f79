"""What was sent, written down: the other half of every end-to-end check.

A Parquet file with one row per sent sample, and one per malformed message. It is whole once
`close` has run; one that was cut short has no footer, and no reader takes it.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.telemetry import NO_SEQUENCE
from pipeline.simulate.plan import READINGS, REASONS, Send
from pipeline.simulate.render import Run

_ROWS = 16_384


def _field(name: str, kind: pa.DataType, doc: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})


SCHEMA = pa.schema(
    [
        _field("message", pa.int64(), "index of the message in the plan, from 0"),
        _field("device_id", pa.string(), "'tenant/device'"),
        _field("session", pa.int64(), "as the pipeline sees it; 0 where the device sends none"),
        _field("sequence", pa.int64(), "as the pipeline sees it; -1 where the device sends none"),
        _field("cycle", pa.int64(), "engine cycle, from 1; null if malformed", nullable=True),
        _field("time_ms", pa.int64(), "event time, ms, UTC; null if malformed", nullable=True),
        _field("kind", pa.string(), "pipeline.simulate.plan.Kind"),
        _field("reason", pa.string(), "expected quarantine reason if malformed", nullable=True),
        _field("readings", pa.int32(), "readings it counts for"),
        _field("sent_ms", pa.int64(), "when it was handed to MQTT, ms since the epoch, UTC"),
        _field("acknowledged", pa.bool_(), "whether the broker acknowledged it"),
    ]
)


class Journal:
    """Writes rows in the order of `add`. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, run: Run, send: Send, *, message: int, sent_ms: int, acknowledged: bool) -> None:
        """Rows of one message."""
        common = {
            "message": message,
            "device_id": run.device(send),
            "kind": send.kind.value,
            "sent_ms": sent_ms,
            "acknowledged": acknowledged,
        }
        if send.flaw is not None:
            reason = REASONS[send.flaw].value
            row = {"session": 0, "sequence": NO_SEQUENCE, "reason": reason, "readings": 1}
            self._rows.append(common | row)
        for cycle in send.cycles:
            session, sequence = run.identity(send, cycle)
            row = {"session": session, "sequence": sequence, "cycle": cycle, "readings": READINGS}
            self._rows.append(common | row | {"time_ms": run.event_ms(send, cycle)})
        if len(self._rows) >= _ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
            self._rows.clear()

    def close(self) -> None:
        """Write what is left and the footer."""
        self._flush()
        self._writer.close()
