"""Recovery's decisions on a real Faust app without a broker; the rest is tested on real Kafka."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types import TP

from pipeline.agents import recovery as module
from pipeline.agents.app import Worker
from pipeline.agents.recovery import BoundedRecovery, answered
from pipeline.settings import Settings

LOG = TP("changelog", 1)


class HaltedError(Exception):
    """In place of the end of the process."""


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []

    def halt() -> None:
        raise HaltedError

    monkeypatch.setattr(module, "halt", halt)
    # structlog keeps its first output, and that may be an earlier test's.
    quiet = SimpleNamespace(
        critical=lambda _, *, detail: texts.append(detail), info=lambda _, **__: None
    )
    monkeypatch.setattr(module, "log", quiet)
    return texts


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(Settings(data_dir=tmp_path, recovery_s=77.0), role="detect", instance=3, sinks=())


def recovering(worker: Worker, *, offset: int | None, end: int | None) -> BoundedRecovery:
    """A recovery of one partition that has applied `offset` and must reach `end`."""
    found = cast("BoundedRecovery", cast("Any", worker.app.tables).recovery)
    found.in_recovery = True
    found.active_tps.add(LOG)
    cast("Any", found.active_offsets)[LOG] = offset
    if end is not None:
        found.active_highwaters[LOG] = end
    found._ends_of = found._generation_id = 1  # noqa: SLF001 - a rebalance sets them
    return found


@pytest.mark.parametrize(
    ("offset", "end", "says"),
    [
        (17, 40, "stands at offset 17 of 40"),
        (None, 40, "stands at an unknown offset of 40"),
        (17, None, "stands at offset 17 of an end that is not known"),
    ],
)
async def test_a_table_that_lacks_records_is_never_taken_for_recovered(
    worker: Worker, said: list[str], offset: int | None, end: int | None, says: str
) -> None:
    found = recovering(worker, offset=offset, end=end)
    with pytest.raises(HaltedError):
        await found.on_recovery_completed(worker.app.consumer_generation_id)
    assert says in said[0]
    assert "fieldline state rebuild --instance 3" in said[0]


async def test_what_goes_on_for_too_long_is_told_with_place_and_mend(
    worker: Worker, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "position_of", lambda *_: 18)
    found = recovering(worker, offset=17, end=40)
    with pytest.raises(HaltedError):
        found._too_long()  # noqa: SLF001 - its task calls it when the time is over
    wanted = (
        "Table recovery has not ended in 77 s: changelog partition 1 stands at offset 17 of 40, "
        "with the consumer at 18; raise FIELDLINE_RECOVERY_S where it only needs longer, else "
        "stop it and run `fieldline state rebuild --instance 3`."
    )
    assert said == [wanted]
    found.active_offsets[LOG] = 40
    with pytest.raises(HaltedError):
        found._too_long()  # noqa: SLF001 - the same
    assert "A rebalance of group fieldline-detect has not ended in 77 s" in said[1]


@pytest.mark.parametrize(
    ("position", "ends"), [(41, True), (40, False), (18, False), (None, False)]
)
async def test_an_end_without_a_record_is_believed_when_the_consumer_is_past_it_and_stays(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, position: int | None, *, ends: bool
) -> None:
    monkeypatch.setattr(module, "position_of", lambda *_: position)
    found = recovering(worker, offset=38, end=40)
    for _ in range(3):
        found._pass_empty_ends()  # noqa: SLF001 - its task calls it each second
        assert found.need_recovery(), "not at the first look"
    found._pass_empty_ends()  # noqa: SLF001 - the same
    assert found.need_recovery() is not ends
    assert found.signal_recovery_end.is_set() is ends


async def test_a_consumer_that_still_reads_is_left_to_it(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "position_of", lambda *_: 41)
    found = recovering(worker, offset=20, end=40)
    for offset in range(20, 40):
        found.active_offsets[LOG] = offset
        found._pass_empty_ends()  # noqa: SLF001 - as above
        assert found.need_recovery()


async def test_what_kafka_does_not_answer_ends_the_worker_before_faust_goes_on_without(
    said: list[str],
) -> None:
    app = SimpleNamespace(conf=SimpleNamespace(broker_request_timeout=0.01))
    with pytest.raises(HaltedError):
        await answered(app, asyncio.Event().wait(), "where changelog ends")  # type: ignore[arg-type]  # waits for ever
    assert "where changelog ends (TimeoutError): check the brokers" in said[0]


@dataclass
class Record:
    offset: int
    key: bytes = b"k"
    value: bytes = b"v"


@dataclass
class Table:
    applied: list[int] = field(default_factory=list)

    def apply_changelog_batch(self, rows: list[Any]) -> None:
        assert all(row.message.tp == LOG and row.message.partition == 1 for row in rows)
        self.applied += [row.message.offset for row in rows]


async def test_changelog_records_are_applied_once_and_only_while_they_are_ours(
    worker: Worker,
) -> None:
    found = recovering(worker, offset=4, end=9)
    table: Any = Table()
    found.tp_to_table[LOG] = table
    worker.app.finalize()
    consumer: Any = worker.app.consumer
    records = [Record(offset) for offset in range(2, 8)]
    consumer.stop_flow()
    await consumer._apply(LOG, records)  # noqa: SLF001 - _getmany needs a broker
    assert table.applied == [], "the flow stands still: all is read again"
    consumer.resume_flow()
    await consumer._apply(LOG, records)  # noqa: SLF001 - the same
    assert table.applied == [5, 6, 7]
    assert not found.signal_recovery_end.is_set()
    await consumer._apply(LOG, [Record(7), Record(8), Record(9)])  # noqa: SLF001 - the same
    assert table.applied == [5, 6, 7, 8, 9]
    assert found.signal_recovery_end.is_set()
    found.in_recovery = False
    await consumer._apply(LOG, [Record(10)])  # noqa: SLF001 - the same
    assert table.applied[-1] == 9, "what the owner itself has written is in its table"
    found.active_tps.clear()
    found.standby_tps.add(LOG)
    found.standby_offsets[LOG] = 9
    await consumer._apply(LOG, [Record(10)])  # noqa: SLF001 - the same
    assert table.applied[-1] == 10
    assert found.standby_offsets[LOG] == 10


async def test_the_ends_of_the_rebalance_before_do_not_end_the_recovery_of_the_next(
    worker: Worker,
) -> None:
    found = recovering(worker, offset=9, end=9)
    answer = asyncio.Event()

    class Consumer:
        async def highwaters(self, *tps: TP) -> dict[TP, int]:
            await answer.wait()
            return dict.fromkeys(tps, 281)

        async def seek_wait(self, _: object) -> None:
            await asyncio.sleep(0)
            found.signal_end()  # a record that was on its way is applied now

    consumer: Any = Consumer()
    late = asyncio.create_task(
        found._seek_offsets(consumer, found.active_tps, found.active_offsets, "active")  # noqa: SLF001 - Faust calls it
    )
    await asyncio.sleep(0)  # it has begun
    found._generation_id = 2  # noqa: SLF001 - the next rebalance
    asking = asyncio.create_task(
        found._build_highwaters(consumer, found.active_tps, found.active_highwaters, "active")  # noqa: SLF001 - Faust calls it
    )
    await late
    found.signal_end()
    assert not found.signal_recovery_end.is_set(), "by the ends of before nothing is left to read"
    answer.set()
    await asking
    await found._seek_offsets(consumer, found.active_tps, found.active_offsets, "active")  # noqa: SLF001 - Faust calls it
    found.signal_end()
    assert not found.signal_recovery_end.is_set()
    found.active_offsets[LOG] = 280
    found.signal_end()
    assert found.signal_recovery_end.is_set()
