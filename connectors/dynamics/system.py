"""Dynamics 365 as the registry knows it."""

from __future__ import annotations

from connectors.answers import transport_rows
from connectors.auth import token_rows
from connectors.base import Effect
from connectors.dynamics.answers import BROKEN, CODES, NAME, NO_RECORD, STATUSES
from connectors.dynamics.config import DynamicsSettings
from connectors.dynamics.mapping import (
    ACCOUNT_BY_ID,
    ACCOUNT_BY_KEY,
    ASSET,
    CASE,
    CHANGE,
    NOTE,
    RESOLUTION,
)
from connectors.dynamics.protocol import DynamicsConnector
from connectors.system import CallSpec, MapSpec, System, reads

SYSTEM = System(
    name=NAME,
    title="Dynamics 365 (Dataverse)",
    settings=DynamicsSettings,
    make=DynamicsConnector,
    objects={
        "incident": MapSpec(
            canonical="ServiceOrder",
            fields=(*CASE, ACCOUNT_BY_ID, ACCOUNT_BY_KEY, ASSET),
            owner="Dynamics 365, once it is there",
            conflict="a raise only creates; title, text, customer and asset are people's then",
        ),
        "incident (change)": MapSpec(
            canonical="ServiceOrder",
            fields=CHANGE,
            owner="Fieldline for version and state; people for the rest",
            conflict="by the record's ETag; an older event never overwrites a newer one; the "
            "priority is only ever raised",
        ),
        "annotation": MapSpec(
            canonical="Document", fields=NOTE, owner="Fieldline", conflict="never changed"
        ),
        "incidentresolution": MapSpec(
            canonical="Document",
            fields=RESOLUTION,
            owner="Fieldline",
            conflict="a case that people have closed is left alone",
        ),
    },
    calls=(
        CallSpec(
            step="create",
            request="PATCH /{entity_set}({key_attribute}='…'), If-None-Match: *; "
            "several in one POST /$batch, each a change set",
            effect=Effect.KEYED_WRITE,
            key="the event's id, in the address, as alternate key",
            once="an upsert that may only create: 412 the second time",
            unknown="sent again at once: the alternate key is unique",
        ),
        CallSpec(
            step="change",
            request="POST /$batch with one change set per record: PATCH with If-Match, "
            "POST /annotations or POST /CloseIncident",
            effect=Effect.KEYED_WRITE,
            key="the raising event's id, in the address; the change's own id, as the note's id",
            once="the record's ETag, all or nothing: 412 the second time",
            unknown="read again, and sent again where the record does not show it",
        ),
        reads("find", "GET /{entity_set}({key_attribute}='…')"),
        reads("token", "POST {token_url}"),
        reads("who_am_i", "GET /WhoAmI"),
        reads("check_key", "GET /EntityDefinitions"),
    ),
    answers=(*CODES, *STATUSES, NO_RECORD, BROKEN, *token_rows(NAME), *transport_rows(NAME)),
    unsure=(
        "whether one PATCH may reopen a case and change it: two are sent, in one change set",
        "code 0x80060888 for a key that is not defined: seen in the field, not in the docs",
        "If-None-Match with an alternate key: documented for the primary key; 200 = was there",
    ),
)
