"""What `fieldline connectors check salesforce` looks at: login, version, fields, limits. Pure.

Only reads: describe says whether this user may create and change, field by field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from connectors.answers import json_of
from connectors.base import Checked, Conversation, Effect
from connectors.salesforce.answers import Failure
from connectors.salesforce.config import SalesforceSettings
from connectors.salesforce.mapping import (
    LOG,
    LOG_MAX,
    message_fields,
    record_fields,
)
from connectors.salesforce.publish import RECORD_FIELD
from connectors.salesforce.records import read_fields
from connectors.salesforce.session import Session
from pipeline.core.events import Action

_LOW = 0.1
"""Below this share of the day's calls the check says so."""

Described = Mapping[str, Mapping[str, Any]]


class Checks:
    """Checks of one org under one session."""

    def __init__(self, session: Session, settings: SalesforceSettings) -> None:
        self._session = session
        self._settings = settings

    def run(self) -> Conversation[Sequence[Checked]]:
        """All of them; the first that fails for want of a login is the last."""
        settings = self._settings
        versions = yield from self._get("check_versions", "/services/data/")
        if isinstance(versions, str):
            return [_no("credentials", versions)]
        checks = [
            _yes("credentials", f"{settings.client_id} is logged in."),
            self._version(versions),
        ]
        described = yield from self._describe("check_object", settings.object)
        if isinstance(described, str):
            return [*checks, _no(f"object {settings.object}", described)]
        checks += self._object(described)
        if settings.platform_event:
            name = settings.platform_event
            described = yield from self._describe("check_event", name)
            checks.append(self._event(name, described))
        limits = yield from self._get("check_limits", self._session.path("limits/"))
        return [*checks, _limit(limits)]

    def _get(self, step: str, path: str) -> Conversation[Any]:
        """The answer's JSON, or a sentence with what went wrong."""
        reply = yield from self._session.call(step, "GET", path, Effect.READ)
        if isinstance(reply, Failure):
            return reply.message
        if isinstance(reply, httpx.Response) and reply.status_code == httpx.codes.OK:
            body = json_of(reply)
            if isinstance(body, dict | list):
                return body
        return self._session.failure(reply).message

    def _describe(self, step: str, name: str) -> Conversation[dict[str, Any] | str]:
        body = yield from self._get(step, self._session.path(f"sobjects/{name}/describe"))
        if isinstance(body, str):
            return body
        fields = body.get("fields") if isinstance(body, dict) else None
        if not isinstance(fields, list):
            return f"The description of {name} has no fields: is it this system?"
        named = {str(one.get("name")): one for one in fields if isinstance(one, dict)}
        return {**body, "fields": named}

    def _version(self, versions: Any) -> Checked:  # noqa: ANN401 - JSON
        wanted = self._settings.api_version
        known = [
            str(one.get("version"))
            for one in (versions if isinstance(versions, list) else [])
            if isinstance(one, dict)
        ]
        if wanted in known:
            return _yes("API version", f"Version {wanted} is served.")
        newest = known[-1] if known else "none"
        return _no(
            "API version",
            f"Version {wanted} is not served, the newest is {newest}: set api_version.",
        )

    def _object(self, described: Mapping[str, Any]) -> list[Checked]:
        settings = self._settings
        name, fields = settings.object, described["fields"]
        lacking = [
            what
            for what, flag in (("create", "createable"), ("edit", "updateable"))
            if described.get(flag) is not True
        ]
        checks = [
            _no(
                f"object {name}",
                f"The user may not {' or '.join(lacking)} a {name}: give the right.",
            )
            if lacking
            else _yes(f"object {name}", f"The user may create and edit a {name}.")
        ]
        key = fields.get(settings.external_id_field, {})
        if key.get("externalId") is True and key.get("unique") is True:
            checks.append(
                _yes("key field", f"{settings.external_id_field} is External ID and Unique.")
            )
        else:
            checks.append(
                _no(
                    "key field",
                    f"{settings.external_id_field} must be a text field of {name} that is both "
                    "External ID and Unique: without it records are made twice.",
                )
            )
        wrong = self._fields(fields)
        checks.append(
            _no("fields", f"Mend in Setup: {'; '.join(wrong)}.")
            if wrong
            else _yes("fields", "All fields are there, writeable and long enough.")
        )
        return checks

    def _fields(self, there: Described) -> list[str]:
        """What is wrong with the object's fields."""
        settings = self._settings
        wanted: dict[str, tuple[set[str], int]] = {}
        for one in record_fields(settings):
            if "." in one.target or one.target == "EntitlementId":
                continue  # a parent's field; and orgs without entitlements have no such field
            actions = one.on or tuple(Action)
            flags = {"createable"} if Action.RAISE.value in actions else set()
            if set(actions) - {Action.RAISE.value}:
                flags.add("updateable")
            wanted[one.target] = (flags, LOG_MAX if one.target == LOG else one.limit or 0)
        wanted |= {name: (set(), 0) for name in read_fields(settings.object) if name not in wanted}
        return [
            said
            for name, (flags, limit) in wanted.items()
            if (said := _field(name, there.get(name), flags, limit))
        ]

    def _event(self, name: str, described: dict[str, Any] | str) -> Checked:
        what = f"platform event {name}"
        if isinstance(described, str):
            return _no(what, described)
        wanted = {one.target: one.limit or 0 for one in message_fields()} | {RECORD_FIELD: 18}
        wrong = [
            said
            for field, limit in wanted.items()
            if (said := _field(field, described["fields"].get(field), {"createable"}, limit))
        ]
        if described.get("createable") is not True:
            wrong.insert(0, "the user may not publish it")
        if wrong:
            return _no(what, f"Mend in Setup: {'; '.join(wrong)}.")
        return _yes(what, "The user may publish it, and all fields are there.")


def _field(name: str, field: Mapping[str, Any] | None, flags: set[str], limit: int) -> str:
    if field is None:
        return f"{name} is missing, or hidden from the user"
    if lacking := sorted(flag for flag in flags if field.get(flag) is not True):
        return f"{name} is not {' and '.join(lacking)} for the user"
    length = field.get("length")
    if isinstance(length, int) and 0 < length < limit:
        return f"{name} holds {length} characters and needs {limit}"
    return ""


def _limit(body: Any) -> Checked:  # noqa: ANN401 - JSON
    what = "requests of the day"
    if isinstance(body, str):
        return Checked(what=what, ok=None, detail=body)
    daily = body.get("DailyApiRequests") if isinstance(body, dict) else None
    most = daily.get("Max") if isinstance(daily, dict) else None
    left = daily.get("Remaining") if isinstance(daily, dict) else None
    if not isinstance(most, int) or not isinstance(left, int) or most <= 0:
        return Checked(what=what, ok=None, detail="Salesforce does not say how many are left.")
    said = f"{left} of {most} are left."
    return _yes(what, said) if left >= _LOW * most else _no(what, f"Only {said}")


def _yes(what: str, detail: str) -> Checked:
    return Checked(what=what, ok=True, detail=detail)


def _no(what: str, detail: str) -> Checked:
    return Checked(what=what, ok=False, detail=detail)
