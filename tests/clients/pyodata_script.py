"""pyodata (SAP's own client for OData V2) against the sandbox; prints what came of it as JSON.

Runs in the clients' environment: nothing of ours can be imported here.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

import pyodata
import requests
from pyodata.exceptions import HttpError
from pyodata.vendor.SAP import (
    BusinessGatewayError,
    sap_header_error_hook,
)


def session_of(given: dict[str, Any]) -> requests.Session:
    """Logged in; the token for writes is not fetched yet."""
    session = requests.Session()
    session.trust_env = False
    if "token_url" in given:
        answer = session.post(
            given["token_url"],
            auth=(given["client_id"], given["client_secret"]),
            data={"grant_type": "client_credentials"},
            timeout=10,
        )
        session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    else:
        session.auth = (given["username"], given["password"])
    return session


def fetch_token(session: requests.Session, url: str) -> str:
    """As pyodata's manual says: any GET of the service gives token and cookies."""
    answer = session.head(url, headers={"x-csrf-token": "fetch"}, timeout=10)
    session.headers["x-csrf-token"] = answer.headers.get("x-csrf-token", "")
    return str(session.headers["x-csrf-token"])


def failure(error: HttpError) -> dict[str, Any]:
    """Status and words of a refusal, as pyodata's vendor module reads them."""
    told = BusinessGatewayError("unread", error.response)
    return {
        "status": error.response.status_code,
        "message": str(told),
        "details": told.errordetails,
        "csrf": error.response.headers.get("x-csrf-token", ""),
    }


START = datetime(2026, 11, 21, tzinfo=UTC)
MADE = {
    "NotificationText": "Coolant at 112 °C 🔥",
    "NotificationType": "M2",
    "MaintPriority": "1",
    "TechnicalObject": "10000005",
    "TechObjIsEquipOrFuncnlLoc": "EAMS_EQUI",
    "MaintNotifExtReferenceNumber": "abcdefghij2345678901",
    "MaintNotifLongTextForEdit": "Line one\nline two",
    "MalfunctionStartDate": START,
}
BAD: tuple[dict[str, str], ...] = (
    {"NotificationText": "x" * 41},
    {"NotificationText": "🔥" * 21},
    {"NotificationText": ""},
    {"NotificationText": "x", "NotificationType": "ZZ"},
    {
        "NotificationText": "x",
        "TechnicalObject": "99999999",
        "TechObjIsEquipOrFuncnlLoc": "EAMS_EQUI",
    },
)


