"""Where documents go, in which form, and who we are there."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from connectors.settings import ConnectorSettings, host_of, web_address

_TYPE = r"^[A-Za-z][A-Za-z0-9_.-]{0,50}:[A-Za-z][A-Za-z0-9_.-]{0,50}$"


class DmsSettings(ConnectorSettings):
    """One repository (CMIS 1.1 browser binding) or one WebDAV collection, and one user.

    Either `username` and `password` (Basic), or `token_url`, `client_id` and `client_secret`
    (OAuth 2.0, client credentials).
    """

    model_config = SettingsConfigDict(env_prefix="DMS_")

    binding: Literal["cmis", "webdav"] = Field(
        "cmis", description="How it is spoken to; `url` is the service document or the collection."
    )
    format: Literal["json", "pdf"] = Field(
        "json", description="Form of the documents. It is part of their names: keep it."
    )
    repository: str = Field("", description="CMIS: the repository's id; empty = the only one.")
    folder: str = Field(
        "/fieldline",
        description="Folder of the documents; one below it for each tenant.",
        pattern=r"^(/[A-Za-z0-9][A-Za-z0-9._ -]{0,100}){1,10}$",
    )
    username: str = Field("", description="User.")
    password: SecretStr = Field(SecretStr(""), description="The user's password.")
    token_url: str = Field("", description="OAuth 2.0 token endpoint.")
    client_id: str = Field("", description="OAuth 2.0 client.")
    client_secret: SecretStr = Field(SecretStr(""), description="Its secret.")
    scope: str = Field("", description="OAuth 2.0 scope, where one is wanted.")
    principal: str = Field(
        "", description="What the repository calls us; empty = username or client_id."
    )
    report_type: str = Field(
        "fieldline:serviceReport", description="CMIS type of service reports.", pattern=_TYPE
    )
    snapshot_type: str = Field(
        "fieldline:telemetrySnapshot", description="CMIS type of snapshots.", pattern=_TYPE
    )
    retention_class: str = Field(
        "service-10y",
        description="Retention class of the documents; empty = none is set.",
        pattern=r"^[A-Za-z0-9._ -]{0,64}$",
    )
    retention_property: str = Field(
        "fieldline:retentionClass",
        description="Property that holds the retention class.",
        pattern=_TYPE,
    )
    retention_type: str = Field(
        "fieldline:retention",
        description="CMIS secondary type that has that property; empty = the types have it.",
        pattern=rf"{_TYPE}|^$",
    )
    retention_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="CMIS: days that it is kept from the event on; 0 = as the class says.",
    )

    @field_validator("url", "token_url")
    @classmethod
    def _address(cls, text: str) -> str:
        return web_address(text) if text else text

    @model_validator(mode="after")
    def _whole(self) -> DmsSettings:
        if bool(self.token_url) != bool(self.client_id):
            raise ValueError("give token_url and client_id together, or neither")
        return self

    @property
    def us(self) -> str:
        """Our name as the repository has it."""
        return self.principal or self.username or self.client_id

    def hosts(self) -> frozenset[str]:
        """The repository, and the place where tokens are."""
        return frozenset({host_of(url) for url in (self.url, self.token_url) if url})
