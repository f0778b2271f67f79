"""NetSuite as the registry knows it."""

from __future__ import annotations

from connectors.answers import transport_rows
from connectors.auth import token_rows
from connectors.base import Effect
from connectors.netsuite.answers import (
    CODES,
    DUPLICATE,
    IGNORED,
    NAME,
    NO_QUERY,
    NO_RECORD,
    QUERY,
    REFUSED_OTHERWISE,
    RUNNING,
    STATUSES,
    UNREADABLE,
)
from connectors.netsuite.config import NetsuiteSettings
from connectors.netsuite.mapping import Names, case_fields, change_fields
from connectors.netsuite.protocol import TITLE, NetsuiteConnector
from connectors.system import CallSpec, MapSpec, System, reads

UNSURE = (
    "CONCURRENCY_LIMIT_EXCEEDED (429) and its missing Retry-After: third parties only.",
    "RCRD_HAS_BEEN_CHANGED, RCRD_DSNT_EXIST, SSS_REQUEST_LIMIT_EXCEEDED over REST: third parties.",
    (
        "That a support case takes an external id and incomingMessage: the help's page Support "
        "Case has both among the fields that REST does not reach; the REST API Browser has the "
        "upsert, and other clients send both. Ways round: NETSUITE_KEY_FIELD, "
        "NETSUITE_MESSAGE_FIELD, NETSUITE_RECORD_TYPE."
    ),
    "A reference by {'externalId': …} in a body; the identity map's internal ids avoid it.",
    "Ids of priorities and statuses are those of a new account; a title's limit of 300.",
    "What a job's task says of one record: nothing is read from it, records are looked up.",
)
_KEY = "the event's id, as external id in the path"
_AGAIN = "looked up and sent again at once: an external id is unique within its record type"


SYSTEM = System(
    name=NAME,
    title=TITLE,
    settings=NetsuiteSettings,
    make=NetsuiteConnector,
    objects={
        "supportCase": MapSpec(
            canonical="ServiceOrder",
            fields=case_fields(Names()),
            owner="NetSuite, once it is there",
            conflict="a raise never touches a record that is there whole",
        ),
        "supportCase (change)": MapSpec(
            canonical="ServiceOrder",
            fields=change_fields(Names()),
            owner="Fieldline for version and snapshot; for the status where a trouble ends or "
            "comes back",
            conflict="the newer event wins; a priority only rises; title, messages and all other "
            "fields are people's",
        ),
    },
    calls=(
        reads("token", "POST /services/rest/auth/oauth2/v1/token"),
        reads("look_up", "POST /services/rest/query/v1/suiteql"),
        CallSpec(
            step="create",
            request="PUT /services/rest/record/v1/{type}/eid:{key}",
            effect=Effect.KEYED_WRITE,
            key=_KEY,
            once="upsert by external id; skipped where the record is there whole",
            unknown=_AGAIN,
        ),
        CallSpec(
            step="create_batch",
            request="PUT /services/rest/record/v1/{type}, Prefer: respond-async",
            effect=Effect.KEYED_WRITE,
            key="each event's id, as externalId of its item; the batch's own in "
            "X-NetSuite-Idempotency-Key",
            once="upsert by external id; the same batch again is answered with the earlier job",
            unknown="the job is followed to its end, then each record is looked up",
        ),
        reads("job", "GET /services/rest/async/v1/job/{id}"),
        CallSpec(
            step="change",
            request="PATCH /services/rest/record/v1/{type}/{id}",
            effect=Effect.KEYED_WRITE,
            key="the raising event's id, by which the record's own id was looked up",
            once="sets plain values; skipped where the record's version is as new",
            unknown=_AGAIN,
        ),
        reads("check_query", "POST /services/rest/query/v1/suiteql"),
        reads("check_fields", "GET /services/rest/record/v1/metadata-catalog/{type}"),
        reads("check_limits", "GET /services/rest/system/v1/governanceLimits"),
    ),
    answers=(
        *CODES,
        REFUSED_OTHERWISE,
        *STATUSES,
        IGNORED,
        UNREADABLE,
        RUNNING,
        DUPLICATE,
        NO_QUERY,
        QUERY,
        NO_RECORD,
        *token_rows(NAME),
        *transport_rows(NAME),
    ),
    unsure=UNSURE,
)
