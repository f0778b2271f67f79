"""webdavclient3 against our WebDAV store, and against what our connector wrote there.

CMIS has no such test: its Python clients (cmislib and what came of it) speak AtomPub only, and
none is maintained; the browser binding is checked against the specification and the source of
Apache Chemistry's server alone.
"""

from __future__ import annotations

import httpx

from connectors.base import Delivery
from connectors.registry import make_connector
from pipeline.core.outcome import Delivered
from tests.clients.runner import run
from tests.contract.case import RECORD
from tests.contract.conversation import converse_over
from tests.contract.world import event
from tests.sandboxes.serve import running
from tests.sandboxes.webdav import PASSWORD, ROOT, USERNAME, make


async def test_the_client_writes_reads_lists_locks_copies_moves_and_deletes() -> None:
    sandbox, told = make(), event()
    with running(sandbox) as base:
        login = {"username": USERNAME, "password": PASSWORD}
        here = {"url": f"{base}{ROOT}", "binding": "webdav"}
        ours = make_connector("dms", values=login | here)
        one = Delivery(event=told, key=told.id, record=RECORD)
        async with httpx.AsyncClient(trust_env=False) as client:
            [made], _ = await converse_over(client, ours.deliver([one]))
        assert isinstance(made, Delivered), made
        said = run("webdav_script", ours=[made.target_id], host=base, root=ROOT, **login)
    assert said["before"] == ["fieldline/"]
    assert said["there"] is True
    assert said["read"] == "Grüße"
    assert said["list"] == ["a b.txt"]
    assert said["info"]["size"] == "7"
    assert said["is_dir"] == [True, False]
    assert said["property"] == "k1"
    assert sorted(said["after"]) == ["acme/", "moved.txt"]
    assert said["locked"] == "Resource /reports/moved.txt locked"
    assert said["kept"] == "by the holder"
    assert said["gone"] is True
    assert said[made.target_id] == told.id, "our dead property, read by another's client"
