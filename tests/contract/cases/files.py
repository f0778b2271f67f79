"""The file batch in the contract suite, over SFTP; S3 is in test_files_s3.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from tests.contract.case import Case, Cause, Means, Trait
from tests.sandboxes.box import FarEnd
from tests.sandboxes.files_reader import KIND
from tests.sandboxes.sftp import PASSWORD, USER, SftpDrop, served

_S3 = "a code of S3: test_files_s3.py"


def values(far: FarEnd) -> Mapping[str, Any]:
    """Settings for a drop that is served."""
    drop = cast("SftpDrop", far)
    return {
        "url": drop.url,
        "username": USER,
        "password": PASSWORD,
        "known_hosts": str(drop.known_hosts),
        # The suite's drivers settle after 0.3 s: a batch has to be written by then.
        "batch": 10,
    }


CASE = Case(
    name="files",
    start=served,
    values=values,
    bad_values=lambda _: {"password": "wrong"},
    kind=KIND,
    write=("PUT", "/manifests/"),
    ids={"files.asset": "A-77", "files.customer": "K-9"},
    codes={
        "FX_INVALID_PARAMETER": (Means.REJECTED, "files.refused"),
        "FX_INVALID_FILENAME": (Means.REJECTED, "files.name"),
        "FX_LOCK_CONFLICT": (Means.ITEM, "files.locked"),
        "FX_PERMISSION_DENIED": (Means.SYSTEM, "files.permission"),
        "FX_WRITE_PROTECT": (Means.SYSTEM, "files.permission"),
        "FX_NO_SUCH_FILE": (Means.SYSTEM, "files.missing"),
        "FX_NO_SUCH_PATH": (Means.SYSTEM, "files.missing"),
        "FX_OP_UNSUPPORTED": (Means.SYSTEM, "files.unsupported"),
        "FX_NO_SPACE_ON_FILESYSTEM": (Means.SYSTEM, "files.full"),
        "FX_QUOTA_EXCEEDED": (Means.SYSTEM, "files.full"),
        # Before the manifest nothing has an effect, whatever is unclear.
        "FX_FAILURE": (Means.SYSTEM, "files.server_error"),
        "FX_BAD_MESSAGE": (Means.SYSTEM, "files.bad_message"),
        "FX_NO_CONNECTION": (Means.SYSTEM, ""),
    },
    faults=(
        Cause(fault={"status": 500}, means=Means.UNKNOWN, code="files.server_error"),
        Cause(fault={"status": 403}, means=Means.SYSTEM, code="files.permission"),
        Cause(fault={"status": 400}, means=Means.REJECTED, code="files.refused"),
        Cause(fault={"status": 4_711}, means=Means.UNKNOWN, code="files.unexpected_answer"),
    ),
    unseen={
        "files.credentials": "no record is refused for it: the check with wrong credentials",
        "files.host_key": "the server is another one: test_files_sftp.py",
        "files.exists": "it means that the file is there, so it is delivered",
        "files.unreadable": "a mark or manifest that is none of ours: test_files_s3.py",
        "files.clock": _S3,
        "files.no_bucket": _S3,
        "files.slow_down": _S3,
        "files.unavailable": _S3,
        "files.bad_gateway": _S3,
        "files.gateway_timeout": _S3,
    },
    lacks={
        Trait.EXPIRY: "a login lasts as long as its connection",
        Trait.LIMIT: "SFTP has none",
    },
)
