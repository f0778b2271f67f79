"""Dynamics 365 as the registry knows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from connectors.answers import transport_rows
from connectors.auth import token_rows
from connectors.base import Connector, Effect
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
from connectors.settings import ConnectorSettings
from connectors.system import CallSpec, MapSpec, Policy, System


def _make(settings: ConnectorSettings, policy: Policy, clock: Callable[[], float]) -> Connector:
    return DynamicsConnector(cast("DynamicsSettings", settings), policy, clock)


SYSTEM = System(
    name=NAME,
    title="Dynamics 365 (Dataverse)",
    settings=DynamicsSettings,
    make=_make,
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
        CallSpec(
            step="find",
            request="GET /{entity_set}({key_attribute}='…')",
            effect=Effect.READ,
        ),
        CallSpec(step="token", request="POST {token_url}", effect=Effect.READ),
        CallSpec(step="who_am_i", request="GET /WhoAmI", effect=Effect.READ),
        CallSpec(step="check_key", request="GET /EntityDefinitions", effect=Effect.READ),
    ),
    answers=(*CODES, *STATUSES, NO_RECORD, BROKEN, *token_rows(NAME), *transport_rows(NAME)),
    unsure=(
        "whether one PATCH may reopen a case and change it: two are sent, in one change set",
        "code 0x80060888 for a key that is not defined: seen in the field, not in the docs",
        "If-None-Match with an alternate key: documented for the primary key; 200 = was there",
    ),
)
