"""InfluxData's own client against our sandbox."""

from __future__ import annotations

import pytest

from tests.clients.runner import run
from tests.sandboxes.influx import BUCKET, ORG, TOKEN, make
from tests.sandboxes.serve import running


@pytest.mark.parametrize("gzip", [False, True])
def test_the_official_client_writes_and_is_told_what_is_wrong(*, gzip: bool) -> None:
    sandbox = make()
    with running(sandbox) as url:
        said = run("influxdb_script", url=url, token=TOKEN, org=ORG, bucket=BUCKET, gzip=gzip)
    assert said["ping"] is True
    status, message = said["type"]
    assert status == 422
    assert "field type conflict" in message
    assert said["token"][0] == 401
    points = list(sandbox.points.items())
    assert len(points) == 3
    (measurement, tags, at), fields = points[0]
    assert (measurement, dict(tags)) == ("machine one", {"device": "acme/truck 1,a=b"})
    assert at == 1_795_257_000_000_000_000
    assert fields == {
        "coolant, c": 80.5,
        "note": 'says "hi", = \\ there',
        "count": 7,
        "open": True,
    }
