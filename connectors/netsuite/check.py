"""Whether NetSuite would take what deliver sends: token, query, fields, places. Only reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import httpx

from connectors.answers import json_of, text_of
from connectors.base import Checked, Conversation, Effect
from connectors.netsuite.access import Access
from connectors.netsuite.answers import trouble
from connectors.netsuite.config import NetsuiteSettings
from connectors.netsuite.mapping import case_fields
from connectors.netsuite.queries import Queries
from connectors.speech import Speech
from pipeline.core.outcome import Retryable

NOBODY = "fieldline-check"
"""A key that no event has."""
SCHEMA = "application/schema+json"


def check(
    settings: NetsuiteSettings, access: Access, queries: Queries, speech: Callable[[], Speech]
) -> Conversation[Sequence[Checked]]:
    """One line for each thing that can be told without writing."""
    trouble_with = yield from access.token()
    if trouble_with is not None:
        return [Checked(what="credentials", ok=False, detail=trouble_with.message)]
    found = yield from queries.find({NOBODY}, speech(), step="check_query")
    if isinstance(found, Retryable):
        return [Checked(what="looking up records", ok=False, detail=found.message)]
    checks = [
        Checked(what="credentials", ok=True, detail="NetSuite lets us in."),
        Checked(
            what="looking up records", ok=True, detail=f"SuiteQL shows {settings.record_type}."
        ),
        (yield from _fields(settings, access, speech)),
        (yield from _places(access, speech)),
    ]
    told = "Rights to create and edit show only when something is written."
    return [*checks, Checked(what="writing", ok=None, detail=told)]


def _fields(
    settings: NetsuiteSettings, access: Access, speech: Callable[[], Speech]
) -> Conversation[Checked]:
    """Whether the record type has every field that the mapping writes (its JSON schema)."""
    what = f"fields of {settings.record_type}"
    reply = yield from access.send(
        "check_fields",
        "GET",
        f"/record/v1/metadata-catalog/{settings.record_type}",
        effect=Effect.READ,
        headers={"accept": SCHEMA},
    )
    if isinstance(reply, Retryable):
        return Checked(what=what, ok=False, detail=reply.message)
    body = json_of(reply) if isinstance(reply, httpx.Response) and reply.is_success else None
    properties = body.get("properties") if isinstance(body, dict) else None
    if not isinstance(properties, dict):
        return Checked(what=what, ok=False, detail=speech().message(trouble(reply), reply))
    wanted = {one.target.partition(".")[0] for one in case_fields(settings.names)}
    missing = sorted(wanted - properties.keys() - {"externalId"})
    if missing:
        detail = f"It has no {', '.join(missing)}: add them, or correct the NETSUITE_*_FIELD names."
        return Checked(what=what, ok=False, detail=detail)
    return Checked(what=what, ok=True, detail=f"All {len(wanted)} fields that are written exist.")


def _places(access: Access, speech: Callable[[], Speech]) -> Conversation[Checked]:
    """How many requests may be under way at once; only administrators are told (D)."""
    what = "requests at once"
    reply = yield from access.send(
        "check_limits", "GET", "/system/v1/governanceLimits", effect=Effect.READ
    )
    if isinstance(reply, Retryable):
        return Checked(what=what, ok=None, detail=reply.message)
    body = json_of(reply) if isinstance(reply, httpx.Response) and reply.is_success else None
    limit = text_of(body.get("accountConcurrencyLimit")) if isinstance(body, dict) else None
    if limit is None:
        detail = "NetSuite tells its limit to administrators only: see Integration Governance."
        if isinstance(reply, httpx.TransportError) or reply.is_server_error:
            detail = speech().message(trouble(reply), reply)
        return Checked(what=what, ok=None, detail=detail)
    return Checked(what=what, ok=True, detail=f"The account takes {limit[:12]}: keep lanes below.")
