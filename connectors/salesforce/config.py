"""Where Salesforce is, how to log in, and what object and fields are called there."""

from __future__ import annotations

import re
from typing import Annotated, Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from connectors.settings import ConnectorSettings, host_of, web_address
from pipeline.core.events import Severity

COLLECTION = 200
"""Most records of an sObject Collections request ('Upsert Records Using sObject Collections')."""
_API_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252})")
_NAMES = ("object", "external_id_field")
_OPTIONAL_NAMES = ("platform_event", "account_external_id_field", "asset_external_id_field")

Short = Annotated[str, Field(min_length=1, max_length=255)]


class SalesforceSettings(ConnectorSettings):
    """Connection to one org. Log in by JWT bearer (username and private_key) or client_secret."""

    model_config = SettingsConfigDict(
        **ConnectorSettings.model_config | {"env_prefix": "SALESFORCE_"}
    )

    url: str = Field("", description="My Domain, e.g. https://acme.my.salesforce.com")
    login_url: str = Field("", description="Where tokens are asked for; empty: at url")
    instance_hosts: tuple[str, ...] = Field(
        (), description="Further hosts that the token's instance_url may name"
    )
    client_id: str = Field("", description="Consumer key of the connected or external client app")
    client_secret: SecretStr = Field(
        SecretStr(""), description="Consumer secret, for the client credentials flow"
    )
    username: str = Field("", description="User of the integration, for the JWT bearer flow")
    private_key: SecretStr = Field(
        SecretStr(""),
        description="RSA key in PEM whose certificate the app has, for the JWT bearer flow",
    )
    audience: str = Field(
        "https://login.salesforce.com",
        description="aud of the JWT: https://login.salesforce.com, or https://test.salesforce.com "
        "for a Salesforce sandbox",
    )
    api_version: str = Field("62.0", pattern=r"^[0-9]{2,3}\.0$", description="Version of the API")
    object: str = Field("Case", description="Object that an event becomes")
    external_id_field: str = Field(
        "Fieldline_Key__c", description="Its field for our key: External ID and Unique"
    )
    account_external_id_field: str = Field(
        "",
        description="External ID field of Account that holds the customer's id, for devices whose "
        "Account Id is not in the identity map; empty: such a record has no account",
    )
    asset_external_id_field: str = Field(
        "", description="The same of Asset, for the asset's id; empty: no asset"
    )
    priorities: dict[Severity, Short] = Field(
        {Severity.CRITICAL: "High", Severity.WARNING: "Medium", Severity.INFO: "Low"},
        description="Priority by severity: a value for critical, warning and info",
    )
    status_open: Short = Field("New", description="Status of a record that is open or open again")
    status_closed: Short = Field("Closed", description="Status of a record that is closed")
    origin: str = Field("Web", max_length=255, description="Origin; empty: left out")
    bulk_from: int = Field(
        2_000,
        ge=0,
        le=10_000,
        description="As many new records in one batch go by the Bulk API 2.0; 0: never. The "
        "sink's in_hand (infra/config/sinks.yaml) must be as much for a batch to grow to it",
    )
    bulk_polls: int = Field(
        100, ge=1, le=1_000, description="How often a Bulk job is asked whether it has ended"
    )
    platform_event: str = Field(
        "",
        description="Platform event that is published in one transaction with each change, e.g. "
        "Fieldline_Event__e; empty: none. Records go one by one then",
    )

    @field_validator("url", "login_url", "audience")
    @classmethod
    def _address(cls, value: str) -> str:
        return web_address(value, path=False) if value else value

    @field_validator("instance_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not _HOST.fullmatch(host) for host in value):
            raise ValueError("write host names only, without https:// and path")
        return value

    @field_validator(*_NAMES, *_OPTIONAL_NAMES)
    @classmethod
    def _api_name(cls, value: str, info: Any) -> str:  # noqa: ANN401 - pydantic's
        if not value and info.field_name in _OPTIONAL_NAMES:
            return value
        if not _API_NAME.fullmatch(value):
            raise ValueError("it is no API name: letters, digits and _ as in Fieldline_Key__c")
        return value

    @field_validator("priorities")
    @classmethod
    def _every_severity(cls, value: dict[Severity, str]) -> dict[Severity, str]:
        if missing := [one.value for one in Severity if one not in value]:
            raise ValueError(f"it has no priority for {', '.join(missing)}")
        return value

    @field_validator("private_key")
    @classmethod
    def _key(cls, value: SecretStr) -> SecretStr:
        # In an environment variable a line break is often written as two characters.
        text = value.get_secret_value().replace("\\n", "\n")
        if not text:
            return value
        try:
            key = load_pem_private_key(text.encode(), password=None)
        except (ValueError, TypeError, UnicodeError):
            key = None
        if not isinstance(key, RSAPrivateKey):
            # From nothing: the cause may repeat a piece of the key.
            raise ValueError("it is no RSA key in PEM without a password") from None  # noqa: TRY004 - pydantic's way
        return SecretStr(text)

    @model_validator(mode="after")
    def _one_way_in(self) -> SalesforceSettings:
        secret, key = bool(self.client_secret.get_secret_value()), self.uses_jwt
        if not self.client_id:
            raise ValueError("set client_id, the consumer key of the app")
        if secret == key:
            raise ValueError("give either client_secret, or username and private_key")
        if key and not self.username:
            raise ValueError("set username: the JWT bearer flow logs in as that user")
        return self

    @property
    def uses_jwt(self) -> bool:
        """Whether to log in by a signed JWT; else by client id and secret."""
        return bool(self.private_key.get_secret_value())

    @property
    def token_url(self) -> str:
        """The token endpoint."""
        return f"{self.login_url or self.url}/services/oauth2/token"

    def hosts(self) -> frozenset[str]:
        """My Domain's, the login host's, and those that instance_url may name."""
        named = {host_of(self.url), host_of(self.login_url)}
        return frozenset(host for host in named if host) | {h.lower() for h in self.instance_hosts}
