"""SAP S/4HANA in the contract suite."""

from __future__ import annotations

from connectors.sap.mapping import reference
from tests.contract.case import Case, Cause, Means
from tests.sandboxes.box import boxed
from tests.sandboxes.sap import EQUIPMENT, PASSWORD, USERNAME, make

_JSON = {"content-type": "application/json"}

CASE = Case(
    name="sap",
    start=lambda: boxed(make()),
    values=lambda far: {"url": far.url, "username": USERNAME, "password": PASSWORD},
    bad_values=lambda _: {"password": "wrong-and-known-to-nobody"},
    kind="MaintenanceNotification",
    write=("POST|PATCH", r"/API_MAINTNOTIFICATION/(MaintenanceNotification|\$batch)"),
    far_key=reference,
    ids={"sap.equipment": EQUIPMENT},
    codes={
        "IM/118": (Means.REJECTED, "sap.refused"),
        "IW/045": (Means.REJECTED, "sap.refused"),
        "/IWBEP/CM_MGW_RT/022": (Means.REJECTED, "sap.refused"),
        "005056A509B11EE1B9A8FEC11C21578E": (Means.REJECTED, "sap.bad_request"),
        "IM/406": (Means.REJECTED, "sap.deletion_flag"),
        "IM/416": (Means.ITEM, "sap.locked"),
        "MC/601": (Means.ITEM, "sap.locked"),
        "IM/820": (Means.ITEM, "sap.not_authorized"),
        "/IWFND/CM_BEC/026": (Means.SYSTEM, "sap.forbidden"),
    },
    faults=(
        Cause(fault={"status": 401}, means=Means.SYSTEM, code="sap.credentials"),
        Cause(
            fault={"status": 403, "headers": {"x-csrf-token": "Required"}},
            means=Means.SYSTEM,
            code="sap.csrf",
        ),
        Cause(fault={"status": 403}, means=Means.SYSTEM, code="sap.forbidden"),
        Cause(fault={"status": 404}, means=Means.SYSTEM, code="sap.no_service"),
        Cause(fault={"status": 412}, means=Means.ITEM, code="sap.changed"),
        Cause(fault={"status": 428}, means=Means.ITEM, code="sap.changed"),
        Cause(fault={"status": 429}, means=Means.SYSTEM, code="sap.throttled"),
        Cause(fault={"status": 500}, means=Means.UNKNOWN, code="sap.server_error"),
        Cause(fault={"status": 502}, means=Means.UNKNOWN, code="sap.server_error"),
        Cause(fault={"status": 503}, means=Means.SYSTEM, code="sap.unavailable"),
        Cause(fault={"status": 504}, means=Means.UNKNOWN, code="sap.server_error"),
        Cause(fault={"mode": "html"}, means=Means.UNKNOWN, code="sap.unexpected_answer"),
        Cause(
            fault={"status": 400, "body_text": "no", "headers": _JSON},
            means=Means.UNKNOWN,
            code="sap.unexpected_answer",
        ),
        Cause(
            fault={"status": 400, "headers": {"RepeatabilityResult": "rejected"}},
            means=Means.UNKNOWN,
            code="sap.repeat_rejected",
        ),
        Cause(
            fault={"status": 501, "headers": {"RepeatabilityResult": "unsupported"}},
            means=Means.SYSTEM,
            code="sap.repeat_unsupported",
        ),
    ),
    unseen={
        "sap.gone": "404 of one notification: it ends as no_record (test_sap_changes.py)",
        "sap.no_record": "only changes have it (test_sap_changes.py)",
        "sap.token_unavailable": "the case logs in with Basic (test_sap_session.py has OAuth)",
    },
    drop_fields=("d", "MaintenanceNotification"),
)
