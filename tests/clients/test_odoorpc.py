"""Odoo's best known Python client against our sandbox."""

from __future__ import annotations

from urllib.parse import urlsplit

from tests.clients.runner import run
from tests.sandboxes.box import boxed
from tests.sandboxes.odoo import API_KEY, DATABASE, LOGIN, make


def test_odoorpc_logs_in_creates_searches_browses_and_changes() -> None:
    with boxed(make()) as far:
        address = urlsplit(far.url)
        said = run(
            "odoorpc_script",
            host=address.hostname,
            port=address.port,
            database=DATABASE,
            login=LOGIN,
            password=API_KEY,
        )
        journal = [(e["op"], e["kind"]) for e in far.journal()]
    assert said["version"] == "19.0"
    assert said["wrong_password"] == "Wrong login ID or password"
    assert said["user"] == LOGIN
    assert said["found"] == [said["made"]]
    assert said["read"] == [
        {
            "id": said["made"],
            "name": "Coolant is hot",
            "stage_id": [1, "New Request"],
            "priority": False,
        }
    ]
    assert said["browsed"] == ["Coolant is hot", "TRK-9", "New Request"]
    [after] = said["after"]
    assert (after["priority"], after["stage_id"], after["done"]) == ("3", [3, "Repaired"], True)
    assert said["loaded"]["ids"] is False
    assert {m["record"] for m in said["loaded"]["messages"] if m["type"] == "error"} == {1}
    assert len(said["again"]["ids"]) == 1
    assert said["count"] == 2
    assert "serial number" in said["refused"][0]
    assert "no.such.model" in said["no_model"]
    assert journal == [
        ("create", "maintenance.equipment"),
        ("create", "maintenance.request"),
        ("update", "maintenance.request"),
        ("close", "maintenance.request"),
        ("create", "maintenance.request"),
    ]
