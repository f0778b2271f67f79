"""An S3 server with one bucket that a reader watches: the far end of the file batch over S3.

Path style. Signatures are checked with botocore's own code (AWS's client library), so what
works here works with it. As S3 does: strong consistency, PUT is all or nothing,
If-None-Match: * answers 412, errors are XML with a Code, HEAD has no body (S3 API reference).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tests.sandboxes.base import Sandbox
from tests.sandboxes.files_reader import Reader

BUCKET = "drop"
PREFIX = "from/fieldline"
ACCESS_KEY_ID = "AKIAFILESSANDBOX0001"
SECRET_ACCESS_KEY = "secret/access+key-of-the-files-sandbox00"
REGION = "eu-west-1"
SKEW_S = 900
STATUS_OF = {
    "AccessDenied": 403,
    "InvalidAccessKeyId": 403,
    "SignatureDoesNotMatch": 403,
    "RequestTimeTooSkewed": 403,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "ConditionalRequestConflict": 409,
    "OperationAborted": 409,
    "PreconditionFailed": 412,
    "InternalError": 500,
    "ServiceUnavailable": 503,
    "SlowDown": 503,
}
"""Everything else is 400."""


class Files(Sandbox):
    """One bucket."""

    name = "files"

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, bytes] = {}
        self.reader = Reader(self.journal)

    def routes(self) -> Sequence[BaseRoute]:
        """The bucket and what is in it."""
        return [
            Route("/{bucket}", self._bucket, methods=["GET", "HEAD"]),
            Route("/{bucket}/{key:path}", self._object, methods=["GET", "HEAD", "PUT", "DELETE"]),
        ]

    def forget(self) -> None:
        """An empty bucket and a reader that has read nothing."""
        self.objects.clear()
        self.reader = Reader(self.journal)

    def expire(self) -> None:
        """Access keys do not end."""

    def over_limit(self, request: Request, reset_s: float) -> Response:
        """S3 says SlowDown, and not for how long."""
        del reset_s
        return _error(request, "SlowDown")

    async def _bucket(self, request: Request) -> Response:
        if refusal := await self._refuses(request):
            return refusal
        if request.method == "HEAD":
            return Response()
        query = request.query_params
        found = sorted(key for key in self.objects if key.startswith(query.get("prefix", "")))
        most = int(query.get("max-keys", 1000))
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key])}</Size></Contents>"
            for key in found[:most]
        )
        return _xml(
            f"<ListBucketResult><Name>{BUCKET}</Name><KeyCount>{len(found[:most])}</KeyCount>"
            f"<IsTruncated>{str(len(found) > most).lower()}</IsTruncated>{rows}</ListBucketResult>"
        )

    async def _object(self, request: Request) -> Response:
        if refusal := await self._refuses(request):
            return refusal
        key = request.path_params["key"]
        if not key:
            return await self._bucket(request)
        if request.method == "PUT":
            return await self._write(request, key)
        if request.method == "DELETE":
            self.objects.pop(key, None)
            return Response(status_code=204)
        if key not in self.objects:
            return _error(request, "NoSuchKey")
        return Response(self.objects[key], headers={"etag": _etag(self.objects[key])})

    async def _write(self, request: Request, key: str) -> Response:
        body = await request.body()
        path = key.removeprefix(f"{PREFIX}/")
        if path.startswith("data/") and (code := self.knobs.error(body.decode("latin-1"))):
            return _error(request, code)
        if request.headers.get("if-none-match") == "*" and key in self.objects:
            return _error(request, "PreconditionFailed")
        self.objects[key] = body
        if path.startswith("manifests/"):
            self.reader.take(body, read=lambda name: self.objects[f"{PREFIX}/{name}"])
        return Response(headers={"etag": _etag(body)})

    async def _refuses(self, request: Request) -> Response | None:
        code = _wrong(request, await request.body())
        if code is None and request.path_params["bucket"] != BUCKET:
            code = "NoSuchBucket"
        return _error(request, code) if code else None


def _wrong(request: Request, body: bytes) -> str | None:
    """S3's code for a request whose signature is not right; None where it is."""
    scheme, _, told = request.headers.get("authorization", "").partition(" ")
    parts = dict(part.strip().partition("=")[::2] for part in told.split(","))
    if scheme != "AWS4-HMAC-SHA256" or not {"Credential", "SignedHeaders", "Signature"} <= set(
        parts
    ):
        return "AccessDenied"
    who, day, region, service, _ = parts["Credential"].split("/", 4)
    if who != ACCESS_KEY_ID:
        return "InvalidAccessKeyId"
    stamp = request.headers.get("x-amz-date", "")
    at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if abs((datetime.now(UTC) - at).total_seconds()) > SKEW_S or not stamp.startswith(day):
        return "RequestTimeTooSkewed"
    payload = request.headers.get("x-amz-content-sha256")
    if payload != hashlib.sha256(body).hexdigest() or (region, service) != (REGION, "s3"):
        return "SignatureDoesNotMatch"
    names = parts["SignedHeaders"].split(";")
    given = AWSRequest(
        method=request.method,
        url=f"http://{request.headers['host']}{request.scope['raw_path'].decode()}",
        headers={name: request.headers.get(name, "") for name in names},
        data=body,
    )
    query = request.scope["query_string"].decode()
    given.url += f"?{query}" if query else ""
    given.context["timestamp"] = stamp
    witness = S3SigV4Auth(Credentials(ACCESS_KEY_ID, SECRET_ACCESS_KEY), "s3", REGION)
    text = witness.string_to_sign(given, witness.canonical_request(given))
    wanted = witness.signature(text, given)
    return None if hmac.compare_digest(wanted, parts["Signature"]) else "SignatureDoesNotMatch"


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _error(request: Request, code: str) -> Response:
    status = STATUS_OF.get(code, 400)
    if request.method == "HEAD":
        return Response(status_code=status)
    words = f"{code}, says the sandbox"
    return _xml(f"<Error><Code>{code}</Code><Message>{words}</Message></Error>", status)


def _xml(text: str, status: int = 200) -> Response:
    declared = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'
    return Response(declared, status, media_type="application/xml")


def make() -> Files:
    """With the standard credentials."""
    return Files()
