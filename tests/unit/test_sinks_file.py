"""The sinks' file: what it says is what holds, and what is wrong in it is named."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.breaker import BreakerPolicy
from pipeline.core.retry import RetryPolicy
from pipeline.core.sinks import RetryClass, SinkPolicy
from pipeline.settings import Settings, SettingsError
from pipeline.state.sinks_file import (
    BREAKER,
    CLASS,
    DEFAULTS,
    MAX_BYTES,
    RETRY,
    SINK,
    load_sinks,
    parse_sinks,
    policy_of,
)

SHIPPED = Path("infra/config/sinks.yaml")
REFERENCE = Path("infra/config/SINKS.md")
SETTINGS = Settings(delivery_request_s=3, delivery_settle_s=7, _env_file=None)
TEXT = """\
version: 1
defaults:
  retry: {max_attempts: 3}
  classes: [{codes: "http.*", cap_s: 90}]
  lanes: 2
  tenant_rate_per_s: 5
sinks:
  erp:
    retry: {base_s: 2, request_s: 4, settle_s: 11}
    classes:
      - {codes: http.429, base_s: 9}
    breaker: {failures: 2, cap_s: 9}
    lanes: 8
    tenant_rate_per_s: off
    rate_per_s: 100
    burst_s: 0.5
  crm:
"""


def policy(sink: str, text: str = TEXT) -> SinkPolicy:
    return policy_of(parse_sinks(text, "f"), sink, SETTINGS)


def test_a_sink_has_its_own_figures_then_the_defaults_then_those_of_the_settings() -> None:
    assert policy("erp") == SinkPolicy(
        retry=RetryPolicy(base_s=2, max_attempts=3, request_s=4, settle_s=11),
        classes=(
            RetryClass(codes="http.429", base_s=9),
            RetryClass(codes="http.*", cap_s=90),
        ),
        breaker=BreakerPolicy(failures=2, cap_s=9),
        lanes=8,
        tenant_lanes=8,
        rate_per_s=100,
        burst_s=0.5,
    )
    crm = policy("crm")
    assert crm.retry == RetryPolicy(max_attempts=3, request_s=3, settle_s=7)
    assert (crm.lanes, crm.tenant_lanes, crm.tenant_rate_per_s) == (2, 2, 5)
    assert policy("not-named") == crm
    retry = RetryPolicy(request_s=3, settle_s=7)
    assert policy("x", "version: 1\n") == SinkPolicy(retry=retry)


def test_a_tenant_never_has_more_lanes_than_the_sink() -> None:
    text = "version: 1\ndefaults: {tenant_lanes: 3}\nsinks: {a: {lanes: 2}, b: {lanes: 9}}\n"
    assert (policy("a", text).tenant_lanes, policy("b", text).tenant_lanes) == (2, 3)


def test_the_shipped_file_notices_a_target_that_is_back_within_ten_seconds() -> None:
    tryton = policy_of(load_sinks(SHIPPED), "tryton", SETTINGS)
    assert (tryton.retry.cap_s, tryton.breaker.cap_s) == (10, 10)
    assert (tryton.retry.request_s, tryton.retry.settle_s) == (3, 7)


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("version: 1\n", "", 1, "version is missing"),
        ("version: 1", "version: 2", 1, "version must be a whole number, 1 to 1"),
        ("lanes: 2", "lane: 2", 5, "defaults.lane is not a field here; did you mean lanes"),
        ("lanes: 2", "lanes: 0", 5, "defaults.lanes must be a whole number, 1 to 1000"),
        ("lanes: 2", "lanes: off", 5, "defaults.lanes must be a number"),
        ("lanes: 2", "in_hand: 1\n  in_hand: 2", 6, "defaults.in_hand is given twice"),
        ("max_attempts: 3", "max_attempts: x", 3, "defaults.retry.max_attempts must be a number"),
        ("retry: {max_attempts: 3}", "retry: 5", 3, "defaults.retry must be fields"),
        ("erp:", "ERP:", 8, "sinks.ERP is no sink's name"),
        ("erp:", "defaults:", 8, "sinks.defaults is no sink's name"),
        ("base_s: 2", "base_s: 0", 9, "sinks.erp.retry.base_s must be a number from 0.001"),
        ("base_s: 2", "base_s: .nan", 9, "sinks.erp.retry.base_s must be a number"),
        ("http.429", "http 429", 11, "sinks.erp.classes[1].codes must be a code or a pattern"),
        (", base_s: 9", "", 11, "sinks.erp.classes[1] changes nothing; add one of base_s"),
        ("base_s: 9", "settle_s: 9", 11, "sinks.erp.classes[1].settle_s is not a field here"),
        ("rate_per_s: 100", "rate_per_s: -1", 15, "sinks.erp.rate_per_s must be a number from"),
        ("crm:", "crm: [1]", 17, "sinks.crm must be fields"),
    ],
)
def test_an_error_names_the_line_and_the_field_in_one_sentence(
    old: str, new: str, line: int, says: str
) -> None:
    assert old in TEXT
    with pytest.raises(SettingsError) as caught:
        parse_sinks(TEXT.replace(old, new, 1), "sinks.yaml")
    text = str(caught.value)
    assert text.startswith(f"sinks.yaml line {line}: {says}")
    assert re.fullmatch(r"[^\n]+\.", text)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("base_s: 2,", "base_s: 61,", "line 8: sinks.erp cannot be used (the retry policy needs"),
        ("settle_s: 11", "settle_s: 4", "request_s < settle_s"),
        ("request_s: 4, settle_s: 11", "request_s: 7", "request_s < settle_s"),
        ("base_s: 9", "base_s: 61", "base_s <= cap_s"),
    ],
)
def test_figures_that_contradict_each_other_are_refused_with_the_sinks_place(
    old: str, new: str, says: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(says)):
        policy("erp", TEXT.replace(old, new, 1))
    assert policy("crm", TEXT.replace(old, new, 1))


NAMES = """\
version: 1
defaults: {withheld: [personal]}
sinks:
  crm: {masked: [customer.name, ids.salesforce.account], regions: [eu, uk]}
  erp: {withheld: []}
