from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.stack import clean
from tests.integration.rig import Rig
from tests.integration.s3_server import Server


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    root = Path(".local/test")
    # What an earlier session left (an ERP in which a customer was mended, say) is no start.
    clean(root)
    root.mkdir(parents=True, exist_ok=True)
    rig = Rig(root)
    try:
        rig.start()
        yield rig
    finally:
        rig.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real S3 server with a bucket, unless the module has another kind of server."""
    one = Server(tmp_path_factory.mktemp("s3proxy"))
    try:
        one.start()
        yield one
    finally:
        one.kill()
