"""Rules and feedback on a real broker: published, followed, fought over, taken back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from infra.local.stack import Stack
from pipeline.core.feedback import Verdict
from pipeline.core.rules import Rules
from pipeline.ops import feedback, rules, topics
from pipeline.ops.rules import MovedError
from pipeline.settings import Settings, SettingsError
from pipeline.state.rules_document import with_version
from pipeline.state.rules_topic import RulesTopic
from pipeline.state.rules_versions import CURRENT, Version, key_of
from pipeline.topology import EVENTS, FEEDBACK, LAKE, RULES
from pipeline.topology import topics as all_topics
from pipeline.wire import cloudevents, kafka
from pipeline.wire.avro import Codec
from pipeline.wire.records import encode_event
from tests.unit.examples import event
from tests.waiting import until

pytestmark = pytest.mark.parts

SHIPPED = Path("infra/config/rules.yaml")
DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    stack = Stack(tmp_path_factory.mktemp("rules"), say=lambda _: None, only={"kafka"})
    try:
        yield stack.start()["KAFKA_BOOTSTRAP"]
    finally:
        stack.stop()


@pytest.fixture
def settings(broker: str, tmp_path: Path) -> Settings:
    file = tmp_path / "rules.yaml"
    text = with_version(SHIPPED.read_text(encoding="utf-8"), SHIPPED.name, 2)
    file.write_text(text, encoding="utf-8")
    return Settings(kafka_bootstrap=broker, rules_file=file)


@pytest.fixture
async def fresh(settings: Settings) -> Settings:
    """The topics, empty."""
    await make(settings, RULES, FEEDBACK, EVENTS)
    return settings


async def make(settings: Settings, *names: str) -> None:
    wanted = [topic for topic in all_topics((LAKE,)) if topic.name in names]
    admin = kafka.admin(settings)
    await admin.start()
    try:
        await remove(settings, *names)
        await topics.create(admin, wanted, settings)
    finally:
        await admin.close()


async def remove(settings: Settings, *names: str) -> None:
    admin = kafka.admin(settings)
    await admin.start()
    try:
        there = set(await admin.list_topics()) & set(names)
        if there:
            await admin.delete_topics(list(there))

        async def gone() -> bool:
            return not set(await admin.list_topics()) & set(names)

        await until(gone)
    finally:
        await admin.close()


@asynccontextmanager
async def following(settings: Settings) -> AsyncIterator[RulesTopic]:
    topic = RulesTopic(settings)
    await topic.start()
    try:
        yield topic
    finally:
        await topic.stop()


async def apply(settings: Settings, change: Callable[[str], str], why: str = "test") -> Version:
    async with rules.publishing(settings) as desk:
        text = change(desk.now.current.text)
        base = replace(rules.from_file(settings), text=text)
        draft = rules.compose(desk.now, base, who="anna", why=why, at_ms=1)
        await desk.publish(draft.version)
        return draft.version


def limit(high: float) -> Callable[[str], str]:
    def change(text: str) -> str:
        before, after = text.split("T30:", 1)
        at = after.index("high: ") + len("high: ")
        return f"{before}T30:{after[:at]}{high}{after[after.index(',', at) :]}"

    return change


def high(found: Rules | None) -> float:
    assert found is not None
    rule = found.of("T30").of("limit")
    assert rule is not None
    return rule.params[1]


async def put(settings: Settings, key: bytes, value: bytes | None, topic: str = RULES) -> None:
    producer = kafka.producer(settings)
    await producer.start()
    try:
        await producer.send_and_wait(topic, key=key, value=value)
    finally:
        await producer.stop()


async def test_an_empty_topic_leaves_the_file_in_force(fresh: Settings) -> None:
    async with following(fresh) as topic:
        assert topic.latest.version == 2
        assert topic.version(2) is topic.latest
        assert topic.version(3) is None


async def test_a_published_version_reaches_those_who_follow_and_those_who_come_later(
    fresh: Settings,
) -> None:
    async with following(fresh) as topic:
        await apply(fresh, limit(1700))
        await apply(fresh, limit(1800))
        await until(lambda: topic.latest.version == 4)
        assert [high(topic.version(n)) for n in (2, 3, 4)] == [1603, 1700, 1800]
    async with following(fresh) as later:
        assert [high(later.version(n)) for n in (2, 3, 4)] == [1603, 1700, 1800]
        assert later.latest.label == "fieldline-default@4"
        assert later.latest == topic.latest


async def test_a_topic_made_while_a_worker_runs_is_found(settings: Settings) -> None:
    await remove(settings, RULES, FEEDBACK)
    async with following(settings) as topic:
        assert topic.latest.version == 2
        with pytest.raises(LookupError, match=RULES):
            await rules.look(settings)
        await make(settings, RULES, FEEDBACK)
        await apply(settings, limit(1700))
        await until(lambda: topic.latest.version == 3)


async def test_of_two_who_publish_at_once_one_fails_and_leaves_nothing(fresh: Settings) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(rules.publishing(fresh))
        second = await stack.enter_async_context(rules.publishing(fresh))
        base = replace(first.now.file, text=limit(1700)(first.now.file.text))
        draft = rules.compose(first.now, base, who="anna", why="", at_ms=1)
        await second.publish(draft.version)
        with pytest.raises(MovedError, match="Somebody else"):
            await first.publish(draft.version)
    now = await rules.look(fresh)
    assert now.versions.numbers() == [3]
    assert now.current.version == 3


async def test_old_versions_are_deleted_and_the_newest_stay(
    fresh: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "KEPT", 3)
    for high_limit in range(1700, 1705):
        await apply(fresh, limit(high_limit))
    now = await rules.look(fresh)
    assert (now.versions.numbers(), now.versions.current) == ([5, 6, 7], 7)


async def test_an_unusable_version_is_told_once_and_the_last_good_one_stays(
    fresh: Settings,
) -> None:
    await apply(fresh, limit(1700))
    bad = replace((await rules.look(fresh)).current, version=4, text="name: x\nversion: 4\n")
    with capture_logs() as logs:
        async with following(fresh) as topic:
            await put(fresh, key_of(4), bad.encode())
            await put(fresh, CURRENT, b"4")
            await put(fresh, b"nonsense", b"4")
            await until(lambda: any(log.get("version") == 4 for log in logs))
            await until(lambda: any("nonsense" in str(log) for log in logs))
            assert topic.latest.version == 3
            assert topic.version(4) is None
    assert len([log for log in logs if log.get("version") == 4]) == 1
    async with following(fresh) as later:
        assert later.latest.version == 3


async def test_a_broker_that_is_away_ends_the_start_with_an_error(settings: Settings) -> None:
    topic = RulesTopic(settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"}))
    with pytest.raises(KafkaConnectionError):
        await topic.start()


async def tell(settings: Settings, verdict: Verdict, event_id: str = "a" * 24) -> feedback.Learnt:
    found = event(id=event_id, detector="zscore", metric="T30")
    return await feedback.tell(settings, found, verdict, who="anna", why="seen on site")


async def factors(settings: Settings) -> dict[tuple[str, str], float]:
    return dict((await rules.look(settings)).current.factors)


async def test_an_outcome_moves_the_threshold_once_and_taking_it_back_undoes_it(
    fresh: Settings,
) -> None:
    first = await tell(fresh, Verdict.FALSE_ALARM)
    assert first.new
    assert first.draft is not None
    assert first.draft.version.who == "feedback"
    assert await factors(fresh) == {("zscore", "T30"): 1.05}
    again = await tell(fresh, Verdict.FALSE_ALARM)
    assert (again.new, again.draft) == (False, None)
    await tell(fresh, Verdict.CONFIRMED)
    assert await factors(fresh) == {("zscore", "T30"): 1 / 1.05}
    await feedback.take_back(fresh, "aaaa", who="anna", why="wrong engine")
    assert await factors(fresh) == {}
    async with following(fresh) as topic:
        assert topic.latest.factor("zscore", "T30") == 1.0
        third = topic.version(3)
        assert third is not None
        assert third.factor("zscore", "T30") == 1.05
    with pytest.raises(SettingsError, match="fits 0 events"):
        await feedback.take_back(fresh, "aaaa", who="anna", why="again")
    states = [state for _, state in feedback.history(await rules.look(fresh))]
    assert states == ["replaced", "replaced", "takes back"]


async def test_a_revert_brings_text_and_factors_back_until_more_is_told(fresh: Settings) -> None:
    await apply(fresh, limit(1700))
    await tell(fresh, Verdict.FALSE_ALARM, "a" * 24)
    await tell(fresh, Verdict.FALSE_ALARM, "b" * 24)
    await apply(fresh, limit(1800))
    now = await rules.look(fresh)
    assert now.current.factors == {("zscore", "T30"): 1.05**2}
    async with rules.publishing(fresh) as desk:
        base = desk.now.version(4)
        draft = rules.compose(desk.now, base, who="anna", why="", at_ms=2, revert=True)
        await desk.publish(draft.version)
    async with following(fresh) as topic:
        assert topic.latest.version == 7
        assert high(topic.latest) == 1700
        assert topic.latest.factors == {("zscore", "T30"): 1.05}
    assert (await rules.look(fresh)).current.reverted_from == 4
    await tell(fresh, Verdict.FALSE_ALARM, "c" * 24)
    assert await factors(fresh) == {("zscore", "T30"): 1.05**2}
    await tell(fresh, Verdict.FALSE_ALARM, "b" * 24)
    assert await factors(fresh) == {("zscore", "T30"): 1.05**3}


async def test_two_who_tell_at_once_both_count(fresh: Settings) -> None:
    await asyncio.gather(*(tell(fresh, Verdict.FALSE_ALARM, name * 24) for name in "ab"))
    assert await factors(fresh) == {("zscore", "T30"): 1.05**2}


async def test_what_was_told_and_not_learnt_is_caught_up_with(fresh: Settings) -> None:
    await put(fresh, b"x", b"no outcome", FEEDBACK)
    await put(
        fresh,
        b"a",
        b'{"event_id":"a","detector":"zscore","metric":"T30","tenant":"acme",'
        b'"outcome":"false_alarm","who":"erp","why":"","at_ms":1}',
        FEEDBACK,
    )
    draft = await rules.catch_up(fresh, why="a restart")
    assert draft is not None
    assert await factors(fresh) == {("zscore", "T30"): 1.05}
    assert (await rules.look(fresh)).unusable == 1
    assert await rules.catch_up(fresh, why="again") is None


async def test_an_event_is_found_by_the_first_letters_of_its_id(fresh: Settings) -> None:
    codec = Codec()
    producer = kafka.producer(fresh)
    await producer.start()
    try:
        for name in ("abc" + "x" * 21, "abd" + "x" * 21):
            one = event(id=name)
            await producer.send_and_wait(
                EVENTS,
                value=encode_event(codec, one),
                headers=list(cloudevents.headers(one).items()),
            )
    finally:
        await producer.stop()
    assert (await feedback.find_event(fresh, codec, "abd")).id.startswith("abd")
    with pytest.raises(SettingsError, match="several"):
        await feedback.find_event(fresh, codec, "ab")
    with pytest.raises(SettingsError, match="No event"):
        await feedback.find_event(fresh, codec, "q")
