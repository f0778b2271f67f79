"""Where each warehouse is, and who we are there. Names in capitals are environment variables."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, FilePath, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from connectors.settings import LOOPBACK, ConnectorSettings, web_address

NAME = r"^[A-Za-z_][A-Za-z0-9_$]{0,127}$"
"""A name that SQL takes without quotes in every one of them."""
_PATH = re.compile(r"[A-Za-z0-9_$.\-:/@]*")


def _place(text: str, schemes: tuple[str, ...], example: str) -> str:
    if not text:
        return text
    parts = urlsplit(text)
    if parts.scheme not in schemes or not parts.netloc or not _PATH.fullmatch(text):
        raise ValueError(f"it is no such address, write {example}")
    return text.rstrip("/")


class SnowflakeSettings(ConnectorSettings):
    """Snowflake, by its own connector. `url` is not used: the account says where it is."""

    model_config = SettingsConfigDict(env_prefix="SNOWFLAKE_")

    url: str = Field("snowflake", description="Not used.")
    account: str = Field("", description="Account identifier, ORG-ACCOUNT.")
    user: str = Field("", description="User that loads.")
    password: SecretStr | None = Field(None, description="Its password, or access token.")
    private_key_file: FilePath | None = Field(
        None, description="Its private key (PKCS#8, PEM), in place of a password."
    )
    private_key_password: SecretStr | None = Field(None, description="What the key is kept under.")
    role: str = Field("", description="Role; empty = the user's own.")
    warehouse: str = Field("", description="Virtual warehouse that does the work.")
    database: str = Field("FIELDLINE", description="Database.", pattern=NAME)
    schema_name: str = Field("LAKE", description="Schema.", pattern=NAME)
    stage: str = Field(
        "FIELDLINE_LAKE", description="External stage whose address is the lake's.", pattern=NAME
    )
    integration: str = Field(
        "", description="Storage integration; where it is set, the stage is made."
    )
    volume: str = Field("FIELDLINE_VOLUME", description="External volume, for Iceberg tables.")
    catalog: str = Field(
        "FIELDLINE_CATALOG", description="Catalog integration (OBJECT_STORE), for Iceberg tables."
    )

    @field_validator("integration", "volume", "catalog")
    @classmethod
    def _name(cls, text: str) -> str:
        if text and not re.fullmatch(NAME, text):
            raise ValueError("it is no name, write letters, digits and underscores")
        return text


class BigQuerySettings(ConnectorSettings):
    """BigQuery, by its REST API version 2."""

    model_config = SettingsConfigDict(env_prefix="BIGQUERY_")

    url: str = Field("https://bigquery.googleapis.com", description="Address of the API.")
    project: str = Field(
        "", description="Project that pays and holds the data.", pattern=r"^[a-z0-9.:\-]{0,63}$"
    )
    dataset: str = Field("fieldline", description="Dataset: it must be there.", pattern=NAME)
    location: str = Field("US", description="The dataset's location.", pattern=r"^[A-Za-z0-9-]+$")
    credentials_file: FilePath | None = Field(
        None,
        validation_alias=AliasChoices(
            "credentials_file", "BIGQUERY_CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS"
        ),
        description="Key of a service account (JSON); GOOGLE_APPLICATION_CREDENTIALS serves too.",
    )
    token_url: str = Field("https://oauth2.googleapis.com/token", description="Where tokens are.")
    lake_url: str = Field(
        "", description="The lake as BigQuery sees it, gs://bucket; empty = LAKE_URL."
    )

    @field_validator("url", "token_url")
    @classmethod
    def _address(cls, text: str) -> str:
        return web_address(text)

    @field_validator("lake_url")
    @classmethod
    def _lake(cls, text: str) -> str:
        return _place(text, ("gs",), "gs://bucket")


class RedshiftSettings(ConnectorSettings):
    """Redshift, by PostgreSQL's protocol."""

    model_config = SettingsConfigDict(env_prefix="REDSHIFT_")

    url: str = Field("", description="redshift://host:5439/database.")
    user: str = Field("", description="User that loads.")
    password: SecretStr | None = Field(None, description="Its password.")
    schema_name: str = Field("fieldline", description="Schema.", pattern=NAME)
    iam_role: str = Field(
        "default",
        description="ARN of the role that reads the lake; default = the cluster's own.",
        pattern=r"^(default|arn:[a-z-]+:iam::\d{12}:role/[A-Za-z0-9+=,.@_/\-]+)$",
    )
    region: str = Field("", description="The lake's region.", pattern=r"^[a-z0-9-]*$")
    ca_file: FilePath | None = Field(
        None, description="Certificates (PEM) that sign the server's; None = the system's."
    )
    lake_url: str = Field(
        "", description="The lake as Redshift sees it, s3://bucket; empty = LAKE_URL."
    )

    @field_validator("url")
    @classmethod
    def _address(cls, text: str) -> str:
        parts = urlsplit(text)
        if text and (parts.scheme not in {"redshift", "postgresql"} or not parts.hostname):
            raise ValueError("it is no such address, write redshift://host:5439/database")
        if text and (not parts.path.strip("/") or parts.username or parts.query):
            raise ValueError("it is host, port and database only, write the rest as settings")
        return text.rstrip("/")

    @field_validator("lake_url")
    @classmethod
    def _lake(cls, text: str) -> str:
        return _place(text, ("s3",), "s3://bucket")

    @property
    def here(self) -> bool:
        """Whether it is on this machine, where no encryption is needed."""
        return urlsplit(self.url).hostname in LOOPBACK


class AzureSettings(ConnectorSettings):
    """What Synapse and Fabric have in common: T-SQL by ODBC."""

    url: str = Field("", description="Server's host name.")
    database: str = Field("", description="Dedicated SQL pool, or warehouse.")
    schema_name: str = Field("dbo", description="Schema.", pattern=NAME)
    user: str = Field("", description="Client id of the service principal, or SQL user.")
    password: SecretStr | None = Field(None, description="Its secret.")
    lake_url: str = Field(
        "",
        description="The lake as it sees it, https://account.dfs.core.windows.net/container.",
    )

    @field_validator("lake_url")
    @classmethod
    def _lake(cls, text: str) -> str:
        return _place(text, ("https",), "https://account.dfs.core.windows.net/container")

    @field_validator("url", "database", "user")
    @classmethod
    def _plain(cls, text: str) -> str:
        # They stand in an ODBC connection string, where these would begin another word.
        if set(text) & set(";{}=") or not text.isprintable():
            raise ValueError("it holds a character that cannot stand there")
        return text

    @model_validator(mode="after")
    def _secret(self) -> AzureSettings:
        if self.password and "}" in self.password.get_secret_value():
            raise ValueError("a password with } cannot be given to ODBC: choose another")
        return self


class SynapseSettings(AzureSettings):
    """A dedicated SQL pool of Azure Synapse."""

    model_config = SettingsConfigDict(env_prefix="SYNAPSE_")


class FabricSettings(AzureSettings):
    """A warehouse of Microsoft Fabric."""

    model_config = SettingsConfigDict(env_prefix="FABRIC_")
