"""Reading a topic to its end has an end itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError

from pipeline.settings import Settings
from pipeline.wire import kafka

P = TopicPartition("t", 0)


class Reader:
    """A consumer of one partition with three offsets, which gives what it is told."""

    def __init__(self, answers: list[list[int]]) -> None:
        self.answers = answers
        self.at = 0
        self.stopped = False

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True

    def partitions_for_topic(self, _: str) -> set[int]:
        return {0}

    def assign(self, _: object) -> None: ...

    def seek(self, _: TopicPartition, offset: int) -> None:
        self.at = offset

    async def end_offsets(self, _: object) -> dict[TopicPartition, int]:
        return {P: 3}

    async def beginning_offsets(self, _: object) -> dict[TopicPartition, int]:
        return {P: 0}

    async def getmany(self, **_: int) -> dict[TopicPartition, list[Any]]:
        offsets = self.answers.pop(0) if self.answers else []
        self.at = max([self.at, *(offset + 1 for offset in offsets)])
        return {P: [SimpleNamespace(offset=offset) for offset in offsets]}

    async def position(self, _: TopicPartition) -> int:
        return self.at


async def read(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setattr(kafka, "consumer", lambda *_: reader)
    return [message.offset for message in await kafka.read_all(Settings(), "t")]


async def test_what_lies_before_the_end_is_read_and_nothing_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = Reader([[0], [], [1, 2, 3]])
    assert await read(reader, monkeypatch) == [0, 1, 2]
    assert reader.stopped


async def test_a_partition_that_gives_nothing_more_is_an_error_and_not_a_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka, "STILL_S", 0.05)
    reader = Reader([[0], [1]])
    with pytest.raises(KafkaTimeoutError, match=r"t partition 0 gave nothing .* at offset 2 of 3"):
        await read(reader, monkeypatch)
    assert reader.stopped
