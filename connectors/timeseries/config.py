"""Where the time-series store is, and how points are named there."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, FilePath, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from connectors.settings import LOOPBACK, ConnectorSettings, make, web_address

_POSTGRES = frozenset({"postgresql", "postgres"})
_IDENTIFIER = r"^[a-z_][a-z0-9_]{0,62}$"


class _Where(ConnectorSettings):
    """Only whether there is an address."""

    model_config = SettingsConfigDict(env_prefix="TIMESERIES_")


class TimeseriesSettings(ConnectorSettings):
    """One store: InfluxDB over HTTP, or PostgreSQL (TimescaleDB)."""

    model_config = SettingsConfigDict(env_prefix="TIMESERIES_")

    url: str = Field(
        "",
        description="https://host:8086 of InfluxDB (2, 3, or 1.8 with its v2 API), or "
        "postgresql://host:5432/database. Empty = no such worker.",
    )
    token: SecretStr | None = Field(
        None, description="InfluxDB's API token; user:password for 1.8."
    )
    org: str = Field("", description="InfluxDB's organization.")
    bucket: str = Field("", description="InfluxDB's bucket; database/policy for 1.8.")
    measurement: str = Field(
        "telemetry", description="Measurement of all points in InfluxDB.", pattern=_IDENTIFIER
    )
    username: str = Field("", description="PostgreSQL user.")
    password: SecretStr | None = Field(None, description="That user's password.")
    table: str = Field("telemetry", description="PostgreSQL table.", pattern=_IDENTIFIER)
    create_table: bool = Field(
        default=True, description="Whether the table is made where it is not there."
    )
    ca_file: FilePath | None = Field(
        None, description="Certificates (PEM) that sign the store's; None = the system's."
    )
    batch: int = Field(20_000, ge=100, le=200_000, description="Most points in one request.")

    @field_validator("url")
    @classmethod
    def _address(cls, text: str) -> str:
        parts = urlsplit(text)
        if not text or parts.scheme not in _POSTGRES:
            return web_address(text) if text else text
        _ = parts.port  # ValueError where it is none
        if not parts.hostname or not parts.path.strip("/"):
            raise ValueError("it names no database, write postgresql://host:5432/database")
        if parts.username or parts.password or parts.query:
            raise ValueError("it holds more than host, port and database: give them as settings")
        return text.rstrip("/")

    @model_validator(mode="after")
    def _complete(self) -> TimeseriesSettings:
        if self.kind == "postgresql" and not self.username:
            raise ValueError("PostgreSQL needs TIMESERIES_USERNAME")
        if self.url and self.kind == "influxdb" and not (self.token and self.bucket):
            raise ValueError("InfluxDB needs TIMESERIES_TOKEN and TIMESERIES_BUCKET")
        return self

    @property
    def kind(self) -> Literal["influxdb", "postgresql"]:
        """Which store it is."""
        return "postgresql" if urlsplit(self.url).scheme in _POSTGRES else "influxdb"

    @property
    def here(self) -> bool:
        """Whether it is on this machine, where no encryption is needed."""
        return urlsplit(self.url).hostname in LOOPBACK


def wanted() -> TimeseriesSettings | None:
    """The settings of the environment; None where TIMESERIES_URL is not set.

    SettingsError where something of them is unusable.
    """
    return make(TimeseriesSettings) if _Where().url else None
