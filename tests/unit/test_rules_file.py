from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.detectors.geofence import Circle
from pipeline.core.detectors.table import DETECTORS, Detector
from pipeline.core.events import Severity
from pipeline.core.rules import EpisodeRule, LaneRule, MetricRule
from pipeline.state.rules_document import differences, dump, with_version
from pipeline.state.rules_file import MAX_BYTES, TOP_FIELDS, RulesFileError, load, parse
from tests.unit.rules_world import MADE_UP, TEXT, changed, parsed

SHIPPED = Path("infra/config/rules.yaml")
REFERENCE = Path("infra/config/RULES.md")


def lanes(rule: MetricRule, detector: str) -> tuple[LaneRule, ...]:
    found = rule.of(detector)
    assert found is not None
    return found.lanes


def params(rule: MetricRule, detector: str) -> tuple[float, ...]:
    found = rule.of(detector)
    assert found is not None
    return found.params


def test_the_shipped_rules_mean_for_engines_what_they_always_meant() -> None:
    rules = load(SHIPPED)
    t30 = rules.of("T30")
    assert (t30.label, t30.unit) == ("HPC outlet temperature", "°R")
    assert params(t30, "limit") == (-math.inf, 1603, 4)
    assert [(lane.severity, lane.enter, lane.leave) for lane in lanes(t30, "limit")] == [
        (Severity.CRITICAL, 0.0, -1.0)
    ]
    assert [(lane.severity, lane.agree) for lane in lanes(t30, "zscore")] == [
        (Severity.INFO, 1),
        (Severity.WARNING, 3),
    ]
    assert rules.of("T2").of("limit") is None
    assert rules.of("unheard_of") is rules.defaults
    assert {rule.detector for rule in rules.defaults.detectors} == {"novelty"}
    assert rules.of("T30").of("novelty") is None
    assert rules.label == "fieldline-default@3"


def test_the_shipped_rules_clear_what_lasts_and_not_what_happens_once() -> None:
    rules = load(SHIPPED)
    for metric in rules.metrics:
        clearing = {rule.detector for rule in rules.of(metric).detectors if rule.clears}
        assert clearing == {rule.detector for rule in rules.of(metric).detectors}
    assert not any(rule.clears for rule in rules.defaults.detectors)


def test_the_examples_in_comments_of_the_shipped_rules_can_be_used() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    # Examples are comments that begin a part, or stand deeper than prose does.
    text = re.sub(r"(?m)^( *)# (geofence:|overrides:|zscore:.*|  .*)$", r"\1\2", text)
    rules = parse(text, "rules.yaml")
    assert rules.geofence is not None
    assert rules.geofence.fences.names == ("depot", "harbour")
    assert rules.episodes["zscore"].cool_down == 120
    assert params(rules.of("T30", "acme", "old-7"), "limit")[1] == 1610


def test_a_metric_says_only_what_differs_from_the_defaults() -> None:
    rules = parsed()
    oil = rules.of("oil")
    assert (oil.label, oil.unit) == ("Oil level", "%")
    assert params(oil, "level") == (50.0, 0.1)
    info, warning = lanes(oil, "level")
    assert info == lanes(rules.defaults, "level")[0]
    assert (warning.enter, warning.leave, warning.agree) == (7.0, 6.0, 3)
    assert params(oil, "edge") == (1.0, 9.0)


def test_whether_a_detector_clears_is_inherited_and_can_be_switched_off_again() -> None:
    rules = parsed(changed("    memory: 50\n", "    memory: 50\n    clears: true\n"))
    off = changed("    memory: 50\n", "    memory: 50\n    clears: true\n").replace(
        "level: {floor: 0.1,", "level: {floor: 0.1, clears: false,"
    )
    for found, wanted in ((parsed(), False), (rules, True), (parsed(off), False)):
        level = found.of("oil").of("level")
        assert level is not None
        assert level.clears is wanted
        assert parsed(dump(found, MADE_UP)) == found
    [one] = differences(rules, parsed(off), MADE_UP)[:1]
    assert (one.field, one.before, one.after) == ("metrics.oil.level.clears", None, "false")


def test_a_detector_kept_for_listed_metrics_is_on_only_where_one_names_it() -> None:
    rules = parsed()
    assert rules.defaults.of("edge") is None
    assert rules.of("oil").of("edge") is not None
    assert rules.of("temp[1]").of("level") is None


