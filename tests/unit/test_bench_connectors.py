from __future__ import annotations

import io

from rich.console import Console

from connectors import registry
from tests.bench.connectors import LEFT_OUT, Run, benched, show


def test_every_connector_is_measured_or_left_out_by_name() -> None:
    assert set(benched()) | LEFT_OUT == set(registry.names())
    assert not set(benched()) & LEFT_OUT


def test_the_table_shows_the_share_of_bare_httpx() -> None:
    run = Run(
        connector="sap", batch=20, events=1_000, requests=100, ours_per_s=450.0, bare_per_s=900.0
    )
    assert run.share == 0.5
    told = io.StringIO()
    show([run], Console(file=told, width=80))
    assert [line.split() for line in told.getvalue().splitlines()][1] == [
        *("sap", "10.0", "450", "900", "50%")
    ]
