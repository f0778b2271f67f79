"""SAP S/4HANA: OData V2 services for maintenance notifications and orders behind SAP Gateway.

Built from the wire facts (wire-formats.md, SAP), the service's published field list, and what
official clients expect (pyodata, SAP Cloud SDK). Message classes are SAP's; numbers are SAP's
only where the tables say so, else they are this sandbox's own.
"""

from __future__ import annotations

from tests.sandboxes.sap.service import (
    CLIENT,
    CLIENT_ID,
    CLIENT_SECRET,
    EQUIPMENT,
    MISSING,
    PASSWORD,
    PLACE,
    USERNAME,
    Sap,
)


def make() -> Sap:
    """With the standard credentials."""
    return Sap()


__all__ = [
    "CLIENT",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "EQUIPMENT",
    "MISSING",
    "PASSWORD",
    "PLACE",
    "USERNAME",
    "Sap",
    "make",
]