def test_an_override_keeps_what_is_the_metrics_own_and_the_first_one_counts() -> None:
    rules = parsed()
    acme, pump = rules.of("oil", tenant="acme"), rules.of("oil", device_class="pump-3")
    assert [lane.severity for lane in lanes(acme, "level")] == [Severity.WARNING]
    assert (pump.label, params(pump, "level")) == ("Oil level", (10.0, 0.1))
    assert params(rules.of("other", device_class="pump-3"), "level") == (10.0, 0.0)
    assert rules.of("oil", "acme", "pump-3") == acme
    assert rules.of("oil", "other", "motor") == rules.metrics["oil"]
    # A metric whose name looks like a pattern is matched as it stands.
    assert params(rules.of("temp[1]", device_class="pump-3"), "level") == (10.0, 0.0)


def test_a_detector_may_bring_thresholds_and_cool_down_of_its_own() -> None:
    rules = parsed(changed("  edge:\n", "  own: {info: {}}\n  edge:\n"))
    [lane] = lanes(rules.defaults, "own")
    assert (lane.enter, lane.leave) == (0.06, 0.01)
    assert rules.episode("own") == EpisodeRule(cool_down=26)
    assert rules.episode("level") == EpisodeRule(cool_down=30, min_duration_s=5.0)
    assert rules.episode("edge") == EpisodeRule(cool_down=30)


def test_parts_that_are_left_out_or_off_are_not_there() -> None:
    rules = parse("name: x\nversion: 1\nsilent: off\nstorm:\ndefaults: {}\n", "f", MADE_UP)
    assert (rules.silent, rules.storm_asset, rules.geofence, rules.drift) == (None,) * 4
    assert (rules.feedback, rules.defaults.detectors, rules.review_below) == (None, (), 0.0)


def test_the_parts_about_devices_are_read() -> None:
    rules = parsed()
    assert rules.silent is not None
    assert (rules.silent.after_s, rules.silent.severity) == (600.0, Severity.WARNING)
    assert rules.geofence is not None
    assert rules.geofence.fences.fences["yard"] == Circle(52.5, 13.4, 500.0)
    assert rules.storm_asset is not None
    assert (rules.storm_asset.events, rules.storm_site) == (5, None)
    assert rules.review_below == 0.25


