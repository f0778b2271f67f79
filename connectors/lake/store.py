"""One S3 bucket through s3fs: conditional writes, and every failure a value.

Requests go to the aiobotocore client that s3fs makes and renews: s3fs's own calls retry by
themselves for a minute, cache listings, and report "precondition failed" as a plain
OSError. Conditional writes are S3's (If-None-Match: *; answers 412, or 409 while another write
of that name is under way).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import s3fs
from aiohttp import ClientError as HttpClientError
from botocore.exceptions import BotoCoreError, ClientError

from connectors.lake.base import (
    Content,
    Created,
    Deleted,
    Exists,
    Missing,
    Names,
    Object,
    Objects,
    Unavailable,
)
from connectors.lake.config import LakeConfig

_T = TypeVar("_T")

PAGE = 1_000
"""Names in one listing: S3's own limit."""

_PRECONDITION_FAILED = 412
_MISSING = {"NoSuchKey", "404"}
_GRANT = (
    "grant the key s3:PutObject, s3:GetObject and s3:ListBucket on it, "
    "and s3:DeleteObject for who keeps the lake"
)
_MENDS = {
    "NoSuchBucket": "create it, or correct S3_BUCKET",
    "AccessDenied": _GRANT,
    "403": _GRANT,
    "InvalidAccessKeyId": "correct S3_ACCESS_KEY",
    "SignatureDoesNotMatch": "correct S3_SECRET_KEY",
    "ExpiredToken": "renew the credentials",
    "RequestTimeTooSkewed": "set this machine's clock",
}


class S3Store:
    """An ObjectStore over one bucket, for one event loop.

    Being away shows as Unavailable within `LakeConfig.call_s`, and heals by itself: every
    call is made afresh.
    """

    def __init__(self, config: LakeConfig) -> None:
        self._config = config
        self._fs = s3fs.S3FileSystem(asynchronous=True, **config.s3fs_arguments())

    def __repr__(self) -> str:
        return f"S3Store(s3://{self._config.bucket} at {self._config.endpoint or 'AWS'})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections; it opens them again if used."""
        client, self._fs._s3 = self._fs._s3, None  # noqa: SLF001 - s3fs has no public close for one client
        if client is not None:
            await client.close()

    async def put_new(self, key: str, data: bytes) -> Created | Exists | Unavailable:
        """PUT with If-None-Match: *."""
        answer = await self._call("put_object", _nothing, Key=key, Body=data, IfNoneMatch="*")
        if isinstance(answer, Missing):
            return Unavailable(reason=f"{self!r} answered a PUT with 404: check the endpoint.")
        return answer if isinstance(answer, Exists | Unavailable) else Created()

    async def get(self, key: str) -> Content | Missing | Unavailable:
        """GET."""
        return _read(await self._call("get_object", _body, Key=key))

    async def tail(self, key: str, size: int) -> Content | Missing | Unavailable:
        """GET with a suffix range (RFC 9110, 14.1.2)."""
        return _read(await self._call("get_object", _body, Key=key, Range=f"bytes=-{size}"))

    async def list_after(self, prefix: str, after: str) -> Names | Unavailable:
        """LIST (version 2) with start-after, one page."""
        return await self._listed(_names, prefix, after)

    async def delete(self, key: str) -> Deleted | Unavailable:
        """DELETE, which answers the same whether it was there or not."""
        answer = await self._call("delete_object", _nothing, Key=key)
        return answer if isinstance(answer, Unavailable) else Deleted()

    async def objects(self, prefix: str, after: str) -> Objects | Unavailable:
        """LIST (version 2) with sizes and times."""
        return await self._listed(_objects, prefix, after)

    async def _listed(
        self, read: Callable[[Mapping[str, Any]], Awaitable[_T]], prefix: str, after: str
    ) -> _T | Unavailable:
        answer = await self._call(
            "list_objects_v2", read, Prefix=prefix, StartAfter=after, MaxKeys=PAGE
        )
        if isinstance(answer, Missing | Exists):
            return Unavailable(reason=f"{self!r} does not list {prefix}: check S3_BUCKET.")
        return answer

    async def _call(
        self,
        operation: str,
        read: Callable[[Mapping[str, Any]], Awaitable[_T]],
        **arguments: object,
    ) -> _T | Exists | Missing | Unavailable:
        try:
            async with asyncio.timeout(self._config.call_s):
                client = await self._fs.set_session()
                call = getattr(client, operation)
                return await read(await call(Bucket=self._config.bucket, **arguments))
        except ClientError as error:
            return self._classified(error)
        except (BotoCoreError, HttpClientError, OSError, TimeoutError, ValueError) as error:
            # Some of these texts name hosts and ports, none carries a key.
            return Unavailable(
                reason=f"{self!r} does not answer ({type(error).__name__}): "
                "it is tried again; check that it runs and S3_ENDPOINT is right."
            )

    def _classified(self, error: ClientError) -> Exists | Missing | Unavailable:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status == _PRECONDITION_FAILED or code == "PreconditionFailed":
            return Exists()
        if code in _MISSING:
            return Missing()
        mend = _MENDS.get(code, "it is tried again")
        return Unavailable(reason=f"{self!r} answered {status} {code}: {mend}.")


async def _nothing(_: Mapping[str, Any]) -> None:
    return None


async def _body(response: Mapping[str, Any]) -> Content:
    async with response["Body"] as stream:
        data: bytes = await stream.read()
    # Of a part the answer says how large the whole is (RFC 9110, 14.4: "bytes 1-9/10").
    whole = str(response.get("ContentRange", "")).rpartition("/")[2]
    return Content(data=data, size=int(whole) if whole.isdigit() else len(data))


async def _names(response: Mapping[str, Any]) -> Names:
    return Names(
        names=tuple(entry["Key"] for entry in response.get("Contents", ())),
        more=bool(response.get("IsTruncated", False)),
    )


async def _objects(response: Mapping[str, Any]) -> Objects:
    return Objects(
        objects=tuple(
            Object(
                key=entry["Key"],
                size=int(entry["Size"]),
                changed_ms=int(entry["LastModified"].timestamp() * 1000),
            )
            for entry in response.get("Contents", ())
        ),
        more=bool(response.get("IsTruncated", False)),
    )


def _read(answer: Content | Exists | Missing | Unavailable) -> Content | Missing | Unavailable:
    if isinstance(answer, Exists):
        return Unavailable(reason="The store answered a GET with 412, which was not asked for.")
    return answer
