"""Salesforce as the registry knows it."""

from __future__ import annotations

from connectors.answers import transport_rows
from connectors.auth import token_rows
from connectors.base import Effect
from connectors.salesforce.answers import CODES, NAME, OTHERS, TITLE
from connectors.salesforce.config import SalesforceSettings
from connectors.salesforce.mapping import message_fields, record_fields
from connectors.salesforce.protocol import SalesforceConnector
from connectors.system import CallSpec, MapSpec, System, reads

_DATA = "/services/data/vXX.0"
_ONCE = "the field is External ID and Unique, and only keys that a query did not find are sent"
_AGAIN = "sent again at once: what is there by then is found and left alone"
_NOTHING_YET = "nothing is taken before UploadComplete: a job left open does nothing"


def _keyed(step: str, request: str, key: str, once: str) -> CallSpec:
    return CallSpec(
        step=step, request=request, effect=Effect.KEYED_WRITE, key=key, once=once, unknown=_AGAIN
    )


_QUERY = f"GET {_DATA}/query/?q=SELECT … WHERE {{external_id_field}} IN (…)"
_JOB = f"{_DATA}/jobs/ingest/{{job}}"
_COLUMN = "the external id field, a column of the CSV"
CALLS = (
    reads("token", "POST /services/oauth2/token"),
    reads("read", _QUERY),
    reads("read_again", _QUERY),
    reads("read_upserted", _QUERY),
    reads("look_up", _QUERY),
    _keyed(
        "upsert",
        f"PATCH {_DATA}/sobjects/{{object}}/{{external_id_field}}/{{key}}",
        "the raising event's id, in the path",
        _ONCE,
    ),
    _keyed(
        "upsert_collection",
        f"PATCH {_DATA}/composite/sobjects/{{object}}/{{external_id_field}}",
        "the raising event's id, in the external id field of each record",
        _ONCE,
    ),
    _keyed(
        "update",
        f"PATCH {_DATA}/composite/sobjects",
        "the change's own id, as the mark of its line in Fieldline_Log__c",
        "skipped where the log has the mark or Fieldline_Version__c is newer; plain values",
    ),
    CallSpec(
        step="publish",
        request=f"POST {_DATA}/composite, allOrNone: the record and the platform event",
        effect=Effect.WRITE,
        key="the event's own id, in Key__c of the platform event; the record's as above",
        once="only sent where a query shows that the record does not have it",
        unknown="looked for: both or neither are there, and the record can be asked",
    ),
    _keyed("bulk_create", f"POST {_DATA}/jobs/ingest", _COLUMN, _NOTHING_YET),
    _keyed("bulk_upload", f"PUT {_JOB}/batches", _COLUMN, _NOTHING_YET),
    _keyed("bulk_start", f"PATCH {_JOB} UploadComplete", _COLUMN, _ONCE),
    _keyed("bulk_abort", f"PATCH {_JOB} Aborted", _COLUMN, "it only ends what goes on"),
    reads("bulk_poll", f"GET {_JOB}"),
    reads("bulk_successful", f"GET {_JOB}/successfulResults/"),
    reads("bulk_failed", f"GET {_JOB}/failedResults/"),
    reads("bulk_unprocessed", f"GET {_JOB}/unprocessedrecords/"),
    reads("check_versions", "GET /services/data/"),
    reads("check_object", f"GET {_DATA}/sobjects/{{object}}/describe"),
    reads("check_event", f"GET {_DATA}/sobjects/{{platform_event}}/describe"),
    reads("check_limits", f"GET {_DATA}/limits/"),
)
_SHOWN = SalesforceSettings.model_construct(
    object="Case",
    external_id_field="Fieldline_Key__c",
    account_external_id_field="Customer_Id__c",
    asset_external_id_field="Asset_Id__c",
)
"""The defaults, and examples for what is left out by default."""


SYSTEM = System(
    name=NAME,
    title=TITLE,
    settings=SalesforceSettings,
    make=SalesforceConnector,
    objects={
        "Case": MapSpec(
            canonical="ServiceOrder",
            fields=record_fields(_SHOWN),
            owner="Salesforce, once it is there; Fieldline for its own fields (Fieldline_…__c)",
            conflict=(
                "A Case that is there is never raised over. A change adds a line to "
                "Fieldline_Log__c; it writes Priority only while that is what the last severity "
                "we told makes, closes only what still has the open Status, and opens what is "
                "closed, whoever closed it, for the trouble is there again. Subject, Description, "
                "account, asset and entitlement are people's from the start. A change older than "
                "Fieldline_Version__c is not made. What a person does between our reading and our "
                "writing, a moment later, can be written over in Priority and Status."
            ),
        ),
        "Fieldline_Event__e": MapSpec(
            canonical="Event",
            fields=message_fields(),
            owner="Fieldline",
            conflict=(
                "Published with the record's change or not at all, with its Id in Record__c; "
                "Salesforce may bring one twice, so subscribers drop a second Key__c."
            ),
        ),
    },
    calls=CALLS,
    answers=(*CODES, *OTHERS, *token_rows(NAME), *transport_rows(NAME)),
    unsure=(
        "that a composite with allOrNone rolls back a platform event along with its record",
        "that lengths of texts are counted in code points, not in UTF-16 units",
        "that Bulk results repeat the columns under the names in which they were sent",
        "that a key on a record which the user may not see comes out as DUPLICATE_VALUE",
    ),
)
