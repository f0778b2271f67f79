"""Where Tryton is and who we are there."""

from __future__ import annotations

from typing import Literal

import httpx
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from connectors.settings import ConnectorSettings, web_address
from pipeline.core.events import Severity


class TrytonSettings(ConnectorSettings):
    """One Tryton database, one user.

    `timeout_s` is for each phase of a request, seconds; Tryton ends a read itself after 60
    (trytond/config.py, request.timeout) and a write after no limit.
    """

    model_config = SettingsConfigDict(env_prefix="TRYTON_")

    url: str = Field("", description="Server with the database's name as path: https://host/erp")
    user: str = Field("fieldline", description="Login of the connector's user")
    password: SecretStr = Field(SecretStr(""), description="Its password")
    company: str | None = Field(
        None, description="Name of the company to work for; needed where it is not the user's own"
    )

    assets: bool = Field(
        default=False, description="Keep a product of type 'asset' for each asset, by its id."
    )
    lead_severity: Literal["", "info", "warning", "critical"] = Field(
        "", description="Least severity that makes a sales opportunity; empty = none does."
    )
    lead_types: str = Field(
        "", description="Event types that make one, with commas between; empty = all."
    )

    @field_validator("url")
    @classmethod
    def _database(cls, url: str) -> str:
        address = web_address(url)
        path = httpx.URL(address).path.strip("/")
        if not path or "/" in path:
            raise ValueError("it names no database: write https://host:port/database-name")
        return address

    @field_validator("user")
    @classmethod
    def _login(cls, user: str) -> str:
        if not user or ":" in user:
            raise ValueError("it is empty or has a colon: give a Tryton login")
        return user

    def makes_lead(self, severity: Severity, kind: str) -> bool:
        """Whether an event of that severity and type is a lead for sales."""
        if not self.lead_severity:
            return False
        order = tuple(Severity)
        grave = order.index(severity) >= order.index(Severity(self.lead_severity))
        types = {name.strip() for name in self.lead_types.split(",")} - {""}
        return grave and (not types or kind in types)

    @property
    def rpc_url(self) -> httpx.URL:
        """Address of JSON-RPC; without the last slash Tryton redirects (dispatcher.rpc)."""
        return httpx.URL(f"{self.url}/rpc/")