@pytest.mark.parametrize(
    ("old", "new", "field", "why"),
    [
        ("name: plant", "name: null", "name", "must be text"),
        ("memory: 50", "clears: yes", "defaults.level.clears", "must be true or false"),
        ("name: plant", "name: the plant", "name", "must be 1 to 64 letters"),
        ("name: plant\n", "", "name", "is missing"),
        ("version: 7", "version: x", "version", "must be a number"),
        ("version: 7", "version: 0", "version", "whole number"),
        ("version: 7", "version: 1.5", "version", "whole number"),
        ("review_below: 0.25", "review_below: 2", "review_below", "from 0 to 1"),
        ("review_below:", "reviewbelow:", "reviewbelow", "did you mean review_below"),
        ("cool_down: 30", "cool_down: 0", "episodes.default.cool_down", "whole number"),
        ("level: {min_", "leval: {min_", "episodes.leval", "did you mean level"),
        ("min_duration_s: 5", "min_duration_s: -1", "episodes.level.min_duration_s", "0 to"),
        ("asset: {", "engine: {", "storm.engine", "there are asset, site"),
        ("events: 5", "events: 0", "storm.asset.events", "whole number"),
        (", window_s: 60", "", "storm.asset.window_s", "is missing"),
        ("severity: warning", "severity: bad", "silent.severity", "one of info, warning"),
        ("after_s: 600", "after_s: 0", "silent.after_s", "from 1 to"),
        ("circle: [52.5, 13.4, 500]", "circle: [52.5]", "fences.yard.circle", "latitude"),
        ("[52.5, 13.4, 500]", "[95, 13.4, 500]", "fences.yard", "is no area"),
        ("[52.5, 13.4, 500]", "[52.5, 13.4, far]", "fences.yard.circle[3]", "number"),
        ("[[53.5, 9.9], ", "[", "fences.field", "three different corners"),
        ("[53.5, 9.9]", "53.5", "fences.field.polygon[1]", "must be a list"),
        ("circle: [", "square: [", "fences.yard.square", "there are circle, polygon"),
        ("p: 1e-6", "p: 1", "drift.p", "from 1e-15 to 0.5"),
        ("step: 0.1", "step: 0", "feedback.step", "from 0.001 to 1"),
        ("most: 2", "most: 0.5", "feedback.most", "from 1 to 100"),
        ("memory: 50", "memory: lots", "defaults.level.memory", "must be a number"),
        ("memory: 50", "memory: .inf", "defaults.level.memory", "must be a number"),
        ("memory: 50", "memory: nan", "defaults.level.memory", "must be a number"),
        ("memory: 50", "memory: [3]", "defaults.level.memory", "must be a number"),
        ("memory: 50", "memory: null", "defaults.level.memory", "must be a number"),
        ("memory: 50", "memory: 0", "defaults.level.memory", "1e-12 or more"),
        ("memory: 50", "memori: 50", "defaults.level.memori", "did you mean memory"),
        ("floor: 0.1", "floor: 10", "metrics.oil.level.floor", "from 0 to 9"),
        ("  level:\n    mem", "  zscroe:\n    mem", "defaults.zscroe", "level, edge, own"),
        ("level: off", "level: none", "metrics.temp[1].level", "must be fields"),
        ("level: off", "level: null", "metrics.temp[1].level", "or off"),
        ("level: off", "own: {gain: 1}", "metrics.temp[1].own", "has no lane"),
        ("level: off", "edge: {low: 1, low: 2}", "metrics.temp[1].edge.low", "given twice"),
        ("low: 1, high: 9", "low: 9, high: 9", "metrics.oil.edge.low", "not under high"),
        ("applies: listed", "applies: some", "defaults.edge.applies", "all, listed"),
        ("edge: {low: 1", "edge: {applies: all, low: 1", "oil.edge.applies", "not a field"),
        ("leave: 3,", "leave: 5,", "defaults.level.info.leave", "above enter, 4"),
        ("enter: 4,", "enter: -4,", "defaults.level.info.enter", "0 or more"),
        ("enter: 4, leave", "leave", "defaults.level.info.enter", "is missing"),
        ("enter_samples: 5", "enter_samples: 0", "info.enter_samples", "whole number"),
        ("agree: 3", "agree: 3000", "defaults.level.warning.agree", "1 to 1000"),
        ("warning: {enter: 6", "warnings: {enter: 6", "level.warnings", "mean warning"),
        ("{after_s: 600, severity: warning}", "5", "silent", "must be fields"),
        ("when: {class: pump-*}", "when: {}", "overrides[2].when", "names nothing"),
        ("when: {class:", "when: {site:", "overrides[2].when.site", "is not a field"),
        ("set: {level: {m", "put: {level: {m", "overrides[2].put", "there are when, set"),
        ("memory: 10", "memory: x", "overrides[2].set.level.memory", "must be a number"),
    ],
)
def test_an_error_names_file_line_and_field(old: str, new: str, field: str, why: str) -> None:
    with pytest.raises(RulesFileError) as caught:
        parsed(changed(old, new))
    said = re.fullmatch(r"rules\.yaml line \d+: (\S+) (.+)\.", str(caught.value))
    assert said is not None, caught.value
    assert said[1].endswith(field)
    assert why in said[2]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 7", "version: here"),
        ("events: 5", "here: 5"),
        ("[53.5, 10.0]", "[here, 10.0]"),
        ("floor: 0.1", "floor: here"),
        ("memory: 10", "memory: here"),
    ],
)
def test_the_line_is_that_of_the_field(old: str, new: str) -> None:
    text = changed(old, new)
    line = next(i for i, row in enumerate(text.splitlines(), 1) if "here" in row)
    with pytest.raises(RulesFileError, match=rf"^rules\.yaml line {line}: "):
        parsed(text)


