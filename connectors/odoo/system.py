"""Odoo as the registry knows it."""

from __future__ import annotations

from connectors.answers import transport_rows
from connectors.base import Effect
from connectors.odoo.answers import NAME, ROWS
from connectors.odoo.changes import MESSAGES
from connectors.odoo.config import OdooSettings
from connectors.odoo.mapping import CHANGE, EQUIPMENT, NOTE, REQUEST
from connectors.odoo.protocol import TITLE, OdooConnector
from connectors.odoo.requests import EQUIPMENTS, REQUESTS
from connectors.system import CallSpec, MapSpec, System, reads

_ONCE = "module and name are unique in ir.model.data; what is there is left as it is"
_AGAIN = "sent again at once: the external id keeps it to one"


def _load(step: str, model: str, key: str, once: str = _ONCE) -> CallSpec:
    return CallSpec(
        step=step,
        request=f"POST /json/2/{model}/load (or /jsonrpc, execute_kw)",
        effect=Effect.KEYED_WRITE,
        key=f"{key}, as external id in the first column of each row",
        once=once,
        unknown=_AGAIN,
    )


def _read(step: str, model: str, method: str) -> CallSpec:
    return reads(step, f"POST /json/2/{model}/{method}")


SYSTEM = System(
    name=NAME,
    title=TITLE,
    settings=OdooSettings,
    make=OdooConnector,
    objects={
        REQUESTS: MapSpec(
            canonical="ServiceOrder",
            fields=REQUEST,
            owner="Odoo, once it is there",
            conflict="a raise never touches a request that is there",
        ),
        f"{REQUESTS} (change)": MapSpec(
            canonical="ServiceOrder",
            fields=CHANGE,
            owner="Fieldline for the priority; for the stage while nobody has taken it on",
            conflict="a clear closes only what stands where requests begin; an update opens again "
            "what is closed; each is made once, in the order of events",
        ),
        EQUIPMENTS: MapSpec(
            canonical="Asset",
            fields=EQUIPMENT,
            owner="Odoo",
            conflict="made where it is missing, never changed",
        ),
        MESSAGES: MapSpec(
            canonical="Document", fields=NOTE, owner="Fieldline", conflict="never changed"
        ),
    },
    calls=(
        _load("create_request", REQUESTS, "the event's id"),
        _load("create_equipment", EQUIPMENTS, "the asset's id"),
        _load("create_note", MESSAGES, "the change's own id"),
        _load(
            "change_request",
            REQUESTS,
            "the raising event's id",
            "sets plain values; skipped where the change's note is there",
        ),
        reads("login", "POST /jsonrpc, common.login"),
        _read("look_up", "ir.model.data", "search_read"),
        *(
            _read(f"{step}_again", "ir.model.data", "search_read")
            for step in ("create_request", "create_equipment", "create_note", "change_request")
        ),
        _read("find_equipment", EQUIPMENTS, "search_read"),
        _read("read_request", REQUESTS, "search_read"),
        _read("rights", "{model}", "has_access (jsonrpc: check_access_rights)"),
        _read("check_user", "res.users", "context_get"),
        _read("check_fields", REQUESTS, "fields_get"),
    ),
    answers=(*ROWS, *transport_rows(NAME)),
    unsure=(
        (
            "that a plain user may read ir.model.data and create mail.message by load was read in "
            "Odoo's source, not tried on a server: `fieldline connectors check odoo` tells"
        ),
        "JSON-2 was read in Odoo's source and not tried on a server",
    ),
)
