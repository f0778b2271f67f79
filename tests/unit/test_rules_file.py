from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from pipeline.state.rules_file import MAX_BYTES, RulesFileError, load, parse

SHIPPED = Path("infra/config/rules.yaml")


def test_the_shipped_rules_are_read_and_metrics_say_only_what_differs() -> None:
    rules = load(SHIPPED)
    t30 = rules.of("T30")
    assert (t30.label, t30.unit, t30.limit.high) == ("HPC outlet temperature", "°R", 1603)
    assert t30.limit.enter_samples == rules.defaults.limit.enter_samples
    assert t30.warning == rules.defaults.warning
    assert rules.of("unheard_of") is rules.defaults
    assert rules.label == "fieldline-default@1"


def changed(old: str, new: str) -> str:
    text = SHIPPED.read_text(encoding="utf-8")
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new", "field", "why"),
    [
        ("clip: 3 ", "clip: lots ", "defaults.clip", "must be a number"),
        ("clip: 3 ", "clip: .inf ", "defaults.clip", "must be a number"),
        ("clip: 3 ", "clip: nan ", "defaults.clip", "must be a number"),
        ("clip: 3 ", "clip: [3] ", "defaults.clip", "must be a number"),
        ("clip: 3 ", "clips: 3 ", "defaults.clip", "is missing"),
        ("scale_floor: 1e-9", "scale_floor: 0", "defaults.scale_floor", "1e-12 or more"),
        ("warm_up: 20", "warm_up: 2.5", "defaults.warm_up", "whole number"),
        ("high: 1603", "hihg: 1603", "metrics.T30.limit.hihg", "is not a field here"),
        ("high: 1603", "high: 1603, low: 1700", "metrics.T30.limit.low", "under high"),
        ("high: 1603", "high: 1603, high: 1", "metrics.T30.limit.high", "given twice"),
        ("info:    {enter: 4.5", "info:    {enter: 1.5", "defaults.info.leave", "above enter"),
        ("version: 1", "version: x", "version", "must be a number"),
        ("cool_down: 60", "cool_down: 0", "episodes.cool_down", "whole number"),
        ("name: fieldline-default", "name: null", "name", "must be text"),
        ("metrics:\n", "metrics: 5\nother:\n", "metrics", "must be fields"),
    ],
)
def test_an_error_names_file_line_and_field(old: str, new: str, field: str, why: str) -> None:
    with pytest.raises(RulesFileError) as caught:
        parse(changed(old, new), "rules.yaml")
    text = str(caught.value)
    assert re.match(r"rules\.yaml line \d+: ", text)
    assert field in text
    assert why in text


def test_the_line_is_that_of_the_field() -> None:
    text = changed("high: 1603", "high: hot")
    line = next(i for i, row in enumerate(text.splitlines(), 1) if "hot" in row)
    with pytest.raises(RulesFileError, match=f"line {line}: metrics.T30.limit.high must be"):
        parse(text, "rules.yaml")


def test_a_lane_can_be_switched_off() -> None:
    rules = parse(changed("info:    {enter: 4.5", "info:    {enter: off"), "rules.yaml")
    assert rules.of("T30").info.enter == math.inf


def test_a_metric_can_drop_a_limit_of_the_defaults() -> None:
    text = changed("limit:   {low: null", "limit:   {low: -5")
    text = text.replace("limit: {high: 1603", "limit: {low: null, high: 1603")
    rules = parse(text, "rules.yaml")
    assert (rules.of("T30").limit.low, rules.of("T50").limit.low) == (None, -5)


@pytest.mark.parametrize("text", ["", "a: [", "- 1\n- 2\n", "just text", "? [a]\n: 1\n", "a: \x00"])
def test_what_is_no_rules_file_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(RulesFileError, match=r"rules\.yaml line 1"):
        parse(text, "rules.yaml")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RulesFileError, match="cannot be read"):
        load(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(RulesFileError, match="UTF-8"):
        load(tmp_path / "latin.yaml")
    (tmp_path / "long.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(RulesFileError, match="over"):
        load(tmp_path / "long.yaml")
