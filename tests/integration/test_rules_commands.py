"""fieldline rules and fieldline feedback, typed as a person would, on a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from infra.local.stack import Stack
from pipeline.cli import feedback, rules
from pipeline.ops import topics
from pipeline.settings import Settings, SettingsError, load
from pipeline.state.rules_document import with_version
from pipeline.state.rules_file import RulesFileError
from pipeline.topology import EVENTS, FEEDBACK, LAKE, RULES
from pipeline.topology import topics as all_topics
from pipeline.wire import cloudevents, kafka
from pipeline.wire.avro import Codec
from pipeline.wire.records import encode_event
from tests.unit.examples import event

pytestmark = pytest.mark.parts

SHIPPED = Path("infra/config/rules.yaml")
# No id that the pipeline makes holds 0 or 1 (base32), so the prefixes fit these events only.
EVENT = event(id="0a1" + "x" * 21, detector="zscore", metric="T30", summary="T30 is high")
LIMIT = event(id="0d1" + "x" * 21, detector="limit", metric="T30")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    stack = Stack(tmp_path_factory.mktemp("commands"), say=lambda _: None, only={"kafka"})
    try:
        address = stack.start()["KAFKA_BOOTSTRAP"]
        asyncio.run(prepare(Settings(kafka_bootstrap=address)))
        yield address
    finally:
        stack.stop()


async def prepare(settings: Settings) -> None:
    wanted = [topic for topic in all_topics((LAKE,)) if topic.name in (RULES, FEEDBACK, EVENTS)]
    admin = kafka.admin(settings)
    await admin.start()
    try:
        await topics.create(admin, wanted, settings)
    finally:
        await admin.close()
    producer = kafka.producer(settings)
    await producer.start()
    try:
        for one in (EVENT, LIMIT):
            await producer.send_and_wait(
                EVENTS,
                value=encode_event(Codec(), one),
                headers=list(cloudevents.headers(one).items()),
            )
    finally:
        await producer.stop()


@pytest.fixture
def here(broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A rules file beside a running broker."""
    file = tmp_path / "rules.yaml"
    text = with_version(SHIPPED.read_text(encoding="utf-8"), SHIPPED.name, 2)
    file.write_text(text, encoding="utf-8")
    monkeypatch.setenv("KAFKA_BOOTSTRAP", broker)
    monkeypatch.setenv("FIELDLINE_RULES_FILE", str(file))
    monkeypatch.setenv("COLUMNS", "160")
    load.cache_clear()
    yield file
    load.cache_clear()


def typed(*words: str) -> Result:
    app = feedback.app if words[0] == "feedback" else rules.app
    return CliRunner().invoke(app, list(words[1:]))


def said(*words: str) -> str:
    result = typed(*words)
    if result.exception is not None:
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def mended(file: Path, old: str, new: str) -> str:
    text = file.read_text(encoding="utf-8")
    assert old in text
    other = file.with_name("other.yaml")
    other.write_text(text.replace(old, new), encoding="utf-8")
    return str(other)


def test_a_day_with_the_rules(here: Path) -> None:
    other = mended(here, "high: 1603", "high: 1700")
    checked = said("rules", "check", other)
    assert "is valid" in checked
    for part in ("metrics.T30.limit.high", "1603", "1700", "version 2"):
        assert part in checked
    assert "Nothing was published" in said("rules", "history")

    applied = said("rules", "apply", other, "--why", "a new [sensor]", "--who", "anna")
    assert "Version 3 is in force." in applied
    assert "says the same" in said("rules", "apply", other, "--why", "again")
    assert "version: 3" in said("rules", "show")
    assert "It says the same as the rules in force, version 3" in said("rules", "check", other)
    with pytest.raises(SettingsError, match="Version 3 by anna is in force and not 2"):
        said("rules", "apply", str(here), "--why", "x", "--expect", "2")

    told = said("feedback", "0a1", "false-alarm", "--why", "nothing found", "--who", "bert")
    assert "T30 is high" in told
    assert (
        "zscore of T30: thresholds by 1.050, were by 1.000 (false alarms: 1, confirmed: 0)" in told
    )
    assert "Version 4 is in force." in told
    again = said("feedback", "0a1", "false-alarm", "--why", "nothing found", "--who", "bert")
    assert "It was told before" in again
    assert "# learnt: thresholds of zscore for T30 by 1.05" in said("rules", "show")
    assert "change it there" in said("feedback", "0d1", "false-alarm", "--why", "the limit")
    listed = [json.loads(line) for line in said("feedback", "list", "--json").splitlines()]
    assert [(row["event_id"], row["state"]) for row in listed] == [
        (EVENT.id, "counts"),
        (LIMIT.id, "counts"),
    ]

    back = said("feedback", "revert", "0a1", "--why", "found it after all", "--who", "bert")
    assert "were by 1.050" in back
    reverted = said("rules", "revert", "2", "--why", "the sensor went back", "--who", "anna")
    assert "Version 6 is in force." in reverted
    assert "1603" in reverted
    with pytest.raises(SettingsError, match="Version 6 is in force already"):
        said("rules", "revert", "6", "--why", "x")
    with pytest.raises(SettingsError, match="There is no rules version 99"):
        said("rules", "revert", "99", "--why", "x")

    history = said("rules", "history")
    for part in ("a new [sensor]", "feedback", "(again 2)", "* 6"):
        assert part in history
    records = [json.loads(line) for line in said("rules", "history", "--json").splitlines()]
    assert [record["version"] for record in records] == [3, 4, 5, 6]
    assert [record["current"] for record in records] == [False, False, False, True]
    assert json.loads(said("rules", "show", "--version", "3", "--json"))["who"] == "anna"
    assert "warm_up: 20" in said("rules", "show", "--effective")
    table = said("feedback", "list")
    for part in ("found it after all", "withdrawn", "set aside by a revert"):
        assert part in table


def test_a_file_that_cannot_be_used_is_one_sentence(here: Path) -> None:
    other = mended(here, "high: 1603", "high: hot")
    for words in (("rules", "check", other), ("rules", "apply", other, "--why", "x")):
        with pytest.raises(RulesFileError, match=r"metrics\.T30\.limit\.high must be a number"):
            said(*words)


def test_a_file_can_be_checked_without_a_broker(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "127.0.0.1:1")
    load.cache_clear()
    checked = said("rules", "check", mended(here, "high: 1603", "high: 1700"))
    assert "1700" in checked
    assert "no running pipeline can be asked" in checked.replace("\n", " ")


def test_a_reason_is_needed_and_must_say_something(here: Path) -> None:
    assert typed("rules", "apply", str(here)).exit_code == 2
    assert typed("feedback", "0a1", "perhaps", "--why", "x").exit_code == 2
    with pytest.raises(SettingsError, match="--why must be 1 to 500"):
        said("rules", "apply", str(here), "--why", " ")
    with pytest.raises(SettingsError, match="No event '01'"):
        said("feedback", "01", "confirmed", "--why", "x")
