"""Dataverse's Web API, as documented on Microsoft Learn and in wire-formats.md."""

from __future__ import annotations

from tests.sandboxes.dynamics.server import (
    ACCOUNT,
    CLIENT_ID,
    CLIENT_SECRET,
    TENANT,
    Dynamics,
    make,
)

__all__ = ["ACCOUNT", "CLIENT_ID", "CLIENT_SECRET", "TENANT", "Dynamics", "make"]
