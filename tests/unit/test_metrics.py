from __future__ import annotations

import asyncio

import httpx
import pytest

from pipeline.core.fates import NOTHING, Weight
from pipeline.ops.metrics import Metric, Sample, render, serve
from pipeline.ops.reconcile_figures import TENANTS_SHOWN, Figures
from pipeline.ops.reconcile_lines import Off, make_lines
from pipeline.settings import SettingsError


def test_the_format_is_prometheus_own_with_labels_escaped() -> None:
    page = render(
        [
            Metric("a_total", "counter", "Things\nof a kind.", [Sample(3.0)]),
            Metric(
                "b",
                "gauge",
                "More.",
                [Sample(1.5, {"x": 'say "hi"\\\n', "y": "ü"}), Sample(float("inf"), {"x": ""})],
            ),
        ]
    )
    assert page == (
        "# HELP a_total Things\\nof a kind.\n# TYPE a_total counter\na_total 3\n"
        "# HELP b More.\n# TYPE b gauge\n"
        'b{x="say \\"hi\\"\\\\\\n",y="ü"} 1.5\nb{x=""} +Inf\n'
    )


async def test_the_page_is_served_on_loopback_and_nothing_else_is() -> None:
    server = await serve(0, lambda: "up 1\n")
    try:
        host, port = server.sockets[0].getsockname()
        assert host == "127.0.0.1"
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"http://127.0.0.1:{port}"
            page = await client.get(f"{url}/metrics")
            assert (page.status_code, page.text) == (200, "up 1\n")
            assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
            assert (await client.head(f"{url}/metrics")).status_code == 200
            assert (await client.get(f"{url}/")).status_code == 404
            assert (await client.post(f"{url}/metrics")).status_code == 405
        # Neither garbage nor a head without end brings it down.
        for junk in (b"\x00\xff\r\n\r\n", b"x" * 20_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(junk)
            await reader.read()
            writer.close()
        with pytest.raises(SettingsError, match="FIELDLINE_METRICS_PORT"):
            await serve(port, lambda: "")
    finally:
        server.close()


def test_the_figures_show_totals_and_only_the_greatest_tenants() -> None:
    counted = {
        ("erp", f"t{n:03}", 0): Weight(accepted=n + 1, delivered=n + 1)
        for n in range(TENANTS_SHOWN + 5)
    }
    counted["erp", "t000", 1] = Weight(accepted=2, open=2, parked=1)
    counted["fanout:erp", "t000", 0] = Weight(accepted=1, delivered=1)
    off = {("erp", "t000", 1): Off(lost=1, strays=NOTHING)}
    lines = make_lines(counted, ("fanout:erp", "erp"), off)
    figures = Figures(lines=lines, oldest_s={"erp": 90.0}, reconciled_s={"erp": None}, behind=0)
    page = render(figures.metrics(100.0))
    whole = sum(range(1, TENANTS_SHOWN + 6))
    assert f'fieldline_balance{{sink="erp",place="delivered"}} {whole}\n' in page
    assert 'fieldline_balance{sink="erp",place="waiting"} 1\n' in page
    assert 'fieldline_parked{sink="erp"} 1\n' in page
    assert 'fieldline_balance_missing{sink="erp",stage="deliver"} 1\n' in page
    assert 'fieldline_balance_missing{sink="erp",stage="fanout"} 0\n' in page
    assert 'fieldline_oldest_waiting_seconds{sink="erp"} 10\n' in page
    assert 'fieldline_reconcile_age_seconds{sink="erp"} +Inf\n' in page
    assert page.count('fieldline_balance_tenant{sink="erp"') == 7 * TENANTS_SHOWN
    assert 'tenant="t054"' in page
    assert 'tenant="t003"' not in page
    assert "fieldline_books_behind 0\n" in page


def test_figures_without_a_look_say_so() -> None:
    assert "fieldline_books_behind -1\n" in render(Figures().metrics(0.0))
