"""Where SAP is, who we are there, and what stands for what in its customizing."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from connectors.sap.mapping import PRIORITIES
from connectors.settings import ConnectorSettings, host_of, web_address
from pipeline.settings import SettingsError

ROOT = "sap/opu/odata/sap"
"""Where OData services are below the system's address (SAP Gateway, ICF node /sap/opu/odata)."""
TOKEN_PATH = "sap/bc/sec/oauth2/token"  # noqa: S105 - a path
"""(3) in wire-formats.md: unverified."""


class SapSettings(ConnectorSettings):
    """One S/4HANA system, one communication user.

    Exactly one way to log in: `username` and `password` (Basic), `client_id` and
    `client_secret` (OAuth 2.0 client credentials), or `certificate` (X.509 over TLS).
    """

    model_config = SettingsConfigDict(env_prefix="SAP_")

    username: str = Field("", description="Communication user, for Basic authentication.")
    password: SecretStr = Field(SecretStr(""), description="Its password.")
    client_id: str = Field("", description="OAuth 2.0 client, for client credentials.")
    client_secret: SecretStr = Field(SecretStr(""), description="The client's secret.")
    scope: str = Field("", description="Scope asked for with the token; empty = the client's own.")
    token_url: str = Field(
        "", description=f"Token endpoint; empty = /{TOKEN_PATH} of the system (unverified)."
    )
    certificate: str = Field(
        "", description="File with the client's X.509 certificate chain and key, PEM."
    )
    certificate_password: SecretStr = Field(SecretStr(""), description="What its key is under.")
    ca_file: str = Field(
        "", description="File with the CA certificates that are trusted, PEM; empty = the usual."
    )
    sap_client: str = Field(
        "", pattern=r"^(\d{3})?$", description="Client (Mandant), three digits; empty = default."
    )
    sap_language: str = Field(
        "", pattern=r"^([A-Za-z]{2})?$", description="Language of messages; empty = the user's."
    )
    notification_type: str = Field(
        "M2", pattern=r"^[A-Z0-9]{2}$", description="NotificationType: M2 is a malfunction report."
    )
    priorities: Mapping[str, str] = Field(
        PRIORITIES,
        description="MaintPriority by severity, one character each; a smaller one is more urgent.",
    )
    maintenance_planning_plant: str = Field("", max_length=4, description="Planning plant, if any.")
    main_work_center: str = Field("", max_length=8, description="Work center, if any.")
    main_work_center_plant: str = Field("", max_length=4, description="The work center's plant.")
    complete_on_clear: bool = Field(
        default=True, description="False: a clear adds its line and leaves completing to people."
    )
    long_text_log: bool = Field(
        default=False,
        description="True where the notification type only lets long text be added to.",
    )
    repeatable_requests: bool = Field(
        default=False,
        description="Send RequestID and RepeatabilityCreation: an administrator has enabled them.",
    )
    create_order: bool = Field(
        default=False,
        description="Make a maintenance order for each notification too (unverified).",
    )
    order_type: str = Field(
        "PM01", pattern=r"^[A-Z0-9]{1,4}$", description="MaintenanceOrderType of such orders."
    )

    @field_validator("url", "token_url")
    @classmethod
    def _address(cls, text: str) -> str:
        if "/sap/opu/" in text:
            raise ValueError("it has a service's path: give what stands before /sap/opu/odata")
        return web_address(text) if text else text

    @field_validator("priorities")
    @classmethod
    def _all_severities(cls, given: Mapping[str, str]) -> Mapping[str, str]:
        if set(given) != set(PRIORITIES) or not all(len(one) == 1 for one in given.values()):
            raise ValueError(f"give one character for each of {', '.join(PRIORITIES)}")
        return dict(given)

    @model_validator(mode="after")
    def _one_way_in(self) -> SapSettings:
        if not self.url:
            return self  # said by connectors.settings.make
        ways = [bool(self.username), bool(self.client_id), bool(self.certificate)]
        if sum(ways) != 1:
            raise ValueError(
                "give exactly one of username (and password), client_id (and client_secret) "
                "or certificate"
            )
        if self.username and (":" in self.username or not self.password.get_secret_value()):
            raise ValueError("username has a colon or password is empty")
        if self.client_id and not self.client_secret.get_secret_value():
            raise ValueError("client_secret is empty")
        if self.certificate and urlsplit(self.url).scheme != "https":
            raise ValueError("certificate needs an https:// url")
        return self

    @property
    def tokens_at(self) -> str:
        """The token endpoint."""
        return self.token_url or f"{self.url}/{TOKEN_PATH}"

    def service(self, name: str) -> str:
        """A service's root, with its last slash: without it SAP redirects and gives no token."""
        return f"{self.url}/{ROOT}/{name}/"

    def hosts(self) -> frozenset[str]:
        """The system's, and that of the token endpoint where it is another."""
        return super().hosts() | ({host_of(self.token_url)} if self.token_url else frozenset())

    def mounts(self) -> Mapping[str, httpx.AsyncBaseTransport]:
        """A transport of its own where certificates are given: they belong to the connection.

        SettingsError where a file cannot be used.
        """
        if not (self.certificate or self.ca_file):
            return {}
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
            if self.certificate:
                # Never without a password: OpenSSL would ask the terminal for one.
                password = self.certificate_password.get_secret_value()
                context.load_cert_chain(self.certificate, password=password)
        except (OSError, ValueError):
            raise SettingsError(
                "Correct setting certificate, certificate_password or ca_file (SAP_…): the files "
                "cannot be read as PEM certificates and key."
            ) from None
        return {"https://": httpx.AsyncHTTPTransport(verify=context)}
