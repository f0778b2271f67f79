"""Salesforce: Cases with their account, asset and entitlement; platform events.

config.py  where it is, how to log in, what the fields are called
mapping.py event → fields of a Case, and what a change writes where people write too. Pure
answers.py every error code, with what follows and where it is written
session.py tokens, one renewal, one request
records.py reading by key, upsert (one or up to 200), update by Id
publish.py a record and its platform event in one
bulk.py    Bulk API 2.0 ingest, for a backlog
protocol.py deliver, look_up; checks.py what `check` reads; system.py what it says of itself
"""
