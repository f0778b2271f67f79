"""What a server's answers mean: SFTP's status codes and S3's error codes. Pure.

SFTP: draft-ietf-secsh-filexfer-02 (version 3, codes 0 to 8) and -13 (the further ones); the
transport (sftp.py) tells them by name in the header `x-sftp-status`. S3: the API reference,
"Error responses"; the name stands in the XML of the answer. `when` is that name.
"""

from __future__ import annotations

import re

import httpx

from connectors.answers import Kind, Row, transport_row
from connectors.base import Reply

NAME = "files"
TITLE = "The file server"
STATUS = "x-sftp-status"
LOGIN = "LOGIN"
HOST_KEY = "HOST_KEY"
_CODE = re.compile(rb"<Error>.{0,4096}?<Code>([A-Za-z0-9._]{1,64})</Code>", re.DOTALL)
_WORDS = re.compile(rb"<Message>([^<]{0,1024})</Message>")
_SSH = "RFC 4252"
_DRAFT = "draft-ietf-secsh-filexfer"
_AWS = "S3 API reference, Error responses"


def _row(kind: Kind, code: str, when: str, source: str, advice: str = "") -> Row:
    return Row(kind=kind, code=f"{NAME}.{code}", when=when, source=source, advice=advice)


_SFTP_USER = "check FILES_USERNAME, FILES_PASSWORD and FILES_PRIVATE_KEY"
_S3_USER = "check FILES_ACCESS_KEY_ID, FILES_SECRET_ACCESS_KEY and FILES_REGION"
_S3_RIGHTS = "allow s3:GetObject, s3:PutObject and s3:ListBucket there"
SFTP = (
    _row(Kind.BUSY, "credentials", LOGIN, _SSH, _SFTP_USER),
    _row(Kind.BUSY, "host_key", HOST_KEY, "RFC 4253, 8", "compare FILES_KNOWN_HOSTS"),
    _row(Kind.BUSY, "missing", "FX_NO_SUCH_FILE", _DRAFT, "check FILES_URL"),
    _row(Kind.BUSY, "missing", "FX_NO_SUCH_PATH", _DRAFT, "check FILES_URL"),
    _row(Kind.BUSY, "permission", "FX_PERMISSION_DENIED", _DRAFT, "check the folder's rights"),
    _row(Kind.BUSY, "permission", "FX_WRITE_PROTECT", _DRAFT, "check the folder's rights"),
    _row(Kind.FAILED, "server_error", "FX_FAILURE", _DRAFT),
    _row(Kind.UNCLEAR, "bad_message", "FX_BAD_MESSAGE", _DRAFT),
    _row(Kind.BUSY, "unsupported", "FX_OP_UNSUPPORTED", _DRAFT, "the server lacks what is needed"),
    _row(Kind.BUSY, "full", "FX_NO_SPACE_ON_FILESYSTEM", _DRAFT, "make room there"),
    _row(Kind.BUSY, "full", "FX_QUOTA_EXCEEDED", _DRAFT, "make room there"),
    _row(Kind.HELD, "locked", "FX_LOCK_CONFLICT", _DRAFT),
    _row(Kind.REFUSED, "refused", "FX_INVALID_PARAMETER", _DRAFT),
    _row(Kind.REFUSED, "name", "FX_INVALID_FILENAME", _DRAFT),
)
S3 = (
    _row(Kind.BUSY, "credentials", "InvalidAccessKeyId", _AWS, _S3_USER),
    _row(Kind.BUSY, "credentials", "SignatureDoesNotMatch", _AWS, _S3_USER),
    _row(Kind.BUSY, "credentials", "ExpiredToken", _AWS, "renew FILES_SESSION_TOKEN"),
    _row(Kind.BUSY, "clock", "RequestTimeTooSkewed", _AWS, "set this machine's clock"),
    _row(Kind.BUSY, "permission", "AccessDenied", _AWS, _S3_RIGHTS),
    _row(Kind.BUSY, "no_bucket", "NoSuchBucket", _AWS, "create it, or correct FILES_URL"),
    _row(Kind.BUSY, "missing", "NoSuchKey", _AWS),
    _row(Kind.REFUSED, "refused", "EntityTooLarge", _AWS),
    _row(Kind.REFUSED, "name", "KeyTooLongError", _AWS),
    _row(Kind.HELD, "locked", "ConditionalRequestConflict", _AWS),
    _row(Kind.HELD, "locked", "OperationAborted", _AWS),
    _row(Kind.BUSY, "slow_down", "SlowDown", _AWS),
    _row(Kind.BUSY, "unavailable", "ServiceUnavailable", _AWS),
    _row(Kind.FAILED, "server_error", "InternalError", _AWS),
)
STATUSES = (
    _row(Kind.BUSY, "permission", "401", "RFC 9110, 15.5.2", _S3_USER),
    _row(Kind.BUSY, "permission", "403", "RFC 9110, 15.5.4", _S3_RIGHTS),
    _row(Kind.BUSY, "slow_down", "429", "RFC 6585, 4"),
    _row(Kind.FAILED, "server_error", "500", "RFC 9110, 15.6.1"),
    _row(Kind.FAILED, "bad_gateway", "502", "RFC 9110, 15.6.3: it may have gone through"),
    _row(Kind.BUSY, "unavailable", "503", "RFC 9110, 15.6.4"),
    _row(Kind.FAILED, "gateway_timeout", "504", "RFC 9110, 15.6.5: it may have gone through"),
)
"""For answers without a code: something before the server."""
EXISTS = _row(Kind.RACED, "exists", "412, or a rename onto a file", "RFC 9110, 13.1.2")
ODD = _row(Kind.UNCLEAR, "unexpected_answer", "anything else", "none that these tables know")
PAGE = _row(Kind.UNCLEAR, "unreadable", "a success that is not the file", "none that we know")
ROWS = (*SFTP, *S3, *STATUSES, EXISTS, ODD, PAGE)
MISSING = f"{NAME}.missing"
_BY_NAME = {row.when: row for row in (*SFTP, *S3, *STATUSES)}
_DONE = frozenset({httpx.codes.OK, httpx.codes.CREATED, httpx.codes.NO_CONTENT})


def row_of(reply: Reply) -> Row | None:
    """The table's line for an answer; None for a success.

    Only the server's own word says that a file is missing: a bare 404 may be anybody's.
    """
    if isinstance(reply, httpx.TransportError):
        return transport_row(NAME, reply)
    if reply.status_code in _DONE:
        return None
    if reply.status_code == httpx.codes.PRECONDITION_FAILED:
        return EXISTS
    by_code = _BY_NAME.get(_code(reply))
    if by_code is not None or STATUS in reply.headers:
        return by_code or ODD
    return _BY_NAME.get(str(reply.status_code), ODD)


def row_of_write(reply: Reply) -> Row | None:
    """The same after a PUT: whoever has taken a file says its ETag, and a proxy's page does not."""
    row = row_of(reply)
    written = isinstance(reply, httpx.Response) and "etag" in reply.headers
    return PAGE if row is None and not written else row


def words(reply: Reply) -> str:
    """What the server says to a person."""
    if isinstance(reply, httpx.TransportError):
        return ""
    if STATUS in reply.headers:
        return reply.text[:1024]
    found = _WORDS.search(reply.content[:16_384])
    return found[1].decode("utf-8", "replace") if found else _code(reply)


def _code(reply: httpx.Response) -> str:
    if STATUS in reply.headers:
        return str(reply.headers[STATUS])
    found = _CODE.search(reply.content[:16_384])
    return found[1].decode() if found else ""
