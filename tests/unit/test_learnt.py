"""What targets say of their limits: read where it can be, bounded whatever they say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.learnt import MAX_REQUESTS, MAX_WINDOW_S, Learnt, Quota, learnt

NOW = 1_800_000_000.0


def told(remaining: float, in_s: float, limit: float | None = None) -> Learnt:
    return Learnt(remaining=remaining, until_s=NOW + in_s, limit=limit)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"RateLimit": '"default";r=50;t=30'}, told(50, 30)),
        (
            {
                "RateLimit-Policy": '"burst";q=100;w=60, "day, long";q=1000;w=86400;qu="requests"',
                "RateLimit": '"burst";r=7, "day, long";r=900;t=1000',
            },
            told(7, 60, 100),
        ),
        ({"RateLimit-Policy": "default;q=10;w=1", "RateLimit": "other;r=2;t=1"}, told(2, 1, 10)),
        ({"RateLimit-Policy": '"b";q=9;w=1;qu="content-bytes"', "RateLimit": '"b";r=0;t=9'}, None),
        ({"ratelimit": "limit=100, remaining=50, reset=5"}, told(50, 5, 100)),
        (
            {
                "RateLimit-Limit": "100, 100;w=60",
                "RateLimit-Remaining": "3",
                "RateLimit-Reset": "12",
            },
            told(3, 12, 100),
        ),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "20"}, told(0, 20)),
        ({"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": f"{NOW + 90:.0f}"}, told(5, 90)),
        ({"x-rate-limit-remaining": "5", "x-rate-limit-reset": f"{NOW + 9:.0f}000"}, told(5, 9)),
        ({"x-ms-ratelimit-burst-remaining-xrm-requests": "5998"}, told(5_998, 300, 6_000)),
        (
            {
                "x-ms-ratelimit-burst-remaining-xrm-requests": "5998",
                "x-ms-ratelimit-time-remaining-xrm-requests": "1,000.5",
            },
            told(5_002.5, 300, 6_000),
        ),
        ({"x-ms-ratelimit-burst-remaining-xrm-requests": "0"}, told(0, 15, 6_000)),
        ({"Sforce-Limit-Info": "api-usage=14/5000"}, told(4_986, 3_600, 5_000)),
        (
            {"Sforce-Limit-Info": "api-usage=25/500; per-app-api-usage=17/250(appName=x)"},
            told(475, 3_600, 500),
        ),
        ({"Sforce-Limit-Info": "per-app-api-usage=17/250(appName=x)"}, None),
        ({"Sforce-Limit-Info": "api-usage=110018/100000"}, told(0, 180, 100_000)),
        ({}, None),
    ],
)
def test_headers_are_read(headers: dict[str, str], expected: Learnt | None) -> None:
    assert learnt(headers, 200, NOW) == expected


@pytest.mark.parametrize(
    ("status", "text", "in_s"),
    [
        (429, "7", 7.0),
        (503, "Fri, 15 Jan 2027 08:01:00 GMT", 60.0),
        (503, "Fri, 15 Jan 2027 07:59:00 GMT", None),
        (429, "soon", None),
        (429, "Mon, 99 Foo 9999999999999 00:00:00 GMT", None),
        (200, "7", None),
        (429, "999999", MAX_WINDOW_S),
    ],
)
def test_retry_after_counts_where_the_target_is_busy(
    status: int, text: str, in_s: float | None
) -> None:
    expected = None if in_s is None else told(0, in_s)
    assert learnt({"Retry-After": text}, status, NOW) == expected


def test_a_429_that_says_nothing_teaches_nothing() -> None:
    assert learnt({"content-type": "application/json"}, 429, NOW) is None


@pytest.mark.parametrize(
    "text",
    ["-1", "1e9", "nan", "inf", "0x10", "١٢", "9" * 16, "1,5", "", " ", "5;", "\x00", "9" * 2_000],
)
def test_what_is_no_number_is_left_out(text: str) -> None:
    assert learnt({"X-RateLimit-Remaining": text, "X-RateLimit-Reset": "9"}, 200, NOW) is None
    assert learnt({"X-RateLimit-Remaining": "9", "X-RateLimit-Reset": text}, 200, NOW) is None


def test_the_tightest_limit_counts() -> None:
    headers = {
        "X-RateLimit-Remaining": "1000",
        "X-RateLimit-Reset": "1000",
        "RateLimit": '"a";r=10;t=100, "b";r=0;t=3, "c";r=0;t=8',
    }
    assert learnt(headers, 200, NOW) == told(0, 8)


numberish = st.one_of(
    st.text(max_size=40),
    st.integers(-(10**18), 10**18).map(str),
    st.floats().map(repr),
)
hostile = st.dictionaries(
    st.sampled_from(
        [
            "RateLimit",
            "RateLimit-Policy",
            "RateLimit-Limit",
            "RateLimit-Remaining",
            "RateLimit-Reset",
            "X-RateLimit-Limit",
            "X-RateLimit-Remaining",
            "X-RateLimit-Reset",
            "x-ms-ratelimit-burst-remaining-xrm-requests",
            "x-ms-ratelimit-time-remaining-xrm-requests",
            "Sforce-Limit-Info",
            "Retry-After",
        ]
    ),
    st.one_of(
        numberish,
        st.text(alphabet='";=,rtqw019 ()', max_size=60),
        st.tuples(numberish, numberish).map(lambda two: f'"a";r={two[0]};t={two[1]}'),
        st.tuples(numberish, numberish).map(lambda two: f"api-usage={two[0]}/{two[1]}"),
    ),
)


@given(hostile, st.sampled_from([200, 403, 429, 503]))
def test_whatever_a_target_says_it_can_be_used_and_keeps_us_away_for_an_hour_at_most(
    headers: dict[str, str], status: int
) -> None:
    found = learnt(headers, status, NOW)
    if found is None:
        return
    assert 0 <= found.remaining <= MAX_REQUESTS
    assert NOW <= found.until_s <= NOW + MAX_WINDOW_S
    quota, now = Quota().learn(found), NOW
    for _ in range(5):
        quota, wait = quota.admit(now)
        assert 0 <= wait <= MAX_WINDOW_S
        now += wait
    assert quota.admit(NOW + MAX_WINDOW_S)[1] == 0


def test_with_much_left_nothing_waits_and_the_last_tenth_is_spread() -> None:
    quota = Quota().learn(told(100, 10, 100))
    for _ in range(92):
        quota, wait = quota.admit(NOW)
        assert wait == 0
    wait = quota.admit(NOW)[1]
    assert wait == pytest.approx(10 / 9)
    quota = quota.admit(NOW + wait)[0]
    assert quota.admit(NOW + wait)[1] == pytest.approx(10 / 9)


@given(st.integers(1, 200), st.integers(1, 200), st.floats(0.1, 3_600))
def test_no_more_go_than_are_left_before_the_window_ends(
    remaining: int, limit: int, in_s: float
) -> None:
    quota, now, went = Quota().learn(told(remaining, in_s, limit)), NOW, 0
    while now < NOW + in_s and went <= remaining:
        quota, wait = quota.admit(now)
        went += wait == 0
        now += wait + 1e-6 * (wait > 0)
    assert went <= remaining + (now >= NOW + in_s)


def test_a_new_answer_replaces_what_was_told_and_silence_changes_nothing() -> None:
    quota = Quota().learn(told(0, 100)).learn(None)
    assert quota.admit(NOW)[1] == 100
    assert quota.learn(told(5, 100)).admit(NOW)[1] == 0
