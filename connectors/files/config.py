"""Where the files go, in which form, and who we are there."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import quote, urlsplit

import asyncssh
from pydantic import Field, FilePath, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from connectors.settings import ConnectorSettings, host_of, web_address

BATCH_MAX = 200
"""Most rows of a file."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SFTP = "sftp"
_S3 = "s3"


class FilesSettings(ConnectorSettings):
    """One folder on an SFTP server, or one prefix of an S3 bucket."""

    model_config = SettingsConfigDict(env_prefix="FILES_")

    url: str = Field(
        "",
        description="sftp://host:port/folder (/~/folder = below the user's home), "
        "s3://bucket/prefix (AWS), or https://endpoint/bucket/prefix of another S3 server.",
    )
    format: Literal["csv", "xml", "flat"] = Field(
        "csv",
        description="csv (RFC 4180, UTF-8), xml (UTF-8), or flat: fixed-width records with header "
        "and trailer counts, ISO 8859-1.",
    )
    batch: int = Field(
        50,
        ge=1,
        le=BATCH_MAX,
        description="Most rows of one file. Each event is a small file of its own besides, and all "
        "of a batch must be written within FIELDLINE_DELIVERY_SETTLE_S.",
    )
    username: str = Field("", description="User on the SFTP server.")
    password: SecretStr | None = Field(None, description="The user's password; or a private key.")
    private_key: SecretStr | None = Field(None, description="Private key, OpenSSH or PEM text.")
    passphrase: SecretStr | None = Field(None, description="What the private key is locked with.")
    known_hosts: FilePath | None = Field(
        None, description="File with the server's host key, as OpenSSH's known_hosts."
    )
    access_key_id: str = Field("", description="S3 access key id.")
    secret_access_key: SecretStr | None = Field(None, description="S3 secret access key.")
    session_token: SecretStr | None = Field(None, description="For temporary S3 credentials.")
    region: str = Field("us-east-1", description="Region of the bucket.", pattern=r"^[a-z0-9-]+$")

    @field_validator("url")
    @classmethod
    def _address(cls, text: str) -> str:
        if not text:
            return text
        parts = urlsplit(text)
        if parts.scheme in {_SFTP, _S3}:
            if not parts.hostname or parts.password or parts.username or parts.query:
                raise ValueError(
                    "it is no folder, write sftp://host:port/folder or s3://bucket/prefix and give "
                    "user and password as settings"
                )
            _ = parts.port  # ValueError where it is none
            if parts.scheme == _S3 and not _BUCKET.fullmatch(parts.netloc):
                raise ValueError("it names no bucket, write s3://bucket/prefix")
        else:
            web_address(text)
            if not parts.path.strip("/"):
                raise ValueError("it names no bucket, write https://endpoint/bucket/prefix")
        if any(part in {".", ".."} for part in parts.path.split("/")):
            raise ValueError("its folder has '.' or '..' in it, write the plain path")
        return text.rstrip("/")

    @model_validator(mode="after")
    def _who(self) -> FilesSettings:
        if self.is_sftp and self.url:
            if not self.username or not (self.password or self.private_key):
                raise ValueError(
                    "SFTP needs FILES_USERNAME, and FILES_PASSWORD or FILES_PRIVATE_KEY"
                )
            if self.known_hosts is None:
                raise ValueError(
                    "SFTP needs FILES_KNOWN_HOSTS, a file that ssh-keyscan can write and a person "
                    "has compared: without it anybody could stand in for the server"
                )
            keys_of(self)
        elif self.url and not (self.access_key_id and self.secret_access_key):
            raise ValueError("S3 needs FILES_ACCESS_KEY_ID and FILES_SECRET_ACCESS_KEY")
        return self

    @property
    def is_sftp(self) -> bool:
        """Whether it is a folder, not a bucket."""
        return urlsplit(self.url).scheme == _SFTP

    def base(self) -> str:
        """Address of the folder, without a slash at its end; requests go below it."""
        parts = urlsplit(self.url)
        path = quote(parts.path.rstrip("/"), safe="/-_.~")
        if parts.scheme != _S3:
            return f"{parts.scheme}://{parts.netloc}{path}"
        # A dot in a bucket's name would leave AWS's certificate behind: then path style.
        if "." in parts.netloc:
            return f"https://s3.{self.region}.amazonaws.com/{parts.netloc}{path}"
        return f"https://{parts.netloc}.s3.{self.region}.amazonaws.com{path}"

    def bucket(self) -> str:
        """Address of the S3 bucket itself."""
        made, parts = urlsplit(self.base()), urlsplit(self.url)
        in_host = parts.scheme == _S3 and "." not in parts.netloc
        name = "" if in_host else made.path.split("/")[1]
        return f"{made.scheme}://{made.netloc}/{name}"

    def hosts(self) -> frozenset[str]:
        """The server's."""
        return frozenset({host_of(self.base())})


def keys_of(settings: FilesSettings) -> list[asyncssh.SSHKey] | None:
    """The private key, ready to be used; ValueError where it is none or stays locked."""
    if settings.private_key is None:
        return None
    locked = settings.passphrase.get_secret_value() if settings.passphrase else None
    try:
        return [asyncssh.import_private_key(settings.private_key.get_secret_value(), locked)]
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
        raise ValueError(
            "FILES_PRIVATE_KEY is no private key that FILES_PASSPHRASE opens, give OpenSSH or PEM "
            "text as it is"
        ) from None
