"""simple-salesforce's own code against an org: JSON with `url` in, what it saw out.

Runs in the clients' environment: nothing of ours can be imported here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceError

KEY = "Fieldline_Key__c"


class ToOrg(HTTPAdapter):
    """The client builds https addresses only; the org here is on the loopback, without TLS."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._to = urlsplit(url)

    def send(self, request: requests.PreparedRequest, **more: Any) -> requests.Response:  # type: ignore[override]  # noqa: ANN401 - requests'
        """The same request, to the org."""
        place = urlsplit(str(request.url))
        request.url = place._replace(scheme=self._to.scheme, netloc=self._to.netloc).geturl()
        return super().send(request, **more)


def refused(act: Callable[[], object]) -> list[str] | None:
    """The error that the client raises: its class, and Salesforce's code; None where there is none.

    Of several records that match, the number stands in the code's place.
    """
    try:
        act()
    except SalesforceError as error:
        content = getattr(error, "content", None)
        if not isinstance(content, list):
            code = str(getattr(error, "code", ""))
        elif isinstance(content[0], dict):
            code = str(content[0]["errorCode"])
        else:
            code = str(len(content))
        return [type(error).__name__, code]
    return None


def logins(given: dict[str, Any], session: requests.Session) -> tuple[Any, Any, dict[str, Any]]:
    """By JWT, by client credentials (returned), by a session's id (returned)."""
    jwt = Salesforce(
        username=given["username"],
        consumer_key=given["client_id"],
        privatekey=given["private_key"],
        session=session,
    )
    count = "SELECT COUNT() FROM Case"
    said: dict[str, Any] = {"jwt": jwt.query(count)["totalSize"]}
    app = {"consumer_key": given["client_id"], "domain": "acme.my", "session": session}
    sf = Salesforce(consumer_secret=given["client_secret"], **app)
    direct = Salesforce(session_id=sf.session_id, instance_url=given["url"], session=session)
    said["direct"] = direct.query(count)["totalSize"]
    said["wrong"] = refused(lambda: Salesforce(consumer_secret="wrong", **app))
    return sf, direct, said


def described(sf: Any) -> dict[str, Any]:  # noqa: ANN401 - the client's
    """What there is."""
    fields = {one["name"]: one for one in sf.Case.describe()["fields"]}
    return {
        "objects": [one["name"] for one in sf.describe()["sobjects"]],
        "key": [fields[KEY]["externalId"], fields[KEY]["unique"], fields[KEY]["length"]],
        "metadata": sf.Case.metadata()["objectDescribe"]["name"],
        "limits": sorted(sf.limits()["DailyApiRequests"]),
    }


def single(sf: Any) -> dict[str, Any]:  # noqa: ANN401 - the client's
    """Records one by one, and queries."""
    account = sf.Account.create({"Name": "Acme", "Customer_Id__c": "C-1"})["id"]
    parent = {"Account": {"Customer_Id__c": "C-1"}}
    said: dict[str, Any] = {
        "upsert": [
            sf.Case.upsert(f"{KEY}/k-1", {"Subject": "one", **parent}),
            sf.Case.upsert(f"{KEY}/k-1", {"Subject": "two"}),
        ]
    }
    made = sf.Case.get_by_custom_id(KEY, "k-1")
    said["got"] = [made["Subject"], made["AccountId"] == account, made["Status"]]
    said["updated"] = sf.Case.update(made["Id"], {"Status": "Closed"})
    said["closed"] = sf.Case.get(made["Id"])["IsClosed"]
    rows = sf.query("SELECT Id, Account.Name FROM Case WHERE Fieldline_Key__c = 'k-1'")
    said["query"] = [rows["totalSize"], rows["done"], rows["records"][0]["Account"]["Name"]]
    accounts = sf.query("SELECT Id FROM Account WHERE Customer_Id__c IN ('C-1','C-2')")
    said["accounts"] = accounts["totalSize"]
    event = sf.Fieldline_Event__e.create({"Key__c": "k-9"})
    said["event"] = [event["success"], event["errors"][0]["statusCode"]]
    said["usage"] = sf.api_usage["api-usage"].total
    return said


