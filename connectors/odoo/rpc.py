"""Calling a model's method, by JSON-2 or by the legacy JSON-RPC. Pure.

JSON-2 (addons/rpc/controllers/json2.py): POST /json/2/{model}/{method}, the key as bearer, named
arguments, `ids` and `context` as the body; the bare value comes back. JSON-RPC
(addons/rpc/controllers/jsonrpc.py): POST /jsonrpc, service 'object', method 'execute_kw', the
user's number and key in every call; `common.login` gives the number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import orjson

from connectors.base import Call, Conversation, Effect, Reply
from connectors.odoo.answers import EXCEPTIONS, Trouble, Value, read_json2, read_jsonrpc
from connectors.odoo.config import OdooSettings

LANGUAGE = {"lang": "en_US"}
"""Always installed (odoo/addons/base, res.lang): sentences come in a language that can be read."""


class Api:
    """One user's calls; with JSON-RPC the user's number is kept."""

    def __init__(self, settings: OdooSettings) -> None:
        self._settings = settings
        self._key = settings.api_key.get_secret_value()
        self._uid = 0
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        if settings.api == "json2":
            self._headers["authorization"] = f"bearer {self._key}"
            if settings.database:
                self._headers["x-odoo-database"] = settings.database

    def call(
        self,
        step: str,
        model: str,
        method: str,
        effect: Effect = Effect.READ,
        *,
        context: Mapping[str, Any] | None = None,
        **named: Any,  # noqa: ANN401 - the method's own arguments
    ) -> Conversation[Value | Trouble]:
        """The method's value. Methods of the model, not of records: none here needs ids."""
        full = {**LANGUAGE, **(context or {})}
        if self._settings.api == "json2":
            where = f"/json/2/{model}/{method}"
            reply = yield self._request(step, where, {"context": full, **named}, effect)
            return read_json2(reply)
        uid = yield from self.login()
        if isinstance(uid, Trouble):
            return uid
        args = [model, method, [], {"context": full, **named}]
        reply = yield self._rpc(step, "object", "execute_kw", [uid, self._key, *args], effect)
        return read_jsonrpc(reply)

    def may(self, step: str, model: str, operation: str) -> Conversation[Value | Trouble]:
        """Whether the user has that right: `has_access` since Odoo 18, before it an older name."""
        if self._settings.api == "json2":
            return (yield from self.call(step, model, "has_access", operation=operation))
        older = "check_access_rights"
        return (
            yield from self.call(step, model, older, operation=operation, raise_exception=False)
        )

    def login(self) -> Conversation[int | Trouble]:
        """The user's number, for JSON-RPC."""
        if self._uid:
            return self._uid
        given = [self._settings.username, self._key]
        reply: Reply = yield self._rpc("login", "common", "login", given, Effect.READ)
        value = read_jsonrpc(reply)
        if isinstance(value, Trouble):
            return value
        if isinstance(value.value, int) and value.value > 0:  # False: no such user, or not the key
            self._uid = int(value.value)
            return self._uid
        return Trouble(EXCEPTIONS[0], reply)

    def _rpc(
        self, step: str, service: str, method: str, args: Sequence[Any], effect: Effect
    ) -> Call:
        params = {
            "service": service,
            "method": method,
            "args": [self._settings.database, *args],
        }
        body = {"jsonrpc": "2.0", "method": "call", "id": 1, "params": params}
        return self._request(step, "/jsonrpc", body, effect)

    def _request(self, step: str, path: str, body: Mapping[str, Any], effect: Effect) -> Call:
        request = httpx.Request(
            "POST",
            f"{self._settings.url}{path}",
            headers=self._headers,
            content=orjson.dumps(body),
        )
        return Call(step=step, request=request, effect=effect)