"""


def test_what_may_leave_is_lists_of_names_and_a_sink_has_its_own() -> None:
    crm, erp = policy("crm", NAMES), policy("erp", NAMES)
    assert crm.masked == {"customer.name", "ids.salesforce.account"}
    assert crm.withheld == {"personal"}
    assert crm.regions == {"eu", "uk"}
    assert (erp.masked, erp.withheld, erp.regions) == (frozenset(),) * 3
    assert policy("other", NAMES).withheld == {"personal"}
    norway = policy("crm", NAMES.replace("[eu, uk]", "[no, 47]"))
    assert norway.regions == {"no", "47"}


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("[personal]", "personal", 2, "defaults.withheld must be a list"),
        ("[personal]", "[[a]]", 2, "defaults.withheld[1] must be text"),
        ("[personal]", "{a: b}", 2, "defaults.withheld must be a list"),
        ("[personal]", f"[{', '.join('x' * 101)}]", 2, "defaults.withheld has more than 100"),
        ("[eu, uk]", "off", 4, "sinks.crm.regions must be a list"),
    ],
)
def test_what_is_no_list_of_names_is_refused_with_its_place(
    old: str, new: str, line: int, says: str
) -> None:
    assert old in NAMES
    with pytest.raises(SettingsError, match=re.escape(f"f line {line}: {says}")):
        policy("crm", NAMES.replace(old, new, 1))


def test_a_file_that_cannot_be_read_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "sinks.yaml"
    for content, says in (
        (None, "FIELDLINE_SINKS_FILE"),
        (b"\xff", "UTF-8"),
        (b"#" * (MAX_BYTES + 1), "shorten it"),
        (b"a: [", "not YAML"),
        (b"", "empty"),
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SettingsError, match=says) as caught:
            load_sinks(path)
        assert "\n" not in str(caught.value)


@given(st.text(alphabet="version: 1\nsinks{}[]&*<!,erp.retrybase_s'\"#-%@", max_size=80))
def test_whatever_stands_there_it_is_policies_or_one_error(text: str) -> None:
    try:
        parsed = parse_sinks(text, "f")
    except SettingsError:
        return
    assert DEFAULTS in parsed


def test_every_field_of_the_policies_can_be_set_in_the_file() -> None:
    own = {f.name for f in fields(SinkPolicy)} - {"retry", "classes", "breaker"}
    assert set(SINK) == own
    assert set(RETRY) == {f.name for f in fields(RetryPolicy)}
    assert set(BREAKER) == {f.name for f in fields(BreakerPolicy)}
    assert set(CLASS) | {"codes"} == {f.name for f in fields(RetryClass)}


def test_the_reference_has_every_field_with_the_default_that_holds() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    parts = dict(re.findall(r"(?ms)^## (.+?)$(.*?)(?=^## |\Z)", text))
    for title, known, kind in (
        ("A sink", SINK, SinkPolicy),
        ("`retry`", RETRY, RetryPolicy),
        ("`breaker`", BREAKER, BreakerPolicy),
    ):
        rows = re.findall(r"(?m)^\| `(\w+)` \|.*\| ([^|]*) \|$", parts[title])
        told = {name: default for name, default in rows if name in known}
        assert set(told) == set(known)
        assert {name for name, _ in rows} <= {*known, "retry", "classes", "breaker"}
        for given_field in fields(kind):
            if given_field.default is not MISSING and given_field.name in told:
                default = told[given_field.name]
                if default == "as `lanes`":
                    assert given_field.default == SinkPolicy().lanes
                elif default == "off":
                    assert given_field.default is None
                elif default in {"none", "all"}:
                    assert given_field.default == frozenset()
                else:
                    assert float(default) == given_field.default
    for name in CLASS:
        assert f"`{name}`" in parts["`classes`"]


def test_the_example_of_the_reference_can_be_used() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    example = re.search(r"(?ms)^    version: 1\n.*?\n\n", text)
    assert example is not None
    tryton = policy("tryton", re.sub(r"(?m)^    ", "", example[0]))
    locked = replace(tryton.retry, base_s=5, max_attempts=20)
    assert tryton.retry_for("tryton.locked") == locked
    assert (tryton.breaker.cap_s, tryton.rate_per_s, tryton.tenant_rate_per_s) == (30, 50, 10)
