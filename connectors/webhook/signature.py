"""Signatures of a webhook: two schemes over the same bytes. Pure.

- Standard Webhooks 1.0.0: `webhook-signature: v1,BASE64 …` = HMAC-SHA256 over
  `id.timestamp.body`; one per key, with blanks between.
- `X-Signature: t=TIMESTAMP,s=sha256=HEX,…` = HMAC-SHA256 over `timestamp.body`; one `s=` per
  key (wire-formats, "Webhooks in").

A receiver should refuse a timestamp more than 300 s away.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence


def sign(keys: Sequence[bytes], *, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Headers for that body; `timestamp` in seconds since the Unix epoch. No keys: none signed."""
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
    if not keys:
        return headers
    second = b"%d.%b" % (timestamp, body)
    first = b"%b.%b" % (message_id.encode(), second)
    standard = (base64.b64encode(hmac.digest(key, first, "sha256")).decode() for key in keys)
    own = (hmac.digest(key, second, "sha256").hex() for key in keys)
    headers["webhook-signature"] = " ".join(f"v1,{text}" for text in standard)
    headers["x-signature"] = ",".join((f"t={timestamp}", *(f"s=sha256={text}" for text in own)))
    return headers
