"""Oracle Fusion Cloud Maintenance as the registry knows it."""

from __future__ import annotations

from connectors.answers import transport_rows
from connectors.auth import token_rows
from connectors.base import Effect
from connectors.oracle.answers import MISSING, NAME, NO_RECORD, QUERY, STATUSES, UNREADABLE
from connectors.oracle.config import OracleSettings
from connectors.oracle.mapping import CHANGE, MAPPED_ASSET, ORDER
from connectors.oracle.protocol import TITLE, OracleConnector
from connectors.system import CallSpec, MapSpec, System, reads

UNSURE = (
    "Which fields Upsert-Mode: true matches for work orders: not documented, so off by default.",
    "That WorkOrderNumber may be given and is unique in its organization; ORACLE_REFERENCE_FIELD.",
    (
        "The body of createConditionBasedWorkOrders and its result: the help shows the address of "
        "the action, its example and another client post a wrapper to the resource itself."
    ),
    "q= on documentReference.DocumentNumber, by which condition-based orders are found again.",
    "The length of WorkOrderDescription (240), and that priority 1 is the most urgent.",
    "That an order goes from ORA_COMPLETED back to ORA_RELEASED by PATCH.",
    "How a refused batch answers; that nothing of it is taken is documented.",
)
_KEY = "FL- and the event's id, in the reference field (WorkOrderNumber)"
_LOOKED_FOR = "looked up by q= on the reference before it is sent; not kept to once by Oracle"
_UPSERTED = "Upsert-Mode: true, where the settings say that orders are matched by the reference"
_UNKNOWN = "looked up twice by the reference, then sent again where it is not there"
_AGAIN = "sent again at once"


def _write(step: str, request: str, *, keyed: bool = False, key: str = _KEY) -> CallSpec:
    return CallSpec(
        step=step,
        request=request,
        effect=Effect.KEYED_WRITE if keyed else Effect.WRITE,
        key=key,
        once=_UPSERTED if keyed else _LOOKED_FOR,
        unknown=_AGAIN if keyed else _UNKNOWN,
    )


_BASE = "/fscmRestApi/resources/{version}"
_ORDERS = f"{_BASE}/maintenanceWorkOrders"
SYSTEM = System(
    name=NAME,
    title=TITLE,
    settings=OracleSettings,
    make=OracleConnector,
    objects={
        "maintenanceWorkOrders": MapSpec(
            canonical="ServiceOrder",
            fields=(*ORDER, MAPPED_ASSET),
            owner="Oracle, once it is there",
            conflict="a raise never touches an order that is there",
        ),
        "maintenanceWorkOrders (change)": MapSpec(
            canonical="ServiceOrder",
            fields=CHANGE,
            owner="Fieldline for the description's end; for the status where a trouble ends or "
            "comes back",
            conflict="If-Match: who read an older state looks again; the newer event wins, a "
            "priority only rises, and what people wrote before ' · now: ' stays",
        ),
    },
    calls=(
        reads("token", "POST {token_url}"),
        reads("look_up", f"GET {_ORDERS}?q="),
        reads("check", f"GET {_ORDERS}?q="),
        _write("create", f"POST {_ORDERS}"),
        _write("create_batch", f"POST {_BASE}, parts"),
        _write(
            "create_by_condition",
            f"POST {_ORDERS}/action/createConditionBasedWorkOrders",
            key="FL- and the event's id, as documentNumber",
        ),
        _write("upsert", f"POST {_ORDERS}, Upsert-Mode: true", keyed=True),
        _write("upsert_batch", f"POST {_BASE}, parts", keyed=True),
        CallSpec(
            step="change",
            request=f"PATCH {_ORDERS}/{{WorkOrderId}}",
            effect=Effect.KEYED_WRITE,
            key="the raising event's reference, by which the order's id was looked up",
            once="If-Match with the state that was read; skipped where the description tells of "
            "an event as new",
            unknown=_AGAIN,
        ),
    ),
    answers=(
        *STATUSES,
        UNREADABLE,
        MISSING,
        QUERY,
        NO_RECORD,
        *token_rows(NAME),
        *transport_rows(NAME),
    ),
    unsure=UNSURE,
)
