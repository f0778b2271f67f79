"""The delivery bench's figures: medians, shares, and a table of whatever there is."""

from __future__ import annotations

import io
from dataclasses import asdict

import pytest
from rich.console import Console

from connectors.settings import make
from connectors.webhook import WebhookSettings
from tests.bench import delivery_report
from tests.bench.bare_http import posts
from tests.bench.delivery import Found, Run
from tests.bench.delivery_world import event
from tests.sandbox.box import SECRET
from tests.sandbox.store import Store, genuine


def run(engine: str, rate: float, mode: str = "single") -> Run:
    return Run(engine=engine, mode=mode, events=10, events_per_s=rate, seconds=1.0)


def found() -> Found:
    rates = [("fieldline", 100), ("httpx", 400), ("fieldline", 300), ("httpx", 600)]
    return Found(
        runs=[run(engine, rate) for engine, rate in [*rates, ("fieldline", 200), ("httpx", 500)]],
        latency={"single": {"events_per_s": 100, "p50_ms": 7.0, "p99_ms": 70.0}},
    )


def test_the_share_is_the_median_of_ours_over_the_median_of_httpx() -> None:
    row = delivery_report.medians(asdict(found())["runs"])["single"]
    assert (row["events_per_s"], row["httpx_events_per_s"], row["share"]) == (200, 500, 0.4)


def test_a_mode_that_one_of_both_did_not_run_is_left_out() -> None:
    assert delivery_report.medians([asdict(run("httpx", 1.0))]) == {}


@pytest.mark.parametrize("what", [found(), Found()], ids=["some", "none"])
def test_what_was_measured_is_shown_and_a_missed_goal_is_marked(what: Found) -> None:
    out = io.StringIO()
    delivery_report.show(Console(file=out, width=200), what)
    assert ("✘" in out.getvalue()) == bool(what.runs)


def test_httpx_sends_the_very_events_that_the_worker_does_and_each_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WEBHOOK_URL", "http://127.0.0.1:1/events")
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    ready = list(posts(make(WebhookSettings, {"batch": 4}), 10, 5, 4))
    assert [number for _, _, number in ready] == [4, 4, 2]
    assert all(event(number, 5).id.encode() in ready[number // 4][1] for number in range(10))
    assert all("webhook-signature" in headers for headers, _, _ in ready)


def test_the_receiver_counts_a_repetition_a_swap_and_another_payload() -> None:
    def sent(key: str, sequence: str, value: int = 1) -> dict[str, object]:
        return {"id": key, "subject": "d", "sequence": sequence, "data": {"value": value}}

    store = Store(keyed=False)
    statuses = [
        store.take(one)[0]
        for one in (sent("b", "2"), sent("a", "1"), sent("b", "2"), sent("a", "1", 9))
    ]
    stats = store.stats()
    assert statuses == [201, 201, 200, 422]
    names = ("keys", "doubled", "out_of_order", "refused")
    assert [stats[name] for name in names] == [2, 1, 1, 1]


def test_an_unsigned_request_is_not_genuine() -> None:
    assert not genuine({}, b"", b"k" * 16, 0.0)
    assert not genuine({"webhook-timestamp": "x", "webhook-id": "i"}, b"", b"k" * 16, 0.0)
