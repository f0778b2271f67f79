"""Where Dataverse is, who we are there, and what the case is called."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from connectors.settings import ConnectorSettings, host_of, web_address

LOGIN = "https://login.microsoftonline.com/{tenant_id}/oauth2/v2.0/token"
_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,99}$"


class DynamicsSettings(ConnectorSettings):
    """One Dataverse environment and one application user (Microsoft Entra app registration)."""

    model_config = SettingsConfigDict(
        **{**ConnectorSettings.model_config, "env_prefix": "DYNAMICS_"}
    )

    tenant_id: str = Field(
        "",
        description="Directory (tenant) of the app registration.",
        pattern=r"^[A-Za-z0-9.-]{0,128}$",
    )
    client_id: str = Field("", description="Application (client) id.")
    client_secret: SecretStr = Field(SecretStr(""), description="Its client secret.")
    token_url: str = Field(
        LOGIN, description="Where tokens are; {tenant_id} stands for the directory."
    )
    api_version: str = Field(
        "v9.2", description="Version of the Web API.", pattern=r"^v[0-9]{1,2}\.[0-9]{1,2}$"
    )
    entity_set: str = Field("incidents", description="Entity set of the records.", pattern=_NAME)
    id_attribute: str = Field(
        "incidentid", description="Primary id attribute of that table.", pattern=_NAME
    )
    key_attribute: str = Field(
        "fieldline_key",
        description="Text column with an alternate key of its own: holds the event's id.",
        pattern=_NAME,
    )
    version_attribute: str = Field(
        "fieldline_version",
        description="Text column (40): place of the newest event that the record shows.",
        pattern=_NAME,
    )
    account_key: str = Field(
        "accountnumber",
        description="Alternate key of accounts that holds the customer's id; used for customers "
        "whose account the identity map does not know. Empty: those are refused.",
        pattern=r"^([A-Za-z_][A-Za-z0-9_]{0,99})?$",
    )
    asset_binding: str = Field(
        "",
        description="Lookup of the record that points at the asset, and the asset's entity set, "
        "as 'lookup:entity_set'. Empty: the asset is only named in the text.",
        pattern=r"^([A-Za-z_][A-Za-z0-9_]{0,99}:[A-Za-z_][A-Za-z0-9_]{0,99})?$",
    )
    resolved_status: int = Field(
        5, description="Status reason of a resolved case (5 = Problem Solved)."
    )

    @field_validator("url")
    @classmethod
    def _address(cls, text: str) -> str:
        return web_address(text, path=False) if text else text

    @field_validator("token_url")
    @classmethod
    def _token_address(cls, text: str) -> str:
        web_address(text.replace("{tenant_id}", "tenant"))
        return text

    @property
    def login(self) -> str:
        """Address of the token endpoint."""
        return self.token_url.replace("{tenant_id}", self.tenant_id)

    @property
    def table(self) -> str:
        """Logical name of the table, for polymorphic lookups: its id attribute without 'id'."""
        return self.id_attribute.removesuffix("id")

    @property
    def api(self) -> str:
        """Root of the Web API, without its last slash."""
        return f"{self.url}/api/data/{self.api_version}"

    def hosts(self) -> frozenset[str]:
        """Dataverse, and the place where tokens are."""
        return frozenset({host_of(self.url), host_of(self.login)})
