"""Where Oracle Fusion Cloud is, who we are there, and how its organization names things."""

from __future__ import annotations

from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from connectors.settings import ConnectorSettings, host_of, web_address

CODE = r"^[A-Za-z0-9_.-]{1,30}$"
CODE_OR_NONE = r"^[A-Za-z0-9_.-]{0,30}$"


class OracleSettings(ConnectorSettings):
    """One environment and one user (Basic), or one confidential application (OAuth 2.0)."""

    model_config = SettingsConfigDict(**{**ConnectorSettings.model_config, "env_prefix": "ORACLE_"})

    username: str = Field("", description="Basic: the integration user.")
    password: SecretStr = Field(SecretStr(""), description="Basic: its password.")
    client_id: str = Field("", description="OAuth 2.0: the application's client id.")
    client_secret: SecretStr = Field(SecretStr(""), description="OAuth 2.0: its secret.")
    token_url: str = Field(
        "", description="OAuth 2.0: the identity domain's token endpoint, …/oauth2/v1/token."
    )
    scope: str = Field("", description="OAuth 2.0: scope of the Fusion application.")
    api_version: str = Field(
        "11.13.18.05", description="Version in the resources' path.", pattern=r"^[0-9.]{1,20}$"
    )
    framework_version: str = Field(
        "4", description="REST-Framework-Version; 4 tells errors as JSON.", pattern=r"^[2-9]$"
    )
    organization_code: str = Field(
        description="Maintenance organization that orders are made in.", pattern=CODE
    )
    work_order_type: str = Field(
        "CORRECTIVE", description="WorkOrderTypeCode of new orders.", pattern=CODE
    )
    status_open: str = Field(
        "ORA_RELEASED", description="Status of a trouble that came back.", pattern=CODE
    )
    status_closed: str = Field(
        "ORA_COMPLETED",
        description="Status of a trouble's end; a closed order, unlike a completed one, "
        "is not opened again.",
        pattern=CODE,
    )
    reference_field: str = Field(
        "WorkOrderNumber",
        description="Field of an order that holds our key, filterable with q=.",
        pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$",
    )
    upsert_mode: bool = Field(
        default=False,
        description="Send Upsert-Mode: true, where it is known here that orders are matched by "
        "the reference field.",
    )
    condition_code: str = Field(
        "",
        description="Condition code: orders are made by createConditionBasedWorkOrders, from "
        "maintenance programs; empty: as given here.",
        pattern=CODE_OR_NONE,
    )
    document_type: str = Field(
        "",
        description="Condition-based: type of the document reference that holds our key, of "
        "lookup ORA_CSE_DOCUMENT_TYPE.",
        pattern=CODE_OR_NONE,
    )
    batch_from: int = Field(
        5, ge=0, le=25, description="From how many new orders on they go as one batch; 0: never."
    )

    @field_validator("url", "token_url")
    @classmethod
    def _address(cls, text: str) -> str:
        return web_address(text) if text else text

    @field_validator("url")
    @classmethod
    def _bare(cls, text: str) -> str:
        return web_address(text, path=False) if text else text

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        basic = bool(self.username or self.password.get_secret_value())
        oauth = bool(self.client_id or self.client_secret.get_secret_value() or self.token_url)
        if basic == oauth:
            raise ValueError(
                "give either username and password, or client_id, client_secret and token_url"
            )
        if basic and not (self.username and self.password.get_secret_value()):
            raise ValueError("username or password is missing")
        if oauth and not (
            self.client_id and self.client_secret.get_secret_value() and self.token_url
        ):
            raise ValueError("client_id, client_secret or token_url is missing")
        if self.condition_code and self.upsert_mode:
            raise ValueError("upsert_mode has no meaning with condition_code: give one of them")
        if self.condition_code and not self.document_type:
            raise ValueError("condition_code needs document_type: our key is a document's number")
        return self

    def hosts(self) -> frozenset[str]:
        """The environment's and the identity domain's."""
        return frozenset(host_of(url) for url in (self.url, self.token_url) if url)

    @property
    def resources(self) -> str:
        """Where the resources begin."""
        return f"{self.url}/fscmRestApi/resources/{self.api_version}"
