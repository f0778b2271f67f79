"""Event → row of a file. Widths are those of the fixed-width form, in characters.

A row is an event: a raise, an update or a clear (`action`) of the trouble `entity`. Whoever
reads the files orders the rows of one device by `version`, as text.
"""

from __future__ import annotations

import re
from typing import Any

from connectors.base import Delivery
from connectors.fields import OPEN, Field, Overlong, Policy, Unit
from connectors.mapped import mapped
from connectors.sources import Value
from pipeline.core.outcome import Rejected

FLAT_ENCODING = "iso-8859-1"
KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Keys become names of files."""


def _share(value: Value) -> str:
    return f"{float(str(value)):.4f}"  # what is no number counts as nothing, before this


def _key(value: Value) -> Value:
    if not KEY.fullmatch(str(value)):
        raise ValueError("give 1 to 64 letters, digits, '-' or '_'")
    return value


ROW = (
    Field("key", "event.key", required=True, limit=64, make=_key),
    Field("entity", "event.entity", required=True, limit=64, make=_key),
    Field("action", "event.action", required=True, limit=6),
    Field("version", "event.version", required=True, limit=32),
    Field("type", "event.type", required=True, limit=64),
    Field("severity", "event.severity", required=True, limit=8),
    Field("confidence", "event.confidence", limit=6, make=_share),
    Field("occurred_at", "event.occurred_at", required=True, limit=30, unit=Unit.ISO),
    Field("observed_at", "event.observed_at", required=True, limit=30, unit=Unit.ISO),
    Field("device", "device.id", required=True, limit=128),
    Field("asset", "asset.id", limit=64),
    Field("asset_ref", "ids.files.asset", limit=64, note="the asset as the reader calls it"),
    Field("asset_name", "asset.name", limit=80, overlong=Overlong.CUT),
    Field("site", "site.id", limit=64),
    Field("customer", "customer.id", limit=64),
    Field("customer_ref", "ids.files.customer", limit=64, note="as the reader calls it"),
    Field("customer_name", "customer.name", limit=80, overlong=Overlong.CUT),
    Field("customer_tax_id", "customer.tax_id", limit=32),
    Field("metric", "event.metric", limit=64, overlong=Overlong.CUT),
    Field("detector", "event.detector", limit=32, overlong=Overlong.CUT),
    Field("rule", "event.rule", limit=64, overlong=Overlong.CUT),
    Field("summary", "event.summary", limit=160, overlong=Overlong.CUT),
)
COLUMNS = tuple(one.target for one in ROW)
WIDTHS = tuple(one.limit or 0 for one in ROW)


def to_row(delivery: Delivery, *, flat: bool, policy: Policy = OPEN) -> dict[str, str] | Rejected:
    """The row, every column a text, or Rejected with a 'mapping.*' code.

    Where it is for a fixed-width file, a reference that ISO 8859-1 cannot write is refused; a
    text for people has '?' there.
    """
    made: dict[str, Any] | Rejected = mapped(ROW, delivery, policy)
    if isinstance(made, Rejected):
        return made
    row = {name: str(made.get(name, "")) for name in COLUMNS}
    for one in ROW if flat else ():
        written = row[one.target].encode(FLAT_ENCODING, "replace").decode(FLAT_ENCODING)
        if written != row[one.target] and one.overlong is Overlong.REJECT:
            return Rejected(
                code="mapping.unusable",
                message=f"Field {one.target} (from {one.source}; rule: its format): "
                f"{FLAT_ENCODING} cannot write all of its characters.",
            )
        row[one.target] = written
    return row
