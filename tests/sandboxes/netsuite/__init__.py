"""NetSuite's SuiteTalk REST: records, SuiteQL, asynchronous jobs, both ways of logging in."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.sandboxes.netsuite.door import (
    ACCOUNT,
    CERTIFICATE_ID,
    CLIENT_ID,
    CONSUMER_KEY,
    CONSUMER_SECRET,
    PRIVATE_KEY,
    TOKEN_ID,
    TOKEN_SECRET,
)
from tests.sandboxes.netsuite.server import Netsuite

DEVICES = Path(__file__).parents[3] / "infra" / "config" / "devices.csv"
"""The sample's customers and assets: an import has brought them to NetSuite before."""
CUSTOMERS = {"C-1": "Acme Cold Chain"}
ASSETS = {"TRK-1": "Reefer truck 1"}

__all__ = [
    "ACCOUNT",
    "CERTIFICATE_ID",
    "CLIENT_ID",
    "CONSUMER_KEY",
    "CONSUMER_SECRET",
    "PRIVATE_KEY",
    "TOKEN_ID",
    "TOKEN_SECRET",
    "Netsuite",
    "make",
]


def make(*, concurrency: int = 15) -> Netsuite:
    """With the standard credentials and master data; so many requests at once."""
    customers, assets = dict(CUSTOMERS), dict(ASSETS)
    if DEVICES.exists():
        with DEVICES.open(encoding="utf-8", newline="") as rows:
            for row in csv.DictReader(rows):
                customers[row["customer_id"]] = row["customer_name"]
                assets[row["asset_id"]] = row["asset_name"]
    return Netsuite(customers=customers, assets=assets, concurrency=concurrency)
