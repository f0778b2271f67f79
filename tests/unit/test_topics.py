from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.ops import topics
from pipeline.settings import Settings, SettingsError
from pipeline.topology import topics as all_topics

TABLE = all_topics(("lake",))


class Broker:
    """An admin client whose brokers learn of new topics only after some descriptions."""

    def __init__(self, *, there: dict[str, int], lag: int = 0) -> None:
        self.partitions = dict(there)
        self.made: dict[str, Any] = {}
        self._lag = lag

    async def list_topics(self) -> list[str]:
        return list(self.partitions)

    async def create_topics(self, new: list[Any]) -> Any:  # noqa: ANN401 - as aiokafka's
        for topic in new:
            self.made[topic.name] = topic
            self.partitions[topic.name] = topic.num_partitions
        return SimpleNamespace(topic_errors=[(topic.name, 0, None) for topic in new])

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        self._lag -= 1
        known = self.partitions if self._lag < 0 else {}
        return [{"topic": n, "partitions": [{}] * known.get(n, 0)} for n in names]


async def test_topics_are_made_as_the_map_says_and_waited_for() -> None:
    broker: Any = Broker(there={}, lag=2)
    created = await topics.create(broker, TABLE, Settings(partitions=6))
    assert [c.name for c in created] == [t.name for t in TABLE]
    assert all(c.made for c in created)
    assert {t.name: broker.partitions[t.name] for t in TABLE} == {
        t.name: t.partitions(6) for t in TABLE
    }
    configs = {name: made.topic_configs for name, made in broker.made.items()}
    assert configs["fieldline-detect-devices-changelog"]["cleanup.policy"] == "compact"
    assert "retention.ms" not in configs["fieldline-detect-devices-changelog"]
    assert configs["sink.lake.dlq"]["retention.ms"] == "-1"


async def test_what_is_there_stays_and_another_partition_count_is_told() -> None:
    whole = {t.name: t.partitions(4) for t in TABLE}
    broker: Any = Broker(there=whole)
    assert not any(c.made for c in await topics.create(broker, TABLE, Settings(partitions=4)))
    with pytest.raises(SettingsError, match="has 4 partitions and should have 8"):
        await topics.create(broker, TABLE, Settings(partitions=8))


async def test_a_refused_topic_is_told_with_the_brokers_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker: Any = Broker(there={})

    async def refuse(new: list[Any]) -> Any:  # noqa: ANN401 - as aiokafka's
        return SimpleNamespace(topic_errors=[(new[0].name, 29, "not allowed")])

    monkeypatch.setattr(broker, "create_topics", refuse)
    with pytest.raises(SettingsError, match=r"TopicAuthorizationFailedError.*not allowed"):
        await topics.create(broker, TABLE, Settings())
