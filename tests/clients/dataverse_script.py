"""Microsoft's own Python client for Dataverse at work; JSON in, JSON out."""

import json
import os
import sys
import time

given = json.loads(sys.stdin.read())
os.environ["REQUESTS_CA_BUNDLE"] = given["certificate"]

import requests  # noqa: E402 - after the certificate
from azure.core.credentials import AccessToken  # noqa: E402
from PowerPlatform.Dataverse.client import DataverseClient  # noqa: E402
from PowerPlatform.Dataverse.core.errors import HttpError  # noqa: E402
from PowerPlatform.Dataverse.models.upsert import UpsertItem  # noqa: E402


class Credential:
    """What azure.identity.ClientSecretCredential does, at the sandbox's own token endpoint."""

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        answer = requests.post(
            f"{given['url']}/{given['tenant']}/oauth2/v2.0/token",
            data={
                "grant_type": "client_credentials",
                "client_id": given["client_id"],
                "client_secret": given["client_secret"],
                "scope": scopes[0],
            },
            timeout=10,
        )
        answer.raise_for_status()
        return AccessToken(answer.json()["access_token"], int(time.time()) + 3_000)


said: dict[str, object] = {}
with DataverseClient(given["url"], Credential()) as client:
    records = client.records
    own = records.create("account", {"name": "Contoso", "industrycode": "Agriculture"})
    said["created"] = own
    said["got"] = dict(records.retrieve("account", own, select=["name", "industrycode"]))
    records.update("account", own, {"name": "Contoso & Söhne"})
    queried = records.list("account", select=["name"], filter="startswith(name,'Con')")
    said["queried"] = [row["name"] for row in queried]
    many = records.create("account", [{"name": f"Many {n}"} for n in range(3)])
    records.update("account", many, {"telephone1": "555"})
    said["many"] = len(many)
    pages = client.query.builder("account").select("name").page_size(2).execute_pages()
    said["pages"] = [len(list(one)) for one in pages]

    item = UpsertItem(
        alternate_key={"fieldline_key": "by-client"},
        record={
            "title": "Raised by the client",
            "customerid_account@odata.bind": f"/accounts({own})",
        },
    )
    records.upsert("incident", [item])
    records.upsert("incident", [item])
    cases = client.query.builder("incident").select("incidentid", "title", "statecode")
    said["cases"] = [dict(row) for row in cases.execute()]

    batch = client.batch.new()
    batch.records.create("account", {"name": "In a batch"})
    batch.records.create("account", {"name": "x" * 200})
    batch.records.create("account", {"name": "After it"})
    done = batch.execute(continue_on_error=True)
    said["batch"] = [(one.status_code, one.error_code) for one in done.responses]
    stopped = client.batch.new()
    with stopped.changeset() as changes:
        changes.records.create("account", {"name": "Rolled back"})
        changes.records.create("account", {"name": "y" * 200})
    said["change_set"] = [(one.status_code, one.error_code) for one in stopped.execute().responses]

    records.delete("account", many[0])
    said["missing"] = records.retrieve("account", many[0], select=["name"])
    try:
        records.update("account", many[0], {"name": "gone"})
    except HttpError as error:
        said["gone"] = error.status_code
    try:
        records.create("account", {"nosuchcolumn": 1})
    except HttpError as error:
        said["unknown_column"] = error.details.get("service_error_code")
    said["keys"] = [
        list(key.key_attributes) for key in client.tables.get_alternate_keys("incident")
    ]
sys.stdout.write(json.dumps(said, default=str))
