"""SAP S/4HANA as the registry knows it."""

from __future__ import annotations

from connectors.answers import transport_rows
from connectors.auth import token_rows
from connectors.base import Effect
from connectors.sap.answers import NAME, TABLE
from connectors.sap.config import SapSettings
from connectors.sap.mapping import change_fields, order_fields, raise_fields
from connectors.sap.protocol import SapConnector
from connectors.system import CallSpec, MapSpec, System, reads

_ROOT = "/sap/opu/odata/sap/API_MAINTNOTIFICATION"
_ORDERS = "/sap/opu/odata/sap/API_MAINTENANCEORDER;v=0002"
_KEY = "MaintNotifExtReferenceNumber: base32 of 96 bits of the event id's SHA-256"
_ORDER_KEY = "MaintenanceNotification: the notification's number"
_FIRST = "looked for by $filter before; the ledger keeps two workers apart"
_LOOK = "looked up by $filter, twice, before it is sent again"
_ETAG = "If-Match with the ETag of what was read; skipped where its mark or state is there"
_AGAIN = "read again: what is there already is not written again"


def _write(step: str, request: str, key: str = _KEY) -> CallSpec:
    return CallSpec(
        step=step,
        request=request,
        effect=Effect.WRITE,
        key=key,
        once=_FIRST,
        unknown=_LOOK,
    )


def _change(step: str, request: str) -> CallSpec:
    return CallSpec(
        step=step,
        request=request,
        effect=Effect.KEYED_WRITE,
        key="the raising event's reference finds it; a mark [FL-…] in the line is the change's own",
        once=_ETAG,
        unknown=_AGAIN,
    )


SYSTEM = System(
    name=NAME,
    title="SAP S/4HANA",
    settings=SapSettings,
    make=SapConnector,
    objects={
        "MaintenanceNotification": MapSpec(
            canonical="ServiceOrder",
            fields=raise_fields(),
            owner="SAP, once it is there",
            conflict="a raise never touches a notification that is there, not even a deleted one",
        ),
        "MaintenanceNotification (change)": MapSpec(
            canonical="ServiceOrder",
            fields=change_fields(),
            owner="SAP; Fieldline adds lines, and completes while the trouble is its own",
            conflict="ETag: who writes first wins, and the other reads again; the priority only "
            "ever becomes more urgent, people's texts stay, what a person has completed stays "
            "until the trouble goes on (reopened), a deletion flag is final",
        ),
        "MaintenanceOrder": MapSpec(
            canonical="ServiceOrder",
            fields=order_fields(),
            owner="SAP, once it is there; made only where create_order is set",
            conflict="never changed; none is made for a notification that has one",
        ),
    },
    calls=(
        reads("token", "POST /sap/bc/sec/oauth2/token"),
        reads("csrf", "HEAD or GET the service's root, x-csrf-token: Fetch"),
        reads("find", f"GET {_ROOT}/MaintenanceNotification?$filter=…"),
        reads("read", f"GET {_ROOT}/MaintenanceNotification('…')"),
        reads("read_batch", f"POST {_ROOT}/$batch with reads only"),
        _write("create", f"POST {_ROOT}/MaintenanceNotification"),
        _write("create_batch", f"POST {_ROOT}/$batch, a change set for each"),
        _change("update", f"PATCH {_ROOT}/MaintenanceNotification('…')"),
        _change("complete", f"POST {_ROOT}/CompleteMaintNotification?…"),
        _change("reopen", f"POST {_ROOT}/SetMaintNotifToInProcess?…"),
        _change("change_batch", f"POST {_ROOT}/$batch, a change set for each"),
        reads("find_order", f"GET {_ORDERS}/MaintenanceOrder?$filter=…"),
        _write("create_order", f"POST {_ORDERS}/MaintenanceOrder", _ORDER_KEY),
        _write("create_orders", f"POST {_ORDERS}/$batch, a change set for each", _ORDER_KEY),
        reads("check_metadata", f"GET {_ROOT}/$metadata"),
        reads("check_search", f"GET {_ROOT}/MaintenanceNotification?$top=1"),
    ),
    answers=(*TABLE, *token_rows(NAME), *transport_rows(NAME)),
    unsure=(
        "the token endpoint /sap/bc/sec/oauth2/token",
        "the service API_MAINTENANCEORDER;v=0002 and its fields",
        "that SetMaintNotifToInProcess reopens a completed notification",
        "that function imports take If-Match",
        "that MaintNotifLongTextForEdit replaces the long text, unless long_text_log is set",
        "numbers of message classes (IM/416, IM/406, MC/601), and the words 'locked by'",
        "NotifProcessingPhase 5 for the deletion flag",
        "the format of RepeatabilityCreation",
        "that times of day are taken as UTC (NotificationTimeZone of the user)",
    ),
    mounts=SapSettings.mounts,
)
