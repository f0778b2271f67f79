from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from pipeline.core.feedback import Outcome, Span, Told, Verdict
from pipeline.core.rules import Rules
from pipeline.ops.rules import Now, compose
from pipeline.settings import SettingsError
from pipeline.state.rules_document import with_version
from pipeline.state.rules_file import RulesFileError
from pipeline.state.rules_versions import CURRENT, UnusableError, Version, Versions, decode, key_of
from tests.unit.rules_world import MADE_UP, TEXT, changed

FACTORS = {("level", "oil"): 1.1, ("level", "fuel"): 0.9}


def version(number: int = 7, text: str = TEXT) -> Version:
    return Version(
        version=number,
        text=with_version(text, "test", number),
        factors=FACTORS,
        who="anna",
        why="too many alarms",
        at_ms=5,
        reverted_from=3,
        feedback_end=9,
        set_aside=(Span(2, 4),),
    )


def put(versions: Versions, *added: Version) -> None:
    for one in added:
        assert versions.apply(one.key, one.encode()) is None
        assert versions.apply(CURRENT, str(one.version).encode()) is None


def test_a_version_is_the_same_after_the_topic() -> None:
    assert decode(version().encode()) == version()


def test_its_rules_carry_its_number_and_factors() -> None:
    rules = version(12).rules(MADE_UP)
    assert rules.label == "plant@12"
    assert rules.factor("level", "oil") == 1.1
    with pytest.raises(RulesFileError, match="rules version 8 line 1: the text says version 7"):
        replace(version(), version=8).rules(MADE_UP)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("version", 0, "whole number from 1"),
        ("version", True, "whole number"),
        ("text", None, "is no text"),
        ("factors", [], "wrong type"),
        ("factors", {"level": {"oil": 0}}, "is no factor"),
        ("factors", {"level": {"oil": "2"}}, "is no number"),
        ("at_ms", "now", "whole number"),
        ("reverted_from", -1, "whole number"),
        ("set_aside", [[1]], "wrong type"),
    ],
)
def test_a_record_with_a_wrong_field_says_which(field: str, value: object, why: str) -> None:
    record = orjson.loads(version().encode()) | {field: value}
    with pytest.raises(UnusableError, match=why):
        decode(orjson.dumps(record))


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b"\xff", b"x" * (5 * 1024 * 1024)])
def test_what_is_no_record_is_refused(value: bytes) -> None:
    with pytest.raises(UnusableError):
        decode(value)


def test_versions_are_found_by_number_and_a_deleted_one_is_gone() -> None:
    versions = Versions()
    put(versions, version(7), version(8))
    assert (versions.current, versions.numbers()) == (8, [7, 8])
    found = versions.rules(7, MADE_UP)
    assert isinstance(found, Rules)
    assert versions.rules(7, MADE_UP) is found
    versions.apply(key_of(7), None)
    assert (versions.numbers(), versions.rules(7, MADE_UP)) == ([8], None)


def test_a_message_that_cannot_be_used_changes_nothing() -> None:
    versions = Versions()
    put(versions, version(7))
    for key, value in (
        (None, b"x"),
        (b"version/x", version().encode()),
        (b"version/8", version(7).encode()),
        (b"version/8", b"x"),
        (CURRENT, b"-1"),
        (CURRENT, None),
        (b"version/99999999999", version().encode()),
    ):
        assert versions.apply(key, value)
    assert (versions.current, versions.numbers()) == (7, [7])


def test_a_text_that_cannot_be_used_is_an_error_and_not_an_absence() -> None:
    versions = Versions()
    put(versions, replace(version(8), text="name: x\nversion: 8\n"))
    found = versions.rules(8, MADE_UP)
    assert isinstance(found, RulesFileError)
    assert "rules version 8 line 1: defaults is missing" in str(found)


def test_only_a_few_are_kept_parsed() -> None:
    versions = Versions()
    put(versions, *(version(n) for n in range(1, 30)))
    for n in range(1, 30):
        assert isinstance(versions.rules(n, MADE_UP), Rules)
    assert len(versions._parsed) < 10  # noqa: SLF001 - the bound is the point


def outcome(event_id: str) -> Outcome:
    return Outcome(
        event_id=event_id,
        detector="level",
        metric="oil",
        tenant="acme",
        outcome=Verdict.FALSE_ALARM,
        who="anna",
        why="",
        at_ms=0,
    )


def now(versions: Versions, *told: str) -> Now:
    return Now(
        versions=versions,
        file=Version(version=7, text=TEXT, who="", why="the file", at_ms=0),
        log=tuple(Told(offset=n, outcome=outcome(name)) for n, name in enumerate(told)),
        feedback_end=len(told),
        unusable=0,
    )


def drafted(stand: Now, base: Version, *, revert: bool = False) -> Version:
    draft = compose(stand, base, who="a", why="b", at_ms=1, revert=revert, detectors=MADE_UP)
    assert draft.rules == draft.version.rules(MADE_UP)
    return draft.version


def test_the_first_version_comes_after_the_file_and_the_next_after_the_last() -> None:
    versions = Versions()
    first = drafted(now(versions), now(versions).file)
    assert (first.version, "version: 8\n" in first.text) == (8, True)
    put(versions, first)
    assert drafted(now(versions), now(versions).current).version == 9
    ahead = Version(version=40, text=changed("version: 7", "version: 40"), who="", why="", at_ms=0)
    assert drafted(now(versions), ahead).version == 40


def test_a_new_text_keeps_what_was_learnt() -> None:
    versions = Versions()
    put(versions, drafted(now(versions, "a"), now(versions).file))
    stand = now(versions, "a")
    other = replace(stand.file, text=changed("high: 9", "high: 8"))
    assert drafted(stand, other).factors == {("level", "oil"): 1.1}
    without = replace(stand.file, text=changed("feedback: {step: 0.1, least: 0.5, most: 2}", ""))
    assert drafted(stand, without).factors == {}


def test_a_revert_sets_aside_what_was_told_since_and_only_that() -> None:
    versions = Versions()
    put(versions, drafted(now(versions, "a"), now(versions).file))
    put(versions, drafted(now(versions, "a", "b"), now(versions).current))
    stand = now(versions, "a", "b", "c")
    back = drafted(stand, stand.version(8), revert=True)
    assert (back.version, back.reverted_from, back.set_aside) == (10, 8, (Span(1, 3),))
    assert back.factors == {("level", "oil"): 1.1}
    put(versions, back)
    later = now(versions, "a", "b", "c", "d")
    assert drafted(later, later.current).factors == {("level", "oil"): 1.1**2}
    # Going forward again to where b was counted takes in b and leaves out c and d.
    forward = drafted(later, later.version(9), revert=True)
    assert (forward.factors, forward.set_aside) == ({("level", "oil"): 1.1**2}, (Span(2, 4),))


def test_a_version_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(SettingsError, match="There is no rules version 3"):
        now(Versions()).version(3)
    assert now(Versions()).version(7) == now(Versions()).file
