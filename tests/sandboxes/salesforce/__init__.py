"""A Salesforce org: OAuth tokens, REST, collections, composite, Bulk 2.0, platform events.

schema.py  objects and fields, as describe tells of them
store.py   records: validation, upsert, uniqueness, the recycle bin
soql.py    enough of SOQL for look-ups
jobs.py    Bulk API 2.0 ingest
asked.py   requests and answers apart from HTTP, references in a composite
rest.py    every resource as (method, path, body) → (status, body); composite calls itself
app.py     HTTP, tokens, the daily limit
"""

from tests.sandboxes.salesforce.app import CLIENT_ID, CLIENT_SECRET, USERNAME, Salesforce, make

__all__ = ["CLIENT_ID", "CLIENT_SECRET", "USERNAME", "Salesforce", "make"]
