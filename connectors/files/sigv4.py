"""AWS Signature Version 4 for S3, over the whole payload. Pure: the time is an argument.

From the S3 API reference, "Signature Calculations for the Authorization Header: Transferring
Payload in a Single Chunk"; its examples are this module's tests. S3 encodes a path once only,
so the path is signed as it is sent.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime

import httpx

ALGORITHM = "AWS4-HMAC-SHA256"


def signed(
    method: str,
    url: httpx.URL,
    headers: Mapping[str, str],
    body: bytes,
    *,
    access_key_id: str,
    secret_access_key: str,
    region: str,
    now_s: float,
) -> dict[str, str]:
    """`headers` and those of the signature, names in lower case; `now_s` since the Unix epoch.

    The query, where there is one, must be encoded as RFC 3986 has it (a blank is %20).
    """
    stamp = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    payload = hashlib.sha256(body).hexdigest()
    made = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    made |= {
        "host": url.netloc.decode("ascii"),
        "x-amz-content-sha256": payload,
        "x-amz-date": stamp,
    }
    names = ";".join(sorted(made))
    path, _, query = url.raw_path.decode("ascii").partition("?")
    pairs = sorted((part if "=" in part else f"{part}=") for part in query.split("&") if part)
    canonical = "\n".join(
        (
            method,
            path,
            "&".join(pairs),
            *(f"{name}:{made[name]}" for name in sorted(made)),
            "",
            names,
            payload,
        )
    )
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"{ALGORITHM}\n{stamp}\n{scope}\n{digest}"
    key = f"AWS4{secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    who = f"{access_key_id}/{scope}"
    told = f"{ALGORITHM} Credential={who},SignedHeaders={names},Signature={signature}"
    made["authorization"] = told
    return made
