"""A document repository by CMIS 1.1, browser binding."""

from __future__ import annotations

from tests.sandboxes.dms.server import (
    CLIENT_ID,
    CLIENT_SECRET,
    OTHER,
    PASSWORD,
    USERNAME,
    Dms,
    Series,
    make,
)

__all__ = [
    "CLIENT_ID",
    "CLIENT_SECRET",
    "OTHER",
    "PASSWORD",
    "USERNAME",
    "Dms",
    "Series",
    "make",
]