@pytest.mark.parametrize("text", ["", "a: [", "- 1\n- 2\n", "just text", "? [a]\n: 1\n", "a: \x00"])
def test_what_is_no_rules_file_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(RulesFileError, match=r"rules\.yaml line 1"):
        parsed(text)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RulesFileError, match="cannot be read"):
        load(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(RulesFileError, match="UTF-8"):
        load(tmp_path / "latin.yaml")
    (tmp_path / "long.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(RulesFileError, match="over"):
        load(tmp_path / "long.yaml")
    with pytest.raises(RulesFileError, match="over"):
        parsed("#" * (MAX_BYTES + 1))


SCRAPS = (
    "",
    "off",
    "null",
    "[]",
    "{}",
    "-1",
    "1e999",
    "[[1]]",
    "*x",
    "&x {}",
    ": ",
    "\t",
    "'",
    "~",
)


@given(st.integers(0, len(TEXT)), st.integers(0, 12), st.sampled_from(SCRAPS))
def test_a_damaged_file_is_rules_or_one_error_and_never_anything_else(
    at: int, length: int, scrap: str
) -> None:
    try:
        rules = parsed(TEXT[:at] + scrap + TEXT[at + length :])
    except RulesFileError as error:
        assert re.match(r"rules\.yaml line \d+: ", str(error))  # noqa: PT017 - both ends are right
    else:
        assert parsed(dump(rules, MADE_UP)) == rules


def test_an_alias_stands_for_what_it_names_and_cannot_blow_up() -> None:
    text = changed("level: off", "level: &same {memory: 5}")
    text = text.replace("edge: {low: 1, high: 9}", "edge: {low: 1}", 1)
    rules = parsed(text + "  - when: {tenant: t}\n    set: {level: *same}\n")
    assert params(rules.of("any", tenant="t"), "level")[0] == 5.0
    with pytest.raises(RulesFileError, match="is not a field"):
        parsed("name: &a {b: *a}\nversion: 1\ndefaults: *a\n")


def test_overrides_that_match_too_much_are_refused() -> None:
    metrics = "".join(f"  m{n}: {{}}\n" for n in range(2_000))
    text = changed("metrics:\n", f"metrics:\n{metrics}")
    rows = "".join(f"  - when: {{tenant: t{n}}}\n    set: {{}}\n" for n in range(60))
    with pytest.raises(RulesFileError, match="overrides matches too many metrics"):
        parsed(text + rows)


def test_rules_written_out_again_are_the_same_rules() -> None:
    rules = parsed()
    assert parsed(dump(rules, MADE_UP)) == rules
    shipped = load(SHIPPED)
    assert parse(dump(shipped, DETECTORS), "dump") == shipped


def test_differences_name_the_fields_that_differ() -> None:
    rules = parsed()
    other = parsed(
        changed("high: 9", "high: 10")
        .replace("info: off", "warning: off")
        .replace("step: 0.1", "step: 0.2")
        .replace("version: 7", "version: 8")
    )
    found = {d.field: (d.before, d.after) for d in differences(rules, other, MADE_UP)}
    assert found["metrics.oil.edge.high"] == ("9", "10")
    assert found["feedback.step"] == ("0.1", "0.2")
    override = "overrides[tenant=acme class=* metric=oil].level"
    assert found[f"{override}.info"] == ("off", None)
    assert found[f"{override}.warning"] == (None, "off")
    assert "version" not in found
    assert differences(rules, replace(rules, factors={("level", "oil"): 2.0}), MADE_UP) == []


def test_another_version_number_changes_nothing_else() -> None:
    text = with_version(TEXT, "rules.yaml", 1234)
    assert text == TEXT.replace("version: 7", "version: 1234")
    assert parsed(text) == replace(parsed(), version=1234)
    with pytest.raises(RulesFileError, match="line 2: version is missing"):
        with_version("# x\nname: a\n", "rules.yaml", 2)
    with pytest.raises(RulesFileError, match="plain number"):
        with_version("version: &v 7\nname: *v\n", "rules.yaml", 2)


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda one: one.name)
def test_the_reference_has_every_parameter_with_its_default(detector: Detector) -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    section = text.split(f"### {detector.name}: ", 1)[1].split("\n##", 1)[0]
    rows = dict(re.findall(r"(?m)^\| `(\w+)` \| (\S+) \|", section))
    # Parameters of novelty are tuned together by a program: they are no setting for people.
    wanted = {} if detector.name == "novelty" else detector.defaults
    assert rows == {
        name: f"{value:g}" if math.isfinite(value) else "null" for name, value in wanted.items()
    }


def test_the_reference_has_every_field() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    lane, rules = (cls.__slots__ for cls in (LaneRule, EpisodeRule))
    for name in (*TOP_FIELDS, *lane, *rules, "clears"):
        assert name == "severity" or f"`{name}" in text or f".{name}`" in text, name