def several(sf: Any) -> dict[str, Any]:  # noqa: ANN401 - the client's
    """Collections and composites."""
    records = [
        {"attributes": {"type": "Case"}, KEY: key, "Subject": subject}
        for key, subject in (("k-1", "three"), ("k-2", "x" * 256), ("k-3", "new"))
    ]
    done = sf.restful(
        f"composite/sobjects/Case/{KEY}",
        method="PATCH",
        json={"allOrNone": False, "records": records},
    )
    data = f"/services/data/v{sf.sf_version}"

    def composite(key: str, **more: str) -> Any:  # noqa: ANN401 - JSON
        parts = [
            {
                "method": "PATCH",
                "url": f"{data}/sobjects/Case/{KEY}/{key}",
                "referenceId": "record",
                "body": {"Subject": "four"},
            },
            {
                "method": "POST",
                "url": f"{data}/sobjects/Fieldline_Event__e/",
                "referenceId": "event",
                "body": {"Key__c": key, "Record__c": "@{record.id}", **more},
            },
        ]
        whole = {"allOrNone": True, "compositeRequest": parts}
        return sf.restful("composite", method="POST", json=whole)["compositeResponse"]

    return {
        "collection": [
            [one["success"], one.get("created"), [e["statusCode"] for e in one["errors"]]]
            for one in done
        ],
        "composite": [one["httpStatusCode"] for one in composite("k-4")],
        "rolled_back": [one["body"][0]["errorCode"] for one in composite("k-5", No_Such__c="x")],
    }


def bulk(sf: Any) -> dict[str, Any]:  # noqa: ANN401 - the client's
    """A Bulk 2.0 job with one bad row."""
    rows = [{KEY: f"b-{n:03}", "Subject": f"bulk {n}"} for n in range(30)]
    rows.append({KEY: "b-bad", "Subject": "x" * 300})
    [job] = sf.bulk2.Case.upsert(records=rows, external_id_field=KEY, wait=0.05)
    return {
        "bulk": [job["numberRecordsProcessed"], job["numberRecordsFailed"]],
        "bulk_failed": sf.bulk2.Case.get_failed_records(job["job_id"]).count("STRING_TOO_LONG"),
        "bulk_there": sf.query("SELECT COUNT() FROM Case WHERE Subject = 'bulk 7'")["totalSize"],
    }


def refusals(sf: Any) -> list[list[str] | None]:  # noqa: ANN401 - the client's
    """Errors as the client tells them."""
    for _ in range(2):
        sf.Case.create({"Legacy_Key__c": "old"})
    case, k6 = sf.Case, f"{KEY}/k-6"
    return [
        refused(lambda: case.upsert("Legacy_Key__c/old", {"Subject": "x"})),
        refused(lambda: case.create({KEY: "k-1"})),
        refused(lambda: case.upsert(k6, {"Nope__c": "x"})),
        refused(lambda: case.upsert(k6, {"Subject": "x" * 256})),
        refused(lambda: case.upsert(k6, {"Status": "Sleeping"})),
        refused(lambda: case.upsert(k6, {"AccountId": "nobody"})),
        refused(lambda: case.get_by_custom_id(KEY, "nothing")),
        refused(lambda: sf.query("SELECT Id FROM Nothing")),
        refused(lambda: sf.query("SELEKT Id")),
        refused(sf.Nothing.describe),
    ]


def main() -> None:
    """All of it, in order."""
    given = json.load(sys.stdin)
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", ToOrg(given["url"]))
    sf, direct, said = logins(given, session)
    said |= described(sf) | single(sf) | several(sf) | bulk(sf)
    said["refused"] = refusals(sf)
    made = sf.Case.get_by_custom_id(KEY, "k-1")["Id"]
    said["deleted"] = sf.Case.delete(made)
    said["after"] = refused(lambda: sf.Case.update(made, {"Subject": "x"}))
    requests.post(f"{given['url']}/_control/expire", timeout=5)
    said["expired"] = refused(lambda: direct.query("SELECT Id FROM Case"))
    said["renewed"] = sf.query("SELECT Id FROM Case WHERE Fieldline_Key__c = 'k-3'")["totalSize"]
    json.dump(said, sys.stdout)


main()
