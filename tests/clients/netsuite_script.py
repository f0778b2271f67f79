"""The `netsuite` package against an address: its own signing, its own requests.

Only the address is another: it would build https://{account}.suitetalk.api.netsuite.com.
Input: url, account, consumer_key, consumer_secret, token_id, token_secret. Output: what it saw.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable
from typing import Any

from netsuite import Config, NetSuiteRestApi, TokenAuth
from netsuite.exceptions import NetsuiteAPIRequestError

CASE = "/record/v1/supportCase"


class Api(NetSuiteRestApi):  # type: ignore[misc]
    """At an address given."""

    base = ""

    def _make_url(self, subpath: str) -> str:
        return f"{self.base}/services/rest{subpath}"


async def refused(call: Awaitable[Any]) -> list[Any] | None:
    """Status and first error code of a call that must fail."""
    try:
        await call
    except NetsuiteAPIRequestError as error:
        body = json.loads(error.response_text)
        return [error.status_code, body["o:errorDetails"][0]["o:errorCode"]]
    return None


async def seen(given: dict[str, str]) -> dict[str, Any]:
    """Everything that the package can do with records, and what came of it."""
    names = ("consumer_key", "consumer_secret", "token_id", "token_secret")
    secrets = {name: given[name] for name in names}

    def api(account: str = given["account"], **other: str) -> Api:
        made = Api(Config(account=account, auth=TokenAuth(**secrets | other)))
        made.base = given["url"]
        return made

    rest = api()
    one = f"{CASE}/eid:client-1"
    told: dict[str, Any] = {}
    body = {"title": "Coolant high", "company": {"externalId": "C-1"}, "priority": {"id": "1"}}
    told["put"] = await rest.put(one, json=body)
    first = await rest.get(one)
    told["got"] = [first["title"], first["status"]["refName"], first["company"]["refName"]]
    told["by_id"] = (await rest.get(f"{CASE}/{first['id']}"))["externalId"]
    await rest.patch(f"{CASE}/{first['id']}", json={"status": {"id": "5"}})
    told["patched"] = (await rest.get(one))["status"]["refName"]
    await rest.put(one, json={"title": "Coolant high again"})
    again = await rest.get(one)
    told["upserted"] = [again["id"] == first["id"], again["title"]]
    await rest.post(CASE, json=body | {"externalId": "client-2"})
    await rest.post(CASE, json=body | {"externalId": "client-3", "title": "It's third"})
    query = "SELECT id, externalId, Title FROM supportCase ORDER BY externalid"
    page = await rest.suiteql(query, limit=2)
    rest_of_it = await rest.suiteql(query, limit=2, offset=2)
    told["pages"] = [
        [row["externalid"] for row in page["items"]],
        page["hasMore"],
        [row["externalid"] for row in rest_of_it["items"]],
        rest_of_it["hasMore"],
    ]
    quoted = "SELECT externalid FROM supportcase WHERE title = 'It''s third'"
    told["quoted"] = [row["externalid"] for row in (await rest.suiteql(quoted))["items"]]
    told["listed"] = (await rest.get(CASE, params={"limit": 2}))["totalResults"]
    told["schema"] = sorted((await rest.jsonschema("supportCase"))["properties"])
    told["openapi"] = sorted((await rest.openapi(["customer"]))["components"]["schemas"])
    items = [body | {"externalId": f"batch-{n}"} for n in range(3)]
    headers = {
        "Prefer": "respond-async",
        "Content-Type": "application/vnd.oracle.resource+json; type=collection",
        "X-NetSuite-Idempotency-Key": "11111111-1111-4111-8111-111111111111",
    }
    jobs = [
        await rest.request("PUT", CASE, headers=headers, json={"items": items}) for _ in range(2)
    ]
    told["batch"] = [job.status_code for job in jobs]
    places = [job.headers["location"].rpartition("/services/rest")[2] for job in jobs]
    told["same_job"] = places[0] == places[1]
    looks = 0
    while not (state := await rest.get(places[0]))["completed"]:
        looks += 1
        assert looks < 100
    told["job"] = [state["progress"], looks > 0]
    tasks = await rest.get(f"{places[0]}/task")
    told["tasks"] = len(tasks["items"])
    told["result"] = await rest.get(f"{places[0]}/task/1/result")
    await rest.delete(f"{CASE}/eid:batch-0")
    bad = body | {"custevent_nobody_made": "x"}
    loose = {"X-NetSuite-PropertyNameValidation": "Warning"}
    told["loose"] = dict(
        (await rest.request("PUT", f"{CASE}/eid:loose", json=bad, headers=loose)).headers
    ).get("x-netsuite-propertyvalidation")
    told["refused"] = {
        "gone": await refused(rest.get(f"{CASE}/eid:batch-0")),
        "field": await refused(rest.put(f"{CASE}/eid:client-9", json=bad)),
        "missing": await refused(rest.post(CASE, json={"title": "no customer"})),
        "query": await refused(rest.suiteql("SELECT nothing FROM supportCase")),
        "secret": await refused(api(token_secret="wrong").get(one)),
        "realm": await refused(api(account="7654321").get(one)),
    }
    return told


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(seen(json.load(sys.stdin)))))
