"""Document management in the contract suite: by CMIS. WebDAV: tests/contract/test_dms_webdav.py."""

from __future__ import annotations

from connectors.dms.answers import DAV_STATUSES, STATUSES
from tests.contract.case import Case, Cause, Means
from tests.sandboxes.box import boxed
from tests.sandboxes.dms import CLIENT_ID, CLIENT_SECRET, make

_DAV = {row.code for row in DAV_STATUSES} - {row.code for row in STATUSES}

CASE = Case(
    name="dms",
    start=lambda: boxed(make()),
    values=lambda far: {
        "url": f"{far.url}/browser",
        "token_url": f"{far.url}/oauth2/token",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    },
    bad_values=lambda _: {"client_secret": "wrong"},
    kind="fieldline:serviceReport",
    write=("POST", "/browser/main/root"),
    codes={
        "invalidArgument": (Means.REJECTED, "dms.invalid_argument"),
        "constraint": (Means.REJECTED, "dms.constraint"),
        "streamNotSupported": (Means.REJECTED, "dms.stream"),
        "nameConstraintViolation": (Means.ITEM, "dms.name_taken"),
        "contentAlreadyExists": (Means.ITEM, "dms.content_there"),
        "updateConflict": (Means.ITEM, "dms.update_conflict"),
        "versioning": (Means.ITEM, "dms.versioning"),
        "permissionDenied": (Means.SYSTEM, "dms.permission"),
        "notSupported": (Means.SYSTEM, "dms.not_supported"),
        "storage": (Means.SYSTEM, "dms.storage"),
        "runtime": (Means.SYSTEM, "dms.runtime"),
        "objectNotFound": (Means.REJECTED, "dms.object_not_found"),
    },
    faults=(
        Cause(fault={"status": 401}, means=Means.SYSTEM, code="dms.unauthorized"),
        Cause(fault={"status": 403}, means=Means.SYSTEM, code="dms.forbidden"),
        Cause(fault={"status": 413}, means=Means.REJECTED, code="dms.too_large"),
        Cause(fault={"status": 429}, means=Means.SYSTEM, code="dms.rate_limit"),
        Cause(fault={"status": 500}, means=Means.SYSTEM, code="dms.server_error"),
        Cause(fault={"status": 502}, means=Means.SYSTEM, code="dms.bad_gateway"),
        Cause(fault={"status": 503}, means=Means.SYSTEM, code="dms.unavailable"),
        Cause(fault={"status": 504}, means=Means.SYSTEM, code="dms.gateway_timeout"),
        Cause(fault={"mode": "html"}, means=Means.UNKNOWN, code="dms.unreadable"),
    ),
    unseen={
        **dict.fromkeys(_DAV, "of the other binding: tests/contract/test_dms_webdav.py"),
        "dms.renamed": "of repositories that rename: tests/contract/test_dms_cmis.py",
        "dms.checked_out": "of changes only: tests/contract/test_dms_cmis.py",
        "dms.repository": "of the service document: tests/contract/test_dms_cmis.py",
        "dms.no_record": "of changes only: tests/contract/test_dms_cmis.py",
        "dms.credentials": "of the token endpoint: tests/contract/test_dms_cmis.py",
        "dms.token_unavailable": "the same",
    },
    drop_fields=("cmis:versionSeriesId",),
)
