"""Oracle Fusion Cloud Maintenance: work orders, as far as documents tell."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.sandboxes.oracle.door import (
    CLIENT_ID,
    CLIENT_SECRET,
    ORGANIZATION,
    PASSWORD,
    SCOPE,
    TOKEN_PATH,
    USERNAME,
)
from tests.sandboxes.oracle.server import Oracle

DEVICES = Path(__file__).parents[3] / "infra" / "config" / "devices.csv"
"""The sample's assets: an import has brought them to Oracle before."""

__all__ = [
    "CLIENT_ID",
    "CLIENT_SECRET",
    "ORGANIZATION",
    "PASSWORD",
    "SCOPE",
    "TOKEN_PATH",
    "USERNAME",
    "Oracle",
    "make",
]


def make() -> Oracle:
    """With the standard credentials, the suite's asset and the sample's."""
    assets = ["TRK-1"]
    if DEVICES.exists():
        with DEVICES.open(encoding="utf-8", newline="") as rows:
            assets += [row["asset_id"] for row in csv.DictReader(rows)]
    return Oracle(assets)