class Talk:
    """One service through pyodata."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.session = session_of(given)
        self.url = given["url"] + "/sap/opu/odata/sap/API_MAINTNOTIFICATION/"
        self.client = pyodata.Client(self.url, self.session, response_hook=sap_header_error_hook)
        self.all = self.client.entity_sets.MaintenanceNotification
        self.number = ""

    def create(self, values: dict[str, Any]) -> Any:  # noqa: ANN401 - pyodata's EntityProxy
        """A new notification."""
        return self.all.create_entity().set(**values).execute()

    def refused(self, values: dict[str, Any]) -> dict[str, Any]:
        """Why there is no new notification."""
        try:
            self.create(values)
        except HttpError as error:
            return failure(error)
        return {}

    def read(self) -> Any:  # noqa: ANN401 - pyodata's EntityProxy
        """The notification."""
        return self.all.get_entity(self.number).execute()

    def update(self, etag: str | None, priority: str) -> dict[str, Any] | None:
        """Another priority, or why not."""
        request = self.all.update_entity(self.number).set(MaintPriority=priority)
        if etag is not None:
            request.add_headers({"If-Match": etag})
        try:
            request.execute()
        except HttpError as error:
            return failure(error)
        return None

    def batch(self, *texts: str) -> Any:  # noqa: ANN401 - what pyodata makes of it
        """A read, and a change set of creates."""
        whole = self.client.create_batch()
        whole.add_request(self.all.get_entity(self.number))
        changes = self.client.create_changeset()
        for text in texts:
            changes.add_request(self.all.create_entity().set(NotificationText=text))
        whole.add_request(changes)
        return whole.execute()


def of_metadata(talk: Talk) -> dict[str, Any]:
    """What the schema tells."""
    schema = talk.client.schema
    kind = schema.entity_type("MaintenanceNotificationType")
    return {
        "text_max": kind.proprty("NotificationText").max_length,
        "functions": sorted(one.name for one in schema.function_imports),
    }


def of_one(talk: Talk) -> dict[str, Any]:
    """Create, read, find, count."""
    made = talk.create(MADE)
    talk.number = made.MaintenanceNotification
    read = talk.read()
    found = (
        talk.all.get_entities()
        .filter("MaintNotifExtReferenceNumber eq 'ABCDEFGHIJ2345678901'")
        .select("MaintenanceNotification,NotificationText")
        .count(inline=True)
        .top(5)
        .execute()
    )
    later = "LastChangeDateTime gt datetimeoffset'2999-01-01T00:00:00Z'"
    return {
        "made": {"number": talk.number, "phase": made.NotifProcessingPhase, "etag": made.etag},
        "read": {
            "text": read.NotificationText,
            "reference": read.MaintNotifExtReferenceNumber,
            "long": read.MaintNotificationLongText,
            "start": read.MalfunctionStartDate.isoformat(),
            "etag": read.etag,
        },
        "found": {
            "count": found.total_count,
            "ids": [one.MaintenanceNotification for one in found],
        },
        "counted": talk.all.get_entities().count().execute(),
        "later": len(talk.all.get_entities().filter(later).execute()),
    }


def of_changes(talk: Talk) -> dict[str, Any]:
    """PATCH with and without an ETag, and the two function imports."""
    etag = talk.read().etag
    said: dict[str, Any] = {
        "patch_without_etag": talk.update(None, "2"),
        "patch": talk.update(etag, "2"),
        "patch_stale": talk.update(etag, "3"),
        "priority": talk.read().MaintPriority,
    }
    complete = talk.client.functions.CompleteMaintNotification
    complete.parameter("MaintenanceNotification", talk.number)
    complete.parameter("NotificationReferenceDate", START)
    said["completed"] = {"phase": complete.execute().NotifProcessingPhase}
    said["patch_completed"] = talk.update("*", "1")
    reopen = talk.client.functions.SetMaintNotifToInProcess
    reopen.parameter("MaintenanceNotification", talk.number)
    said["reopened"] = {"phase": reopen.execute().NotifProcessingPhase}
    return said


def of_batches(talk: Talk) -> dict[str, Any]:
    """One that goes well, one whose second request is refused."""
    one, two = talk.batch("in a batch", "in a batch too")
    before = talk.all.get_entities().count().execute()
    failed = ""
    try:
        talk.batch("good", "")
    except Exception as error:  # noqa: BLE001 - whichever way pyodata says it
        failed = type(error).__name__
    return {
        "batch": {
            "read": one.MaintenanceNotification,
            "made": [each.NotificationText for each in two],
        },
        "failed_batch": failed,
        "rolled_back": talk.all.get_entities().count().execute() == before,
    }


def main(given: dict[str, Any]) -> dict[str, Any]:
    """All operations, one after the other."""
    talk = Talk(given)
    said: dict[str, Any] = of_metadata(talk)
    said["no_token"] = talk.refused({"NotificationText": "without a token"})
    fetch_token(talk.session, talk.url)
    said |= of_one(talk)
    said["refused"] = [talk.refused(values) for values in BAD]
    number, talk.number = talk.number, "99"
    try:
        talk.read()
    except HttpError as error:
        said["missing"] = failure(error)
    talk.number = number
    said |= of_changes(talk)
    said |= of_batches(talk)
    talk.session.cookies.clear()
    said["no_cookies"] = talk.refused({"NotificationText": "token without its cookies"})
    return said


if __name__ == "__main__":
    json.dump(main(json.load(sys.stdin)), sys.stdout)
